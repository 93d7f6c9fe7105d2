import CSluice

/// 128 bits that name a log for ever.
public struct LogUUID: Hashable, Sendable, CustomStringConvertible {
  /// The first eight bytes, big-endian.
  public let high: UInt64
  /// The last eight bytes, big-endian.
  public let low: UInt64

  init(_ bytes: UnsafeRawBufferPointer) {
    high = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
    low = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
  }

  /// In the canonical form, with hyphens.
  public var description: String {
    let digits = [high, low].map { half in
      let text = String(half, radix: 16)
      return String(repeating: "0", count: 16 - text.count) + text
    }.joined()
    var text = ""
    for (index, digit) in digits.enumerated() {
      if [8, 12, 16, 20].contains(index) { text += "-" }
      text.append(digit)
    }
    return text
  }
}

/// Messages of one stream, in the order of the log. Can be neither stored nor copied: it is over when `deliver`
/// returns. Only a `Lease` keeps the bytes longer.
public struct Batch: ~Copyable {
  @usableFromInline let raw: UnsafePointer<slu_batch>
  private let host: Host

  init(_ raw: UnsafePointer<slu_batch>, _ host: Host) {
    self.raw = raw
    self.host = host
  }

  /// Messages in it; at least one.
  @inlinable public var count: Int { Int(raw.pointee.count) }
  var stride: Int { Int(raw.pointee.message_stride) }
  /// Name of the stream.
  public var stream: String { String(decoding: raw.pointee.stream.buffer, as: UTF8.self) }
  /// The log's name; with a message's LSN it identifies a record.
  public var logUUID: LogUUID { withUnsafeBytes(of: raw.pointee.log_uuid) { LogUUID($0) } }
  /// First LSN of the range that was scanned for this batch, whatever of it matched.
  @inlinable public var firstLSN: UInt64 { raw.pointee.first_lsn }
  /// Last LSN of that range, included.
  @inlinable public var lastLSN: UInt64 { raw.pointee.last_lsn }
  /// Asked for by an operator: these messages were delivered before.
  public var isReplay: Bool { raw.pointee.flags & SLU_BATCH_REPLAY != 0 }
  /// At least one message was delivered before, since this instance was started.
  public var isRedelivery: Bool { raw.pointee.flags & SLU_BATCH_REDELIVERY != 0 }
  /// When tokens that are not settled die.
  public var ackDeadline: Deadline { Deadline(raw: raw.pointee.ack_deadline_ns) }

  /// Shows `body` each message in order.
  @inlinable
  public func forEach<Failure: Error>(_ body: (borrowing Message) throws(Failure) -> Void) throws(Failure) {
    for index in 0..<count {
      let message = Message(slu_batch_message(raw, UInt32(truncatingIfNeeded: index)))
      try body(message)
    }
  }

  /// Shows `body` the message at `index`, which is below `count`.
  @inlinable
  public func withMessage<Result, Failure: Error>(
    at index: Int, _ body: (borrowing Message) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(index >= 0 && index < count, "no such message")
    let message = Message(slu_batch_message(raw, UInt32(truncatingIfNeeded: index)))
    return try body(message)
  }
}

extension Batch {
  /// Gives one verdict on the messages at these places. Each counts once: the first verdict stands.
  public func settle(_ places: Range<Int>, _ verdict: Verdict) {
    precondition(places.lowerBound >= 0 && places.upperBound <= count, "no such messages")
    guard !places.isEmpty else { return }
    host.settle(first: withMessage(at: places.lowerBound) { $0.token }, count: places.count, verdict)
  }
}

/// One message, in place. Can be neither stored nor copied, and its buffers must not outlive the closure they were
/// shown to, unless a lease on the batch is held.
public struct Message: ~Copyable {
  @usableFromInline let raw: UnsafePointer<slu_message>

  @usableFromInline init(_ raw: UnsafePointer<slu_message>) { self.raw = raw }

  /// Names this delivery; what `Host.settle` takes. Message i of a batch has the first one's plus i.
  @inlinable public var token: UInt64 { raw.pointee.token }
  /// Place in the stream, the same in every delivery.
  @inlinable public var lsn: UInt64 { raw.pointee.lsn }
  /// When the daemon took it in, ns since 1970.
  @inlinable public var ingestTime: Int64 { raw.pointee.ingest_time_ns }
  /// When it happened, says its producer, ns since 1970.
  @inlinable public var eventTime: Int64 { raw.pointee.event_time_ns }
  /// The producer's own number, 0 for anonymous ones.
  @inlinable public var producerSequence: UInt64 { raw.pointee.producer_sequence }
  /// The producer's incarnation, 0 for anonymous ones.
  @inlinable public var producerEpoch: UInt32 { raw.pointee.producer_epoch }
  /// 1 at first delivery.
  @inlinable public var attempt: UInt32 { raw.pointee.attempt }
  /// CRC32C of `covered`.
  @inlinable public var crc32c: UInt32 { raw.pointee.crc32c }
  /// Name of the source, UTF-8.
  @inlinable public var source: UnsafeRawBufferPointer { raw.pointee.source.buffer }
  /// Name of the producer, UTF-8; empty: anonymous.
  @inlinable public var producer: UnsafeRawBufferPointer { raw.pointee.producer.buffer }
  /// Any bytes.
  @inlinable public var topic: UnsafeRawBufferPointer { raw.pointee.topic.buffer }
  /// Any bytes.
  @inlinable public var key: UnsafeRawBufferPointer { raw.pointee.key.buffer }
  /// Any bytes.
  @inlinable public var payload: UnsafeRawBufferPointer { raw.pointee.payload.buffer }
  /// The record's producer part as it was sent.
  @inlinable public var covered: UnsafeRawBufferPointer { raw.pointee.covered.buffer }

  /// Shows `body` each header's name and value. What follows a malformed one is left out.
  @inlinable
  public func forEachHeader<Failure: Error>(
    _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(Failure) -> Void
  ) throws(Failure) {
    var iterator = slu_headers_begin(raw.pointee.headers)
    var header = slu_pair()
    while slu_headers_next(&iterator, &header) == 1 {
      try body(header.name.buffer, header.value.buffer)
    }
  }
}

/// Messages that will never come.
public struct Gap: Sendable {
  /// Why messages are missing.
  public enum Reason: Sendable {
    /// This subscriber was too far behind.
    case dropped
    /// They were older than the stream keeps.
    case retention
    /// They were unreadable on disk.
    case corruption
    /// For a reason this version does not know.
    case unknown
  }

  /// Name of the stream.
  public let stream: String
  /// The log's name.
  public let logUUID: LogUUID
  /// The range that is missing.
  public let lsns: ClosedRange<UInt64>
  /// Why.
  public let reason: Reason

  init(_ raw: UnsafePointer<slu_gap>) {
    let gap = raw.pointee
    stream = String(decoding: gap.stream.buffer, as: UTF8.self)
    logUUID = withUnsafeBytes(of: gap.log_uuid) { LogUUID($0) }
    lsns = gap.first_lsn...max(gap.first_lsn, gap.last_lsn)
    switch gap.reason {
    case SLU_GAP_DROPPED: reason = .dropped
    case SLU_GAP_RETENTION: reason = .retention
    case SLU_GAP_CORRUPTION: reason = .corruption
    default: reason = .unknown
    }
  }
}

extension slu_bytes {
  /// The bytes as a buffer, which lives as long as they do.
  @inlinable
  var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: ptr, count: Int(len)) }
}
