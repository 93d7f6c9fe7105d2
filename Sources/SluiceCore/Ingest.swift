// The border between what takes records in (SluiceIngest) and the log that keeps them (SluiceJournal).
// Neither knows the other: `sluice/` joins them.

/// When a stream answers its producers.
package enum Durability: String, Sendable, CaseIterable {
  /// In the ring: survives nothing.
  case memory
  /// Handed to the kernel: survives a crash of the process.
  case written
  /// On the device: survives a loss of power.
  case fsync
}

/// Why a stream takes no records just now.
package enum FullReason: String, Sendable, CaseIterable {
  /// (a) uncommitted bytes reach the ring.
  case ring
  /// (b) bytes that some subscriber has not settled reach `retain.bytes` or a `max_lag`.
  case retention
  /// (c) the disk reserve is reached.
  case disk
  /// The stream is closing; the daemon is going down.
  case closing
}

/// What became of a record.
package enum AppendResult: Equatable, Sendable {
  /// In the lane's slab; part of the next `submit`.
  case accepted
  case full(FullReason)
  /// Larger than the stream's `max_record`.
  case tooLarge(limit: Int)
}

/// One event loop's way into one stream. Confined to the thread of the loop that opened it; no other thread
/// touches it, so appending takes no lock. `submit` takes the stream's lock once for all that was appended.
package protocol IngestLane: AnyObject {
  /// Copies one anonymous record into the lane's slab, checksummed. Nothing is numbered or visible before `submit`.
  func append(_ record: RecordFields) -> AppendResult

  /// The same for one record of a known producer, numbered by `record.sequence`.
  func append(_ record: RecordFields, producer: UInt32, epoch: UInt16) -> AppendResult

  /// Copies one record whose producer part came over the wire with its checksum, already verified by the caller.
  func append(
    encoded producerPart: UnsafeRawBufferPointer, crc: UInt32, producer: UInt32, epoch: UInt16
  ) -> AppendResult

  /// Makes room for records of `bytes` in all, as they are in the log, and of at most `largest` each: until the next
  /// `submit` that much is accepted whatever happens elsewhere. Otherwise says why not, and has kept nothing.
  /// `largest` is what the records were judged by, a `max_record` that the stream has or had: a reload may change it between.
  func reserve(bytes: Int, largest: Int) -> FullReason?

  /// Takes note in the log that a producer's `sequence` is used up by a record that was refused for good. Such a note
  /// is numbered and made durable like a record, and never delivered.
  func appendConsumed(producer: UInt32, epoch: UInt16, sequence: UInt64) -> AppendResult

  /// Numbers everything appended since the last call and hands it to the commit thread.
  /// Returns the position of the last record, to be compared with `acknowledged`. With nothing appended it returns
  /// the position of the previous submit.
  func submit() -> UInt64

  /// Every record at or below this position has the stream's durability: its producer may be answered.
  /// With `Durability.memory` this covers everything submitted, on whatever lane.
  var acknowledged: UInt64 { get }

  /// Asks for one `wake` (given to `openLane`) once `acknowledged` reaches `position`. One request at a time: a later
  /// call replaces an earlier one. If it is reached already, false is returned and no wake comes.
  func requestWake(at position: UInt64) -> Bool

  /// Gives the lane's slab back; everything appended must be submitted. The lane is not used again.
  func close()
}

/// A stream as a source sees it.
package protocol IngestStream: AnyObject, Sendable {
  var streamName: String { get }
  var logUUID: LogUUID { get }
  var durability: Durability { get }
  /// Largest record, as it is in the log.
  var maxRecordBytes: Int { get }
  /// Opens a lane for the calling loop. `wake` is called on the commit thread, at most once per request.
  func openLane(source: String, wake: @escaping @Sendable () -> Void) -> any IngestLane
  /// The producer of this name, known from the log or new; the same object for the same name. Nil when the stream
  /// remembers as many as it may, or whoever asks has made as many as it may. `allowance`: of the identity that asks; those
  /// who have none may fill all but a quarter of the table.
  func producer(named name: String, within allowance: ProducerAllowance?) -> Producer?
}
