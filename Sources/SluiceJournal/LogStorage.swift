import Glibc
import SluiceCore

/// A system call that the world refused.
package struct IOFault: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Operation: String, Sendable {
    case open, read, write, sync, rename, unlink, allocate, truncate, list, size, lock, space, link, makeDirectory =
      "mkdir"
    /// The file under this name is another one than was opened, or there is none.
    case identity
  }
  package var operation: Operation
  package var path: String
  package var code: Int32

  package init(_ operation: Operation, _ path: String, _ code: Int32) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  package var description: String {
    if operation == .identity {
      return "\(path) was removed or replaced while the log was open: what would be written from here on could not be "
        + "found again. Put the directory back as it was, or start anew with what is there"
    }
    return "\(operation.rawValue) \(path): \(ErrorCode.text(code)) (errno \(code))"
  }

  /// Whether more room on the disk would have made it succeed.
  package var isNoSpace: Bool { ErrorCode.isNoSpace(code) }

  /// Whether it will succeed once there is room, on the disk or among the descriptors. A sync that fails is final,
  /// whatever the reason it gives.
  package var passes: Bool { operation != .sync && (isNoSpace || ErrorCode.isNoDescriptor(code)) }
}

/// How a file is opened.
package enum OpenMode: Sendable {
  case read
  case readWrite
  /// Made, or emptied when it is there.
  case createEmpty
  /// Made when it is not there.
  case readWriteCreate
}

/// A directory entry.
package struct FileEntry: Equatable, Sendable {
  package var name: String
  package var bytes: Int
  package init(name: String, bytes: Int) {
    self.name = name
    self.bytes = bytes
  }
}

/// One stretch of memory to write. Its two words are laid out as the kernel's `iovec` is.
package struct WritePiece {
  package var base: UnsafeRawPointer
  package var count: Int
  package init(_ base: UnsafeRawPointer, _ count: Int) {
    self.base = base
    self.count = count
  }
}

/// Everything that the log asks of a file system, so that another one can be put underneath. Handles are what `open`
/// returned. Every call may block. Calls on different handles may come from different threads. What changes the disk
/// says at which point of the log's life it does.
package protocol LogStorage: Sendable {
  func open(_ path: String, _ mode: OpenMode) throws(IOFault) -> Int32
  func close(_ handle: Int32)
  /// Reads up to `target.count` bytes; fewer only at the end of the file.
  func read(_ handle: Int32, into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFault) -> Int
  /// Writes all pieces one after the other from `offset` on, in as few calls as the kernel makes it. The pieces are
  /// scratch: they may be changed.
  func write(
    _ handle: Int32, _ pieces: UnsafeMutableBufferPointer<WritePiece>, at offset: Int, _ point: StoragePoint
  ) throws(IOFault)
  /// Data and what is needed to read it back are on the device when this returns.
  func sync(_ handle: Int32, _ point: StoragePoint) throws(IOFault)
  /// Asks that reads come from the device, not from memory.
  func dropCache(_ handle: Int32)
  func allocate(_ handle: Int32, bytes: Int, _ point: StoragePoint) throws(IOFault)
  func truncate(_ handle: Int32, to bytes: Int, _ point: StoragePoint) throws(IOFault)
  func size(_ handle: Int32) throws(IOFault) -> Int
  /// Takes the exclusive lock of an open file, without waiting; false when another process has it.
  func lock(_ handle: Int32) throws(IOFault) -> Bool
  /// Lets it go, before the handle is closed.
  func unlock(_ handle: Int32)
  /// Whether `path` still names the file that is open.
  func isSame(_ handle: Int32, as path: String) throws(IOFault) -> Bool
  func rename(_ from: String, to: String, _ point: StoragePoint) throws(IOFault)
  /// Another name for the same file, where the file system has that.
  func link(_ path: String, to: String, _ point: StoragePoint) throws(IOFault)
  func unlink(_ path: String, _ point: StoragePoint) throws(IOFault)
  func makeDirectory(_ path: String) throws(IOFault)
  /// One that is empty.
  func removeDirectory(_ path: String) throws(IOFault)
  func syncDirectory(_ path: String, _ point: StoragePoint) throws(IOFault)
  /// The regular files of a directory. Empty when it does not exist.
  func list(_ directory: String) throws(IOFault) -> [FileEntry]
  func freeBytes(_ directory: String) throws(IOFault) -> Int
}

extension LogStorage {
  /// Nobody takes files away behind a storage's back, unless it says so.
  package func isSame(_ handle: Int32, as path: String) throws(IOFault) -> Bool { true }

  /// Where a handle has no copies, the lock ends with it.
  package func unlock(_ handle: Int32) {}

  /// A storage that makes none has none.
  package func removeDirectory(_ path: String) throws(IOFault) {}

  package func link(_ path: String, to: String, _: StoragePoint) throws(IOFault) {
    throw IOFault(.link, path, ErrorCode.notSupported)
  }
}

/// An open file that closes itself. Move-only: no handle is closed twice or used after.
package struct LogFile: ~Copyable, Sendable {
  package let path: String
  private let handle: Int32
  private let storage: any LogStorage

  package init(_ path: String, _ mode: OpenMode, on storage: any LogStorage) throws(IOFault) {
    handle = try storage.open(path, mode)
    self.path = path
    self.storage = storage
  }

  deinit { storage.close(handle) }

  package func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFault) -> Int {
    try storage.read(handle, into: target, at: offset)
  }

  package func write(
    _ pieces: UnsafeMutableBufferPointer<WritePiece>, at offset: Int, _ point: StoragePoint
  ) throws(IOFault) {
    try storage.write(handle, pieces, at: offset, point)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int, _ point: StoragePoint) throws(IOFault) {
    guard let base = bytes.baseAddress else { return }
    var piece = WritePiece(base, bytes.count)
    var fault: IOFault?
    withUnsafeMutablePointer(to: &piece) { pointer in
      do throws(IOFault) {
        try storage.write(handle, UnsafeMutableBufferPointer(start: pointer, count: 1), at: offset, point)
      } catch { fault = error }
    }
    if let fault { throw fault }
  }

  /// Zeros from `offset` on.
  package func writeZeros(at offset: Int, count: Int) throws(IOFault) {
    var at = offset
    while at < offset + count {
      let part = min(offset + count - at, Zeros.bytes.count)
      try write(UnsafeRawBufferPointer(rebasing: Zeros.bytes[..<part]), at: at, .nextFill)
      at += part
    }
  }

  package func sync(_ point: StoragePoint) throws(IOFault) { try storage.sync(handle, point) }
  package func dropCache() { storage.dropCache(handle) }
  package func allocate(bytes: Int, _ point: StoragePoint) throws(IOFault) {
    try storage.allocate(handle, bytes: bytes, point)
  }
  package func truncate(to bytes: Int, _ point: StoragePoint) throws(IOFault) {
    try storage.truncate(handle, to: bytes, point)
  }
  package func size() throws(IOFault) -> Int { try storage.size(handle) }
  package func lock() throws(IOFault) -> Bool { try storage.lock(handle) }
  package func unlock() { storage.unlock(handle) }
  /// Throws if another file, or none, has its name now.
  package func checkIdentity() throws(IOFault) {
    if try !storage.isSame(handle, as: path) { throw IOFault(.identity, path, ErrorCode.stale) }
  }
}

/// Zeros to be written, in memory that never takes any: what is not written to reads as the kernel's one page of zeros.
private enum Zeros {
  /// Mapped once, read-only, and never unmapped: nobody can change it.
  nonisolated(unsafe) static let bytes: UnsafeRawBufferPointer = {
    let memory = mmap(nil, Limits.zeroFillBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let memory, memory != MAP_FAILED else { preconditionFailure("no address space for zeros") }
    return UnsafeRawBufferPointer(start: memory, count: Limits.zeroFillBytes)
  }()
}
