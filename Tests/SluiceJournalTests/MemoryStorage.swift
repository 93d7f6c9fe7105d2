import Glibc
import SluiceCore
import Synchronization

@testable import SluiceJournal

/// A file system in memory that can be told to fail, and whose syncs can be waited for.
final class MemoryStorage: LogStorage {
  private struct State {
    var files: [String: [UInt8]] = [:]
    var handles: [Int32: String] = [:]
    var locked: Set<String> = []
    var nextHandle: Int32 = 1
    var failures: [IOFault.Operation: (after: Int, code: Int32, path: String?)] = [:]
    var syncs = 0
    var freeBytes = Int.max
    /// Files are laid out no further than this, all together.
    var capacity = Int.max
    var holdsSegmentSyncs = false
  }
  private let state = Mutex(State())
  private let bell = Doorbell()
  /// The commit thread waits here while syncs of segments are held.
  private let gate = Doorbell()

  // MARK: For tests

  func put(_ path: String, _ bytes: [UInt8]) { state.withLock { $0.files[path] = bytes } }
  func remove(_ path: String) { state.withLock { $0.files[path] = nil } }
  var contents: [String: [UInt8]] { state.withLock { $0.files } }
  func get(_ path: String) -> [UInt8]? { state.withLock { $0.files[path] } }
  var paths: [String] { state.withLock { $0.files.keys.sorted() } }
  var syncs: Int { state.withLock { $0.syncs } }

  /// From the `after`-th call on, the operation fails with `code`; nil ends that. `part`: only on paths with it.
  func fail(_ operation: IOFault.Operation, code: Int32?, after: Int = 0, onPathsWith part: String? = nil) {
    state.withLock { $0.failures[operation] = code.map { (after, $0, part) } }
  }

  /// Bytes of all files.
  var usedBytes: Int { state.withLock { $0.files.values.reduce(0) { $0 + $1.count } } }

  /// As if no space had been laid out ahead.
  func removeTemporary() { state.withLock { state in state.files = state.files.filter { !$0.key.hasSuffix(".tmp") } } }

  func setFreeBytes(_ bytes: Int) { state.withLock { $0.freeBytes = bytes } }
  func setCapacity(_ bytes: Int) { state.withLock { $0.capacity = bytes } }

  /// Makes syncs of segments wait until this is called with false.
  func holdSegmentSyncs(_ hold: Bool) {
    state.withLock { $0.holdsSegmentSyncs = hold }
    if !hold { gate.ring() }
  }

  /// Waits until `isTrue`, looking again after each sync.
  func wait(until isTrue: () -> Bool) { while !isTrue() { bell.wait(until: Clock.monotonic() + 1_000_000_000) } }

  /// What is there now, as another file system with nothing open.
  func copy() -> MemoryStorage {
    let copy = MemoryStorage()
    for (path, bytes) in state.withLock({ $0.files }) { copy.put(path, bytes) }
    return copy
  }

  // MARK: LogStorage

  private func check(_ state: inout State, _ operation: IOFault.Operation, _ path: String) throws(IOFault) {
    guard let failure = state.failures[operation] else { return }
    if let part = failure.path {
      var whole = [UInt8](path.utf8)[...]
      while !whole.isEmpty, !whole.starts(with: part.utf8) { whole.removeFirst() }
      if whole.isEmpty { return }
    }
    if failure.after > 0 {
      state.failures[operation]?.after -= 1
      return
    }
    throw IOFault(operation, path, failure.code)
  }

  private func with<T>(
    _ operation: IOFault.Operation, _ path: String, _ body: (inout State) throws(IOFault) -> sending T
  ) throws(IOFault) -> T {
    try state.withLock { state throws(IOFault) in
      try check(&state, operation, path)
      return try body(&state)
    }
  }

  func open(_ path: String, _ mode: OpenMode) throws(IOFault) -> Int32 {
    try with(.open, path) { state throws(IOFault) in
      if state.files[path] == nil, mode == .read || mode == .readWrite { throw IOFault(.open, path, ENOENT) }
      if mode == .createEmpty || state.files[path] == nil { state.files[path] = [] }
      state.nextHandle += 1
      state.handles[state.nextHandle] = path
      return state.nextHandle
    }
  }

  func close(_ handle: Int32) {
    state.withLock { state in
      if let path = state.handles.removeValue(forKey: handle), path.hasSuffix("LOCK") { state.locked.remove(path) }
    }
  }

  func read(_ handle: Int32, into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFault) -> Int {
    nonisolated(unsafe) let target = target
    return try with(.read, "") { state throws(IOFault) in
      let bytes = state.files[state.handles[handle] ?? ""] ?? []
      guard offset < bytes.count else { return 0 }
      let count = min(target.count, bytes.count - offset)
      bytes.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<(offset + count)])) }
      return count
    }
  }

  func write(
    _ handle: Int32, _ pieces: UnsafeMutableBufferPointer<WritePiece>, at offset: Int, _: StoragePoint
  ) throws(IOFault) {
    nonisolated(unsafe) let pieces = pieces
    let path = state.withLock { $0.handles[handle] ?? "" }
    try with(.write, path) { state throws(IOFault) in
      var at = offset
      let end = offset + pieces.reduce(0) { $0 + $1.count }
      let size = state.files[path]?.count ?? 0
      if size < end { state.files[path, default: []] += [UInt8](repeating: 0, count: end - size) }
      state.files[path]?.withUnsafeMutableBytes { bytes in
        for piece in pieces {
          bytes[at..<(at + piece.count)].copyBytes(from: UnsafeRawBufferPointer(start: piece.base, count: piece.count))
          at += piece.count
        }
      }
    }
  }

  func sync(_ handle: Int32, _: StoragePoint) throws(IOFault) {
    while state.withLock({ $0.holdsSegmentSyncs && $0.handles[handle]?.hasSuffix(".slog") == true }) {
      gate.wait(until: .max)
    }
    defer { bell.ring() }
    try with(.sync, "") { state throws(IOFault) in state.syncs += 1 }
  }

  func dropCache(_ handle: Int32) {}

  func allocate(_ handle: Int32, bytes: Int, _: StoragePoint) throws(IOFault) {
    try state.withLock { state throws(IOFault) in
      let path = state.handles[handle] ?? ""
      let size = state.files[path]?.count ?? 0
      // When there is not enough, what there is has been taken by then, as on ext4.
      let got = min(bytes, size + max(0, state.capacity - state.files.values.reduce(0) { $0 + $1.count }))
      if size < got { state.files[path, default: []] += [UInt8](repeating: 0, count: got - size) }
      try check(&state, .allocate, path)
      if got < bytes { throw IOFault(.allocate, path, ENOSPC) }
    }
  }

  func truncate(_ handle: Int32, to bytes: Int, _: StoragePoint) throws(IOFault) {
    try with(.truncate, "") { state throws(IOFault) in
      let path = state.handles[handle] ?? ""
      let old = state.files[path] ?? []
      state.files[path] = Array(old.prefix(bytes)) + [UInt8](repeating: 0, count: max(0, bytes - old.count))
    }
  }

  func size(_ handle: Int32) throws(IOFault) -> Int {
    try with(.size, "") { state throws(IOFault) in state.files[state.handles[handle] ?? ""]?.count ?? 0 }
  }

  func lock(_ handle: Int32) throws(IOFault) -> Bool {
    try with(.lock, "") { state throws(IOFault) in state.locked.insert(state.handles[handle] ?? "").inserted }
  }

  func rename(_ from: String, to: String, _: StoragePoint) throws(IOFault) {
    try with(.rename, from) { state throws(IOFault) in
      guard let bytes = state.files.removeValue(forKey: from) else { throw IOFault(.rename, from, ENOENT) }
      state.files[to] = bytes
      for (handle, path) in state.handles where path == from { state.handles[handle] = to }
    }
  }

  func unlink(_ path: String, _: StoragePoint) throws(IOFault) {
    try with(.unlink, path) { state throws(IOFault) in _ = state.files.removeValue(forKey: path) }
  }

  func makeDirectory(_ path: String) throws(IOFault) {}
  func syncDirectory(_ path: String, _: StoragePoint) throws(IOFault) {}

  func list(_ directory: String) throws(IOFault) -> [FileEntry] {
    try with(.list, directory) { state throws(IOFault) in
      state.files.compactMap { path, bytes in
        guard path.hasPrefix(directory + "/"), !path.dropFirst(directory.utf8.count + 1).contains("/") else {
          return nil
        }
        return FileEntry(name: String(path.dropFirst(directory.utf8.count + 1)), bytes: bytes.count)
      }
    }
  }

  func freeBytes(_ directory: String) throws(IOFault) -> Int { state.withLock { $0.freeBytes } }
}

enum WritePieceLayout {
  static var matches: Bool {
    MemoryLayout<WritePiece>.size == MemoryLayout<iovec>.size
      && MemoryLayout<WritePiece>.stride == MemoryLayout<iovec>.stride
      && MemoryLayout<WritePiece>.offset(of: \.base) == MemoryLayout<iovec>.offset(of: \.iov_base)
      && MemoryLayout<WritePiece>.offset(of: \.count) == MemoryLayout<iovec>.offset(of: \.iov_len)
  }
}
