import SluiceCore

// `<base_lsn:020>.sidx`: where to find LSNs and times in the ended segment of the same name without reading all of it.
// Derived and never trusted: an entry is a hint, and counts only when the group header it points to is whole, in its
// place, and begins with that LSN. Missing, stale or damaged, it costs time and nothing else. Little-endian.
//
//    0  u64  magic        "SLUICIDX"
//    8  u32  crc          CRC32C of bytes 0 ..< 8 and 12 ..< end
//   12  u16  format_version  1
//   14  u16  reserved     zero
//   16  u64  salt         the segment's: an index of another file, or of an earlier life of it, is none
//   24  u64  base_lsn
//   32  u32  count        entries
//   36  u32  reserved     zero
//   40       entries: u64 lsn, u64 offset, i64 time (ns since 1970); all three rise
//
// Written by the keeper when the segment has ended: temporary name, then rename, without a sync.

/// Why some bytes are no index of a segment.
package enum SegmentIndexFault: Error, Equatable {
  case truncated
  case magic
  case checksum
  case version(UInt16)
  case reservedBits
  /// Of another segment, or of an earlier life of its file.
  case foreign
  case inconsistent
}

package struct SegmentIndex: Equatable, Sendable {
  package static let magic = UInt64(littleEndianBytes: "SLUICIDX")
  package static let version: UInt16 = 1
  package static let fixedBytes = 40
  package static let entryBytes = 24

  package var salt: UInt64
  package var baseLSN: UInt64
  package var entries: [IndexEntry]

  package init(salt: UInt64, baseLSN: UInt64, entries: [IndexEntry]) {
    self.salt = salt
    self.baseLSN = baseLSN
    self.entries = entries
  }

  package func encoded() -> [UInt8] {
    var bytes = [UInt8](
      repeating: 0, count: SegmentIndex.fixedBytes + entries.count * SegmentIndex.entryBytes)
    bytes.withUnsafeMutableBytes { raw in
      guard let at = raw.baseAddress else { return }
      at.storeLE(SegmentIndex.magic, 0)
      at.storeLE(SegmentIndex.version, 12)
      at.storeLE(salt, 16)
      at.storeLE(baseLSN, 24)
      at.storeLE(UInt32(entries.count), 32)
      for (place, entry) in entries.enumerated() {
        let start = SegmentIndex.fixedBytes + place * SegmentIndex.entryBytes
        at.storeLE(entry.lsn, start)
        at.storeLE(UInt64(entry.offset), start + 8)
        at.storeLE(entry.time, start + 16)
      }
      at.storeLE(SegmentIndex.checksum(of: UnsafeRawBufferPointer(raw)), 8)
    }
    return bytes
  }

  /// The index that `bytes` are of the segment with this header.
  package static func decode(
    _ bytes: UnsafeRawBufferPointer, of header: SegmentHeader
  ) throws(SegmentIndexFault) -> SegmentIndex {
    guard bytes.count >= fixedBytes, let at = bytes.baseAddress else { throw .truncated }
    guard at.loadLE(0) as UInt64 == magic else { throw .magic }
    guard at.loadLE(8) as UInt32 == checksum(of: bytes) else { throw .checksum }
    let version: UInt16 = at.loadLE(12)
    guard version == SegmentIndex.version else { throw .version(version) }
    guard at.loadLE(14) as UInt16 == 0, at.loadLE(36) as UInt32 == 0 else { throw .reservedBits }
    guard at.loadLE(16) as UInt64 == header.salt, at.loadLE(24) as UInt64 == header.baseLSN else { throw .foreign }
    let count = Int(at.loadLE(32) as UInt32)
    guard bytes.count == fixedBytes + count * entryBytes else { throw .truncated }
    var index = SegmentIndex(salt: header.salt, baseLSN: header.baseLSN, entries: [])
    index.entries.reserveCapacity(count)
    for place in 0..<count {
      let start = fixedBytes + place * entryBytes
      let offset: UInt64 = at.loadLE(start + 8)
      guard offset % UInt64(Limits.groupAlignment) == 0, offset < UInt64(Limits.maxSegmentBytes) * 2 else {
        throw .inconsistent
      }
      let entry = IndexEntry(lsn: at.loadLE(start), offset: Int(offset), time: at.loadLE(start + 16))
      if let last = index.entries.last, entry.lsn < last.lsn || entry.offset <= last.offset || entry.time < last.time {
        throw .inconsistent
      }
      index.entries.append(entry)
    }
    return index
  }

  private static func checksum(of bytes: UnsafeRawBufferPointer) -> UInt32 {
    CRC32C.of(
      UnsafeRawBufferPointer(rebasing: bytes[12...]), seed: CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[..<8])))
  }

  // MARK: Files

  /// Writes it beside its segment.
  func write(in directory: String, on storage: any LogStorage) throws(IOFault) {
    let path = directory + "/" + SegmentFile.indexName(baseLSN)
    let file = try LogFile(path + SegmentFile.temporarySuffix, .createEmpty, on: storage)
    let bytes = encoded()
    var fault: IOFault?
    bytes.withUnsafeBytes { raw in
      do throws(IOFault) { try file.write(raw, at: 0, .indexWrite) } catch { fault = error }
    }
    if let fault { throw fault }
    try storage.rename(path + SegmentFile.temporarySuffix, to: path, .indexRename)
  }

  /// The index of the segment with this header; empty when there is none that can be used.
  static func entries(of header: SegmentHeader, in directory: String, on storage: any LogStorage) -> [IndexEntry] {
    guard
      let file = try? LogFile(directory + "/" + SegmentFile.indexName(header.baseLSN), .read, on: storage),
      let size = try? file.size(), size <= Limits.maxIndexFileBytes
    else { return [] }
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: max(8, size), alignment: 8)
    defer { bytes.deallocate() }
    guard let count = try? file.read(into: bytes, at: 0) else { return [] }
    return (try? decode(UnsafeRawBufferPointer(rebasing: bytes[..<min(count, size)]), of: header))?.entries ?? []
  }
}

extension [IndexEntry] {
  /// The last entry that is not behind `lsn`.
  func last(notAfter lsn: UInt64) -> IndexEntry? {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if self[middle].lsn <= lsn { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : self[low - 1]
  }

  /// The last entry of a group that was formed before `time`.
  func last(before time: Int64) -> IndexEntry? {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if self[middle].time < time { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : self[low - 1]
  }
}
