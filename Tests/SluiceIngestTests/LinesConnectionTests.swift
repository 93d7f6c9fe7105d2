import NIOCore
import NIOEmbedded
import SluiceCore
import Synchronization
import Testing

@testable import SluiceIngest

/// Connections of one loop without sockets; time stands still unless the test moves it.
final class LinesHarness {
  let stream: FakeStream
  let loop: LinesLoop
  let settings: LinesSettings
  let eventLoop = EmbeddedEventLoop()

  init(
    _ durability: Durability = .memory, maxRecordBytes: Int = 1 << 20,
    adjust: (inout LinesSourceOptions) -> Void = { _ in }
  ) {
    stream = FakeStream(durability, maxRecordBytes: maxRecordBytes)
    var options = LinesSourceOptions(name: "text", topic: "lines")
    adjust(&options)
    settings = LinesSettings(options, stream: stream)
    loop = LinesLoop(eventLoop: eventLoop, settings: settings)
    loop.open()
  }

  func connect() throws -> TestConnection {
    let channel = EmbeddedChannel(loop: eventLoop)
    try channel.pipeline.syncOperations.addHandler(LinesConnection(loop: loop))
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    return TestConnection(channel: channel)
  }

  var texts: [String] { stream.records.map(\.text) }
  func count(_ cell: LineCounters.Cell) -> UInt64 { loop.counters.value(cell) }
}

extension TestConnection {
  func endInput() { channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
}

@Suite("Lines over TCP")
struct LinesConnectionTests {
  @Test func eachLineIsARecordAndATickIsOneSubmit() throws {
    let harness = LinesHarness()
    let connection = try harness.connect()
    try connection.receive("one\ntwo\r\n\nthr")
    #expect(harness.texts == ["one", "two", ""] && harness.stream.submits == 1)
    try connection.receive("ee\n")
    #expect(harness.texts == ["one", "two", "", "three"])
    #expect(harness.stream.records.allSatisfy { $0.topic == "lines" && $0.eventTime > 0 })
    #expect(harness.count(.accepted) == 4 && harness.count(.bytes) == 16)
  }

  @Test func aSyslogSenderIsNamedAlikeWhicheverSocketItCameTo() throws {
    let harness = LinesHarness { $0.isSyslog = true }
    for address in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"] {
      let channel = EmbeddedChannel(loop: harness.eventLoop)
      channel.remoteAddress = try SocketAddress(ipAddress: address, port: 1)
      try channel.pipeline.syncOperations.addHandler(LinesConnection(loop: harness.loop))
      try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
      try TestConnection(channel: channel).receive("<13>hello\n")
    }
    #expect(harness.stream.records.map(\.key) == ["192.0.2.7", "192.0.2.7", "2001:db8::7"])
  }

  @Test func bytesThatAreNoTextAreKept() throws {
    let harness = LinesHarness()
    try harness.connect().receive([0xFF, 0x00, 0xC3, 0x0A])
    #expect(harness.stream.records.map(\.payload) == [[0xFF, 0x00, 0xC3]])
  }

  @Test func theLastLineNeedsNoLineFeed() throws {
    let harness = LinesHarness()
    let connection = try harness.connect()
    try connection.receive("one\ntwo")
    connection.endInput()
    harness.eventLoop.run()
    #expect(harness.texts == ["one", "two"] && !connection.isOpen)
    #expect(harness.settings.load.heldBytes == 0 && harness.count(.closed) == 1)
  }

  @Test func whatAResetCutsOffIsDroppedAndCounted() throws {
    let harness = LinesHarness()
    let connection = try harness.connect()
    try connection.receive("one\ntwo")
    connection.channel.close(promise: nil)
    harness.eventLoop.run()
    #expect(harness.texts == ["one"] && harness.count(.unfinished) == 1)
  }

  @Test func aLineTooLongForTheStreamIsSkippedAndCountedOnce() throws {
    let harness = LinesHarness(maxRecordBytes: 128)
    let connection = try harness.connect()
    for _ in 0..<10 { try connection.receive(String(repeating: "x", count: 50)) }
    #expect(harness.settings.load.heldBytes < 128, "what is skipped is not held")
    try connection.receive("\nnext\n")
    #expect(harness.texts == ["next"] && harness.count(.tooLarge) == 1)
  }

  @Test func aFullStreamPausesTheConnectionAndLosesNothing() throws {
    let harness = LinesHarness()
    let connection = try harness.connect()
    harness.stream.setRoom(2 * 72)
    try connection.receive("one\ntwo\nthree\nfour\nfi")
    #expect(harness.texts == ["one", "two"])
    let reads = CountingReads()
    try connection.channel.pipeline.syncOperations.addHandler(reads, position: .first)
    connection.channel.read()
    #expect(reads.count == 0, "the connection is not read while it waits")
    harness.stream.setRoom(.max)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    #expect(harness.texts == ["one", "two", "three", "four"] && reads.count == 1)
    try connection.receive("ve\n")
    #expect(harness.texts.last == "five" && harness.count(.pauses) == 1)
  }

  @Test func whatWasReceivedBeforeThePeerLeftIsStoredWhenThereIsRoom() throws {
    let harness = LinesHarness()
    let (orderly, broken) = (try harness.connect(), try harness.connect())
    harness.stream.setFull(.retention)
    try orderly.receive("one\ntwo")
    try broken.receive("three\nfour")
    orderly.endInput()
    broken.channel.close(promise: nil)
    harness.eventLoop.advanceTime(by: .seconds(60))
    #expect(harness.texts.isEmpty && orderly.isOpen)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    #expect(Set(harness.texts) == ["one", "two", "three"] && harness.count(.unfinished) == 1)
    #expect(!orderly.isOpen && harness.count(.closed) == 2 && harness.loop.waitingRoom.count == 0)
  }

  @Test func aSilentConnectionIsClosedButNotOneThatWaits() throws {
    let harness = LinesHarness { $0.idleSeconds = 30 }
    let (silent, waiting) = (try harness.connect(), try harness.connect())
    harness.stream.setFull(.ring)
    try waiting.receive("one\n")
    harness.eventLoop.advanceTime(by: .seconds(60))
    #expect(!silent.isOpen && waiting.isOpen && harness.count(.timedOut) == 1)
  }

  @Test func strangersWhoseLinesNeverEndAreCutAtTheBudget() throws {
    let harness = LinesHarness { $0.maxHeldBytes = 100_000 }
    let connections = try (0..<3).map { _ in try harness.connect() }
    for connection in connections { try connection.receive(String(repeating: "x", count: 90_000)) }
    #expect(connections.map(\.isOpen) == [true, false, false])
    #expect(harness.count(.memory) == 2)
    #expect(harness.settings.load.heldBytes == 90_000)
  }

  @Test func nothingIsTakenFromAConnectionThatIsCutAndWhoseCloseTakesItsTime() throws {
    let harness = LinesHarness { $0.maxHeldBytes = 100_000 }
    let (held, cut) = (try harness.connect(), try harness.connect())
    try cut.channel.pipeline.syncOperations.addHandler(SlowCloser(), position: .first)
    for connection in [held, cut] { try connection.receive(String(repeating: "x", count: 90_000)) }
    #expect(cut.isOpen && harness.count(.memory) == 1)
    try cut.receive("the end\nof it\n" + String(repeating: "x", count: 100_000) + "\nand more\n")
    #expect(harness.texts == [] && harness.count(.memory) == 1)
    #expect(harness.settings.load.heldBytes == 90_000)
    _ = harness.loop.drain(within: .seconds(5))
    harness.eventLoop.advanceTime(by: .seconds(6))
    try cut.receive("late\n")
    #expect(harness.count(.closing) == 0)
  }

  @Test func nothingIsTakenFromAConnectionThatADrainHasCut() throws {
    let harness = LinesHarness()
    let connection = try harness.connect()
    try connection.channel.pipeline.syncOperations.addHandler(SlowCloser(), position: .first)
    harness.stream.setRoom(0)
    try connection.receive("one\n")
    _ = harness.loop.drain(within: .seconds(5))
    harness.eventLoop.advanceTime(by: .seconds(6))
    #expect(harness.count(.closing) == 1)
    try connection.receive("two\nthree\n")
    #expect(harness.count(.closing) == 1 && harness.texts == [])
  }

  @Test(arguments: [false, true]) func theLargestRecordIsThatOfNowOnOpenConnectionsToo(isSyslog: Bool) throws {
    let harness = LinesHarness(maxRecordBytes: 1024) { $0.isSyslog = isSyslog }
    let connection = try harness.connect()
    let long = String(repeating: "x", count: 2000)
    harness.stream.maxRecordBytes = 4096
    try connection.receive(long + "\n" + long)
    try connection.receive("\n")
    #expect(harness.texts == [long, long] && harness.count(.tooLarge) == 0)
    harness.stream.maxRecordBytes = 1024
    try connection.receive(long + "\nshort\n")
    #expect(harness.texts == [long, long, "short"] && harness.count(.tooLarge) == 1)
  }

  @Test func drainingStoresWhatFindsRoomAndCutsTheRestAtTheDeadline() throws {
    let harness = LinesHarness()
    let (idle, waiting) = (try harness.connect(), try harness.connect())
    try idle.receive("begun")
    harness.stream.setRoom(0)
    try waiting.receive("one\ntwo\nrest")
    let drained = NIOLoopBoundBox(false, eventLoop: harness.eventLoop)
    harness.loop.drain(within: .seconds(5)).whenSuccess { drained.value = true }
    harness.eventLoop.run()
    #expect(!idle.isOpen && waiting.isOpen)
    harness.stream.setRoom(72)
    harness.eventLoop.advanceTime(by: .seconds(4))
    #expect(harness.texts == ["one"] && !drained.value)
    harness.eventLoop.advanceTime(by: .seconds(2))
    #expect(!waiting.isOpen && drained.value && harness.stream.lanes == 0)
    #expect(harness.count(.closing) == 1 && harness.count(.unfinished) == 2)
  }
}

/// Counts the reads that reach the socket.
final class CountingReads: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer
  var count = 0
  func read(context: ChannelHandlerContext) {
    count += 1
    context.read()
  }
}

/// A channel whose close takes its time, as that of TLS does.
private final class SlowCloser: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {}
}
