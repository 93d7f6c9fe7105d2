import SluiceCore
import Synchronization

/// One subscriber's position, shared by its reader, the keeper and whoever looks.
final class Cursor: Sendable {
  let name: String
  /// The lowest LSN that is not settled. Only rises.
  let lsn: Atomic<UInt64>
  /// When its reader was last connected.
  let updatedTime: Atomic<Int64>
  let connected: Atomic<Bool>
  /// Records below this are no longer held for it, settled or not: its `max_lag … then: gap`. Only rises.
  let dropped = Atomic<UInt64>(0)
  /// How far behind its reader may be, while it is connected.
  private let bound = Mutex<LagBound?>(nil)

  init(_ entry: CursorEntry, connected: Bool) {
    name = entry.name
    lsn = Atomic(entry.lsn)
    updatedTime = Atomic(entry.updatedTime)
    self.connected = Atomic(connected)
  }

  /// The lowest LSN that is held for it.
  var needed: UInt64 { max(lsn.load(ordering: .sequentiallyConsistent), dropped.load(ordering: .acquiring)) }

  var lagBound: LagBound? { bound.withLock { $0 } }
  func setLagBound(_ value: LagBound?) { bound.withLock { $0 = value } }
}

/// Every subscriber that the log knows.
final class CursorTable: Sendable {
  private let state: Mutex<[Cursor]>
  /// Set by whoever moves a cursor, cleared by the keeper before it writes them.
  let dirty = Atomic<Bool>(false)

  init(_ entries: [CursorEntry]) {
    state = Mutex(entries.map { Cursor($0, connected: false) })
  }

  var all: [Cursor] { state.withLock { $0 } }

  func find(_ name: String) -> Cursor? { state.withLock { $0.first { $0.name == name } } }

  /// The named cursor, marked as connected; a new one begins at `lsn`. Nil when it is connected already.
  func connect(_ name: String, newAt lsn: UInt64, now: Int64) throws(JournalError) -> Cursor {
    let result = state.withLock { cursors -> Result<Cursor, JournalError> in
      if let cursor = cursors.first(where: { $0.name == name }) {
        guard !cursor.connected.exchange(true, ordering: .acquiringAndReleasing) else {
          return .failure(JournalError(.options, "subscriber \(name) is connected to this stream already"))
        }
        return .success(cursor)
      }
      guard cursors.count < Limits.maxCursorsPerLog else {
        return .failure(
          JournalError(.limit, "the stream has \(cursors.count) cursors, the most there can be; let old ones expire"))
      }
      let cursor = Cursor(CursorEntry(name: name, lsn: lsn, updatedTime: now), connected: true)
      cursors.append(cursor)
      return .success(cursor)
    }
    return try result.get()
  }

  /// Forgets the cursor, of those whose subscriber has not been seen since `limit`, that is the farthest behind.
  func expireOne(before limit: Int64) -> Cursor? {
    state.withLock { cursors in
      let expired = cursors.filter {
        !$0.connected.load(ordering: .acquiring) && $0.updatedTime.load(ordering: .relaxed) < limit
      }
      guard let farthest = expired.min(by: { $0.needed < $1.needed }) else { return nil }
      cursors.removeAll { $0 === farthest }
      return farthest
    }
  }

  /// Forgets one that is not connected. Nil when it is, or is not there.
  func forget(_ name: String) -> Cursor? {
    state.withLock { cursors in
      guard let place = cursors.firstIndex(where: { $0.name == name }),
        !cursors[place].connected.load(ordering: .acquiring)
      else { return nil }
      return cursors.remove(at: place)
    }
  }

  /// The lowest position that a connected subscriber still needs; nil when none is there.
  var lowestConnected: UInt64? {
    state.withLock { $0.filter { $0.connected.load(ordering: .acquiring) }.map(\.needed).min() }
  }

  /// The lowest position that anyone still needs; nil when there is no subscriber.
  var lowest: UInt64? {
    state.withLock { $0.map(\.needed).min() }
  }

  /// Those of connected subscribers that have a bound, with it.
  var bounded: [(Cursor, LagBound)] {
    all.compactMap { cursor in
      guard cursor.connected.load(ordering: .acquiring), let bound = cursor.lagBound else { return nil }
      return (cursor, bound)
    }
  }

  /// The highest position of all; 0 when there is no subscriber.
  var highest: UInt64 {
    state.withLock { $0.map { $0.lsn.load(ordering: .acquiring) }.max() ?? 0 }
  }

  /// What a slot says: never above what is durable.
  func entries(durableLSN: UInt64) -> [CursorEntry] {
    state.withLock { cursors in
      cursors.map { cursor in
        CursorEntry(
          name: cursor.name, lsn: min(cursor.lsn.load(ordering: .acquiring), durableLSN + 1),
          updatedTime: cursor.updatedTime.load(ordering: .relaxed))
      }
    }
  }
}

/// `cursors.slot`, open for writing. Whoever writes holds the mutex around the sync: the keeper, a reader that flushes.
final class CursorFile: Sendable {
  private struct State: ~Copyable {
    /// Nil: closed.
    var file: LogFile?
    var generation: UInt64
  }
  /// What a slot is written for.
  enum Moment {
    /// Positions that moved.
    case move
    /// A segment that is about to go.
    case trim

    var write: StoragePoint { self == .move ? .cursorWrite : .trimWrite }
    var sync: StoragePoint { self == .move ? .cursorSync : .trimSync }
  }

  private let state: Mutex<State>

  init(_ file: consuming LogFile, generation: UInt64) {
    state = Mutex(State(file: file, generation: generation))
  }

  /// From now on nothing is written: the file may be another log's.
  func close() { state.withLock { $0.file = nil } }

  /// Writes the next generation and syncs it; false, and nothing, when it is closed. `make` is called under the mutex, so
  /// that a later generation never says less than an earlier one.
  func write(at moment: Moment, _ make: (_ generation: UInt64) -> CursorSlot) throws(IOFault) -> Bool {
    let result = state.withLock { state -> Result<Bool, IOFault> in
      Result { () throws(IOFault) in
        guard state.file != nil else { return false }
        let slot = make(state.generation + 1)
        let bytes = slot.encoded()
        var fault: IOFault?
        bytes.withUnsafeBytes { raw in
          do throws(IOFault) { try state.file?.write(raw, at: slot.offset, moment.write) } catch { fault = error }
        }
        if let fault { throw fault }
        try state.file?.sync(moment.sync)
        state.generation += 1
        return true
      }
    }
    return try result.get()
  }

  /// Reads both slots. Nil when the file is not there.
  static func read(_ path: String, on storage: any LogStorage) throws(IOFault) -> CursorFileContent {
    let file: LogFile
    do throws(IOFault) {
      file = try LogFile(path, .read, on: storage)
    } catch {
      if error.code == ErrorCode.notFound { return .absent }
      throw error
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * Limits.cursorSlotBytes, alignment: 4096)
    defer { buffer.deallocate() }
    let count = try file.read(into: buffer, at: 0)
    var newest: CursorSlot?
    var faults: [CursorSlotFault] = []
    for place in 0..<2 {
      let start = min(count, place * Limits.cursorSlotBytes)
      let end = min(count, start + Limits.cursorSlotBytes)
      do throws(CursorSlotFault) {
        let slot = try CursorSlot.decode(UnsafeRawBufferPointer(rebasing: buffer[start..<end]))
        if slot.generation > newest?.generation ?? 0 { newest = slot }
      } catch { faults.append(error) }
    }
    if case .version(let version)? = faults.first(where: { if case .version = $0 { true } else { false } }) {
      return .newerVersion(version)
    }
    if let newest { return .slot(newest) }
    return .unreadable("\(faults)")
  }
}

/// What `cursors.slot` holds.
enum CursorFileContent {
  case absent
  case slot(CursorSlot)
  case newerVersion(UInt16)
  case unreadable(String)
}
