/// All of a record at once, for who needs all of it.
// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
public struct RecordParts {
  public let ingestTime: Int64
  public let eventTime: Int64
  public let sequence: UInt64
  public let producer: UInt32
  public let crc: UInt32
  public let type: UInt8
  public let source: UInt16
  public let epoch: UInt16
  public let topicCount: UInt32
  public let keyCount: UInt32
  public let headersCount: UInt32
  public let payloadCount: UInt32
  public let producerPartCount: UInt32
  public let producerPart: UnsafeRawPointer
  /// Topic, key and headers follow each other from here.
  public let metadata: UnsafeRawPointer
  public let payload: UnsafeRawPointer

  @inlinable @inline(__always)
  public init(_ record: RecordView) {
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
  @inlinable @inline(__always)
  public func parts(at index: Int) -> RecordParts { RecordParts(self[index]) }
}
