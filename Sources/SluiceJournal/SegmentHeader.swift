import SluiceCore

// The first 4,096 bytes of a segment file `<base_lsn:020>.slog`. Little-endian. docs/log-format.md has the whole.
//
//     0  u64  magic              "SLUICLOG"
//     8  u32  header_crc         CRC32C of bytes 0 ..< 8 and 12 ..< 4096
//    12  u16  format_version     1
//    14  u16  reserved           zero
//    16  u32  compat             features that an older reader and writer may ignore:
//                                bit 0 RECYCLED: behind the last group there may be bytes of an earlier life of the file
//    20  u32  ro_compat          features that an older reader may ignore, an older writer not
//    24  u32  incompat           features without which the file can't be read
//    28  u32  flags              bit 0 EARLY: records were handed out before they were synced
//                                bit 1 LOST: the LSNs between previous_last_lsn and base_lsn held records that are gone
//    32  16B  log_uuid           canonical order
//    48  u64  salt               random; seeds the checksum of every group header in this file
//    56  u64  base_lsn           the LSN of the first record; the file's name
//    64  u64  previous_base_lsn  names the segment before this one; 0 = there was none
//    72  u64  previous_last_lsn  its last LSN: what follows in that file is void
//    80  u32  previous_link_crc  header_crc of its last group (of its header, when it has none)
//    84  u32  reserved           zero
//    88  u64  supersedes_from    0 = the segment before was sealed; else recovery ended it, and this is its first void LSN
//    96  i64  created_ns         ns since 1970
//   104  24B  writer             who wrote it, for people; zero padded
//   128       zero
//
// Valid ⇔ magic ∧ header_crc ∧ version known ∧ reserved bytes zero ∧ base_lsn > previous_last_lsn.

/// Why a segment header is refused.
package enum SegmentHeaderFault: Error, Equatable {
  case truncated
  case magic
  case checksum
  /// A newer format; the number says which.
  case version(UInt16)
  /// A feature this program doesn't know: the lowest unknown bit.
  case incompatible(bit: Int)
  /// A feature that only readers may ignore: the lowest unknown bit.
  case readOnlyCompatible(bit: Int)
  case reservedBits
  case inconsistent
}

package struct SegmentHeader: Equatable, Sendable {
  package static let magic = UInt64(littleEndianBytes: "SLUICLOG")
  package static let version: UInt16 = 1
  /// A bit of `compat`: the file was another segment before.
  package static let recycled: UInt32 = 1 << 0
  /// Bits of `incompat` and `ro_compat` that this program understands: none are defined yet.
  package static let knownIncompatible: UInt32 = 0
  package static let knownReadOnlyCompatible: UInt32 = 0
  package static let writerBytes = 24

  package struct Flags: OptionSet, Equatable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static let early = Flags(rawValue: 1 << 0)
    package static let lost = Flags(rawValue: 1 << 1)
    static let known: Flags = [.early, .lost]
  }

  package var compatible: UInt32 = 0
  package var readOnlyCompatible: UInt32 = 0
  package var incompatible: UInt32 = 0
  package var flags: Flags = []
  package var uuid: LogUUID
  package var salt: UInt64
  package var baseLSN: UInt64
  package var previousBaseLSN: UInt64 = 0
  package var previousLastLSN: UInt64 = 0
  package var previousLinkCRC: UInt32 = 0
  package var supersedesFrom: UInt64 = 0
  package var createdTime: Int64
  package var writer: String = "sluice"
  /// The header's own checksum: the link of the file's first group.
  package internal(set) var checksum: UInt32 = 0

  package init(uuid: LogUUID, salt: UInt64, baseLSN: UInt64, createdTime: Int64) {
    self.uuid = uuid
    self.salt = salt
    self.baseLSN = baseLSN
    self.createdTime = createdTime
  }

  package var isRecycled: Bool { compatible & SegmentHeader.recycled != 0 }

  /// Writes the 4,096 bytes and sets `checksum`.
  package mutating func encode(to target: UnsafeMutableRawBufferPointer) {
    precondition(target.count == Limits.segmentHeaderBytes)
    guard let at = target.baseAddress else { return }
    at.initializeMemory(as: UInt8.self, repeating: 0, count: target.count)
    at.storeLE(SegmentHeader.magic, 0)
    at.storeLE(SegmentHeader.version, 12)
    at.storeLE(compatible, 16)
    at.storeLE(readOnlyCompatible, 20)
    at.storeLE(incompatible, 24)
    at.storeLE(flags.rawValue, 28)
    for (index, byte) in uuid.bytes.enumerated() { target[32 + index] = byte }
    at.storeLE(salt, 48)
    at.storeLE(baseLSN, 56)
    at.storeLE(previousBaseLSN, 64)
    at.storeLE(previousLastLSN, 72)
    at.storeLE(previousLinkCRC, 80)
    at.storeLE(supersedesFrom, 88)
    at.storeLE(createdTime, 96)
    for (index, byte) in writer.utf8.prefix(SegmentHeader.writerBytes).enumerated() { target[104 + index] = byte }
    checksum = SegmentHeader.checksum(of: UnsafeRawBufferPointer(target))
    at.storeLE(checksum, 8)
  }

  package static func decode(_ bytes: UnsafeRawBufferPointer) throws(SegmentHeaderFault) -> SegmentHeader {
    guard bytes.count >= Limits.segmentHeaderBytes, let at = bytes.baseAddress else { throw .truncated }
    guard at.loadLE(0) as UInt64 == magic else { throw .magic }
    let whole = UnsafeRawBufferPointer(start: at, count: Limits.segmentHeaderBytes)
    let checksum: UInt32 = at.loadLE(8)
    guard checksum == SegmentHeader.checksum(of: whole) else { throw .checksum }
    // The version and the feature bits come before everything whose meaning they may change.
    let version: UInt16 = at.loadLE(12)
    guard version == SegmentHeader.version else { throw .version(version) }
    let incompatible: UInt32 = at.loadLE(24)
    let unknown = incompatible & ~knownIncompatible
    guard unknown == 0 else { throw .incompatible(bit: unknown.trailingZeroBitCount) }
    guard at.loadLE(14) as UInt16 == 0, at.loadLE(84) as UInt32 == 0, whole[128...].allSatisfy({ $0 == 0 }) else {
      throw .reservedBits
    }
    var header = SegmentHeader(
      uuid: LogUUID(
        high: UInt64(bigEndian: at.loadUnaligned(fromByteOffset: 32, as: UInt64.self)),
        low: UInt64(bigEndian: at.loadUnaligned(fromByteOffset: 40, as: UInt64.self))),
      salt: at.loadLE(48), baseLSN: at.loadLE(56), createdTime: at.loadLE(96))
    header.compatible = at.loadLE(16)
    header.readOnlyCompatible = at.loadLE(20)
    header.incompatible = incompatible
    header.flags = Flags(rawValue: at.loadLE(28))
    header.previousBaseLSN = at.loadLE(64)
    header.previousLastLSN = at.loadLE(72)
    header.previousLinkCRC = at.loadLE(80)
    header.supersedesFrom = at.loadLE(88)
    header.writer = String(decoding: whole[104..<128].prefix { $0 != 0 }, as: UTF8.self)
    header.checksum = checksum
    guard header.flags.subtracting(.known).isEmpty else { throw .reservedBits }
    guard header.baseLSN > header.previousLastLSN, header.previousBaseLSN <= header.baseLSN else {
      throw .inconsistent
    }
    return header
  }

  /// Refuses to write behind a segment with features that a writer must know.
  package func checkWritable() throws(SegmentHeaderFault) {
    let unknown = readOnlyCompatible & ~SegmentHeader.knownReadOnlyCompatible
    guard unknown == 0 else { throw .readOnlyCompatible(bit: unknown.trailingZeroBitCount) }
  }

  /// In which bits the checksum that stands in 4,096 bytes differs from the one that they have.
  static func checksumDifference(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    (bytes.baseAddress?.loadLE(8) ?? 0) ^ checksum(of: bytes)
  }

  private static func checksum(of bytes: UnsafeRawBufferPointer) -> UInt32 {
    CRC32C.of(
      UnsafeRawBufferPointer(rebasing: bytes[12...]), seed: CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[..<8])))
  }
}

extension UInt64 {
  /// Eight ASCII characters as they stand in a file, read as a little-endian number.
  init(littleEndianBytes text: StaticString) {
    precondition(text.utf8CodeUnitCount == 8)
    self = UnsafeRawPointer(text.utf8Start).loadLE(0)
  }
}
