import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

/// A peer that takes nothing: what is written stays where it is.
private final class StuckPeer: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer

  private(set) var bytes = 0
  private var promises: [EventLoopPromise<Void>?] = []

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    bytes += unwrapOutboundIn(data).readableBytes
    promises.append(promise)
    context.channel.embedded?.isWritable = false
    context.fireChannelWritabilityChanged()
  }

  func flush(context: ChannelHandlerContext) {}

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    for promise in promises { promise?.fail(ChannelError.ioOnClosedChannel) }
    promises = []
    context.close(mode: mode, promise: promise)
  }
}

extension Channel {
  fileprivate var embedded: EmbeddedChannel? { self as? EmbeddedChannel }
}

@Suite("Clients that take no answers")
struct SlowReaderTests {
  private static let idle: Int64 = 30

  @Test("A framed one is told so after the idle time, whatever it sends, and cut after as long again")
  func framed() throws {
    let harness = TCPHarness { $0.idleSeconds = Int(Self.idle) }
    let connection = try harness.open()
    let peer = StuckPeer()
    try connection.channel.pipeline.syncOperations.addHandler(peer, position: .first)
    try connection.data(["a"], first: 1)
    harness.commit()
    let ack = peer.bytes
    #expect(ack > 0)
    // It is there, and held: it is no sign of life.
    try connection.send { $0.ping(1, to: &$1) }
    harness.advance(seconds: Self.idle - 1)
    #expect(peer.bytes == ack && harness.counters.value(WireErrorCode.idle) == 0 && connection.isOpen)
    harness.advance(seconds: 3)
    #expect(peer.bytes > ack && harness.counters.value(WireErrorCode.idle) == 1)
    #expect(connection.isOpen, "ERROR may still be taken")
    harness.advance(seconds: Self.idle - 3)
    #expect(connection.isOpen)
    harness.advance(seconds: 4)
    #expect(!connection.isOpen)
    #expect(harness.counters.value(.timedOut) == 2)
    #expect(harness.stream.records.map(\.text) == ["a"], "what was taken stays")
    #expect(harness.stream.producer(named: "press-7")?.isFree == true)
  }

  @Test("What a framed one is owed for records that were refused is written in parts, all of it before the ACK")
  func refusals() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    let count = 20_000
    func send(from first: UInt64) throws {
      try connection.send { sender, buffer in
        var data = sender.beginData(channel: 0, firstSequence: first, in: &buffer)
        for _ in 0..<count { data.append(part: UnsafeRawBufferPointer(start: nil, count: 0), crc: 0, to: &buffer) }
        sender.finishData(data, in: &buffer)
        sender.end(.bye, WireEnd(), to: &buffer)
      }
    }
    try send(from: 1)
    connection.channel.isWritable = false
    connection.channel.pipeline.fireChannelWritabilityChanged()
    harness.commit()
    #expect(try connection.received() == [], "the peer takes nothing")
    connection.channel.isWritable = true
    connection.channel.pipeline.fireChannelWritabilityChanged()
    harness.eventLoop.run()
    let seen = try connection.answers()
    #expect(seen.nacks.map(\.sequence) == Array(1...UInt64(count)))
    #expect(seen.suffix(2) == [.ack(0, UInt64(count)), .bye])
    #expect(connection.largestWrite <= Limits.tcpOutputBytes + Limits.maxWireTextBytes)
  }

  @Test("Of a read of many frames a framed one is asked no more than it takes answers to")
  func manyFrames() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    let count = 10_000
    var buffer = ByteBuffer()
    for token in 0..<UInt64(count) { connection.sender.ping(token, to: &buffer) }
    connection.push(buffer)
    connection.channel.isWritable = false
    connection.channel.pipeline.fireChannelWritabilityChanged()
    harness.eventLoop.run()
    let first = try connection.received().count
    #expect(first > 0 && first * 32 <= Limits.tcpOutputBytes + 32)
    connection.channel.isWritable = true
    connection.channel.pipeline.fireChannelWritabilityChanged()
    harness.eventLoop.run()
    #expect(try connection.received() == (UInt64(first)..<UInt64(count)).map { .pong($0) })
    #expect(connection.isOpen)
  }

  @Test("One over HTTP is cut after the idle time, whether or not it asks for more")
  func http() throws {
    for asksForMore in [false, true] {
      let harness = HTTPHarness { $0.idleSeconds = Int(Self.idle) }
      let connection = try harness.connect()
      let peer = StuckPeer()
      try connection.channel.pipeline.syncOperations.addHandler(peer, position: .first)
      let request = post(#"{"message":"hello"}"#)
      try connection.receive(request)
      let answer = peer.bytes
      #expect(answer > 0)
      if asksForMore { try connection.receive(request) }
      harness.eventLoop.advanceTime(by: .seconds(Self.idle - 1))
      #expect(connection.isOpen && peer.bytes == answer && harness.stream.records.count == 1)
      harness.eventLoop.advanceTime(by: .seconds(3))
      #expect(!connection.isOpen && peer.bytes == answer)
      #expect(harness.value("sluice_source_timeouts_total") == 1)
    }
  }

  @Test("One over HTTP that asked for the connection's end is cut too")
  func closing() throws {
    let harness = HTTPHarness { $0.idleSeconds = Int(Self.idle) }
    let connection = try harness.connect()
    try connection.channel.pipeline.syncOperations.addHandler(StuckPeer(), position: .first)
    try connection.receive(post(#"{"message":"hello"}"#, headers: "Connection: close\r\n"))
    harness.eventLoop.advanceTime(by: .seconds(Self.idle - 1))
    #expect(connection.isOpen)
    harness.eventLoop.advanceTime(by: .seconds(3))
    #expect(!connection.isOpen)
    #expect(harness.value("sluice_source_timeouts_total") == 1)
  }
}
