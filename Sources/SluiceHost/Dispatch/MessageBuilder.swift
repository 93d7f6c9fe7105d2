import CSluice
import SluiceCore

/// Fills the array of messages that a plugin is given. The array is made once and only valid during `deliver`; the
/// bytes that the messages point to stay where the log has them.
///
/// Owned by the subscriber's thread.
final class MessageBuilder {
  let messages: UnsafeMutablePointer<slu_message>
  let capacity: Int

  init(capacity: Int) {
    self.capacity = capacity
    messages = .allocate(capacity: capacity)
  }

  deinit { messages.deallocate() }

  /// Makes messages of all records of `batch`.
  func fill(from batch: RecordBatch, token: UInt64, attempt: UInt32, names: NameTable) {
    precondition(batch.count <= capacity)
    for index in 0..<batch.count {
      write(batch[index], lsn: batch.firstLSN + UInt64(index), index, token, attempt, names)
    }
  }

  /// Makes messages of those records of `batch` that `offsets` (LSNs less the first) names.
  func fill(from batch: RecordBatch, offsets: [UInt32], token: UInt64, attempt: UInt32, names: NameTable) {
    precondition(offsets.count <= capacity)
    for (index, offset) in offsets.enumerated() {
      write(batch[Int(offset)], lsn: batch.firstLSN + UInt64(offset), index, token, attempt, names)
    }
  }

  @inline(__always)
  private func write(
    _ record: RecordView, lsn: UInt64, _ index: Int, _ token: UInt64, _ attempt: UInt32, _ names: NameTable
  ) {
    // Every field is set: the array's memory is reused without clearing.
    (messages + index).initialize(
      to: slu_message(
        token: token + UInt64(index), lsn: lsn, ingest_time_ns: record.ingestTime, event_time_ns: record.eventTime,
        producer_sequence: record.sequence, producer_epoch: UInt32(record.epoch), attempt: attempt,
        crc32c: record.crc, flags: 0, source: names.source(record.source), producer: names.producer(record.producer),
        topic: slu_bytes(record.topic), key: slu_bytes(record.key), headers: slu_bytes(record.headers),
        payload: slu_bytes(record.payload), covered: slu_bytes(record.producerPart)))
  }
}
