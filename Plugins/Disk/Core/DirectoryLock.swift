import Glibc
import SluicePluginKit

// <directory>/.sluice-disk: whoever has an exclusive flock on it owns the directory. Its text is the lowest LSN of the
// active file, in decimal, and a newline; written when an empty file gets its first batch, before the batch. Text that
// is anything else is ignored: the file's final name then begins with the first LSN after the restart.

/// The right to write to a directory.
final class DirectoryLock {
  private let path: String
  private var fd: Int32

  init(_ directory: String) throws(SubscriberError) {
    path = "\(directory)/.sluice-disk"
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard fd >= 0 else { throw diskError("open", path, errno) }
    guard flock(fd, LOCK_EX | LOCK_NB) == 0 else {
      let code = errno
      close()
      guard code == EWOULDBLOCK else { throw diskError("lock", path, code) }
      throw SubscriberError(
        .retryable,
        "another disk subscriber writes to \(directory): give each its own config.path, or stop the other one")
    }
  }

  deinit { close() }

  /// Whether the name still leads to the file that is locked: otherwise anyone else gets the lock, too.
  var isInPlace: Bool {
    var (ours, named) = (stat(), stat())
    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_ino == named.st_ino
      && ours.st_dev == named.st_dev
  }

  /// The LSN that was noted last, if any.
  var notedLSN: UInt64? {
    var buffer = [UInt8](repeating: 0, count: 32)
    let count = pread(fd, &buffer, buffer.count, 0)
    guard count > 1, buffer[count - 1] == UInt8(ascii: "\n") else { return nil }
    return UInt64(String(decoding: buffer[0..<(count - 1)], as: UTF8.self))
  }

  func note(_ lsn: UInt64) throws(SubscriberError) {
    let text = Array("\(lsn)\n".utf8)
    guard ftruncate(fd, 0) == 0 else { throw diskError("cut back", path, errno) }
    let written = pwrite(fd, text, text.count, 0)
    guard written == text.count else { throw diskError("write to", path, written < 0 ? errno : ENOSPC) }
    guard fdatasync(fd) == 0 else { throw diskError("sync", path, errno) }
  }

  func close() {
    if fd >= 0 {
      // A child that is being started has a copy of the descriptor until its exec, and would keep the lock for that long.
      _ = flock(fd, LOCK_UN)
      _ = Glibc.close(fd)
    }
    fd = -1
  }
}

/// Makes the directory and those above it that are missing.
func makeDirectories(_ path: String) throws(SubscriberError) {
  var status = stat()
  if stat(path, &status) == 0 {
    guard status.st_mode & S_IFMT == S_IFDIR else { throw diskError("use", path, ENOTDIR) }
    return
  }
  if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
    try makeDirectories(String(path[..<slash]))
  }
  guard mkdir(path, 0o777) == 0 || errno == EEXIST else { throw diskError("make the directory", path, errno) }
}

/// Makes the names in the directory durable.
func syncDirectory(_ path: String) throws(SubscriberError) {
  let fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard fd >= 0 else { throw diskError("open", path, errno) }
  defer { close(fd) }
  guard fsync(fd) == 0 else { throw diskError("sync", path, errno) }
}
