import SluiceCore

/// Looks at a stream's directory without changing it and without its lock. While a daemon writes to it, the newest
/// groups may look torn: they are being written.
package enum StreamInspector {
  package struct Group: Sendable, Equatable {
    package var segment: String
    package var offset: Int
    /// On disk, header and padding included.
    package var bytes: Int
    package var firstLSN: UInt64
    package var count: Int
    package var durableLSN: UInt64
    package var wallTime: Int64
    package var definitionBytes: Int
    package var isSeal: Bool
    package var isIdleMarker: Bool
  }

  package enum Ending: String, Sendable, Equatable {
    /// A seal group says that nothing follows.
    case sealed
    /// The next segment says where it ends.
    case superseded
    /// It is the last: being written, or not closed in order.
    case open
    /// Its last bytes are the trace of a crash.
    case torn
    case damaged
    /// Its header can't be read.
    case unreadable
  }

  package struct Segment: Sendable, Equatable {
    package var name: String
    package var baseLSN: UInt64
    /// Nil when the header can't be read.
    package var header: SegmentHeader?
    package var lastLSN: UInt64
    package var groups: Int
    package var records: Int
    /// Up to the end of the last valid group.
    package var usedBytes: Int
    package var fileBytes: Int
    package var ending: Ending
  }

  package struct Problem: Sendable, Equatable {
    package var file: String
    package var offset: Int
    package var message: String
  }

  package struct Report: Sendable {
    package var directory: String
    package var uuid: LogUUID?
    package var segments: [Segment] = []
    package var sources: [String] = []
    /// Those that number their records, by name.
    package var producers: [Definition] = []
    /// Nil when `cursors.slot` can't be read.
    package var cursors: CursorSlot?
    package var quarantined: [FileEntry] = []
    package var problems: [Problem] = []
  }

  /// Reads every segment and checks everything in it. `onGroup` is called with each valid group, in order.
  package static func inspect(
    _ directory: String, storage: any LogStorage = LinuxStorage(), onGroup: (Group) -> Void = { _ in }
  ) throws(JournalError) -> Report {
    var inspection = Inspection(directory, storage)
    do throws(IOFault) { try inspection.run(onGroup) } catch { throw JournalError(error) }
    return inspection.report
  }
}

private struct Inspection {
  let storage: any LogStorage
  var report: StreamInspector.Report
  private var definitions = DefinitionTable()

  init(_ directory: String, _ storage: any LogStorage) {
    self.storage = storage
    report = StreamInspector.Report(directory: directory)
  }

  mutating func run(_ onGroup: (StreamInspector.Group) -> Void) throws(IOFault) {
    let files = try storage.list(report.directory)
    try readCursors()
    report.quarantined = try storage.list(report.directory + "/" + SegmentFile.quarantineName)
    let names = files.filter { SegmentFile.baseLSN(ofName: $0.name) != nil }.sorted { $0.name < $1.name }
    var headers: [SegmentHeader?] = []
    for file in names { headers.append(try readHeader(file.name)) }
    for (place, file) in names.enumerated() {
      try inspect(file, headers[place], next: place + 1 < headers.count ? headers[place + 1] : nil, onGroup)
    }
    checkChain(headers.compactMap { $0 })
    report.uuid = headers.compactMap { $0?.uuid }.last ?? report.cursors?.uuid
    definitions.dropForgotten()
    report.sources = definitions.sources.map { $0 ?? "" }
    report.producers = definitions.producers.values.sorted { $0.name < $1.name }
  }

  private mutating func note(_ file: String, _ offset: Int, _ message: String) {
    report.problems.append(StreamInspector.Problem(file: file, offset: offset, message: message))
  }

  private mutating func readCursors() throws(IOFault) {
    switch try CursorFile.read(report.directory + "/" + SegmentFile.cursorsName, on: storage) {
    case .slot(let slot): report.cursors = slot
    case .absent: note(SegmentFile.cursorsName, 0, "the file is not there")
    case .newerVersion(let version): note(SegmentFile.cursorsName, 0, "format version \(version) is not known")
    case .unreadable(let reason): note(SegmentFile.cursorsName, 0, "neither slot can be read: \(reason)")
    }
  }

  private mutating func readHeader(_ name: String) throws(IOFault) -> SegmentHeader? {
    switch try SegmentFile.readHeader(report.directory + "/" + name, on: storage) {
    case .success(let header): return header
    case .failure(let fault):
      note(name, 0, "segment header: \(fault)")
      return nil
    }
  }

  private mutating func inspect(
    _ file: FileEntry, _ header: SegmentHeader?, next: SegmentHeader?, _ onGroup: (StreamInspector.Group) -> Void
  ) throws(IOFault) {
    var segment = StreamInspector.Segment(
      name: file.name, baseLSN: SegmentFile.baseLSN(ofName: file.name) ?? 0, header: header, lastLSN: 0, groups: 0,
      records: 0, usedBytes: 0, fileBytes: file.bytes, ending: .unreadable)
    guard let header else {
      report.segments.append(segment)
      return
    }
    var scan = TailScan(header)
    let window = try FileWindow(try LogFile(report.directory + "/" + file.name, .read, on: storage))
    let witness = next == nil ? report.cursors?.durableLSN ?? 0 : 0
    try scan.run(window, slotWitness: witness) { group, offset in
      onGroup(
        StreamInspector.Group(
          segment: file.name, offset: offset, bytes: group.paddedBytes, firstLSN: group.firstLSN, count: group.count,
          durableLSN: group.durableLSN, wallTime: group.wallTime, definitionBytes: group.definitionBytes,
          isSeal: group.flags.contains(.seal), isIdleMarker: group.flags.contains(.idle)))
    }
    for damage in scan.damage {
      let what = damage.lastLSN < damage.firstLSN ? "no record" : "records \(damage.firstLSN) to \(damage.lastLSN)"
      note(file.name, damage.offset, "damaged up to \(damage.end): \(what) lost")
    }
    definitions.merge(scan.definitions)
    segment.lastLSN = scan.nextLSN - 1
    segment.groups = scan.groups
    segment.records = scan.records
    segment.usedBytes = scan.end
    segment.ending = ending(scan, next)
    if case .lost(let last) = scan.verdict {
      note(file.name, scan.end, "records \(scan.nextLSN) to \(last) were durable and are gone")
    }
    if let next, next.previousBaseLSN == header.baseLSN, next.previousLastLSN >= scan.nextLSN {
      note(
        file.name, scan.end, "records \(scan.nextLSN) to \(next.previousLastLSN) are gone: the next segment knows them")
      segment.ending = .damaged
    }
    report.segments.append(segment)
  }

  private func ending(_ scan: TailScan, _ next: SegmentHeader?) -> StreamInspector.Ending {
    if !scan.damage.isEmpty { return .damaged }
    switch scan.verdict {
    case .sealed: return .sealed
    case .lost, .resume: return .damaged
    case .clean: return next == nil ? .open : .superseded
    case .torn: return next == nil ? .torn : .superseded
    }
  }

  private mutating func checkChain(_ headers: [SegmentHeader]) {
    for (older, newer) in zip(headers, headers.dropFirst()) {
      let name = SegmentFile.name(newer.baseLSN)
      if newer.previousBaseLSN != older.baseLSN {
        note(name, 64, "the segment before it, \(SegmentFile.name(newer.previousBaseLSN)), is missing")
      }
      if newer.uuid != older.uuid { note(name, 32, "it belongs to another log, \(newer.uuid)") }
      if newer.flags.contains(.lost) {
        note(name, 28, "records \(newer.previousLastLSN + 1) to \(newer.baseLSN - 1) were lost before it")
      }
    }
  }
}
