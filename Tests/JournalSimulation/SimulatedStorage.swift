import Glibc
import SluiceCore
import SluiceJournal
import Synchronization

/// A sync that does nothing, or fails.
package enum SyncFault: Sendable, Equatable {
  case lies(StoragePoint)
  case fails(StoragePoint)
}

/// A file system on a simulated disk, which keeps copies of the disk as it was before some of the operations.
final class SimulatedStorage: LogStorage {
  static let directory = "log"

  private struct State {
    var disk: SimulatedDisk
    var handles: [Int32: Int] = [:]
    var nextHandle: Int32 = 1
    var fault: SyncFault?
    var operations = 0
    var onOperation: (@Sendable (_ number: Int, _ point: StoragePoint) -> Bool)?
    var copies: [(number: Int, point: StoragePoint, disk: SimulatedDisk)] = []
    var trace: [String] = []
    var cursorWrites = 0
  }
  private let state: Mutex<State>

  init(_ disk: SimulatedDisk, fault: SyncFault? = nil) { state = Mutex(State(disk: disk, fault: fault)) }

  var disk: SimulatedDisk { state.withLock { $0.disk } }
  var operations: Int { state.withLock { $0.operations } }
  var trace: [String] { state.withLock { $0.trace } }
  /// Syncs of cursor slots that returned.
  var cursorWrites: Int { state.withLock { $0.cursorWrites } }

  /// Before each change of the disk: whether a copy of it is to be kept.
  func keepCopies(_ body: (@Sendable (_ number: Int, _ point: StoragePoint) -> Bool)?) {
    state.withLock { $0.onOperation = body }
  }

  func set(_ fault: SyncFault?) { state.withLock { $0.fault = fault } }

  func takeCopies() -> [(number: Int, point: StoragePoint, disk: SimulatedDisk)] {
    state.withLock { state in
      defer { state.copies = [] }
      return state.copies
    }
  }

  private func change<T>(
    _ point: StoragePoint, _ detail: @autoclosure () -> String, _ body: (inout State) throws(IOFault) -> sending T
  ) throws(IOFault) -> T {
    try state.withLock { state throws(IOFault) in
      state.operations += 1
      if let onOperation = state.onOperation, onOperation(state.operations, point) {
        state.copies.append((state.operations, point, state.disk))
      }
      state.trace.append("\(state.operations) \(point.rawValue) \(detail())")
      return try body(&state)
    }
  }

  func content(_ path: String) -> [UInt8]? {
    state.withLock { state in
      guard let number = state.disk.names[path], let file = state.disk.files[number] else { return nil }
      var bytes = [UInt8](repeating: 0, count: file.size)
      _ = bytes.withUnsafeMutableBytes { file.read(into: $0, at: 0) }
      return bytes
    }
  }

  // MARK: LogStorage

  func open(_ path: String, _ mode: OpenMode) throws(IOFault) -> Int32 {
    try state.withLock { state throws(IOFault) in
      var file = state.disk.names[path]
      if file == nil {
        guard mode == .createEmpty || mode == .readWriteCreate else { throw IOFault(.open, path, ENOENT) }
        file = state.disk.create(path)
      } else if mode == .createEmpty, let file {
        state.disk.files[file]?.resize(to: 0)
      }
      state.nextHandle += 1
      state.handles[state.nextHandle] = file
      return state.nextHandle
    }
  }

  func close(_ handle: Int32) { state.withLock { _ = $0.handles.removeValue(forKey: handle) } }

  func read(_ handle: Int32, into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFault) -> Int {
    nonisolated(unsafe) let target = target
    return state.withLock { state in
      guard let file = state.handles[handle] else { return 0 }
      return state.disk.files[file]?.read(into: target, at: offset) ?? 0
    }
  }

  func write(
    _ handle: Int32, _ pieces: UnsafeMutableBufferPointer<WritePiece>, at offset: Int, _ point: StoragePoint
  ) throws(IOFault) {
    nonisolated(unsafe) let pieces = pieces
    try change(point, "\(pieces.reduce(0) { $0 + $1.count }) at \(offset)") { state in
      guard let file = state.handles[handle] else { return }
      var at = offset
      for piece in pieces where piece.count > 0 {
        state.disk.files[file]?.write(UnsafeRawBufferPointer(start: piece.base, count: piece.count), at: at)
        at += piece.count
      }
    }
  }

  func sync(_ handle: Int32, _ point: StoragePoint) throws(IOFault) {
    try change(point, "") { state throws(IOFault) in
      guard let file = state.handles[handle] else { return }
      if state.fault == .fails(point) {
        state.disk.files[file]?.failSync()
        throw IOFault(.sync, "\(handle)", EIO)
      }
      if state.fault != .lies(point) { state.disk.files[file]?.sync() }
      if point == .cursorSync || point == .trimSync { state.cursorWrites += 1 }
    }
  }

  func dropCache(_ handle: Int32) {}

  func allocate(_ handle: Int32, bytes: Int, _ point: StoragePoint) throws(IOFault) {
    try change(point, "\(bytes)") { state in
      guard let file = state.handles[handle], let size = state.disk.files[file]?.size, size < bytes else { return }
      state.disk.files[file]?.resize(to: bytes)
    }
  }

  func truncate(_ handle: Int32, to bytes: Int, _ point: StoragePoint) throws(IOFault) {
    try change(point, "\(bytes)") { state in
      guard let file = state.handles[handle] else { return }
      state.disk.files[file]?.resize(to: bytes)
    }
  }

  func size(_ handle: Int32) throws(IOFault) -> Int {
    state.withLock { state in state.handles[handle].flatMap { state.disk.files[$0]?.size } ?? 0 }
  }

  func lock(_ handle: Int32) throws(IOFault) -> Bool { true }

  func rename(_ from: String, to: String, _ point: StoragePoint) throws(IOFault) {
    try change(point, "\(from) \(to)") { state throws(IOFault) in
      if !state.disk.rename(from, to: to) { throw IOFault(.rename, from, ENOENT) }
    }
  }

  func unlink(_ path: String, _ point: StoragePoint) throws(IOFault) {
    try change(point, path) { state throws(IOFault) in
      if !state.disk.unlink(path) { throw IOFault(.unlink, path, ENOENT) }
    }
  }

  func makeDirectory(_ path: String) throws(IOFault) { state.withLock { $0.disk.makeDirectory(path) } }

  func syncDirectory(_ path: String, _ point: StoragePoint) throws(IOFault) {
    try change(point, path) { state throws(IOFault) in
      if state.fault == .fails(point) { throw IOFault(.sync, path, EIO) }
      if state.fault != .lies(point) { state.disk.syncDirectory(path) }
    }
  }

  func list(_ directory: String) throws(IOFault) -> [FileEntry] {
    state.withLock { state in
      state.disk.names.compactMap { path, file in
        guard file != 0, SimulatedDisk.directory(of: path) == directory else { return nil }
        return FileEntry(
          name: String(path.dropFirst(directory.utf8.count + 1)), bytes: state.disk.files[file]?.size ?? 0)
      }.sorted { $0.name < $1.name }
    }
  }

  func freeBytes(_ directory: String) throws(IOFault) -> Int { .max }
}
