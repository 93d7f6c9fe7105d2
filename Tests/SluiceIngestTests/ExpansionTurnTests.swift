import NIOCore
import NIOEmbedded
import SluiceCore
import Synchronization
import TestSupport
import Testing

@testable import SluiceIngest

@Suite("Turns of compressed bodies")
struct ExpansionTurnTests {
  static let plain = post(#"{"message":"hello"}"#)
  /// A mebibyte of white space, which is no record: it costs a little more than its size.
  static let bomb = HTTPSplitTests.encoded(
    Compression.zstd([UInt8](repeating: 0x20, count: 1 << 20)), "zstd", path: "/log", chunkBytes: nil)
  static let compressed = HTTPSplitTests.encoded(
    Compression.gzip(Array(#"{"message":"hello"}"#.utf8)), "gzip", path: "/log", chunkBytes: nil)

  func harness() -> HTTPHarness { HTTPHarness { $0.maxBodyBytes = 1 << 20 } }

  func bombs(_ count: Int) -> [UInt8] { Array(repeatElement(Self.bomb, count: count).joined()) }

  func pass(_ harness: HTTPHarness) {
    harness.eventLoop.advanceTime(by: .nanoseconds(Limits.expansionPauseNanoseconds))
  }

  @Test func oneTurnExpandsSoMuchAndOthersAreServedBeforeTheNext() throws {
    let harness = harness()
    let (greedy, other) = (try harness.connect(), try harness.connect())
    try greedy.receive(bombs(10) + Array(Self.plain.utf8))
    #expect(try greedy.responses().map(\.status) == [400, 400, 400, 400])
    try other.receive(Self.plain)
    #expect(try other.responses().map(\.status) == [202])
    pass(harness)
    #expect(try greedy.responses().map(\.status) == [400, 400, 400, 400])
    pass(harness)
    #expect(try greedy.responses().map(\.status) == [400, 400, 202])
    #expect(harness.stream.records.count == 2)
  }

  @Test func whoWaitsIsServedInTurnAndNewRequestsComeBehind() throws {
    let harness = harness()
    let (first, second, third) = (try harness.connect(), try harness.connect(), try harness.connect())
    // One read of each in the same tick: the bound is of the loop, not of each connection.
    try first.push(bombs(5))
    try second.push(bombs(5))
    try third.receive(Self.compressed)
    #expect(try first.responses().count == 4)
    #expect(try second.sent() == "" && third.sent() == "")
    pass(harness)
    #expect(try first.responses().count == 1)
    #expect(try second.responses().count == 3)
    #expect(try third.sent() == "")
    pass(harness)
    #expect(try second.responses().count == 2 && third.responses().map(\.status) == [202])
  }

  @Test func aConnectionThatEndsWhileItWaitsStillHasItsTurn() throws {
    let harness = harness()
    let (ended, gone) = (try harness.connect(), try harness.connect())
    try ended.receive(bombs(6))
    try gone.receive(bombs(1))
    ended.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    gone.channel.close(promise: nil)
    #expect(ended.isOpen)
    pass(harness)
    #expect(try ended.responses().map(\.status) == [Int](repeating: 400, count: 6))
    #expect(!ended.isOpen && !gone.isOpen)
    #expect(harness.loop.settings.load.heldBytes == 0)
  }

  @Test func aRequestThatWaitsForRoomWaitsForItsTurnToo() throws {
    let harness = HTTPHarness {
      $0.maxBodyBytes = 1 << 20
      $0.blockNanoseconds = 60_000_000_000
    }
    let (blocked, greedy) = (try harness.connect(), try harness.connect())
    harness.stream.setFull(.ring)
    try blocked.receive(Self.compressed + Self.compressed)
    harness.stream.setFull(nil)
    // The turns are under way when it is tried again.
    harness.eventLoop.advanceTime(by: .nanoseconds(Limits.roomRetryNanoseconds - Limits.expansionPauseNanoseconds / 2))
    try greedy.receive(bombs(9))
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    #expect(try greedy.responses().count == 9)
    #expect(try blocked.responses().map(\.status) == [202, 202])
    #expect(harness.loop.waitingRoom.count == 0)
  }

  @Test func drainingAnswersThoseThatWait() throws {
    let harness = harness()
    let connection = try harness.connect()
    try connection.receive(bombs(6))
    let drained = NIOLoopBoundBox(false, eventLoop: harness.eventLoop)
    harness.loop.drain(within: .seconds(30)).whenSuccess { drained.value = true }
    pass(harness)
    let responses = try connection.responses()
    #expect(responses.count == 5, "the first that says `close` is the last")
    #expect(responses.last?.headers["connection"] == "close" && drained.value)
  }
}
