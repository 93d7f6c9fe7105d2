import SluiceCore
import Synchronization

// Space for the segments to come, made ready off the commit path. A commit on blocks that were written before costs a
// third of one on blocks that are only allocated, since the file system has nothing to note beside the data. So, best
// first:
//
//   spare-<base>.tmp   a segment that retention retired, all of it written in its earlier life. A crash may bring the old
//                      name back with new bytes: it is below trim_lsn, and recovery removes what is, unread
//   next.tmp           allocated, and filled with zeros, a piece at a time, while no log of this process commits
//
// Either becomes a segment when its header is written and synced, and the file renamed. What a spare still holds of its
// earlier life can't pass for new: every group's checksum is seeded with the salt of the new header, and all old LSNs
// are below its base. The header says RECYCLED, so that recovery does not take old bytes for a torn write.

/// A file that a segment can be made of.
struct LaidOutFile: ~Copyable, Sendable {
  var file: LogFile
  var isRecycled: Bool
  /// Bytes from the start that have been written, in this life or an earlier one.
  var writtenEnd: Int
}

final class SegmentSupply: Sendable {
  private struct State: ~Copyable {
    var next: LaidOutFile?
    /// Names of retired segments.
    var spares: [String]
  }

  private let directory: String
  private let segmentBytes: Int
  private let storage: any LogStorage
  /// Held while a file is made, or becomes a segment: two must not make the same one.
  private let state: Mutex<State>

  init(_ options: StreamOptions, spares: [String], on storage: any LogStorage) {
    directory = options.directory
    segmentBytes = options.effectiveSegmentBytes
    self.storage = storage
    state = Mutex(State(next: nil, spares: spares))
  }

  var spareCount: Int { state.withLock { $0.spares.count } }

  /// There is a file for the next segment.
  var isReady: Bool { state.withLock { $0.next != nil } }

  // MARK: The commit thread

  /// Makes a segment of what is ready, or of a file that is made now. When this returns, it survives a crash.
  func install(_ planned: SegmentHeader) throws(IOFault) -> InstalledSegment {
    try state.withLock { [self] state throws(IOFault) in
      var header = planned
      let laidOut = if let ready = state.next.take() { ready } else { try makeNext(&state) }
      if laidOut.isRecycled { header.compatible |= SegmentHeader.recycled }
      try SegmentFile.install(laidOut.file, &header, in: directory, on: storage)
      return InstalledSegment(file: laidOut.file, header: header)
    }
  }

  // MARK: The keeper

  /// Makes the next file ready, unless it is.
  func prepare() throws(IOFault) {
    try state.withLock { [self] state throws(IOFault) in
      if state.next == nil { state.next = try makeNext(&state) }
    }
  }

  private func makeNext(_ state: inout State) throws(IOFault) -> LaidOutFile {
    while let name = state.spares.popLast() {
      do throws(IOFault) {
        return try SegmentFile.openSpare(name, in: directory, bytes: segmentBytes, on: storage)
      } catch {
        guard !ErrorCode.isNoDescriptor(error.code) else {
          state.spares.append(name)
          break
        }
        // One that can't be had is as good as none, but for its room: a new one may need that.
        try? storage.unlink(directory + "/" + name, .spareUnlink)
      }
    }
    return try SegmentFile.layOut(in: directory, bytes: segmentBytes, on: storage)
  }

  /// Whether some of the next file was never written.
  var wantsFilling: Bool { state.withLock { ($0.next?.writtenEnd ?? .max) < segmentBytes } }

  /// Fills another piece of the next file with zeros, and syncs it.
  func fill() throws(IOFault) {
    try state.withLock { [segmentBytes] state throws(IOFault) in
      guard let start = state.next?.writtenEnd, start < segmentBytes else { return }
      let count = min(Limits.zeroFillBytes, segmentBytes - start)
      try state.next?.file.writeZeros(at: start, count: count)
      try state.next?.file.sync(.nextFillSync)
      state.next?.writtenEnd = start + count
    }
  }

  /// Takes over the file of a segment that retention lets go, instead of its being unlinked. False: there are enough, or
  /// it is too small to be of use.
  func takeOver(_ segment: String, bytes: Int) throws(IOFault) -> Bool {
    try state.withLock { [self] state throws(IOFault) in
      guard state.spares.count < Limits.maxSpareSegments, let base = SegmentFile.baseLSN(ofName: segment),
        bytes >= segmentBytes / 2, bytes <= segmentBytes
      else { return false }
      let spare = SegmentFile.spareName(base)
      try storage.rename(directory + "/" + segment, to: directory + "/" + spare, .segmentRetire)
      state.spares.append(spare)
      return true
    }
  }

  /// Gives the space of all spares back: the disk is getting full.
  func dropSpares() throws(IOFault) {
    while let name = state.withLock({ $0.spares.popLast() }) {
      try storage.unlink(directory + "/" + name, .spareUnlink)
    }
  }

  // MARK: The end

  /// Spares stay for the next start.
  func close() {
    state.withLock { state in
      guard let next = state.next.take(), !next.isRecycled else { return }
      try? storage.unlink(directory + "/" + SegmentFile.nextName, .nextUnlink)
    }
  }
}

/// How busy the disks are with what this process commits, whatever the stream.
enum DiskActivity {
  static let commits = Atomic<UInt64>(0)
}
