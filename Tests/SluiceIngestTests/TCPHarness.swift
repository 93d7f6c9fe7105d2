import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

/// Framed connections of one loop without sockets; time stands still unless the test moves it.
final class TCPHarness {
  let stream: FakeStream
  let loop: TCPLoop
  let eventLoop = EmbeddedEventLoop()
  let counters = TCPCounters()
  let clock = TestClock()

  init(
    _ durability: Durability = .fsync, maxRecordBytes: Int = 1 << 16, stream: FakeStream? = nil,
    adjust: (inout TCPSourceOptions) -> Void = { _ in }
  ) {
    self.stream = stream ?? FakeStream(durability, maxRecordBytes: maxRecordBytes)
    var options = TCPSourceOptions(name: "modules")
    options.clock = clock.source
    adjust(&options)
    loop = TCPLoop(
      eventLoop: eventLoop, settings: TCPSettings(options, stream: self.stream), counters: counters)
    loop.open()
  }

  /// `lingers`: the channel can shut its output alone.
  func connect(
    from address: String = "127.0.0.1", security: ConnectionSecurity = .plain, lingers: Bool = false
  ) throws -> TCPTestConnection {
    let channel = EmbeddedChannel(loop: eventLoop)
    if lingers { try channel.pipeline.syncOperations.addHandler(OutputCloser()) }
    let connection = TCPConnection(loop: loop)
    connection.security = security
    try channel.pipeline.syncOperations.addHandler(connection)
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    channel.remoteAddress = try SocketAddress(ipAddress: address, port: 1)
    return TCPTestConnection(channel: channel)
  }

  /// Connects, says HELLO, and reads WELCOME.
  func open(_ producer: String = "press-7", epoch: UInt16 = 1) throws -> TCPTestConnection {
    let connection = try connect()
    try connection.send { $0.hello(WireHello(producer: producer, epoch: producer.isEmpty ? 0 : epoch), to: &$1) }
    guard case .welcome(let welcome) = try connection.received().first else {
      throw TCPTestConnection.Unexpected()
    }
    connection.welcome = welcome
    return connection
  }

  /// Makes what was submitted durable and lets the loop notice.
  func commit() {
    stream.commit()
    eventLoop.run()
  }

  func advance(seconds: Int64) { advance(.seconds(seconds)) }

  func advance(_ time: TimeAmount) {
    clock.advance(nanoseconds: time.nanoseconds)
    eventLoop.advanceTime(by: time)
  }
}

/// What a client gets.
enum WireSeen: Equatable {
  case challenge(WireProof)
  case welcome(WireWelcome)
  case opened(UInt16, WireOpened)
  case close(UInt16)
  case ack(UInt16, UInt64)
  case nack(UInt16, WireNack)
  case credit(WireCredit)
  case pong(UInt64)
  case goaway(WireEnd)
  case bye
  case error(UInt16, WireEnd)

  init(_ frame: WireFrame) throws {
    let channel = frame.channel
    switch try #require(frame.type) {
    case .challenge: self = .challenge(try WireProof(frame.body))
    case .welcome: self = .welcome(try WireWelcome(frame.body))
    case .opened: self = .opened(channel, try WireOpened(frame.body))
    case .close: self = .close(channel)
    case .ack: self = .ack(channel, try frame.word())
    case .nack: self = .nack(channel, try WireNack(frame.body))
    case .credit: self = .credit(try WireCredit(frame.body))
    case .pong: self = .pong(try frame.word())
    case .goaway: self = .goaway(try WireEnd(frame.body))
    case .bye: self = .bye
    case .error: self = .error(channel, try WireEnd(frame.body))
    case .hello, .proof, .open, .data, .ping: throw TCPTestConnection.Unexpected()
    }
  }

  /// The code of an ERROR of the connection.
  var errorCode: WireErrorCode? {
    if case .error(0, let end) = self, end.scope == .connection { return WireErrorCode(rawValue: end.code) }
    return nil
  }
}

final class TCPTestConnection {
  struct Unexpected: Error {}

  let channel: EmbeddedChannel
  var sender = WireSender(.toServer)
  var welcome: WireWelcome?
  /// As it came.
  private(set) var challengeFrame: [UInt8] = []
  var receiver = WireReceiver(from: .toClient, maxFrame: Limits.defaultWireClientFrameBytes)
  private var input = ByteBuffer()
  /// Of what was written at once.
  private(set) var largestWrite = 0

  init(channel: EmbeddedChannel) { self.channel = channel }

  var isOpen: Bool { channel.isActive }

  /// Builds frames, which arrive in one read, and the tick ends.
  func send(_ build: (inout WireSender, inout ByteBuffer) -> Void) throws {
    var buffer = ByteBuffer()
    build(&sender, &buffer)
    try receive(buffer)
  }

  func receive(_ bytes: ByteBuffer) throws {
    push(bytes)
    channel.embeddedEventLoop.run()
  }

  /// Bytes arrive in one read; the tick goes on.
  func push(_ bytes: ByteBuffer) {
    channel.pipeline.fireChannelRead(bytes)
    channel.pipeline.fireChannelReadComplete()
  }

  /// Records numbered from `first` on, as one frame.
  func data(_ payloads: [String], first: UInt64, channel: UInt16 = 0, isAnonymous: Bool = false) throws {
    try send { sender, buffer in
      Self.data(payloads, first: first, channel: channel, isAnonymous: isAnonymous, &sender, &buffer)
    }
  }

  static func data(
    _ payloads: [String], first: UInt64, channel: UInt16 = 0, isAnonymous: Bool = false, _ sender: inout WireSender,
    _ buffer: inout ByteBuffer
  ) {
    var data = sender.beginData(channel: channel, firstSequence: first, in: &buffer)
    for (index, payload) in payloads.enumerated() {
      Array(payload.utf8).withUnsafeBytes {
        data.append(
          RecordFields(eventTime: 7, sequence: isAnonymous ? 0 : first + UInt64(index), payload: $0), to: &buffer)
      }
    }
    sender.finishData(data, in: &buffer)
  }

  /// One producer part as it is, in a frame.
  func part(_ bytes: [UInt8], crc: UInt32? = nil, first: UInt64, channel: UInt16 = 0) throws {
    try send { sender, buffer in
      var data = sender.beginData(channel: channel, firstSequence: first, in: &buffer)
      bytes.withUnsafeBytes { data.append(part: $0, crc: crc ?? CRC32C.of($0), to: &buffer) }
      sender.finishData(data, in: &buffer)
    }
  }

  /// Everything that was sent since the last call.
  func received() throws -> [WireSeen] {
    while var next = try channel.readOutbound(as: ByteBuffer.self) {
      largestWrite = max(largestWrite, next.readableBytes)
      input.writeBuffer(&next)
    }
    var seen: [WireSeen] = []
    while input.readableBytes > 0 {
      let used = try input.withUnsafeReadableBytes { bytes -> Int in
        guard case .frame(let frame) = receiver.next(bytes) else { throw Unexpected() }
        if frame.type == .challenge { challengeFrame = Array(frame.bytes) }
        seen.append(try WireSeen(frame))
        return frame.length
      }
      input.moveReaderIndex(forwardBy: used)
    }
    return seen
  }

  /// The same without CREDIT.
  func answers() throws -> [WireSeen] {
    try received().filter { if case .credit = $0 { false } else { true } }
  }
}

/// A producer part of a record.
func producerPart(_ payload: String, sequence: UInt64) -> [UInt8] {
  Array(payload.utf8).withUnsafeBytes { bytes in
    let fields = RecordFields(eventTime: 7, sequence: sequence, payload: bytes)
    return [UInt8](unsafeUninitializedCapacity: fields.producerPartBytes) { target, count in
      if let base = target.baseAddress { _ = fields.encodeProducerPart(to: UnsafeMutableRawPointer(base)) }
      count = fields.producerPartBytes
    }
  }
}
