import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("Requests that wait for room")
struct HTTPBlockTests {
  static let body = #"{"message":"hello"}"#

  func harness(_ durability: Durability = .memory, seconds: Int64 = 5) -> HTTPHarness {
    HTTPHarness(durability) { $0.blockNanoseconds = seconds * 1_000_000_000 }
  }

  @Test func aRequestIsServedWhenThereIsRoomAgain() throws {
    let harness = harness()
    let connection = try harness.connect()
    harness.stream.setFull(.retention)
    try connection.receive(post(Self.body) + post("{") + post(Self.body))
    harness.eventLoop.advanceTime(by: .seconds(4))
    #expect(try connection.sent() == "" && harness.stream.records.isEmpty)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    #expect(try connection.responses().map(\.status) == [202, 400, 202])
    #expect(harness.loop.waitingRoom.count == 0)
    #expect(harness.value("sluice_source_blocked_requests_total") == 1)
    #expect(harness.value("sluice_source_rejected_records_total", "retention") == 0)
  }

  @Test func afterItsTimeARequestIsAnswered503AndTheNextHasItsOwnTime() throws {
    let harness = harness(seconds: 5)
    let connection = try harness.connect()
    harness.stream.setFull(.ring)
    try connection.receive(post(Self.body) + post(Self.body, path: "/logs"))
    harness.eventLoop.advanceTime(by: .milliseconds(4950))
    #expect(try connection.sent() == "")
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    let response = try #require(try connection.responses().first)
    #expect(response.status == 503 && response.headers["retry-after"] == "1")
    harness.eventLoop.advanceTime(by: .milliseconds(4800))
    #expect(try connection.sent() == "" && connection.isOpen)
    harness.eventLoop.advanceTime(by: .milliseconds(200))
    #expect(try connection.responses().map(\.status) == [503])
    #expect(harness.value("sluice_source_rejected_records_total", "ring") == 2)
    #expect(harness.stream.records.isEmpty)
  }

  @Test func aConnectionThatWaitsIsNotReadAndNotCalledIdle() throws {
    let harness = HTTPHarness {
      $0.blockNanoseconds = 60_000_000_000
      $0.idleSeconds = 10
      $0.headerSeconds = 5
    }
    let connection = try harness.connect()
    harness.stream.setFull(.ring)
    try connection.receive(post(Self.body) + "POST /lo")
    harness.eventLoop.advanceTime(by: .seconds(50))
    #expect(try connection.sent() == "" && connection.isOpen)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .seconds(1))
    #expect(try connection.responses().map(\.status) == [202])
  }

  @Test func answersBeforeItAreGivenWhileARequestWaits() throws {
    let harness = harness(.fsync)
    let connection = try harness.connect()
    try connection.push(Array(post(Self.body).utf8))
    harness.stream.setFull(.disk)
    try connection.receive(post(Self.body))
    harness.commit()
    #expect(try connection.responses().map(\.status) == [202])
    #expect(harness.loop.waitingRoom.count == 1)
  }

  @Test func aCommitLetsWaitersInAtOnce() throws {
    let harness = harness(.fsync)
    let record = 56 + 8 + 24
    harness.stream.setRoom(record)
    let connections = try (0..<3).map { _ in try harness.connect() }
    for connection in connections { try connection.push(Array(post(Self.body).utf8)) }
    harness.eventLoop.run()
    for stored in 1...3 {
      #expect(harness.stream.records.count == stored)
      harness.commit()
    }
    for connection in connections { #expect(try connection.responses().map(\.status) == [202]) }
  }

  @Test func oneThatNeverFitsHoldsUpNobody() throws {
    let harness = harness()
    let (large, small) = (try harness.connect(), try harness.connect())
    harness.stream.setRoom(0)
    try large.receive(post(String(repeating: Self.body + "\n", count: 50), path: "/logs"))
    try small.receive(post(Self.body))
    harness.stream.setRoom(200)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    #expect(try small.responses().map(\.status) == [202])
    harness.eventLoop.advanceTime(by: .seconds(6))
    #expect(try large.responses().map(\.status) == [503])
  }

  @Test func aBodyThatWaitsIsNotParsedAgainBeforeThereIsRoomForAllOfIt() throws {
    let harness = harness(seconds: 60)
    let connection = try harness.connect()
    let record = 56 + 8 + 24
    harness.stream.setRoom(3 * record)
    try connection.receive(post(String(repeating: Self.body + "\n", count: 4), path: "/logs"))
    #expect(harness.loop.records.count == 4)
    harness.loop.records.begin(metadataBytes: 0, maxRecordBytes: 4096)
    harness.eventLoop.advanceTime(by: .seconds(1))
    #expect(harness.loop.records.count == 0 && harness.loop.waitingRoom.count == 1)
    harness.stream.setRoom(4 * record)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    #expect(try connection.responses().map(\.status) == [202])
    #expect(harness.stream.records.count == 4)
  }

  @Test func manyWaitersAreTriedInTurnAndLeaveNothingBehind() throws {
    let harness = harness(seconds: 3600)
    harness.stream.setFull(.ring)
    let connections = try (0..<100).map { _ in try harness.connect() }
    for connection in connections { try connection.receive(post(Self.body)) }
    #expect(harness.loop.waitingRoom.count == 100)
    for connection in connections[..<50] { connection.channel.close(promise: nil) }
    harness.eventLoop.advanceTime(by: .milliseconds(200))
    #expect(harness.loop.waitingRoom.count == 50)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    #expect(harness.stream.records.count == 50 && harness.loop.waitingRoom.count == 0)
    for connection in connections[50...] { #expect(try connection.responses().map(\.status) == [202]) }
  }

  @Test func drainingAnswersWaitersAtOnce() throws {
    let harness = harness(seconds: 3600)
    let connection = try harness.connect()
    harness.stream.setFull(.retention)
    try connection.receive(post(Self.body))
    let drained = NIOLoopBoundBox(false, eventLoop: harness.eventLoop)
    harness.loop.drain(within: .seconds(30)).whenSuccess { drained.value = true }
    harness.eventLoop.run()
    let responses = try connection.responses()
    #expect(responses.first?.headers["connection"] == "close" && !connection.isOpen && drained.value)
  }

  @Test func aStreamThatClosesKeepsNobodyWaiting() throws {
    let harness = harness()
    let connection = try harness.connect()
    harness.stream.setFull(.closing)
    try connection.receive(post(Self.body))
    #expect(try connection.responses().map(\.status) == [503])
  }
}
