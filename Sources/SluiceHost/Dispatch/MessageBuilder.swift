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

  /// Makes messages of all records of `batch`. False, and nothing of use, if some of them are no data.
  func fill(from batch: RecordBatch, token: UInt64, attempt: UInt32, names: NameTable) -> Bool {
    let count = batch.count
    precondition(count <= capacity)
    let (first, messages) = (batch.firstLSN, messages)
    var names = NameRun(names)
    var others: UInt8 = 0
    for index in 0..<count {
      let record = batch.parts(at: index)
      others |= record.type ^ RecordLayout.typeData
      MessageBuilder.write(
        record, to: messages + index, lsn: first &+ UInt64(index), token: token &+ UInt64(index), attempt, &names)
    }
    return others == 0
  }

  /// Makes messages of those records of `batch` that `offsets` (LSNs less the first) names.
  func fill(from batch: RecordBatch, offsets: [UInt32], token: UInt64, attempt: UInt32, names: NameTable) {
    precondition(offsets.count <= capacity)
    var names = NameRun(names)
    for (index, offset) in offsets.enumerated() {
      MessageBuilder.write(
        batch.parts(at: Int(offset)), to: messages + index, lsn: batch.firstLSN + UInt64(offset),
        token: token + UInt64(index), attempt, &names)
    }
  }

  /// Gives the first `count` messages the LSNs of their own log.
  func renumber(_ count: Int, from replay: ReplayQueue) {
    for index in 0..<count { messages[index].lsn = replay.ownLSN(messages[index].lsn) }
  }

  @inline(__always)
  private static func write(
    _ record: RecordParts, to message: UnsafeMutablePointer<slu_message>, lsn: UInt64, token: UInt64, _ attempt: UInt32,
    _ names: inout NameRun
  ) {
    names.move(toSource: record.source, producer: record.producer)
    let key = record.metadata + Int(record.topicCount)
    // Every field is set: the array's memory is reused without clearing.
    message.initialize(
      to: slu_message(
        token: token, lsn: lsn, ingest_time_ns: record.ingestTime, event_time_ns: record.eventTime,
        producer_sequence: record.sequence, producer_epoch: UInt32(record.epoch), attempt: attempt,
        crc32c: record.crc, flags: 0, source: names.source, producer: names.producer,
        topic: slu_bytes(ptr: record.metadata, len: UInt64(record.topicCount)),
        key: slu_bytes(ptr: key, len: UInt64(record.keyCount)),
        headers: slu_bytes(ptr: key + Int(record.keyCount), len: UInt64(record.headersCount)),
        payload: slu_bytes(ptr: record.payload, len: UInt64(record.payloadCount)),
        covered: slu_bytes(ptr: record.producerPart, len: UInt64(record.producerPartCount))))
  }
}
