// The record, as it is on the wire, in the ring, in a segment file and in a subscriber's hands.
// Little-endian. Every record starts and ends on a multiple of 8 bytes.
//
// Server part, 24 bytes, written by the daemon (covered by the group's body_crc):
//    0  u32  length          bytes of the whole record, server part and padding included; a multiple of 8
//    4  u32  crc32c          of the producer part: bytes 24 ..< length
//    8  i64  ingest_time     ns since 1970, max(previous record's, now)
//   16  u32  producer        interned id, 0 = anonymous
//   20  u16  source          interned id, 0 = made by the daemon itself
//   22  u16  producer_epoch  0 for anonymous producers
//
// Producer part, byte for byte what the producer sent; `length` − 24 bytes:
//   24  u8   header_len      bytes of the fixed part, a multiple of 8, at least 32; readers skip what they don't know
//   25  u8   type            1 = data; 2 = consumed: the sequence of a record that was refused for good, with nothing
//                            else; written by the daemon, never delivered; 0 is never valid; 3… reserved
//   26  u16  flags           bit 0: headers present in the form below; the rest zero until defined
//   28  u32  payload_len
//   32  i64  event_time      ns since 1970
//   40  u64  sequence        the producer's own, 0 for anonymous producers
//   48  u16  topic_len
//   50  u16  key_len
//   52  u16  headers_len
//   54  u16  reserved        zero
//   24 + header_len:         topic, key, headers (each: u8 name_len, name, u16 value_len, value), zero padding to 8,
//                            payload, zero padding to 8
//
// Valid  ⇔  the lengths agree (`RecordView.init` checks them all against the bytes at hand) ∧ crc32c matches.
// Not promised: that topic, key or payload are UTF-8, or that event_time is near ingest_time.

/// Byte offsets of the record's fixed parts.
///
/// What is read for each record is `public` and inlinable here, in `RecordView`, `RecordParts` and `RecordBatch`: nothing that is
/// `package` is inlined into another target, not even a constant: filling one message took several calls.
// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
public enum RecordLayout {
  @inlinable public static var length: Int { 0 }
  @inlinable public static var crc: Int { 4 }
  @inlinable public static var ingestTime: Int { 8 }
  @inlinable public static var producer: Int { 16 }
  @inlinable public static var source: Int { 20 }
  @inlinable public static var epoch: Int { 22 }
  @inlinable public static var producerPart: Int { 24 }
  @inlinable public static var headerLength: Int { 24 }
  @inlinable public static var type: Int { 25 }
  @inlinable public static var flags: Int { 26 }
  @inlinable public static var payloadLength: Int { 28 }
  @inlinable public static var eventTime: Int { 32 }
  @inlinable public static var sequence: Int { 40 }
  @inlinable public static var topicLength: Int { 48 }
  @inlinable public static var keyLength: Int { 50 }
  @inlinable public static var headersLength: Int { 52 }
  @inlinable public static var reserved: Int { 54 }

  @inlinable public static var typeData: UInt8 { 1 }
  @inlinable public static var typeConsumed: UInt8 { 2 }

  /// `n` rounded up to a multiple of 8.
  @inlinable public static func padded(_ n: Int) -> Int { (n + 7) & ~7 }
}

/// The fields of a record that is about to be written; the buffers are only borrowed for the call they are passed to.
package struct RecordFields {
  package var eventTime: Int64
  package var sequence: UInt64
  package var topic: UnsafeRawBufferPointer
  package var key: UnsafeRawBufferPointer
  /// Already in the record's header form, or empty.
  package var headers: UnsafeRawBufferPointer
  package var payload: UnsafeRawBufferPointer

  package init(
    eventTime: Int64, sequence: UInt64 = 0, topic: UnsafeRawBufferPointer = .empty,
    key: UnsafeRawBufferPointer = .empty, headers: UnsafeRawBufferPointer = .empty, payload: UnsafeRawBufferPointer
  ) {
    self.eventTime = eventTime
    self.sequence = sequence
    self.topic = topic
    self.key = key
    self.headers = headers
    self.payload = payload
  }

  /// Bytes of the producer part, padding included; a multiple of 8.
  package var producerPartBytes: Int {
    Limits.producerFixedBytes + RecordLayout.padded(topic.count + key.count + headers.count)
      + RecordLayout.padded(payload.count)
  }

  /// Bytes of the whole record in the log.
  package var recordBytes: Int { Limits.serverPartBytes + producerPartBytes }

  /// Writes the producer part to `target`, which has room for `producerPartBytes`, and returns its checksum.
  /// The lengths must already be within `Limits`.
  package func encodeProducerPart(
    to target: UnsafeMutableRawPointer, type: UInt8 = RecordLayout.typeData
  ) -> UInt32 {
    assert(topic.count <= Limits.maxTopicBytes && key.count <= Limits.maxKeyBytes)
    assert(headers.count <= Limits.maxHeadersBytes && payload.count <= Limits.maxMaxRecordBytes)
    let total = producerPartBytes
    let at = target - RecordLayout.producerPart
    let head = UInt64(Limits.producerFixedBytes) | UInt64(type) << 8 | (headers.isEmpty ? 0 : 1 << 16)
    at.storeLE(head | UInt64(payload.count) << 32, RecordLayout.headerLength)
    at.storeLE(eventTime, RecordLayout.eventTime)
    at.storeLE(sequence, RecordLayout.sequence)
    at.storeLE(
      UInt64(topic.count) | UInt64(key.count) << 16 | UInt64(headers.count) << 32, RecordLayout.topicLength)
    var cursor = Limits.producerFixedBytes
    let metadata = topic.count + key.count + headers.count
    if metadata > 0 {
      // Zero the last word first: what the copies leave of it is the padding.
      target.storeLE(UInt64(0), cursor + RecordLayout.padded(metadata) - 8)
      cursor += copy(topic, to: target + cursor)
      cursor += copy(key, to: target + cursor)
      cursor += copy(headers, to: target + cursor)
      cursor = RecordLayout.padded(cursor)
    }
    if let base = payload.baseAddress, payload.count > 0 {
      target.storeLE(UInt64(0), total - 8)
      (target + cursor).copyMemory(from: base, byteCount: payload.count)
    }
    return CRC32C.of(UnsafeRawBufferPointer(start: target, count: total))
  }

  @inline(__always)
  private func copy(_ part: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) -> Int {
    if let base = part.baseAddress { target.copyMemory(from: base, byteCount: part.count) }
    return part.count
  }
}

/// Why some bytes are not a record.
package enum RecordFault: Error, Equatable {
  /// Fewer bytes at hand than the fixed parts or `length` need.
  case truncated
  /// `length`, `header_len` or the variable lengths contradict each other or `Limits`.
  case badLength
  case badType(UInt8)
  /// A reserved flag or field is not zero.
  case reservedBits
  /// Padding is not zero.
  case badPadding
  /// crc32c does not match the producer part.
  case checksum
}

/// A record in place. The view borrows: it is valid as long as the slab or buffer it points into is pinned.
// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
public struct RecordView {
  public let base: UnsafeRawPointer
  public let length: Int

  /// A view of a record that this process wrote or has validated already. `base` is 8-aligned.
  @inlinable @inline(__always)
  public init(trusted base: UnsafeRawPointer) {
    self.base = base
    length = Int(base.loadLE(RecordLayout.length) as UInt32)
  }

  /// Checks everything but the checksum: never reads past `bytes`.
  package init(validating bytes: UnsafeRawBufferPointer, maxRecord: Int) throws(RecordFault) {
    guard bytes.count >= Limits.serverPartBytes + Limits.producerFixedBytes, let base = bytes.baseAddress else {
      throw .truncated
    }
    let length = Int(base.loadLE(RecordLayout.length) as UInt32)
    guard length % 8 == 0, length >= Limits.serverPartBytes + Limits.producerFixedBytes, length <= maxRecord else {
      throw .badLength
    }
    guard length <= bytes.count else { throw .truncated }
    try RecordView.validateProducerPart(
      UnsafeRawBufferPointer(rebasing: bytes[RecordLayout.producerPart..<length]), fromProducer: false)
    self.base = base
    self.length = length
  }

  /// Checks a producer part: lengths add up exactly, known type, no reserved bits, zero padding. A producer may only send
  /// data.
  package static func validateProducerPart(
    _ bytes: UnsafeRawBufferPointer, fromProducer: Bool = true
  ) throws(RecordFault) {
    guard bytes.count >= Limits.producerFixedBytes, let start = bytes.baseAddress else { throw .truncated }
    let base = start - RecordLayout.producerPart
    let headerLength = Int(base.loadLE(RecordLayout.headerLength) as UInt8)
    guard headerLength % 8 == 0, headerLength >= Limits.producerFixedBytes else { throw .badLength }
    let type: UInt8 = base.loadLE(RecordLayout.type)
    guard type == RecordLayout.typeData || (type == RecordLayout.typeConsumed && !fromProducer) else {
      throw .badType(type)
    }
    let flags: UInt16 = base.loadLE(RecordLayout.flags)
    guard flags & ~1 == 0, base.loadLE(RecordLayout.reserved) as UInt16 == 0 else { throw .reservedBits }
    let headers = Int(base.loadLE(RecordLayout.headersLength) as UInt16)
    guard (headers > 0) == (flags & 1 == 1) else { throw .badLength }
    let topic = Int(base.loadLE(RecordLayout.topicLength) as UInt16)
    let key = Int(base.loadLE(RecordLayout.keyLength) as UInt16)
    guard topic <= Limits.maxTopicBytes, key <= Limits.maxKeyBytes, headers <= Limits.maxHeadersBytes else {
      throw .badLength
    }
    let metadata = topic + key + headers
    let payload = Int(base.loadLE(RecordLayout.payloadLength) as UInt32)
    let payloadStart = headerLength + RecordLayout.padded(metadata)
    guard payloadStart + RecordLayout.padded(payload) == bytes.count else { throw .badLength }
    for index in (headerLength + metadata)..<payloadStart where bytes[index] != 0 { throw .badPadding }
    for index in (payloadStart + payload)..<bytes.count where bytes[index] != 0 { throw .badPadding }
  }

  /// Whether the stored checksum is that of the producer part.
  package var checksumMatches: Bool {
    crc == CRC32C.of(UnsafeRawBufferPointer(start: base + RecordLayout.producerPart, count: length - 24))
  }

  @inlinable public var crc: UInt32 { base.loadLE(RecordLayout.crc) }
  @inlinable public var ingestTime: Int64 { base.loadLE(RecordLayout.ingestTime) }
  @inlinable public var producer: UInt32 { base.loadLE(RecordLayout.producer) }
  @inlinable public var source: UInt16 { base.loadLE(RecordLayout.source) }
  @inlinable public var epoch: UInt16 { base.loadLE(RecordLayout.epoch) }
  @inlinable public var type: UInt8 { base.loadLE(RecordLayout.type) }
  @inlinable public var flags: UInt16 { base.loadLE(RecordLayout.flags) }
  @inlinable public var eventTime: Int64 { base.loadLE(RecordLayout.eventTime) }
  @inlinable public var sequence: UInt64 { base.loadLE(RecordLayout.sequence) }

  /// The bytes that `crc` covers.
  @inlinable public var producerPart: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + RecordLayout.producerPart, count: length - RecordLayout.producerPart)
  }
  @inlinable public var topic: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: metadata, count: topicCount) }
  @inlinable public var key: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: metadata + topicCount, count: keyCount)
  }
  @inlinable public var headers: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: metadata + topicCount + keyCount, count: headersCount)
  }
  @inlinable public var payload: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: metadata + RecordLayout.padded(topicCount + keyCount + headersCount),
      count: Int(base.loadLE(RecordLayout.payloadLength) as UInt32))
  }

  @inlinable var topicCount: Int { Int(base.loadLE(RecordLayout.topicLength) as UInt16) }
  @inlinable var keyCount: Int { Int(base.loadLE(RecordLayout.keyLength) as UInt16) }
  @inlinable var headersCount: Int { Int(base.loadLE(RecordLayout.headersLength) as UInt16) }
  @inlinable var metadata: UnsafeRawPointer {
    base + RecordLayout.producerPart + Int(base.loadLE(RecordLayout.headerLength) as UInt8)
  }
}

extension UnsafeRawBufferPointer {
  /// No bytes.
  package static var empty: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }
}

extension UnsafeRawPointer {
  /// The little-endian integer at `offset`, at any alignment.
  @inlinable @inline(__always)
  public func loadLE<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}

extension UnsafeMutableRawPointer {
  /// The little-endian integer at `offset`, at any alignment.
  @inlinable @inline(__always)
  public func loadLE<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  /// Stores `value` little-endian at `offset`, at any alignment.
  @inlinable @inline(__always)
  public func storeLE<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, _ offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }
}
