/// All of a record at once, for who needs all of it: one call across targets instead of one per field.
package struct RecordParts {
  package let ingestTime: Int64
  package let eventTime: Int64
  package let sequence: UInt64
  package let producer: UInt32
  package let crc: UInt32
  package let type: UInt8
  package let source: UInt16
  package let epoch: UInt16
  package let topicCount: UInt32
  package let keyCount: UInt32
  package let headersCount: UInt32
  package let payloadCount: UInt32
  package let producerPartCount: UInt32
  package let producerPart: UnsafeRawPointer
  /// Topic, key and headers follow each other from here.
  package let metadata: UnsafeRawPointer
  package let payload: UnsafeRawPointer

  @inline(__always)
  init(_ record: RecordView) {
    ingestTime = record.ingestTime
    eventTime = record.eventTime
    sequence = record.sequence
    producer = record.producer
    crc = record.crc
    type = record.type
    source = record.source
    epoch = record.epoch
    let part = record.base + RecordLayout.producerPart
    let lengths: UInt64 = record.base.loadLE(RecordLayout.topicLength)
    topicCount = UInt32(truncatingIfNeeded: lengths & 0xFFFF)
    keyCount = UInt32(truncatingIfNeeded: lengths >> 16 & 0xFFFF)
    headersCount = UInt32(truncatingIfNeeded: lengths >> 32 & 0xFFFF)
    payloadCount = record.base.loadLE(RecordLayout.payloadLength)
    producerPart = part
    producerPartCount = UInt32(truncatingIfNeeded: record.length - RecordLayout.producerPart)
    metadata = part + Int(record.base.loadLE(RecordLayout.headerLength) as UInt8)
    payload = metadata + RecordLayout.padded(Int(topicCount &+ keyCount &+ headersCount))
  }
}

extension RecordBatch {
  /// The record at `index`, taken apart; the pointers are valid until `release`.
  package func parts(at index: Int) -> RecordParts { RecordParts(self[index]) }
}
