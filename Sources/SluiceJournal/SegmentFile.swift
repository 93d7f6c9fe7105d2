import SluiceCore

/// Names and making of segment files.
package enum SegmentFile {
  /// Space laid out ahead; becomes a segment when its header is written and it is renamed.
  package static let nextName = "next.tmp"
  /// A retired segment that waits to become one again: `spare-<base_lsn:020>.tmp`.
  package static let sparePrefix = "spare-"
  package static let spareSuffix = ".tmp"
  package static let cursorsName = "cursors.slot"
  package static let lockName = "LOCK"
  package static let quarantineName = "quarantine"

  package static func name(_ baseLSN: UInt64) -> String { digits(baseLSN) + ".slog" }

  package static let indexSuffix = ".sidx"
  package static let temporarySuffix = ".tmp"
  package static func indexName(_ baseLSN: UInt64) -> String { digits(baseLSN) + indexSuffix }

  package static func spareName(_ baseLSN: UInt64) -> String { sparePrefix + digits(baseLSN) + spareSuffix }

  package static func isSpare(_ name: String) -> Bool { name.hasPrefix(sparePrefix) && name.hasSuffix(spareSuffix) }

  static func digits(_ baseLSN: UInt64) -> String {
    let digits = String(baseLSN)
    return String(repeating: "0", count: 20 - digits.utf8.count) + digits
  }

  /// The base LSN that a file name tells, or nil when it is not a segment's.
  package static func baseLSN(ofName name: String) -> UInt64? {
    guard name.utf8.count == 25, name.hasSuffix(".slog") else { return nil }
    let digits = name.dropLast(5)
    guard digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    guard let lsn = UInt64(digits), lsn > 0, lsn < Limits.maxLSN else { return nil }
    return lsn
  }

  /// Lays out `bytes` for a segment to come. Off the commit path where possible.
  static func layOut(in directory: String, bytes: Int, on storage: any LogStorage) throws(IOFault) -> LaidOutFile {
    let file = try LogFile(directory + "/" + nextName, .createEmpty, on: storage)
    do throws(IOFault) {
      try file.allocate(bytes: bytes, .nextAllocate)
    } catch {
      // What it got before there was no more would be missing elsewhere, and is of no use here.
      try? file.truncate(to: 0, .nextTruncate)
      throw error
    }
    return LaidOutFile(file: file, isRecycled: false, writtenEnd: 0)
  }

  /// A spare, made as large as a segment is to be.
  static func openSpare(
    _ name: String, in directory: String, bytes: Int, on storage: any LogStorage
  ) throws(IOFault) -> LaidOutFile {
    let file = try LogFile(directory + "/" + name, .readWrite, on: storage)
    let written = try file.size()
    if written > bytes { try file.truncate(to: bytes, .nextTruncate) }
    if written < bytes { try file.allocate(bytes: bytes, .nextAllocate) }
    return LaidOutFile(file: file, isRecycled: true, writtenEnd: min(written, bytes))
  }

  /// Turns a laid-out file into the segment that `header` describes. When this returns, the segment survives a crash.
  static func install(
    _ file: borrowing LogFile, _ header: inout SegmentHeader, in directory: String, on storage: any LogStorage
  ) throws(IOFault) {
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Limits.segmentHeaderBytes, alignment: Limits.groupAlignment)
    defer { bytes.deallocate() }
    header.encode(to: bytes)
    try file.write(UnsafeRawBufferPointer(bytes), at: 0, .headerWrite)
    try file.sync(.headerSync)
    try storage.rename(file.path, to: directory + "/" + name(header.baseLSN), .segmentRename)
    try storage.syncDirectory(directory, .segmentDirectorySync)
  }

  /// The header of a segment file, read from its start.
  static func readHeader(_ path: String, on storage: any LogStorage) throws(IOFault) -> Result<
    SegmentHeader, SegmentHeaderFault
  > {
    let file = try LogFile(path, .read, on: storage)
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Limits.segmentHeaderBytes, alignment: Limits.groupAlignment)
    defer { bytes.deallocate() }
    let count = try file.read(into: bytes, at: 0)
    return Result { () throws(SegmentHeaderFault) in
      try SegmentHeader.decode(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
    }
  }
}

/// A file seen through a buffer that moves forward over it: for scans, not for the hot path.
final class FileWindow {
  let file: LogFile
  let size: Int
  private(set) var bytesRead = 0
  private var buffer: UnsafeMutableRawBufferPointer
  private var start = 0
  private var filled = 0

  init(_ file: consuming LogFile) throws(IOFault) {
    size = try file.size()
    self.file = file
    buffer = .allocate(byteCount: Limits.coldReadBufferBytes, alignment: Limits.groupAlignment)
  }

  deinit { buffer.deallocate() }

  /// The bytes at `offset`, `count` of them or as many as the file has. Valid until the next call.
  func bytes(at offset: Int, count: Int) throws(IOFault) -> UnsafeRawBufferPointer {
    let wanted = max(0, min(count, size - offset))
    if offset < start || offset + wanted > start + filled {
      if wanted > buffer.count {
        buffer.deallocate()
        buffer = .allocate(byteCount: GroupHeader.padded(wanted), alignment: Limits.groupAlignment)
      }
      start = offset
      filled = 0
      filled = try file.read(into: buffer, at: offset)
      bytesRead += filled
    }
    let available = max(0, min(wanted, start + filled - offset))
    return UnsafeRawBufferPointer(rebasing: buffer[(offset - start)..<(offset - start + available)])
  }

  /// Whether the 4 KiB block at `offset` holds nothing but zeros.
  func isZeroBlock(at offset: Int) throws(IOFault) -> Bool {
    let block = try bytes(at: offset, count: Limits.groupAlignment)
    return ZeroBlock.matches(block)
  }

  /// The group header at `offset`, if there is a valid one.
  func header(at offset: Int, salt: UInt64) throws(IOFault) -> GroupHeader? {
    let bytes = try bytes(at: offset, count: Limits.groupHeaderBytes)
    return try? GroupHeader.decode(bytes, salt: salt, offset: offset)
  }
}
