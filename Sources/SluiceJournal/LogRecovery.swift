import SluiceCore

// Opening a log, and what a crash at any point of it leaves behind:
//   1. LOCK is taken; the cursor slots are read; the segment names are listed.
//   2. The newest segment is synced and its cached pages are dropped, so that what is read next is on the device;
//      then it is scanned, and `TailClassification` says what its end is.
//   3. Bytes that were cut off or are damaged are copied to quarantine/ and synced. Nothing is overwritten.
//   4. A new segment is installed whose header says where the old one ended. Its rename is the one moment at which the
//      decision is taken: before it, the next recovery sees the same bytes and decides the same; after it, the old
//      segment's end is what the new header says, and nobody looks at the bytes behind it again.
//   5. Space laid out behind the old segment's last byte that isn't zero is given back.
// Nothing was handed out or acknowledged in the meantime.

/// The state in which a log starts.
struct RecoveredLog: ~Copyable {
  var start: LogStart
  var file: LogFile
  var lock: HeldLock
  var cursorFile: LogFile
  var generation: UInt64
  /// There are segments and no cursor slot that can be read.
  var cursorsLost: Bool
  var report: RecoveryReport
}

struct LogRecovery {
  let options: StreamOptions
  let storage: any LogStorage
  let started = Clock.monotonic()
  let startedCPU = Clock.threadCPU()
  var findings: [LogEvent] = []
  var quarantined: [String] = []
  var segments: [SegmentInfo] = []
  private var spares: [String] = []
  /// Segments that trim_lsn says may go, indices of segments that are gone, and halves of indices.
  private var strays: [String] = []
  /// Finds out what there is, and changes nothing.
  let isLook: Bool
  private var cursorsFault: String?

  struct Tail {
    var scan: TailScan
    var kind: RecoveryReport.Tail
    var bytesRead: Int
  }

  init(_ options: StreamOptions, _ storage: any LogStorage, isLook: Bool = false) {
    self.options = options
    self.storage = storage
    self.isLook = isLook
  }

  mutating func run() throws(JournalError) -> RecoveredLog {
    try io { () throws(IOFault) in try storage.makeDirectory(options.directory) }
    let lock = try LockFile.take(in: options.directory, on: storage)
    if options.onCorruption == .halt { try refuseDamage() }
    let (slot, tail, witness, floor) = try look()
    let uuid = tail?.scan.header.uuid ?? slot?.uuid ?? LogUUID.random()
    var header = successor(of: tail?.scan, uuid: uuid, witness: witness, floor: floor)
    // The slots exist before the first segment does: missing slots beside a segment are a loss, never a beginning.
    let cursorFile = try openCursors(slot, uuid: uuid)
    var definitions = tail?.scan.definitions ?? DefinitionTable()
    try recoverDefinitions(tail?.scan, into: &definitions)
    definitions.dropForgotten()
    let laidOut = try layOut(behind: tail?.scan)
    if laidOut.isRecycled { header.compatible |= SegmentHeader.recycled }
    try io { () throws(IOFault) in
      try SegmentFile.install(laidOut.file, &header, in: options.directory, on: storage)
    }
    if segments.last?.baseLSN == header.baseLSN { segments.removeLast() } else { try giveBack(tail?.scan) }
    segments.append(SegmentInfo(started: header))
    removeStrays()
    let report = RecoveryReport(
      tail: tail?.kind ?? (floor > 1 || witness > 0 ? .corrupt : .new), segments: segments.count,
      groupsScanned: tail?.scan.groups ?? 0, bytesScanned: tail?.bytesRead ?? 0,
      lastLSN: (tail?.scan.nextLSN ?? 1) - 1, nextLSN: header.baseLSN,
      quarantined: quarantined, findings: findings, nanoseconds: Clock.monotonic() - started,
      cpuNanoseconds: Clock.threadCPU() - startedCPU)
    let start = LogStart(
      segments: segments, header: header, definitions: definitions,
      cursors: (slot?.entries ?? []).map { $0.movedPastHole(before: header) },
      trimLSN: max(slot?.trimLSN ?? 1, segments[0].baseLSN), spares: spares,
      lastTime: max(tail?.scan.lastTime ?? 0, header.createdTime))
    return RecoveredLog(
      start: start, file: laidOut.file, lock: lock, cursorFile: cursorFile, generation: slot?.generation ?? 1,
      cursorsLost: cursorsFault != nil && segments.count > 1, report: report)
  }

  /// What the directory holds, its damage put into `findings`. Unless `isLook`, evidence is copied to quarantine.
  private mutating func look() throws(JournalError) -> (
    slot: CursorSlot?, tail: Tail?, witness: UInt64, floor: UInt64
  ) {
    let slot = try readCursors()
    try listSegments(trimLSN: slot?.trimLSN ?? 0)
    let witness = max(slot?.durableLSN ?? 0, (slot?.entries.map(\.lsn).max() ?? 1) - 1, options.knownLSN)
    if segments.isEmpty, witness > 0 {
      let first = max(slot?.trimLSN ?? 1, 1)
      findings.append(
        .corruption(
          segment: SegmentFile.name(first), offset: 0, first: first, last: witness,
          reason: "no segment is there, and \(witnesses) prove that there were records"))
    }
    // Deleting begins with the slot that says so.
    if let slot, let oldest = segments.first, slot.trimLSN < oldest.baseLSN {
      findings.append(
        .corruption(
          segment: SegmentFile.name(slot.trimLSN), offset: 0, first: slot.trimLSN, last: oldest.baseLSN - 1,
          reason: "the oldest segments are not there, and were not deleted by retention"))
    }
    var floor: UInt64 = 1
    let tail = try scanTail(slot: slot, witness: witness, floor: &floor)
    return (slot, tail, witness, floor)
  }

  /// What knows of durable records beside the segments.
  var witnesses: String { options.knownLSN > 0 ? "the cursor slots or the registry" : "the cursor slots" }

  /// With `on_corruption: halt` damage is found before anything is changed, and nothing is.
  private func refuseDamage() throws(JournalError) {
    var recovery = LogRecovery(options, storage, isLook: true)
    let found = try recovery.look()
    let damage = recovery.findings.compactMap { finding -> String? in
      guard case .corruption(let segment, let offset, let first, let last, let reason) = finding else { return nil }
      let lost = last < first ? "LSN \(first) on, how far is not known" : "LSN \(first)...\(last)"
      return "\(segment) at offset \(offset) (\(lost)): \(reason)"
    }
    guard !damage.isEmpty || found.tail?.kind == .corrupt else { return }
    let more = damage.count > Limits.maxDamageShown ? "; and \(damage.count - Limits.maxDamageShown) more" : ""
    throw JournalError(
      .damaged,
      "acknowledged records in \(options.directory) are damaged or missing, and on_corruption is halt: "
        + damage.prefix(Limits.maxDamageShown).joined(separator: "; ") + more
        + ". Nothing was changed. Look with `sluice stream verify \(options.directory)`; then repair it with "
        + "`sluice stream repair`, restore a backup, or set `on_corruption: gap` to go on without what is lost")
  }

  func path(_ name: String) -> String { options.directory + "/" + name }

  func io<T: ~Copyable>(_ body: () throws(IOFault) -> T) throws(JournalError) -> T {
    do throws(IOFault) { return try body() } catch { throw JournalError(error) }
  }

  /// What nobody needs. What can't be removed now is tried again at the next start.
  private mutating func removeStrays() {
    for name in strays {
      try? storage.unlink(path(name), SegmentFile.baseLSN(ofName: name) == nil ? .indexUnlink : .segmentUnlink)
    }
    while spares.count > Limits.maxSpareSegments { try? storage.unlink(path(spares.removeFirst()), .spareUnlink) }
  }

  // MARK: Cursors

  private mutating func readCursors() throws(JournalError) -> CursorSlot? {
    let content = try io { () throws(IOFault) in
      try CursorFile.read(path(SegmentFile.cursorsName), on: storage)
    }
    switch content {
    case .slot(let slot): return slot
    case .newerVersion(let version):
      throw JournalError(
        .incompatible, "\(path(SegmentFile.cursorsName)) has format version \(version): a newer sluice wrote it")
    case .absent:
      cursorsFault = "the file is not there"
    case .unreadable(let reason):
      cursorsFault = reason
    }
    return nil
  }

  private func openCursors(_ slot: CursorSlot?, uuid: LogUUID) throws(JournalError) -> LogFile {
    let file = try io { () throws(IOFault) in
      try LogFile(path(SegmentFile.cursorsName), .readWriteCreate, on: storage)
    }
    if slot != nil {
      // What was read may be in memory only, and so may be what the files are called: from here on it counts.
      try io { () throws(IOFault) in
        try file.sync(.slotsSync)
        try storage.syncDirectory(options.directory, .slotsDirectorySync)
      }
      return file
    }
    let first = CursorSlot(
      generation: 1, uuid: uuid, durableLSN: 0, trimLSN: segments.first?.baseLSN ?? 1, writtenTime: Clock.wall(),
      entries: [])
    let bytes = first.encoded()
    try io { () throws(IOFault) in
      // Emptied first: of what could not be read, nothing may come back as a higher generation.
      try file.truncate(to: 0, .slotsTruncate)
      try file.allocate(bytes: 2 * Limits.cursorSlotBytes, .slotsAllocate)
      var fault: IOFault?
      bytes.withUnsafeBytes { raw in
        do throws(IOFault) { try file.write(raw, at: first.offset, .slotsWrite) } catch { fault = error }
      }
      if let fault { throw fault }
      try file.sync(.slotsSync)
      try storage.syncDirectory(options.directory, .slotsDirectorySync)
    }
    return file
  }

  // MARK: Segments

  private mutating func listSegments(trimLSN: UInt64) throws(JournalError) {
    let entries = try io { () throws(IOFault) in try storage.list(options.directory) }
    segments = entries.compactMap { entry in
      SegmentFile.baseLSN(ofName: entry.name).map { SegmentInfo(baseLSN: $0, bytes: entry.bytes) }
    }
    segments.sort { $0.baseLSN < $1.baseLSN }
    spares = entries.map(\.name).filter(SegmentFile.isSpare).sorted()
    // Their removal may have been lost in any order.
    let gone = segments.indices.dropLast().prefix { segments[$0 + 1].baseLSN <= trimLSN }.count
    let trimmed = segments.prefix(gone).map { SegmentFile.name($0.baseLSN) }
    segments.removeFirst(gone)
    strays =
      trimmed
      + entries.map(\.name).filter { name in
        name.hasSuffix(SegmentFile.indexSuffix + SegmentFile.temporarySuffix)
          || name.hasSuffix(SegmentFile.indexSuffix) && !segments.contains { SegmentFile.indexName($0.baseLSN) == name }
      }
    if !segments.isEmpty, let cursorsFault { findings.append(.cursorsLost(reason: cursorsFault)) }
  }

  /// The segment that is to be written now, behind `scan`.
  private func successor(of scan: TailScan?, uuid: LogUUID, witness: UInt64, floor: UInt64) -> SegmentHeader {
    var next = max(floor, witness + 1, scan?.nextLSN ?? 1)
    // What was handed out before it was synced may be gone, and its LSNs must not come back.
    if let scan, !scan.sealed, scan.header.flags.contains(.early) { next += Limits.lsnSkipAfterCrash }
    var header = SegmentHeader(
      uuid: uuid, salt: UInt64.random(in: 1...UInt64.max), baseLSN: next,
      createdTime: max(Clock.wall(), scan?.lastTime ?? 0))
    if options.durability != .fsync { header.flags.insert(.early) }
    guard let scan else {
      if floor > 1 || witness > 0 { header.flags.insert(.lost) }
      return header
    }
    if next == scan.header.baseLSN {
      // The last segment holds no record: the new one takes its name and its place in the chain.
      header.previousBaseLSN = scan.header.previousBaseLSN
      header.previousLastLSN = scan.header.previousLastLSN
      header.previousLinkCRC = scan.header.previousLinkCRC
      header.supersedesFrom = scan.header.supersedesFrom
      header.flags.formUnion(scan.header.flags.intersection(.lost))
      return header
    }
    header.previousBaseLSN = scan.header.baseLSN
    header.previousLastLSN = scan.nextLSN - 1
    header.previousLinkCRC = scan.link
    header.supersedesFrom = scan.sealed ? 0 : scan.nextLSN
    if floor > scan.nextLSN || witness >= scan.nextLSN { header.flags.insert(.lost) }
    return header
  }

  /// Gives back what was laid out behind the last byte of the old segment that isn't zero. Evidence stays.
  private mutating func giveBack(_ scan: TailScan?) throws(JournalError) {
    guard let scan, let last = segments.indices.last else { return }
    segments[last].header = scan.header
    segments[last].lastLSN = scan.nextLSN - 1
    segments[last].lastTime = scan.lastTime
    segments[last].index = scan.index
    segments[last].bytes = scan.end
    try io { () throws(IOFault) in try giveBackSpace(scan) }
  }

  private func giveBackSpace(_ scan: TailScan) throws(IOFault) {
    let file = path(SegmentFile.name(scan.header.baseLSN))
    try LogFile(file, .readWrite, on: storage).truncate(to: max(scan.usedEnd, scan.end), .tailTruncate)
  }

  /// Lays out the new segment. A full disk must not keep a log from being drained, since that is what makes room: then
  /// the old segment's zeros are given back first, which changes no verdict; and if that is not enough the new segment
  /// is no more than its header, and grows when there is space.
  private mutating func layOut(behind scan: TailScan?) throws(JournalError) -> LaidOutFile {
    while let name = spares.popLast() {
      if let spare = try? SegmentFile.openSpare(
        name, in: options.directory, bytes: options.effectiveSegmentBytes, on: storage)
      {
        return spare
      }
    }
    return try io { () throws(IOFault) in
      for bytes in [options.effectiveSegmentBytes, options.effectiveSegmentBytes, Limits.segmentHeaderBytes] {
        do throws(IOFault) {
          return try SegmentFile.layOut(in: options.directory, bytes: bytes, on: storage)
        } catch  where error.isNoSpace {
          if let scan { try giveBackSpace(scan) }
        }
      }
      return try SegmentFile.layOut(in: options.directory, bytes: Limits.segmentHeaderBytes, on: storage)
    }
  }

  /// Names and marks stand at the head of each segment. When the newest has no head yet, or a damaged one, those before
  /// it have them. Segments without a group are many only when a log was killed as often before its first record.
  private func recoverDefinitions(_ scan: TailScan?, into table: inout DefinitionTable) throws(JournalError) {
    guard let scan, scan.lacksHead else { return }
    var looked = 0
    for info in segments.dropLast().reversed() where looked < Limits.maxDefinitionSegments {
      let name = path(SegmentFile.name(info.baseLSN))
      let read = try io { () throws(IOFault) in try SegmentFile.readHeader(name, on: storage) }
      guard case .success(let header) = read else { continue }
      var older = TailScan(header)
      try io { () throws(IOFault) in
        try older.run(try FileWindow(try LogFile(name, .read, on: storage)), slotWitness: 0)
      }
      table.merge(older.definitions)
      if older.groups > 0 { looked += 1 }
      if !older.lacksHead { return }
    }
  }
}

extension CursorEntry {
  /// A position behind the last record of the old segment goes on at the new one, unless records between them are lost:
  /// then its reader is told of the gap.
  fileprivate func movedPastHole(before header: SegmentHeader) -> CursorEntry {
    guard !header.flags.contains(.lost), lsn > header.previousLastLSN, lsn < header.baseLSN else { return self }
    return CursorEntry(name: name, lsn: header.baseLSN, updatedTime: updatedTime)
  }
}
