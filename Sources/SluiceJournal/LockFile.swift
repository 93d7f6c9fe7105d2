import Glibc
import SluiceCore

/// A lock that is held until this goes away.
struct HeldLock: ~Copyable, Sendable {
  private let file: LogFile

  init(_ file: consuming LogFile) { self.file = file }

  /// Not by closing the file alone: a child that is being started has a copy of the descriptor until its exec, and would
  /// keep the lock for that long.
  deinit { file.unlock() }

  /// See `LogFile.checkIdentity`.
  func checkIdentity() throws(IOFault) { try file.checkIdentity() }
}

/// `LOCK`: one process at a time writes a log.
package enum LockFile {
  static func take(in directory: String, on storage: any LogStorage) throws(JournalError) -> HeldLock {
    let path = directory + "/" + SegmentFile.lockName
    do throws(IOFault) {
      let file = try LogFile(path, .readWriteCreate, on: storage)
      guard try file.lock() else { throw IOFault(.lock, path, EWOULDBLOCK) }
      try file.truncate(to: 0, .lockTruncate)
      // A full disk must not keep a log from being drained: the lock holds without the number.
      do throws(IOFault) { try write("\(getpid())\n", to: file) } catch  where error.isNoSpace {}
      return HeldLock(file)
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

  /// The process that has the lock of a directory of this machine, as the kernel tells it; the lock itself is not touched,
  /// so that no daemon that starts at this moment is refused. Nil when nobody has it.
  package static func writer(of directory: String) -> Int32? {
    let path = directory + "/" + SegmentFile.lockName
    var info = stat()
    guard stat(path, &info) == 0, let list = fopen("/proc/locks", "r") else { return nil }
    defer { fclose(list) }
    let said = holder(path, LinuxStorage()).flatMap { Int32($0) }
    var line = [CChar](repeating: 0, count: 256)
    // "1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF": the process, then device and inode. Some file systems show
    // another device here than `stat` does; then the process must be the one that the file names.
    while fgets(&line, Int32(line.count), list) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      let words = text.split(separator: " ")
      guard words.count >= 6, words[1] == "FLOCK", let pid = Int32(words[4]) else { continue }
      let place = words[5].split(separator: ":")
      guard place.count == 3, UInt(place[2]) == UInt(info.st_ino) else { continue }
      let device = (UInt64(place[0], radix: 16) ?? 0, UInt64(place[1], radix: 16) ?? 0)
      let isSame = device == (deviceMajor(info.st_dev), deviceMinor(info.st_dev))
      if isSame || pid == said { return pid }
    }
    return nil
  }

  /// As the kernel's `MAJOR` and `MINOR` take a `dev_t` of user space apart.
  private static func deviceMajor(_ device: dev_t) -> UInt64 {
    UInt64(device) >> 8 & 0xFFF | UInt64(device) >> 32 & ~0xFFF
  }

  private static func deviceMinor(_ device: dev_t) -> UInt64 {
    UInt64(device) & 0xFF | UInt64(device) >> 12 & ~0xFF
  }
}
