import SluiceCore

// A group: what one commit wrote. It starts on a 4 KiB boundary and is padded with zeros to the next. Little-endian.
//
//    0  u32  magic            "SLGR"
//    4  u32  header_crc       CRC32C of salt (u64) ‖ file offset (u64) ‖ bytes 0 ..< 4 ‖ bytes 8 ..< 64
//    8  u64  first_lsn        LSN of the first record; record i has first_lsn + i. Without records: the next LSN
//   16  u64  durable_lsn      the watermark: the last LSN known durable when this group was formed
//   24  u32  body_len         bytes of definitions and records, without padding; a multiple of 8
//   28  u32  count            records
//   32  u32  body_crc         CRC32C of the definitions, then of each record's server part (24 bytes)
//   36  u32  prev_group_crc   header_crc of the group before; of the segment header for the first
//   40  i64  wall_ns          when it was formed; never less than the group before or an ingest time in it
//   48  u32  defs_len         bytes of the definitions at the head of the body; a multiple of 8
//   52  u32  flags            bit 0 SEAL: nothing follows in this file; bit 1 IDLE: written because nothing came
//   56  u64  reserved         zero
//   64       definitions, records, zeros to the 4 KiB boundary
//
// Valid ⇔ header_crc ∧ lengths agree ∧ body_crc ∧ every record valid ∧ padding zero ∧ first_lsn as expected
//         ∧ prev_group_crc is the link. The salt and the offset keep stale, recycled or misplaced blocks from passing.

/// Why some bytes are not a group.
package enum GroupFault: Error, Equatable {
  case truncated
  case magic
  case checksum
  case reservedBits
  /// body_len, defs_len, count or the records' own lengths contradict each other.
  case inconsistent
  case bodyChecksum
  case badPadding
  case definitions(DefinitionFault)
  case record(index: Int, RecordFault)
}

package struct GroupHeader: Equatable, Sendable {
  package static let magic = UInt32(truncatingIfNeeded: UInt64(littleEndianBytes: "SLGR\0\0\0\0"))

  package struct Flags: OptionSet, Equatable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static let seal = Flags(rawValue: 1 << 0)
    package static let idle = Flags(rawValue: 1 << 1)
    static let known: Flags = [.seal, .idle]
  }

  package var firstLSN: UInt64
  package var durableLSN: UInt64
  package var bodyBytes = 0
  package var count = 0
  package var bodyCRC: UInt32 = 0
  package var previousCRC: UInt32
  package var wallTime: Int64
  package var definitionBytes = 0
  package var flags: Flags = []
  /// header_crc, set by `encode` and `decode`.
  package internal(set) var checksum: UInt32 = 0

  package init(firstLSN: UInt64, durableLSN: UInt64, previousCRC: UInt32, wallTime: Int64) {
    self.firstLSN = firstLSN
    self.durableLSN = durableLSN
    self.previousCRC = previousCRC
    self.wallTime = wallTime
  }

  /// The LSN that the next group begins with.
  package var nextLSN: UInt64 { firstLSN + UInt64(count) }

  /// Bytes on disk, header and padding included.
  package var paddedBytes: Int { GroupHeader.padded(Limits.groupHeaderBytes + bodyBytes) }

  /// Where the records start, from the group's first byte.
  package var recordsOffset: Int { Limits.groupHeaderBytes + definitionBytes }

  package static func padded(_ bytes: Int) -> Int {
    (bytes + Limits.groupAlignment - 1) & ~(Limits.groupAlignment - 1)
  }

  /// Writes the 64 bytes for a group at `offset` of the file with `salt`, and sets `checksum`.
  package mutating func encode(to at: UnsafeMutableRawPointer, salt: UInt64, offset: Int) {
    at.storeLE(GroupHeader.magic, 0)
    at.storeLE(firstLSN, 8)
    at.storeLE(durableLSN, 16)
    at.storeLE(UInt32(bodyBytes), 24)
    at.storeLE(UInt32(count), 28)
    at.storeLE(bodyCRC, 32)
    at.storeLE(previousCRC, 36)
    at.storeLE(wallTime, 40)
    at.storeLE(UInt32(definitionBytes), 48)
    at.storeLE(flags.rawValue, 52)
    at.storeLE(UInt64(0), 56)
    checksum = GroupHeader.checksum(of: UnsafeRawPointer(at), salt: salt, offset: offset)
    at.storeLE(checksum, 4)
  }

  /// Checks the header alone; the body is checked by `GroupBody`.
  package static func decode(
    _ bytes: UnsafeRawBufferPointer, salt: UInt64, offset: Int
  ) throws(GroupFault) -> GroupHeader {
    guard bytes.count >= Limits.groupHeaderBytes, let at = bytes.baseAddress else { throw .truncated }
    guard at.loadLE(0) as UInt32 == magic else { throw .magic }
    let checksum: UInt32 = at.loadLE(4)
    guard checksum == GroupHeader.checksum(of: at, salt: salt, offset: offset) else { throw .checksum }
    var header = GroupHeader(
      firstLSN: at.loadLE(8), durableLSN: at.loadLE(16), previousCRC: at.loadLE(36), wallTime: at.loadLE(40))
    header.bodyBytes = Int(at.loadLE(24) as UInt32)
    header.count = Int(at.loadLE(28) as UInt32)
    header.bodyCRC = at.loadLE(32)
    header.definitionBytes = Int(at.loadLE(48) as UInt32)
    header.flags = Flags(rawValue: at.loadLE(52))
    header.checksum = checksum
    guard at.loadLE(56) as UInt64 == 0, header.flags.subtracting(.known).isEmpty else { throw .reservedBits }
    let leastRecord = Limits.serverPartBytes + Limits.producerFixedBytes
    guard header.bodyBytes <= Limits.maxGroupBodyBytes, header.bodyBytes % 8 == 0, header.definitionBytes % 8 == 0,
      header.definitionBytes <= header.bodyBytes,
      header.count * leastRecord <= header.bodyBytes - header.definitionBytes,
      (header.count == 0) == (header.bodyBytes == header.definitionBytes),
      header.firstLSN > 0, header.firstLSN < UInt64.max - UInt64(UInt32.max), header.durableLSN < header.firstLSN
    else { throw .inconsistent }
    return header
  }

  /// header_crc of the 64 bytes at `at`.
  static func checksum(of at: UnsafeRawPointer, salt: UInt64, offset: Int) -> UInt32 {
    var seed = (salt.littleEndian, UInt64(offset).littleEndian)
    let seeded = withUnsafeBytes(of: &seed) { CRC32C.of($0) }
    let magic = CRC32C.of(UnsafeRawBufferPointer(start: at, count: 4), seed: seeded)
    return CRC32C.of(UnsafeRawBufferPointer(start: at + 8, count: Limits.groupHeaderBytes - 8), seed: magic)
  }
}

/// Checks the bytes behind a group header.
package enum GroupBody {
  /// Checks body_crc, the lengths and the padding of a whole group, but not the records' producer parts, and calls
  /// `visit` with each record. The lengths are within the group when it is called, though body_crc may still fail.
  package static func walk(
    _ header: GroupHeader, _ group: UnsafeRawBufferPointer,
    visit: (_ index: Int, _ record: UnsafeRawPointer, _ length: Int) -> Void
  ) throws(GroupFault) {
    guard group.count >= header.paddedBytes, let base = group.baseAddress else { throw .truncated }
    let end = Limits.groupHeaderBytes + header.bodyBytes
    var cursor = header.recordsOffset
    var crc = CRC32C.of(
      UnsafeRawBufferPointer(start: base + Limits.groupHeaderBytes, count: header.definitionBytes))
    for index in 0..<header.count {
      guard end - cursor >= Limits.serverPartBytes + Limits.producerFixedBytes else { throw .inconsistent }
      let length = Int(base.loadLE(cursor + RecordLayout.length) as UInt32)
      guard length % 8 == 0, length >= Limits.serverPartBytes + Limits.producerFixedBytes, length <= end - cursor
      else { throw .inconsistent }
      crc = CRC32C.of(UnsafeRawBufferPointer(start: base + cursor, count: Limits.serverPartBytes), seed: crc)
      visit(index, base + cursor, length)
      cursor += length
    }
    guard cursor == end else { throw .inconsistent }
    guard crc == header.bodyCRC else { throw .bodyChecksum }
    for index in end..<header.paddedBytes where group[index] != 0 { throw .badPadding }
  }

  /// Calls `visit` with the last record of each run of records that one producer has in a group that `verify` accepted:
  /// its sequences rise, so that one tells how far the producer is. Not for anonymous records.
  static func producerRuns(
    _ header: GroupHeader, _ group: UnsafeRawBufferPointer, visit: (RecordView) -> Void
  ) {
    guard let base = group.baseAddress else { return }
    var last: RecordView?
    var at = header.recordsOffset
    for _ in 0..<header.count {
      let record = RecordView(trusted: base + at)
      if let last, last.producer != record.producer || last.epoch != record.epoch, last.producer != 0 { visit(last) }
      last = record
      at += record.length
    }
    if let last, last.producer != 0 { visit(last) }
  }

  /// The whole check: `walk`, every record's structure and checksum, and that the definitions can be read.
  package static func verify(_ header: GroupHeader, _ group: UnsafeRawBufferPointer) throws(GroupFault) {
    var fault: GroupFault?
    try walk(header, group) { index, record, length in
      if fault == nil, let found = recordFault(record, length) { fault = .record(index: index, found) }
    }
    if let fault { throw fault }
    do throws(DefinitionFault) {
      try DefinitionCodec.decode(definitions(of: header, group)) { _ in }
    } catch {
      throw .definitions(error)
    }
  }

  /// The definitions section of a group that `walk` accepted.
  package static func definitions(
    of header: GroupHeader, _ group: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: group[Limits.groupHeaderBytes..<header.recordsOffset])
  }

  /// What is wrong with one record of `length` bytes, structure and checksum. A record of any size that was ever
  /// allowed stays readable, whatever `max_record` is today.
  package static func recordFault(_ record: UnsafeRawPointer, _ length: Int) -> RecordFault? {
    do throws(RecordFault) {
      let view = try RecordView(
        validating: UnsafeRawBufferPointer(start: record, count: length), maxRecord: Limits.maxMaxRecordBytes)
      return view.checksumMatches ? nil : .checksum
    } catch {
      return error
    }
  }
}
