import NIOCore
import NIOEmbedded
import SluiceCore
import SluiceIdentity
import Synchronization
import Testing

@testable import SluiceIngest

/// How framed connections end, and what is asked of those that don't behave.
@Suite("Framed connections' lives")
struct TCPLifeTests {
  @Test func afterByeTheServerAnswersWhatItTookAndCloses() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.send {
      TCPTestConnection.data(["a"], first: 1, &$0, &$1)
      $0.end(.bye, WireEnd(), to: &$1)
      $0.ping(7, to: &$1)
    }
    #expect(try connection.answers() == [.pong(7)])
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 1), .bye])
    #expect(harness.stream.producer(named: "press-7")?.isFree == true)
  }

  @Test func theEndOfFileIsAByeWithoutAnAnswer() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.data(["a"], first: 1)
    connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 1)])
    #expect(!connection.isOpen)
    #expect(harness.stream.records.map(\.text) == ["a"])
  }

  @Test func aConnectionThatBreaksLetsItsProducerGo() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    connection.push(
      {
        var buffer = ByteBuffer()
        TCPTestConnection.data(["a", "b"], first: 1, &connection.sender, &buffer)
        return buffer
      }())
    // In the same tick as the records: they are submitted before the producer is free.
    connection.channel.pipeline.fireChannelInactive()
    let producer = try #require(harness.stream.producer(named: "press-7"))
    #expect(producer.isFree && producer.known.position.sequence == 2)
    #expect(harness.stream.records.count == 2)
  }

  @Test func aDrainingServerSaysSoAnswersAndCloses() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    let silent = try harness.connect()
    try connection.data(["a"], first: 1)
    let drained = harness.loop.drain(within: .seconds(10))
    harness.eventLoop.run()
    try connection.data(["b", "c"], first: 2)
    try connection.send { $0.open(WireOpen(producer: "x", epoch: 1), channel: 1, to: &$1) }
    harness.commit()
    let seen = try connection.answers()
    guard case .goaway = seen.first, case .nack(0, let nack) = seen[1], case .error(1, let end) = seen[2] else {
      Issue.record("\(seen)")
      return
    }
    #expect(nack.code == WireNackCode.draining.rawValue && nack.sequence == 2)
    #expect(end.code == WireErrorCode.draining.rawValue && end.scope == .channel)
    #expect(Array(seen[3...]) == [.ack(0, 1), .bye])
    #expect(try silent.received().compactMap(\.errorCode) == [.draining])
    harness.advance(seconds: Int64(Limits.defaultLingerSeconds) + 2)
    try drained.wait()
    #expect(harness.stream.lanes == 0)
  }

  @Test func silenceEndsAConnectionAndAHandshake() throws {
    let harness = TCPHarness { $0.idleSeconds = 30 }
    let silent = try harness.connect()
    let idle = try harness.open()
    harness.advance(seconds: Int64(Limits.tcpHandshakeSeconds) + 2)
    #expect(try silent.received().compactMap(\.errorCode) == [.idle])
    #expect(try idle.received() == [])
    try idle.send { $0.ping(1, to: &$1) }
    harness.advance(seconds: 25)
    #expect(try idle.received() == [.pong(1)])
    harness.advance(seconds: 10)
    #expect(try idle.received().compactMap(\.errorCode) == [.idle])
    #expect(harness.counters.value(.timedOut) == 2)
  }

  @Test func noFrameMakesAHandshakeTakeLonger() throws {
    let press = TestIdentity()
    let guarded = Guarded(press).tcp
    let (stranger, challenged) = (try guarded.connect(), try guarded.connect())
    var answers: [WireSeen] = []
    for counter in 0..<UInt64(Limits.tcpHandshakeSeconds) {
      try stranger.receive(Self.frame(of: 200, counter: counter))
      if counter == UInt64(Limits.tcpHandshakeSeconds) - 2 {
        var hello = WireHello(producer: "press-7", epoch: 1)
        hello.integrity = WireIntegrity.hmacSHA256.rawValue
        hello.authentication = WireAuthentication.challenge.rawValue
        hello.identity = press.name
        hello.clientNonce = Nonce.make()
        try challenged.send { $0.hello(hello, to: &$1) }
        answers = try challenged.received()
      }
      guarded.advance(seconds: 1)
    }
    guard case .challenge = answers.first else { throw TCPTestConnection.Unexpected() }
    guarded.advance(seconds: 2)
    #expect(try stranger.received().compactMap(\.errorCode) == [.idle])
    #expect(try challenged.received().compactMap(\.errorCode) == [.idle])
  }

  @Test func whoIsWelcomedLateIsNotCalledIdleForIt() throws {
    let harness = TCPHarness { $0.idleSeconds = 5 }
    let connection = try harness.connect()
    harness.advance(seconds: Int64(Limits.tcpHandshakeSeconds) - 1)
    try connection.send { $0.hello(WireHello(producer: "press-7", epoch: 1), to: &$1) }
    #expect(try connection.received().welcome != nil)
    harness.advance(seconds: 4)
    #expect(try connection.received() == [])
  }

  @Test func numbersThatNoChannelCanHaveAreNotRememberedOneByOne() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    let handler = try connection.channel.pipeline.syncOperations.handler(type: TCPConnection.self)
    let numbers = (Limits.tcpMaxChannels..<1 << 16).filter { $0 % 64 == 0 }.map(UInt16.init)
    try connection.send { sender, buffer in
      for number in numbers { sender.open(WireOpen(producer: "x", epoch: 1), channel: number, to: &buffer) }
    }
    #expect(handler.ended.isEmpty)
    // What the client sent before it was told.
    try connection.data(["a"], first: 1, channel: numbers[9])
    try connection.send { $0.close(channel: numbers[9], to: &$1) }
    let codes = try connection.answers().map { seen -> WireErrorCode? in
      if case .error(_, let end) = seen { WireErrorCode(rawValue: end.code) } else { nil }
    }
    #expect(codes.count == numbers.count && codes.allSatisfy { $0 == .channel })
    #expect(connection.isOpen && harness.counters.value(.discarded) == 1)
  }

  @Test func dataForANumberThatNoChannelCanHaveAndNobodyAskedForIsAViolation() throws {
    let connection = try TCPHarness().open()
    try connection.data(["a"], first: 1, channel: UInt16(Limits.tcpMaxChannels))
    #expect(try connection.received().compactMap(\.errorCode) == [.protocolViolation])
  }

  @Test func anotherProtocolIsToldThatThisIsNot() throws {
    let harness = TCPHarness()
    let connection = try harness.connect()
    try connection.receive(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))
    #expect(try connection.received().compactMap(\.errorCode) == [.magic])
  }

  @Test func aConnectionTooManyIsToldSo() throws {
    let harness = TCPHarness { $0.maxConnections = 1 }
    _ = try harness.open()
    let second = try harness.connect()
    #expect(try second.received().compactMap(\.errorCode) == [.busy])
    #expect(harness.counters.value(.refused) == 1)
  }

  @Test func aCrowdOfConnectionsTooManyIsCutAndTakesNobodysPlace() throws {
    let harness = TCPHarness { $0.maxConnections = 1 }
    let first = try harness.open()
    let told = try (0..<Limits.maxTurnedAway).map { _ in try harness.connect(lingers: true) }
    let codes = try told.map { try $0.received().first?.errorCode }
    #expect(codes.allSatisfy { $0 == .busy })
    #expect(told.count { $0.isOpen } == Limits.maxTurnedAway, "they linger")
    let cut = try harness.connect(lingers: true)
    #expect(try cut.received() == [] && !cut.isOpen)
    first.channel.close(promise: nil)
    let next = try harness.open()
    #expect(next.isOpen, "they take nobody's place")
    harness.advance(seconds: Int64(Limits.defaultLingerSeconds) + 2)
    #expect(try harness.connect().received().compactMap(\.errorCode) == [.busy], "one that left makes room for another")
    #expect(harness.counters.value(.refused) == UInt64(Limits.maxTurnedAway) + 2)
  }

  @Test func unfinishedFramesBeyondTheBudgetAreSentAway() throws {
    let harness = TCPHarness { $0.maxHeldBytes = 100_000 }
    let connections = try (0..<4).map { _ in try harness.open("") }
    for connection in connections {
      var buffer = ByteBuffer()
      TCPTestConnection.data(
        [String](repeating: String(repeating: "x", count: 1000), count: 60), first: 1, isAnonymous: true,
        &connection.sender, &buffer)
      try connection.receive(try #require(buffer.getSlice(at: buffer.readerIndex, length: 40_000)))
    }
    let codes = try connections.map { try $0.received().compactMap(\.errorCode).first }
    #expect(codes == [nil, nil, .busy, .busy])
    #expect(harness.loop.settings.load.heldBytes <= 120_000)
  }

  /// A frame without a body, of a type that no sender here makes.
  private static func frame(of type: UInt8, counter: UInt64) -> ByteBuffer {
    var frame = [UInt8](repeating: 0, count: 24)
    frame[0] = 24
    frame[4] = type
    let crc = frame[..<20].withUnsafeBytes { CRC32C.of($0, seed: WireChecksum.seed(.toServer, counter)) }
    frame.withUnsafeMutableBytes { $0.storeBytes(of: crc.littleEndian, toByteOffset: 20, as: UInt32.self) }
    return ByteBuffer(bytes: frame)
  }

  @Test func unknownTypesAreSkippedFrom128On() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    let frames: [(UInt8, WireErrorCode?)] = [(200, nil), (20, .protocolViolation)]
    for (type, code) in frames {
      try connection.receive(Self.frame(of: type, counter: connection.sender.counter + (type == 200 ? 0 : 1)))
      #expect(try connection.received().compactMap(\.errorCode) == [code].compactMap { $0 })
    }
  }

  @Test func aConnectionThatLeavesWhileTheStreamIsFullLeavesNothingBehind() throws {
    let harness = TCPHarness()
    weak var connection: TCPConnection?
    do {
      let client = try harness.open("")
      connection = try client.channel.pipeline.syncOperations.handler(type: TCPConnection.self)
      harness.stream.setFull(.disk)
      try client.data(["a"], first: 1, isAnonymous: true)
      #expect(connection?.isWithheld == true)
      client.channel.close(promise: nil)
      harness.eventLoop.run()
    }
    #expect(connection == nil)
  }

  @Test func aFrameThatWaitedForRoomIsNoLongerHeldOnceItIsTaken() throws {
    let harness = TCPHarness { $0.blocksWhenFull = true }
    let connection = try harness.open()
    harness.stream.setFull(.ring)
    try connection.data([String](repeating: String(repeating: "x", count: 1000), count: 40), first: 1)
    #expect(harness.loop.settings.load.heldBytes > 40_000)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    harness.commit()
    #expect(harness.stream.records.count == 40)
    #expect(harness.loop.settings.load.heldBytes == 0)
  }

  @Test func aFrameThatWaitedOnAChannelThatWasTakenOverCountsAsCredit() throws {
    let harness = TCPHarness { $0.blocksWhenFull = true }
    let connection = try harness.open()
    try connection.send { $0.open(WireOpen(producer: "press-8", epoch: 1), channel: 1, to: &$1) }
    harness.stream.setFull(.ring)
    try connection.data(["a", "b"], first: 1, channel: 1)
    _ = try connection.received()
    let newcomer = try harness.open("press-8", epoch: 2)
    #expect(newcomer.welcome?.lastSequence == 0)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    let credit = try connection.received().compactMap { if case .credit(let credit) = $0 { credit } else { nil } }.last
    #expect(credit?.records == (connection.welcome?.credit.records ?? 0) + 2)
    #expect(harness.counters.value(.discarded) == 2 && harness.stream.records.isEmpty)
    #expect(harness.loop.settings.load.heldBytes == 0)
  }
}
