// The border between the log (SluiceJournal) and what hands records out (SluiceHost).

/// 128 random bits that name a log for ever.
package struct LogUUID: Hashable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// A new one from the system's randomness, version 4.
  package static func random() -> LogUUID {
    LogUUID(
      high: UInt64.random(in: 0...UInt64.max) & ~0xF000 | 0x4000,
      low: UInt64.random(in: 0...UInt64.max) & ~(0b11 << 62) | (0b10 << 62))
  }

  /// The 16 bytes in their canonical (big-endian) order, as they stand in files and in the ABI.
  package var bytes: [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: high >> (56 - 8 * $0)) }
      + (0..<8).map { UInt8(truncatingIfNeeded: low >> (56 - 8 * $0)) }
  }

  package var description: String {
    let digits = bytes.map { byte in
      let text = String(byte, radix: 16)
      return text.count == 1 ? "0" + text : text
    }
    return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
  }
}

/// Where a subscriber without a cursor begins.
package enum StartPosition: Hashable, Sendable {
  case oldest
  case newest
  /// The first record whose ingest time is not before this, ns since 1970.
  case time(Int64)
}

/// What `StreamReader.read` found.
package enum ReadOutcome: Equatable, Sendable {
  /// The batch holds records.
  case records
  /// Nothing past `position` may be delivered yet.
  case nothingYet
  /// The records `first...last` are gone: `position` is past them now. Tell the subscriber.
  case gap(first: UInt64, last: UInt64, GapReason)
}

/// Why records never come.
package enum GapReason: String, Sendable, CaseIterable {
  /// This subscriber was too far behind: its `max_lag … then: gap`, or a stream that drops its oldest.
  case dropped
  /// Older than the stream keeps.
  case retention
  /// Unreadable on disk.
  case corruption
  case unknown
}

/// How far a subscriber may be behind, and what happens then.
package struct LagBound: Equatable, Sendable {
  package enum Action: String, Sendable, CaseIterable {
    /// Producers are refused.
    case reject
    /// This subscriber loses the oldest records and is told so.
    case gap
  }
  package var bytes: Int?
  package var records: Int?
  package var ageNanoseconds: Int64?
  package var then: Action

  package init(bytes: Int? = nil, records: Int? = nil, ageNanoseconds: Int64? = nil, then: Action) {
    self.bytes = bytes
    self.records = records
    self.ageNanoseconds = ageNanoseconds
    self.then = then
  }
}

/// A fault of the world under a reader: the disk, or damage found on it.
package struct StreamReadError: Error, CustomStringConvertible, Sendable {
  package var message: String
  package init(_ message: String) { self.message = message }
  package var description: String { message }
}

/// One subscriber's way out of one stream. Owned by one thread, but for what says otherwise.
package protocol StreamReader: AnyObject {
  var streamName: String { get }
  var logUUID: LogUUID { get }
  /// Names of interned ids, for the records of the batches this reader gave out.
  func sourceName(_ id: UInt16) -> String
  func producerName(_ id: UInt32) -> String

  /// The lowest LSN that is not settled: where this subscriber would go on after a restart. LSNs start at 1.
  var cursor: UInt64 { get }
  /// The LSN that the next `read` begins with.
  var position: UInt64 { get }
  /// Makes the next `read` begin at `lsn`, which is not below `cursor`: how a range is delivered again.
  func seek(to lsn: UInt64)

  /// Fills `batch` from `position` with consecutive records that may be delivered, at most `maxRecords` and
  /// `maxBytes` (but at least one), all in one slab or one pool buffer, which stays pinned until `batch.release()`.
  /// Every record read from disk has been checked against its checksum.
  func read(into batch: RecordBatch, maxRecords: Int, maxBytes: Int) throws(StreamReadError) -> ReadOutcome

  /// Every record below `lsn` is settled. Never goes back. Durable within `Limits.cursorIntervalNanoseconds`,
  /// and when `flushCursor` returns.
  func settle(below lsn: UInt64)
  /// Writes the cursor now. May block on the disk.
  func flushCursor() throws(StreamReadError)

  /// The bell that rings when more records may be delivered. Set it before the first `read`.
  func setDoorbell(_ bell: Doorbell?)

  /// Records, bytes and age (ns since the oldest unsettled record came in) between the cursor and the end of what
  /// may be delivered. From any thread.
  var lag: StreamLag { get }

  /// Ends the subscription; the cursor stays in the log until it expires.
  func close()
}

/// How far a subscriber is behind.
package struct StreamLag: Equatable, Sendable {
  package var records: UInt64
  package var bytes: UInt64
  package var ageNanoseconds: Int64
  package init(records: UInt64, bytes: UInt64, ageNanoseconds: Int64) {
    self.records = records
    self.bytes = bytes
    self.ageNanoseconds = ageNanoseconds
  }
}

/// Consecutive records, in place. Reused: allocates only when made.
///
/// The counters are exempt from the runtime's exclusivity checks, which cost more than all else here: one thread owns a
/// batch, and no access to them spans a call.
// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
public final class RecordBatch {
  /// LSN of `records[0]`; record i has `firstLSN + i`.
  @exclusivity(unchecked) public var firstLSN: UInt64 = 0
  @exclusivity(unchecked) @usableFromInline var filled = 0
  @exclusivity(unchecked) @usableFromInline var filledBytes = 0
  @inlinable public var count: Int { filled }
  @inlinable public var bytes: Int { filledBytes }
  public let capacity: Int
  @usableFromInline let pointers: UnsafeMutablePointer<UnsafeRawPointer>
  /// Unpins what the records lie in. Set by the reader with the first record.
  @exclusivity(unchecked) package var pin: (any RecordPin)?

  package init(capacity: Int) {
    self.capacity = capacity
    pointers = .allocate(capacity: capacity)
  }

  deinit {
    pin?.unpin()
    pointers.deallocate()
  }

  @inlinable public var lastLSN: UInt64 { firstLSN + UInt64(count) - 1 }

  /// The record at `index`; valid until `release`.
  @inlinable @inline(__always)
  public subscript(index: Int) -> RecordView {
    precondition(index < count)
    return RecordView(trusted: pointers[index])
  }

  /// Adds the next record. For readers.
  @inlinable @inline(__always)
  public func append(_ record: UnsafeRawPointer, length: Int) {
    precondition(filled < capacity)
    pointers[filled] = record
    filled += 1
    filledBytes += length
  }

  /// Lets go of the memory and empties the batch.
  package func release() {
    pin?.unpin()
    pin = nil
    filled = 0
    filledBytes = 0
  }
}

/// A hold on the memory that a batch's records lie in: a whole slab or pool buffer. May be let go on any thread.
package protocol RecordPin: AnyObject, Sendable {
  /// What the hold costs: the full size of the slab or buffer.
  var chargedBytes: Int { get }
  /// One more hold on the same memory, to be let go by its own `unpin`.
  func retain()
  func unpin()
}
