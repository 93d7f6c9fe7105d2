import Glibc
import SluicePluginKit

/// The file that grows, and the directory that it owns. One batch is: `begin`, `append`…, `sync` or `rollBack`, and
/// after a sync `cover`. Confined to the instance's thread.
package final class ActiveFile {
  package let path: String
  /// Bytes of a torn last line that opening it cut off.
  package private(set) var tornBytes = 0
  /// Bytes in the file.
  package private(set) var length = 0
  /// Bytes that the batch at hand has added.
  package var appended: Int { length - batchStart }

  private let directory: String
  private let prefix: String
  private let ending: String
  private let calls: any FileCalls
  private var lock: DirectoryLock
  private var fd: Int32 = -1
  private var batchStart = 0
  /// The file has bytes after this that a failed batch left and that could not be cut off.
  private var cutPending: Int?
  /// LSNs in the file; nil when it is empty, or when nobody noted the first.
  private var lsns: ClosedRange<UInt64>?

  package init(
    directory: String, prefix: String, ending: String, calls: any FileCalls = SystemCalls()
  ) throws(SubscriberError) {
    self.directory = directory
    self.prefix = prefix
    self.ending = ending
    self.calls = calls
    path = "\(directory)/current.\(ending)"
    try makeDirectories(directory)
    lock = try DirectoryLock(directory)
    do {
      try open()
      length = try size()
      tornBytes = try cutTornLine()
      if length > 0, let first = lock.notedLSN { lsns = first...first }
    } catch {
      close()
      throw error
    }
  }

  deinit { close() }

  package func close() {
    if fd >= 0 { _ = Glibc.close(fd) }
    fd = -1
    lock.close()
  }

  // MARK: A batch

  /// Prepares for a batch whose lowest LSN is `lowest`.
  /// - Returns: the file's path, if someone had moved or removed it and this is a new one.
  package func begin(lowest: UInt64) throws(SubscriberError) -> String? {
    var removed = false
    if fd < 0 {
      try open()
    } else if try !isInPlace() {
      _ = Glibc.close(fd)
      fd = -1
      cutPending = nil
      try open()
      removed = true
    }
    if let cut = cutPending {
      guard calls.ftruncate(fd, cut) == 0 else { throw diskError("cut back", path, errno) }
      cutPending = nil
    }
    // Asked for, not remembered: whoever truncates the file must not make us fill it up with zeros on a failure.
    length = try size()
    batchStart = length
    if length == 0 {
      lsns = nil
      try lock.note(lowest)
    }
    return removed ? path : nil
  }

  /// Writes all pieces at the file's end. Changes the pieces.
  package func append(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) throws(SubscriberError) {
    var first = pieces
    var left = count
    while left > 0 {
      let written = calls.writev(fd, first, Int32(left))
      if written < 0 {
        if errno == EINTR { continue }
        throw diskError("write to", path, errno)
      }
      guard written > 0 else { throw diskError("write to", path, ENOSPC) }
      length += written
      var rest = written
      while left > 0, rest >= first.pointee.iov_len {
        rest -= first.pointee.iov_len
        first += 1
        left -= 1
      }
      if left > 0 {
        first.pointee.iov_base += rest
        first.pointee.iov_len -= rest
      }
    }
  }

  package func sync() throws(SubscriberError) {
    while calls.fdatasync(fd) != 0 {
      if errno == EINTR { continue }
      throw diskError("sync", path, errno)
    }
  }

  /// Takes the batch at hand back. What can't be cut off now is cut off before the next batch.
  package func rollBack() {
    if calls.ftruncate(fd, batchStart) != 0 { cutPending = batchStart }
    length = batchStart
  }

  /// The file now has these LSNs, too.
  package func cover(_ new: ClosedRange<UInt64>) {
    guard let old = lsns else { return lsns = new }
    lsns = min(old.lowerBound, new.lowerBound)...max(old.upperBound, new.upperBound)
  }

  // MARK: Sealing

  /// Gives the file, whose records are all synced, its final name, and opens the next one.
  /// - Returns: the final name.
  package func seal() throws(SubscriberError) -> String {
    guard let lsns else { throw SubscriberError(.retryable, "\(path) has no records to be named after") }
    let name = try unusedName("\(directory)/\(prefix)-\(padded(lsns.lowerBound))-\(padded(lsns.upperBound))")
    guard calls.rename(path, name) == 0 else { throw diskError("rename \(path) to", name, errno) }
    _ = Glibc.close(fd)
    fd = -1
    self.lsns = nil
    // If this fails, the next batch opens it, or says why it can't.
    try open()
    return name
  }

  /// No one else writes names in a directory that is locked, so what is free now stays free.
  private func unusedName(_ stem: String) throws(SubscriberError) -> String {
    var name = "\(stem).\(ending)"
    var number = 2
    while access(name, F_OK) == 0 {
      name = "\(stem)-\(number).\(ending)"
      number += 1
    }
    guard errno == ENOENT else { throw diskError("look for", name, errno) }
    return name
  }

  private func padded(_ lsn: UInt64) -> String {
    let digits = String(lsn)
    return String(repeating: "0", count: 20 - digits.count) + digits
  }

  // MARK: Opening

  /// Whether the file that is open is the one that has the name: what goes to another may never be looked at again.
  private func isInPlace() throws(SubscriberError) -> Bool {
    let ours = try status()
    var named = stat()
    return lstat(path, &named) == 0 && named.st_ino == ours.st_ino && named.st_dev == ours.st_dev
  }

  private func open() throws(SubscriberError) {
    // The directory may have been removed, and the lock with it.
    if !lock.isInPlace {
      try makeDirectories(directory)
      lock = try DirectoryLock(directory)
    }
    let new = Glibc.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard new >= 0 else { throw diskError("open", path, errno) }
    fd = new
    try syncDirectory(directory)
  }

  private func status() throws(SubscriberError) -> stat {
    var status = stat()
    guard fstat(fd, &status) == 0 else { throw diskError("look at", path, errno) }
    return status
  }

  private func size() throws(SubscriberError) -> Int { Int(try status().st_size) }

  /// Cuts off what follows the last newline: a line that a crash left unfinished, or zeros that a file system left.
  private func cutTornLine() throws(SubscriberError) -> Int {
    let end = try endOfLastLine()
    let torn = length - end
    guard torn > 0 else { return 0 }
    guard calls.ftruncate(fd, end) == 0 else { throw diskError("cut back", path, errno) }
    length = end
    try sync()
    return torn
  }

  private func endOfLastLine() throws(SubscriberError) -> Int {
    var end = length
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while end > 0 {
      let start = max(0, end - chunk.count)
      let count = pread(fd, &chunk, end - start, start)
      guard count == end - start else { throw diskError("read", path, count < 0 ? errno : EIO) }
      if let index = chunk[0..<count].lastIndex(of: UInt8(ascii: "\n")) { return start + index + 1 }
      end = start
    }
    return 0
  }
}
