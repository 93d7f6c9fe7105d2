import SluiceCore

// `cursors.slot`: two slots of 64 KiB at offsets 0 and 65,536. Slot `generation & 1` is written in place, then synced;
// so at any moment at least one of them is whole. Little-endian.
//
//    0  u64  magic         "SLUICCUR"
//    8  u32  crc           CRC32C of bytes 0 ..< 8 and 12 ..< used_len
//   12  u32  used_len      bytes of the slot in use; what follows is not read
//   16  u64  generation    rises by one with every write; the valid slot with the higher one counts
//   24  16B  log_uuid
//   40  u64  durable_lsn   the last LSN known durable: a log that ends below it has lost records
//   48  u64  trim_lsn      the lowest LSN that is kept: segments wholly below may be gone
//   56  i64  written_ns    ns since 1970
//   64  u16  format_version  1
//   66  u16  count         entries
//   68  u32  reserved      zero
//   72       entries:
//              0  u64  lsn         the lowest LSN that is not settled; at most durable_lsn + 1
//              8  i64  updated_ns  when the subscriber was last connected
//             16  u16  name_len    1 … 128
//             18  6B   reserved    zero
//             24       name (UTF-8), zeros to a multiple of 8
//
// In place, because a temporary file and a rename need free space just when settling must make space. A stale slot
// means that records are delivered again, never that any are lost.

/// One subscriber's durable position.
package struct CursorEntry: Equatable, Sendable {
  package var name: String
  package var lsn: UInt64
  package var updatedTime: Int64

  package init(name: String, lsn: UInt64, updatedTime: Int64) {
    self.name = name
    self.lsn = lsn
    self.updatedTime = updatedTime
  }
}

/// Why a slot is refused.
package enum CursorSlotFault: Error, Equatable {
  case truncated
  case magic
  case checksum
  case version(UInt16)
  case reservedBits
  case inconsistent
  case badName
}

package struct CursorSlot: Equatable, Sendable {
  package static let magic = UInt64(littleEndianBytes: "SLUICCUR")
  package static let version: UInt16 = 1
  package static let fixedBytes = 72
  package static let entryFixedBytes = 24

  package var generation: UInt64
  package var uuid: LogUUID
  package var durableLSN: UInt64
  package var trimLSN: UInt64
  package var writtenTime: Int64
  package var entries: [CursorEntry]

  package init(
    generation: UInt64, uuid: LogUUID, durableLSN: UInt64, trimLSN: UInt64, writtenTime: Int64, entries: [CursorEntry]
  ) {
    self.generation = generation
    self.uuid = uuid
    self.durableLSN = durableLSN
    self.trimLSN = trimLSN
    self.writtenTime = writtenTime
    self.entries = entries
  }

  /// Where this generation is written.
  package var offset: Int { Int(generation & 1) * Limits.cursorSlotBytes }

  /// The slot's bytes in use. `Limits` make sure that the largest fits.
  package func encoded() -> [UInt8] {
    precondition(entries.count <= Limits.maxCursorsPerLog)
    var bytes = [UInt8](repeating: 0, count: CursorSlot.fixedBytes)
    for entry in entries { append(entry, to: &bytes) }
    precondition(bytes.count <= Limits.cursorSlotBytes)
    bytes.withUnsafeMutableBytes { raw in
      guard let at = raw.baseAddress else { return }
      at.storeLE(CursorSlot.magic, 0)
      at.storeLE(UInt32(raw.count), 12)
      at.storeLE(generation, 16)
      for (index, byte) in uuid.bytes.enumerated() { raw[24 + index] = byte }
      at.storeLE(durableLSN, 40)
      at.storeLE(trimLSN, 48)
      at.storeLE(writtenTime, 56)
      at.storeLE(CursorSlot.version, 64)
      at.storeLE(UInt16(entries.count), 66)
      at.storeLE(CursorSlot.checksum(of: UnsafeRawBufferPointer(raw)), 8)
    }
    return bytes
  }

  private func append(_ entry: CursorEntry, to bytes: inout [UInt8]) {
    let name = Array(entry.name.utf8)
    precondition(!name.isEmpty && name.count <= Limits.maxCursorNameBytes)
    let start = bytes.count
    bytes.append(
      contentsOf: repeatElement(0, count: CursorSlot.entryFixedBytes + RecordLayout.padded(name.count)))
    bytes.withUnsafeMutableBytes { raw in
      guard let at = raw.baseAddress.map({ $0 + start }) else { return }
      at.storeLE(entry.lsn, 0)
      at.storeLE(entry.updatedTime, 8)
      at.storeLE(UInt16(name.count), 16)
      for (index, byte) in name.enumerated() { raw[start + CursorSlot.entryFixedBytes + index] = byte }
    }
  }

  package static func decode(_ bytes: UnsafeRawBufferPointer) throws(CursorSlotFault) -> CursorSlot {
    guard bytes.count >= fixedBytes, let at = bytes.baseAddress else { throw .truncated }
    guard at.loadLE(0) as UInt64 == magic else { throw .magic }
    let used = Int(at.loadLE(12) as UInt32)
    guard used >= fixedBytes, used <= min(bytes.count, Limits.cursorSlotBytes) else { throw .truncated }
    let slot = UnsafeRawBufferPointer(rebasing: bytes[..<used])
    guard at.loadLE(8) as UInt32 == checksum(of: slot) else { throw .checksum }
    let version: UInt16 = at.loadLE(64)
    guard version == CursorSlot.version else { throw .version(version) }
    guard at.loadLE(68) as UInt32 == 0 else { throw .reservedBits }
    let count = Int(at.loadLE(66) as UInt16)
    guard count <= Limits.maxCursorsPerLog, (at.loadLE(40) as UInt64) < Limits.maxLSN else { throw .inconsistent }
    var result = CursorSlot(
      generation: at.loadLE(16),
      uuid: LogUUID(
        high: UInt64(bigEndian: at.loadUnaligned(fromByteOffset: 24, as: UInt64.self)),
        low: UInt64(bigEndian: at.loadUnaligned(fromByteOffset: 32, as: UInt64.self))),
      durableLSN: at.loadLE(40), trimLSN: at.loadLE(48), writtenTime: at.loadLE(56), entries: [])
    var cursor = fixedBytes
    for _ in 0..<count {
      let (entry, length) = try decodeEntry(UnsafeRawBufferPointer(rebasing: slot[cursor...]))
      guard entry.lsn > 0, entry.lsn - 1 <= result.durableLSN else { throw .inconsistent }
      result.entries.append(entry)
      cursor += length
    }
    guard cursor == used else { throw .inconsistent }
    return result
  }

  private static func decodeEntry(
    _ bytes: UnsafeRawBufferPointer
  ) throws(CursorSlotFault) -> (CursorEntry, length: Int) {
    guard bytes.count >= entryFixedBytes, let at = bytes.baseAddress else { throw .inconsistent }
    let nameBytes = Int(at.loadLE(16) as UInt16)
    guard bytes[18..<entryFixedBytes].allSatisfy({ $0 == 0 }) else { throw .reservedBits }
    let length = entryFixedBytes + RecordLayout.padded(nameBytes)
    guard nameBytes > 0, nameBytes <= Limits.maxCursorNameBytes, length <= bytes.count else { throw .badName }
    guard bytes[(entryFixedBytes + nameBytes)..<length].allSatisfy({ $0 == 0 }),
      let name = String(validating: bytes[entryFixedBytes..<(entryFixedBytes + nameBytes)], as: UTF8.self)
    else { throw .badName }
    return (CursorEntry(name: name, lsn: at.loadLE(0), updatedTime: at.loadLE(8)), length)
  }

  private static func checksum(of slot: UnsafeRawBufferPointer) -> UInt32 {
    CRC32C.of(
      UnsafeRawBufferPointer(rebasing: slot[12...]), seed: CRC32C.of(UnsafeRawBufferPointer(rebasing: slot[..<8])))
  }
}
