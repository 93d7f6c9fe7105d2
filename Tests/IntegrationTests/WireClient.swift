import DaemonTestSupport
import Foundation

/// A blocking client of the framed protocol, written from `docs/wire-protocol.md` alone: it shares no code with the daemon,
/// so that both agree only if the page is right.
final class WireClient {
  enum Frame: Equatable {
    case welcome(last: UInt64, creditBytes: UInt64, creditRecords: UInt64)
    case ack(channel: UInt16, sequence: UInt64)
    case nack(
      channel: UInt16, code: UInt16, permanent: Bool, sequence: UInt64, expected: UInt64, retryMilliseconds: UInt32)
    case credit(bytes: UInt64, records: UInt64)
    case opened(channel: UInt16, last: UInt64)
    case error(code: UInt16, value: UInt64, text: String)
    case other(type: UInt8)
  }

  private let descriptor: Int32
  private var framesSent: UInt64 = 0
  private var framesReceived: UInt64 = 0
  private var received: [UInt8] = []
  /// From WELCOME: the last sequence that the stream had then.
  private(set) var lastSequence: UInt64 = 0
  /// From WELCOME: the log behind the stream.
  private(set) var logUUID = ""
  private var creditBytes: UInt64 = 0
  private var creditRecords: UInt64 = 0
  private var spentBytes: UInt64 = 0
  private var spentRecords: UInt64 = 0
  /// Answered up to here, on channel 0.
  private(set) var acknowledged: UInt64 = 0
  /// Class 1 on channel 0, not yet gone back for.
  private var wanted: UInt64?

  /// Connects and shakes hands; nil if the daemon is not there or refuses.
  init?(port: Int, producer: String, epoch: UInt16 = 1, stream: String = "") {
    guard let descriptor = connectToLoopback(port, seconds: 120) else { return nil }
    self.descriptor = descriptor
    guard send(type: 1, body: Self.hello(producer, epoch, stream)),
      case .welcome(let last, let bytes, let records)? = frame()
    else { return nil }
    lastSequence = last
    acknowledged = last
    creditBytes = bytes
    creditRecords = records
  }

  deinit { close(descriptor) }

  private static func hello(_ producer: String, _ epoch: UInt16, _ stream: String) -> [UInt8] {
    var body = Array("SLUICE\r\n".utf8)
    body += le(UInt16(72)) + [1, 1, 1, 0] + le(producer.isEmpty ? 0 : epoch) + le(UInt32(0)) + le(UInt32(0))
    body += le(UInt32(1 << 20)) + le(UInt16(stream.utf8.count)) + le(UInt16(producer.utf8.count))
    body += le(UInt16(0)) + le(UInt16(0)) + le(UInt16(0)) + le(UInt16(4))
    body += [UInt8](repeating: 0, count: 32)
    return body + Array(stream.utf8) + Array(producer.utf8) + Array("test".utf8)
  }

  // MARK: Records

  /// Sends records as one DATA frame, whatever the credit. False if the connection is gone.
  func data(
    first: UInt64, payloads: [String], topic: String = "t", channel: UInt16 = 0, anonymous: Bool = false
  ) -> Bool {
    let frame = Self.records(first: first, payloads: payloads, topic: topic, anonymous: anonymous)
    spentBytes += UInt64(24 + frame.body.count)
    spentRecords += UInt64(payloads.count)
    return send(type: 8, channel: channel, count: UInt32(payloads.count), body: frame.body, covered: frame.covered)
  }

  private static func records(
    first: UInt64, payloads: [String], topic: String, anonymous: Bool
  ) -> (body: [UInt8], covered: [UInt8]) {
    var body = le(first)
    var covered = body
    for (index, payload) in payloads.enumerated() {
      let part = part(payload, topic: topic, sequence: anonymous ? 0 : first + UInt64(index))
      let prefix = le(UInt32(part.count)) + le(CRC.of(part))
      covered += prefix
      body += prefix + part
    }
    return (body, covered)
  }

  static func part(_ payload: String, topic: String, sequence: UInt64) -> [UInt8] {
    var part: [UInt8] = [32, 1, 0, 0] + le(UInt32(payload.utf8.count))
    part += le(Int64(Date().timeIntervalSince1970 * 1e9)) + le(sequence)
    part += le(UInt16(topic.utf8.count)) + le(UInt16(0)) + le(UInt16(0)) + le(UInt16(0))
    part += padded(Array(topic.utf8))
    return part + padded(Array(payload.utf8))
  }

  /// Waits until everything up to `sequence` is answered, going by credit, ACK and NACK; calls `resend` with the number
  /// from which to send again. False if the connection ends first.
  func awaitAck(_ sequence: UInt64, resend: (UInt64) -> Bool = { _ in false }) -> Bool {
    while acknowledged < sequence {
      guard let next = frame() else { return false }
      note(next)
      if let from = wanted {
        wanted = nil
        guard resend(from) else { return false }
      }
    }
    return true
  }

  /// Whether a DATA frame of so many bytes and records may be sent now.
  func hasCredit(bytes: Int, records: Int) -> Bool {
    spentBytes + UInt64(bytes) <= creditBytes && spentRecords + UInt64(records) <= creditRecords
  }

  /// Reads frames until the credit suffices. False if the connection ends first.
  func awaitCredit(bytes: Int, records: Int) -> Bool {
    while !hasCredit(bytes: bytes, records: records) {
      guard let next = frame() else { return false }
      note(next)
    }
    return true
  }

  /// The sequence to go back to, after a NACK of class 1 that `awaitCredit` met.
  func takeWanted() -> UInt64? {
    defer { wanted = nil }
    return wanted
  }

  private func note(_ frame: Frame) {
    switch frame {
    case .ack(0, let sequence): acknowledged = max(acknowledged, sequence)
    case .nack(0, _, false, _, let expected, let milliseconds):
      pause(Double(milliseconds) / 1000)
      wanted = expected
    case .credit(let bytes, let records):
      creditBytes = bytes
      creditRecords = records
    default: break
    }
  }

  // MARK: Frames

  /// Bytes exactly as given: for what a broken client sends.
  func sendRaw(_ bytes: [UInt8]) -> Bool { write(bytes) }

  func send(type: UInt8, channel: UInt16 = 0, count: UInt32 = 0, body: [UInt8], covered: [UInt8]? = nil) -> Bool {
    let padded = Self.padded(body)
    var head = Self.le(UInt32(24 + padded.count)) + [type, 0] + Self.le(channel) + Self.le(count)
    head += Self.le(CRC.of(covered ?? padded)) + Self.le(UInt32(0))
    head += Self.le(CRC.of(Self.le(UInt64(1)) + Self.le(framesSent) + head))
    framesSent += 1
    return write(head + padded)
  }

  /// The next frame; nil when the connection ends, or nothing comes for 30 s.
  func frame() -> Frame? {
    guard fill(24) else { return nil }
    let length = Int(uint32(0))
    let head = Array(received[..<20])
    guard uint32(20) == CRC.of(Self.le(UInt64(2)) + Self.le(framesReceived) + head), length >= 24, fill(length) else {
      return nil
    }
    framesReceived += 1
    defer { received.removeFirst(length) }
    let channel = uint16(6)
    switch received[4] {
    case 4:
      logUUID = Self.uuid(received[(24 + 64)..<(24 + 80)])
      return .welcome(last: uint64(24 + 24), creditBytes: uint64(24 + 40), creditRecords: uint64(24 + 48))
    case 6: return .opened(channel: channel, last: uint64(24 + 8))
    case 9: return .ack(channel: channel, sequence: uint64(24))
    case 10:
      return .nack(
        channel: channel, code: uint16(24 + 2), permanent: received[24 + 4] == 2, sequence: uint64(24 + 8),
        expected: uint64(24 + 16), retryMilliseconds: uint32(24 + 24))
    case 11: return .credit(bytes: uint64(24), records: uint64(32))
    case 16:
      let text = received[(24 + 24)..<(24 + 24 + Int(uint16(24 + 6)))]
      return .error(code: uint16(24 + 2), value: uint64(24 + 16), text: String(decoding: text, as: UTF8.self))
    default: return .other(type: received[4])
    }
  }

  private func fill(_ count: Int) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 65536)
    while received.count < count {
      let n = recv(descriptor, &buffer, buffer.count, 0)
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else { return false }
      received.append(contentsOf: buffer[..<n])
    }
    return true
  }

  private func write(_ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let n = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else { return false }
      rest = rest.dropFirst(n)
    }
    return true
  }

  private static func uuid(_ bytes: ArraySlice<UInt8>) -> String {
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
  }

  private func uint16(_ at: Int) -> UInt16 { UInt16(received[at]) | UInt16(received[at + 1]) << 8 }
  private func uint32(_ at: Int) -> UInt32 { UInt32(uint16(at)) | UInt32(uint16(at + 2)) << 16 }
  private func uint64(_ at: Int) -> UInt64 { UInt64(uint32(at)) | UInt64(uint32(at + 4)) << 32 }

  private static func le<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  private static func padded(_ bytes: [UInt8]) -> [UInt8] {
    bytes + [UInt8](repeating: 0, count: (8 - bytes.count % 8) % 8)
  }
}

/// CRC-32C, a byte at a time.
private enum CRC {
  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
  }

  static func of(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(UInt32.max) { crc, byte in crc >> 8 ^ table[Int((crc ^ UInt32(byte)) & 0xff)] }
  }
}
