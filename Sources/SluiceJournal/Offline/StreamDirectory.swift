import SluiceCore

/// A stream's directory as the offline tools see it: opened for reading only, without its lock, while a daemon may be
/// writing to it.
package struct StreamDirectory: Sendable {
  package struct Segment: Sendable, Equatable {
    package var name: String
    /// What the name says.
    package var baseLSN: UInt64
    package var bytes: Int
    package var header: SegmentHeader?
    /// Why there is none.
    package var fault: SegmentHeaderFault?
    /// The disk refuses to read it.
    package var refusal: IOFault?

    /// Whether the header is whole and that of another file: the base in it is not the name's.
    package var isMisnamed: Bool { header.map { $0.baseLSN != baseLSN } ?? false }
  }

  package let path: String
  let storage: any LogStorage
  /// By LSN.
  package private(set) var segments: [Segment] = []
  /// Nil when the file is not there.
  package private(set) var cursors: CursorSlotPair?
  /// Other files of the directory.
  package private(set) var others: [FileEntry] = []
  package private(set) var quarantined: [FileEntry] = []
  /// The process that has the log open.
  package let writer: Int32?

  /// `isLocked`: the caller has the lock itself.
  package init(
    _ path: String, storage: any LogStorage = LinuxStorage(), isLocked: Bool = false
  ) throws(JournalError) {
    self.path = path
    self.storage = storage
    writer = storage is LinuxStorage && !isLocked ? LockFile.writer(of: path) : nil
    do throws(IOFault) { try read() } catch { throw JournalError(error) }
    guard !segments.isEmpty || cursors != nil else {
      throw JournalError(
        .foreign,
        "\(path) is not a stream's directory: it has no segments (*.slog) and no cursors; "
          + "give DATA/streams/NAME")
    }
  }

  private mutating func read() throws(IOFault) {
    let files = try storage.list(path)
    cursors = try readCursors()
    quarantined = try storage.list(path + "/" + SegmentFile.quarantineName)
    for file in files.sorted(by: { $0.name < $1.name }) {
      guard let base = SegmentFile.baseLSN(ofName: file.name) else {
        others.append(file)
        continue
      }
      var segment = Segment(name: file.name, baseLSN: base, bytes: file.bytes)
      do throws(IOFault) {
        switch try SegmentFile.readHeader(path + "/" + file.name, on: storage) {
        case .success(let header): segment.header = header
        case .failure(let fault): segment.fault = fault
        }
      } catch {
        // Retention may have been faster.
        if error.code == ErrorCode.notFound { continue }
        segment.refusal = error
      }
      segments.append(segment)
    }
  }

  /// A slot that is being written can look torn for a moment.
  private func readCursors() throws(IOFault) -> CursorSlotPair? {
    let file = path + "/" + SegmentFile.cursorsName
    var pair = try CursorSlotPair.read(file, on: storage)
    var looks = 1
    while writer != nil, looks < Limits.liveTailLooks, pair?.hasFault ?? false {
      Pause.short()
      pair = try CursorSlotPair.read(file, on: storage)
      looks += 1
    }
    return pair
  }

  package func file(_ name: String) -> String { path + "/" + name }

  /// The log that this is: what most of its files say; of two that as many say, the newer segment's.
  package var uuid: LogUUID? {
    var votes: [(uuid: LogUUID, count: Int)] = []
    func vote(_ uuid: LogUUID) {
      if let place = votes.firstIndex(where: { $0.uuid == uuid }) {
        votes[place].count += 1
      } else {
        votes.append((uuid, 1))
      }
    }
    for segment in segments.reversed() { if let header = segment.header { vote(header.uuid) } }
    if let slot = cursors?.newest { vote(slot.uuid) }
    var best: (uuid: LogUUID, count: Int)?
    for vote in votes where vote.count > best?.count ?? 0 { best = vote }
    return best?.uuid
  }

  /// The highest LSN that the cursor slots know to be durable.
  var slotWitness: UInt64 {
    guard let slot = cursors?.newest, slot.uuid == uuid else { return 0 }
    return max(slot.durableLSN, (slot.entries.map(\.lsn).max() ?? 1) - 1)
  }

  /// Whether the file is still there: a daemon that writes may have let it go, and what was read of it then says nothing.
  func isThere(_ name: String) -> Bool {
    guard let files = try? storage.list(path) else { return true }
    return files.contains { $0.name == name }
  }
}

extension CursorSlotPair {
  fileprivate var hasFault: Bool { slots.contains { if case .fault = $0 { true } else { false } } }
}

/// The pause between two looks at what another process is about to change: nothing tells when it has.
enum Pause {
  static func short() { _ = Doorbell().wait(until: Clock.monotonic() + Limits.liveTailPauseNanoseconds) }
}
