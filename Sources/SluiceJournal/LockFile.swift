import Glibc
import SluiceCore

/// `LOCK`: one process at a time writes a log.
enum LockFile {
  /// The locked file, which holds the lock until it goes away.
  static func take(in directory: String, on storage: any LogStorage) throws(JournalError) -> LogFile {
    let path = directory + "/" + SegmentFile.lockName
    do throws(IOFault) {
      let file = try LogFile(path, .readWriteCreate, on: storage)
      guard try file.lock() else { throw IOFault(.lock, path, EWOULDBLOCK) }
      try file.truncate(to: 0, .lockTruncate)
      // A full disk must not keep a log from being drained: the lock holds without the number.
      do throws(IOFault) { try write("\(getpid())\n", to: file) } catch  where error.isNoSpace {}
      return file
    } catch  where error.operation == .lock && error.code == EWOULDBLOCK {
      throw JournalError(
        .locked,
        "\(directory) is in use by process \(holder(path, storage) ?? "(unknown)"): stop it, or give this one "
          + "another data directory")
    } catch {
      throw JournalError(error)
    }
  }

  private static func write(_ text: String, to file: borrowing LogFile) throws(IOFault) {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: text.utf8.count, alignment: 1)
    defer { bytes.deallocate() }
    bytes.copyBytes(from: text.utf8)
    try file.write(UnsafeRawBufferPointer(bytes), at: 0, .lockWrite)
  }

  private static func holder(_ path: String, _ storage: any LogStorage) -> String? {
    guard let file = try? LogFile(path, .read, on: storage) else { return nil }
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 20, alignment: 1)
    defer { bytes.deallocate() }
    guard let count = try? file.read(into: bytes, at: 0) else { return nil }
    let digits = bytes[..<count].prefix { $0 >= 0x30 && $0 <= 0x39 }
    return digits.isEmpty ? nil : String(decoding: digits, as: UTF8.self)
  }
}
