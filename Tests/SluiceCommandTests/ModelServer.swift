import NIOCore
import SluiceCore
import SluiceIngest
import Testing

/// The server's side of the protocol for one producer, as the tables of `docs/wire-protocol.md` have it, in memory.
struct ModelServer {
  /// What is stored, of every connection.
  private(set) var payloads: [String] = []
  private(set) var epoch: UInt16 = 1
  private(set) var hello: WireHello?
  /// Frames that came, by type.
  private(set) var frames: [WireFrameType?] = []
  var lastSequence: UInt64 = 0
  /// Records from here on are refused for now.
  var room = Int.max
  /// Sequences that are refused for good.
  var refuses: Set<UInt64> = []
  var credit = WireCredit(bytes: 1 << 20, records: 1 << 20)
  var welcome = WireWelcome(
    durability: .fsync, maxChannels: 1, maxFrame: 1 << 20, maxPart: 1 << 16, idleTimeoutMilliseconds: 0,
    lastSequence: 0, serverTime: 0, credit: WireCredit(bytes: 0, records: 0), logUUID: LogUUID(high: 1, low: 2),
    stream: "events", software: "model/1")

  private var receiver = WireReceiver(from: .toServer, maxFrame: 1 << 20)
  private(set) var sender = WireSender(.toClient)
  private var input = ByteBuffer()
  private var output = ByteBuffer()
  private var next: UInt64 = 1
  private var isDiscarding = false
  private var isAnonymous = false

  mutating func connect() {
    receiver = WireReceiver(from: .toServer, maxFrame: 1 << 20)
    sender = WireSender(.toClient)
    input = ByteBuffer()
    output = ByteBuffer()
    isDiscarding = false
  }

  mutating func takeOutput() -> ByteBuffer {
    defer { output = ByteBuffer() }
    return output
  }

  mutating func say(_ frame: (inout WireSender, inout ByteBuffer) -> Void) { frame(&sender, &output) }

  mutating func received(_ bytes: ByteBuffer) throws {
    input.writeImmutableBuffer(bytes)
    var input = input
    while true {
      let consumed = try input.withUnsafeReadableBytes { bytes -> Int in
        switch receiver.next(bytes) {
        case .needMore: return 0
        case .fault(let fault): throw fault
        case .frame(let frame):
          frames.append(frame.type)
          try take(frame)
          return frame.length
        }
      }
      if consumed == 0 { break }
      input.moveReaderIndex(forwardBy: consumed)
    }
    self.input = input
  }

  private mutating func take(_ frame: WireFrame) throws {
    switch frame.type {
    case .hello: try greet(WireHello(frame.body))
    case .data: try store(frame)
    case .bye: say { $0.end(.bye, WireEnd(), to: &$1) }
    case .ping:
      let token = try frame.word()
      say { $0.pong(token, to: &$1) }
    case .error: break
    default: Issue.record("the client sent \(String(describing: frame.type))")
    }
  }

  private mutating func greet(_ hello: WireHello) {
    self.hello = hello
    isAnonymous = hello.producer.isEmpty
    guard isAnonymous || hello.epoch >= epoch else {
      let highest = UInt64(epoch)
      return say { $0.end(.error, WireEnd(.fenced, value: highest), to: &$1) }
    }
    if !isAnonymous { epoch = hello.epoch }
    welcome.lastSequence = isAnonymous ? 0 : lastSequence
    welcome.credit = credit
    next = welcome.lastSequence + 1
    let welcome = welcome
    say { $0.welcome(welcome, to: &$1) }
  }

  private mutating func store(_ frame: WireFrame) throws {
    var records = try frame.records()
    var stored = false
    while let (part, crc) = records.peek(in: frame.body) {
      let sequence = records.sequence
      try #require(CRC32C.of(part) == crc)
      let inside: UInt64 = part.loadUnaligned(fromByteOffset: 16, as: UInt64.self).littleEndian
      #expect(inside == (isAnonymous ? 0 : sequence))
      if judge(sequence, part) { stored = true }
      records.advance(past: part)
    }
    let last = next - 1
    if stored { say { $0.ack(last, channel: 0, to: &$1) } }
  }

  /// R1 to R7; true when there is something to acknowledge.
  private mutating func judge(_ sequence: UInt64, _ part: UnsafeRawBufferPointer) -> Bool {
    if sequence < next { return true }
    let expected = next
    if sequence > next {
      if !isDiscarding {
        isDiscarding = true
        say { $0.nack(WireNack(.gap, sequence: sequence, expected: expected), channel: 0, to: &$1) }
      }
      return false
    }
    if refuses.contains(sequence) {
      say { $0.nack(WireNack(.tooLarge, sequence: sequence, expected: expected + 1), channel: 0, to: &$1) }
    } else if room == 0 {
      isDiscarding = true
      say { $0.nack(WireNack(.fullRing, sequence: sequence, expected: expected), channel: 0, to: &$1) }
      return false
    } else {
      room -= 1
      let length = Int(part.loadUnaligned(fromByteOffset: 4, as: UInt32.self).littleEndian)
      let start = part.count - RecordLayout.padded(length)
      payloads.append(String(decoding: part[start..<start + length], as: UTF8.self))
    }
    isDiscarding = false
    next += 1
    if !isAnonymous { lastSequence = next - 1 }
    return true
  }
}
