import Glibc
import RecordLines
import SluicePluginKit

/// Gathers lines and hands them to a file in few, large writes: short payloads are copied together, long ones are
/// written from where they lie. Allocates only when a single line is larger than all before it.
package struct LineStage: ~Copyable {
  /// Payloads from this size on are cheaper to point at than to copy.
  package static let copyBelowBytes = 4096
  /// What is gathered before it is written. A batch of the default size fits.
  package static let stageBytes = 1 << 20
  /// Linux's IOV_MAX.
  package static let maxPieces = 1024

  private let format: LineFormat
  private var buffer: UnsafeMutableRawBufferPointer
  private let pieces: UnsafeMutablePointer<iovec>
  private var used = 0
  private var count = 0

  package init(format: LineFormat) {
    self.format = format
    buffer = .allocate(byteCount: LineStage.stageBytes, alignment: 8)
    pieces = .allocate(capacity: LineStage.maxPieces)
  }

  deinit {
    buffer.deallocate()
    pieces.deallocate()
  }

  /// Writes each message's line. All of the batch is one access to `self`, so exclusivity is checked once.
  package mutating func write(_ batch: borrowing Batch, to file: ActiveFile) throws(SubscriberError) {
    try batch.forEach { message throws(SubscriberError) in
      try append(message, to: file)
    }
    try flush(to: file)
  }

  /// Adds the message's line. Its payload must stay where it is until the next `flush` or `discard`.
  private mutating func append(_ message: borrowing Message, to file: ActiveFile) throws(SubscriberError) {
    let payload = message.payload
    guard format == .ndjson else { return try append(line: payload, breaks: false, to: file) }
    guard let object = JSONLine.object(in: payload) else { return try wrap(message, to: file) }
    try append(line: object, breaks: JSONLine.hasBreaks(object), to: file)
  }

  private mutating func flush(to file: ActiveFile) throws(SubscriberError) {
    if count > 0 { try file.append(pieces, count) }
    discard()
  }

  /// Forgets what was gathered.
  package mutating func discard() {
    used = 0
    count = 0
  }

  private mutating func append(
    line: UnsafeRawBufferPointer, breaks: Bool, to file: ActiveFile
  ) throws(SubscriberError) {
    if line.count < LineStage.copyBelowBytes || breaks {
      let target = try reserve(line.count + 1, to: file)
      target.copyMemory(from: line)
      if breaks { JSONLine.blankBreaks(UnsafeMutableRawBufferPointer(rebasing: target[0..<line.count])) }
      target[line.count] = UInt8(ascii: "\n")
      commit(line.count + 1)
    } else {
      // The newline is staged first: reserving it may flush, and the payload's piece must come right before it.
      let newline = try reserve(1, pieces: 2, to: file)
      pieces[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: line.baseAddress), iov_len: line.count)
      count += 1
      newline[0] = UInt8(ascii: "\n")
      commit(1)
    }
  }

  private mutating func wrap(_ message: borrowing Message, to file: ActiveFile) throws(SubscriberError) {
    let bound = JSONLine.wrappedBound(message)
    let target = try reserve(bound, to: file)
    commit(JSONLine.wrap(message, into: target))
  }

  /// Room for `bytes` in one piece, and for `pieces` more pieces. What lay there before is not moved, so pieces that
  /// point into the buffer stay right: it is flushed before it grows.
  private mutating func reserve(
    _ bytes: Int, pieces: Int = 1, to file: ActiveFile
  ) throws(SubscriberError) -> UnsafeMutableRawBufferPointer {
    if bytes > buffer.count - used || count + pieces > LineStage.maxPieces { try flush(to: file) }
    if bytes > buffer.count {
      buffer.deallocate()
      buffer = .allocate(byteCount: bytes, alignment: 8)
    }
    return UnsafeMutableRawBufferPointer(rebasing: buffer[used..<(used + bytes)])
  }

  /// The next `bytes` of the buffer are written: part of the last piece if they follow it.
  private mutating func commit(_ bytes: Int) {
    let start = buffer.baseAddress! + used
    used += bytes
    if count > 0, pieces[count - 1].iov_base + pieces[count - 1].iov_len == start {
      pieces[count - 1].iov_len += bytes
    } else {
      pieces[count] = iovec(iov_base: start, iov_len: bytes)
      count += 1
    }
  }
}
