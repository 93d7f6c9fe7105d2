import Glibc
import SluiceCore
import Synchronization

// SLUICE_CRASH_AT=point[:n][:before|after|half]: the process kills itself with SIGKILL at the n-th time (the first, unless
// it says otherwise) that one of its logs comes to that point: before the call (unless it says otherwise), after it, or,
// for a write, after the first half of its bytes. For tests of recovery; without the variable none of this exists.

/// Where a process is to end itself.
package struct CrashPoint: Equatable, Sendable {
  package enum Place: String, Sendable, CaseIterable { case before, after, half }

  /// Why the text says no crash point, with what it may say.
  package struct Mistake: Error, Equatable, CustomStringConvertible {
    package var description: String
  }

  package static let variable = "SLUICE_CRASH_AT"

  package var point: StoragePoint
  package var nth = 1
  package var place = Place.before

  package init(_ point: StoragePoint, nth: Int = 1, _ place: Place = .before) {
    self.point = point
    self.nth = nth
    self.place = place
  }

  package init(parsing text: String) throws(Mistake) {
    var parts = text.split(separator: ":", omittingEmptySubsequences: false)[...]
    let name = parts.popFirst().map(String.init) ?? ""
    guard let point = StoragePoint(rawValue: name) else {
      let known = StoragePoint.allCases.map(\.rawValue).joined(separator: ", ")
      throw Mistake(description: "\(Self.variable): there is no point \"\(name)\"; there are: \(known)")
    }
    self.point = point
    if let number = parts.first.flatMap({ Int($0) }), number > 0 {
      nth = number
      parts.removeFirst()
    }
    if let place = parts.first.flatMap({ Place(rawValue: String($0)) }) {
      self.place = place
      parts.removeFirst()
    }
    guard parts.isEmpty else {
      throw Mistake(
        description: "\(Self.variable): cannot read \"\(text)\"; write point[:n][:before|after|half], n from 1 on")
    }
    guard place != .half || point.isWrite else {
      throw Mistake(description: "\(Self.variable): \(name) writes no bytes, so there is no half of it")
    }
  }

  package var text: String { "\(point.rawValue):\(nth):\(place.rawValue)" }
}

extension StoragePoint {
  /// Whether bytes are written there.
  package var isWrite: Bool { rawValue.hasSuffix(".write") }
}

/// A storage that ends the process at a crash point. All logs of the process share it, and so its count.
package final class CrashPoints: LogStorage {
  private let base: any LogStorage
  private let crash: CrashPoint
  private let count = Atomic<Int>(0)

  package init(_ crash: CrashPoint, over base: any LogStorage = LinuxStorage()) {
    self.crash = crash
    self.base = base
  }

  /// How often the point was come to.
  package var reached: Int { count.load(ordering: .relaxed) }

  private func at<T>(_ point: StoragePoint, _ call: () throws(IOFault) -> T) throws(IOFault) -> T {
    guard point == crash.point, count.add(1, ordering: .relaxed).newValue == crash.nth else { return try call() }
    if crash.place == .before { end() }
    // Also behind a call that failed.
    _ = try? call()
    end()
  }

  private func end() -> Never {
    kill(getpid(), SIGKILL)
    // It is on its way.
    while true { pause() }
  }

  package func write(
    _ handle: Int32, _ pieces: UnsafeMutableBufferPointer<WritePiece>, at offset: Int, _ point: StoragePoint
  ) throws(IOFault) {
    try at(point) { () throws(IOFault) in
      if crash.place == .half, point == crash.point, reached == crash.nth {
        try base.write(handle, firstHalf(of: pieces), at: offset, point)
      } else {
        try base.write(handle, pieces, at: offset, point)
      }
    }
  }

  private func firstHalf(of pieces: UnsafeMutableBufferPointer<WritePiece>) -> UnsafeMutableBufferPointer<WritePiece> {
    var left = pieces.reduce(0) { $0 + $1.count } / 2
    for place in pieces.indices {
      pieces[place].count = min(pieces[place].count, left)
      left -= pieces[place].count
    }
    return pieces
  }

  package func sync(_ handle: Int32, _ point: StoragePoint) throws(IOFault) {
    try at(point) { () throws(IOFault) in try base.sync(handle, point) }
  }

  package func allocate(_ handle: Int32, bytes: Int, _ point: StoragePoint) throws(IOFault) {
    try at(point) { () throws(IOFault) in try base.allocate(handle, bytes: bytes, point) }
  }

  package func truncate(_ handle: Int32, to bytes: Int, _ point: StoragePoint) throws(IOFault) {
    try at(point) { () throws(IOFault) in try base.truncate(handle, to: bytes, point) }
  }

  package func rename(_ from: String, to: String, _ point: StoragePoint) throws(IOFault) {
    try at(point) { () throws(IOFault) in try base.rename(from, to: to, point) }
  }

  package func unlink(_ path: String, _ point: StoragePoint) throws(IOFault) {
    try at(point) { () throws(IOFault) in try base.unlink(path, point) }
  }

  package func syncDirectory(_ path: String, _ point: StoragePoint) throws(IOFault) {
    try at(point) { () throws(IOFault) in try base.syncDirectory(path, point) }
  }

  // What changes nothing, or nothing that a recovery looks at.

  package func open(_ path: String, _ mode: OpenMode) throws(IOFault) -> Int32 { try base.open(path, mode) }
  package func close(_ handle: Int32) { base.close(handle) }
  package func read(
    _ handle: Int32, into target: UnsafeMutableRawBufferPointer, at offset: Int
  ) throws(IOFault) -> Int {
    try base.read(handle, into: target, at: offset)
  }
  package func dropCache(_ handle: Int32) { base.dropCache(handle) }
  package func size(_ handle: Int32) throws(IOFault) -> Int { try base.size(handle) }
  package func lock(_ handle: Int32) throws(IOFault) -> Bool { try base.lock(handle) }
  package func unlock(_ handle: Int32) { base.unlock(handle) }
  package func makeDirectory(_ path: String) throws(IOFault) { try base.makeDirectory(path) }
  package func list(_ directory: String) throws(IOFault) -> [FileEntry] { try base.list(directory) }
  package func freeBytes(_ directory: String) throws(IOFault) -> Int { try base.freeBytes(directory) }
}
