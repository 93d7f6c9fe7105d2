import Glibc
import SluiceCore

/// errno as text, and the classes of it that the log treats apart.
package enum ErrorCode {
  package static func text(_ code: Int32) -> String {
    guard let text = strerror(code) else { return "error" }
    return String(cString: text)
  }

  /// The disk, the quota, or how large a file of this process may get (RLIMIT_FSIZE).
  package static func isNoSpace(_ code: Int32) -> Bool { code == ENOSPC || code == EDQUOT || code == EFBIG }

  /// This process, or the machine, has as many files open as it may.
  package static func isNoDescriptor(_ code: Int32) -> Bool { code == EMFILE || code == ENFILE }

  package static let notFound = ENOENT
  package static let stale = ESTALE
  static let notSupported = EOPNOTSUPP
}

/// The real file system.
package struct LinuxStorage: LogStorage {
  package init() {}

  package func open(_ path: String, _ mode: OpenMode) throws(IOFault) -> Int32 {
    let flags =
      switch mode {
      case .read: O_RDONLY
      case .readWrite: O_RDWR
      case .createEmpty: O_RDWR | O_CREAT | O_TRUNC
      case .readWriteCreate: O_RDWR | O_CREAT
      }
    let handle = retrying { Glibc.open(path, flags | O_CLOEXEC, 0o640) }
    guard handle >= 0 else { throw IOFault(.open, path, errno) }
    return handle
  }

  package func close(_ handle: Int32) { _ = Glibc.close(handle) }

  package func read(
    _ handle: Int32, into target: UnsafeMutableRawBufferPointer, at offset: Int
  ) throws(IOFault) -> Int {
    guard let base = target.baseAddress else { return 0 }
    var done = 0
    while done < target.count {
      let count = retrying { pread(handle, base + done, target.count - done, offset + done) }
      guard count >= 0 else { throw IOFault(.read, name(of: handle), errno) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  package func write(
    _ handle: Int32, _ pieces: UnsafeMutableBufferPointer<WritePiece>, at offset: Int, _: StoragePoint
  ) throws(IOFault) {
    precondition(pieces.count <= Limits.maxGroupPieces + 3, "IOV_MAX is 1,024")
    guard var vector = pieces.baseAddress else { return }
    var left = pieces.count
    var at = offset
    while left > 0 {
      if vector.pointee.count == 0 {
        vector += 1
        left -= 1
        continue
      }
      // `WritePiece` is laid out as `iovec` is (asserted by a test), so the pieces need no second array.
      let raw = UnsafeMutableRawPointer(vector).assumingMemoryBound(to: iovec.self)
      let count = Self.piecesOfOneCall(vector, left)
      var written = retrying { pwritev(handle, raw, Int32(count), at) }
      guard written > 0 else { throw IOFault(.write, name(of: handle), written == 0 ? EIO : errno) }
      // While the rest of a large write is copied, the device may begin with this part. A hint: it makes nothing durable.
      if count < left { LinuxCalls.startWriteback(handle, at: at, count: written) }
      at += written
      // A short write goes on where it stopped.
      while left > 0, written >= vector.pointee.count {
        written -= vector.pointee.count
        vector += 1
        left -= 1
      }
      if left > 0, written > 0 {
        vector.pointee.base += written
        vector.pointee.count -= written
      }
    }
  }

  /// A large write goes out in calls of about this many bytes.
  private static func piecesOfOneCall(_ pieces: UnsafeMutablePointer<WritePiece>, _ count: Int) -> Int {
    var bytes = 0
    for place in 0..<count {
      bytes += pieces[place].count
      if bytes >= Limits.writebackBytes { return place + 1 }
    }
    return count
  }

  package func sync(_ handle: Int32, _: StoragePoint) throws(IOFault) {
    // Not retried after EINTR or any other failure: the kernel may have dropped the pages and marked them clean.
    guard fdatasync(handle) == 0 else { throw IOFault(.sync, name(of: handle), errno) }
  }

  package func dropCache(_ handle: Int32) { _ = posix_fadvise(handle, 0, 0, POSIX_FADV_DONTNEED) }

  package func allocate(_ handle: Int32, bytes: Int, _: StoragePoint) throws(IOFault) {
    var code: Int32
    repeat { code = posix_fallocate(handle, 0, bytes) } while code == EINTR
    guard code == 0 else { throw IOFault(.allocate, name(of: handle), code) }
  }

  package func truncate(_ handle: Int32, to bytes: Int, _: StoragePoint) throws(IOFault) {
    guard retrying({ ftruncate(handle, bytes) }) == 0 else { throw IOFault(.truncate, name(of: handle), errno) }
  }

  package func size(_ handle: Int32) throws(IOFault) -> Int {
    var info = stat()
    guard fstat(handle, &info) == 0 else { throw IOFault(.size, name(of: handle), errno) }
    return info.st_size
  }

  package func lock(_ handle: Int32) throws(IOFault) -> Bool {
    guard retrying({ flock(handle, LOCK_EX | LOCK_NB) }) == 0 else {
      if errno == EWOULDBLOCK { return false }
      throw IOFault(.lock, name(of: handle), errno)
    }
    return true
  }

  package func unlock(_ handle: Int32) { _ = flock(handle, LOCK_UN) }

  package func isSame(_ handle: Int32, as path: String) throws(IOFault) -> Bool {
    var mine = stat()
    var named = stat()
    guard fstat(handle, &mine) == 0 else { throw IOFault(.size, path, errno) }
    guard stat(path, &named) == 0 else {
      if errno == ENOENT || errno == ENOTDIR { return false }
      throw IOFault(.size, path, errno)
    }
    return mine.st_dev == named.st_dev && mine.st_ino == named.st_ino
  }

  package func rename(_ from: String, to: String, _: StoragePoint) throws(IOFault) {
    guard Glibc.rename(from, to) == 0 else { throw IOFault(.rename, from, errno) }
  }

  package func link(_ path: String, to: String, _: StoragePoint) throws(IOFault) {
    guard Glibc.link(path, to) == 0 else { throw IOFault(.link, path, errno) }
  }

  package func unlink(_ path: String, _: StoragePoint) throws(IOFault) {
    guard Glibc.unlink(path) == 0 else { throw IOFault(.unlink, path, errno) }
  }

  package func makeDirectory(_ path: String) throws(IOFault) {
    var prefix = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      prefix += part
      if mkdir(prefix, 0o750) != 0, errno != EEXIST { throw IOFault(.makeDirectory, prefix, errno) }
      prefix += "/"
    }
  }

  package func removeDirectory(_ path: String) throws(IOFault) {
    guard rmdir(path) == 0 else { throw IOFault(.unlink, path, errno) }
  }

  package func syncDirectory(_ path: String, _: StoragePoint) throws(IOFault) {
    let handle = retrying { Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard handle >= 0 else { throw IOFault(.open, path, errno) }
    defer { _ = Glibc.close(handle) }
    guard fsync(handle) == 0 else { throw IOFault(.sync, path, errno) }
  }

  package func list(_ directory: String) throws(IOFault) -> [FileEntry] {
    guard let stream = opendir(directory) else {
      if errno == ENOENT { return [] }
      throw IOFault(.list, directory, errno)
    }
    defer { closedir(stream) }
    var entries: [FileEntry] = []
    errno = 0
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      var info = stat()
      if fstatat(dirfd(stream), name, &info, AT_SYMLINK_NOFOLLOW) == 0, info.st_mode & S_IFMT == S_IFREG {
        entries.append(FileEntry(name: name, bytes: info.st_size))
      }
      errno = 0
    }
    guard errno == 0 else { throw IOFault(.list, directory, errno) }
    return entries
  }

  package func freeBytes(_ directory: String) throws(IOFault) -> Int {
    var info = statvfs()
    guard statvfs(directory, &info) == 0 else { throw IOFault(.space, directory, errno) }
    return Int(info.f_bavail) * Int(info.f_frsize)
  }

  @inline(__always)
  private func retrying<T: SignedInteger>(_ call: () -> T) -> T {
    while true {
      let result = call()
      if result >= 0 || errno != EINTR { return result }
    }
  }

  /// The file behind a handle, for error texts only.
  private func name(of handle: Int32) -> String {
    let saved = errno
    defer { errno = saved }
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/fd/\(handle)", &buffer, buffer.count)
    guard count > 0 else { return "descriptor \(handle)" }
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
