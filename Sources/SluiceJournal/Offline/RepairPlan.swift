import SluiceCore

// What `sluice stream repair` does, for everything that keeps a log from opening or a segment from being read:
//
//   found                                        step
//   a segment header that is damaged, and proven  the segment anew, under the proven header (`HeaderRescue`)
//     … and not proven, of the newest segment     none: opening the log sets it aside, and leaves its LSNs out for ever
//     … and not proven, of another                into quarantine
//   a segment in quarantine whose header is       back in its place
//     proven, and whose place is free
//   a segment under another's name                its own name, if that is free; else into quarantine
//   a segment of another log                      into quarantine; of the newest, `durable_lsn` rises above the LSNs
//                                                 that this log may have given out in the file that it replaced
//   a segment whose LSNs are in an older one,     into quarantine
//     and that the next one does not follow
//   cursors of another log                        into quarantine
//   one cursor slot that can't be read            both written anew from the other
//   cursors that were asked for                   both slots written anew
//   what an interrupted repair or recovery left   removed
//   a newer format                                refused: the newer sluice can read it
//
// Damage within a segment is not repaired: segments are never rewritten, and readers tell a gap of it. Of two ways to go on
// the one that delivers records twice is taken, never the one that loses any.

package struct RepairOptions: Sendable {
  package enum Position: Sendable, Equatable {
    case oldest
    case newest
    case lsn(UInt64)
  }
  /// Cursors to set or to add.
  package var cursors: [(name: String, position: Position)] = []
  package var forgotten: [String] = []

  package init() {}
}

package struct RepairStep: Sendable, Equatable {
  package enum Change: Sendable, Equatable {
    /// Makes `file` of the bytes of `source` behind a new header.
    case writeSegment(file: String, source: String, SegmentHeader)
    case rename(file: String, to: String)
    case setAside(file: String)
    case writeCursors(CursorSlot)
    case remove(file: String)
  }

  package var change: Change
  package var what: String
  package var consequence: String
  /// Records that no subscriber will get, and that can't be read now either; none when `lastLSN` < `firstLSN`.
  package var firstLSN: UInt64 = 1
  package var lastLSN: UInt64 = 0

  /// The files that are there and that it replaces, moves or removes.
  var touched: [String] {
    switch change {
    case .writeSegment(let file, let source, _): source == file ? [file] : []
    case .rename(let file, _), .setAside(let file), .remove(let file): [file]
    case .writeCursors: [SegmentFile.cursorsName]
    }
  }
}

package struct RepairPlan: Sendable, Equatable {
  package var steps: [RepairStep] = []
  /// What is wrong and is not repaired, and why.
  package var remarks: [String] = []

  /// `onProgress` gets bytes looked at and all there are.
  package init(
    for directory: StreamDirectory, _ options: RepairOptions, onProgress: (Int, Int) -> Void = { _, _ in }
  ) throws(JournalError) {
    var planning = try RepairPlanning(directory, options)
    do throws(IOFault) {
      // First, since what is then made goes by the same temporary names.
      planning.planStrays()
      try planning.planSegments(onProgress)
      try planning.planQuarantined()
    } catch {
      throw JournalError(error)
    }
    try planning.planCursors()
    self = planning.plan
  }

  fileprivate init() {}
}

private struct RepairPlanning {
  let directory: StreamDirectory
  let options: RepairOptions
  let uuid: LogUUID?
  var plan = RepairPlan()
  /// The last segment that can be read, or will be when the plan is carried out.
  private var previous: TailScan?
  /// No record may get an LSN below this any more.
  private var floor: UInt64 = 1

  init(_ directory: StreamDirectory, _ options: RepairOptions) throws(JournalError) {
    self.directory = directory
    self.options = options
    uuid = directory.uuid
    let newer = { (file: String, what: String) in
      JournalError(.incompatible, "\(directory.file(file)) \(what): use the newer sluice that wrote it")
    }
    for segment in directory.segments {
      switch segment.fault {
      case .version(let version)?: throw newer(segment.name, "has format version \(version)")
      case .incompatible(let bit)?: throw newer(segment.name, "needs feature bit \(bit) of incompat")
      default: break
      }
      do throws(SegmentHeaderFault) { try segment.header?.checkWritable() } catch {
        throw newer(segment.name, "has features that a writer must know (\(error))")
      }
    }
    if let version = directory.cursors?.newerVersion {
      throw newer(SegmentFile.cursorsName, "has format version \(version)")
    }
  }

  // MARK: Segments

  mutating func planSegments(_ onProgress: (Int, Int) -> Void) throws(IOFault) {
    let total = directory.segments.reduce(0) { $0 + $1.bytes }
    var done = 0
    for (place, segment) in directory.segments.enumerated() {
      defer {
        done += segment.bytes
        onProgress(done, total)
      }
      // Nothing is decided about what can't be read for another reason than its bytes.
      if let refusal = segment.refusal { throw refusal }
      let isNewest = place == directory.segments.count - 1
      guard let header = segment.header else {
        try planUnreadable(segment, isNewest: isNewest)
        continue
      }
      if header.uuid != uuid {
        planForeign(segment, header, isNewest: isNewest)
      } else if segment.isMisnamed {
        planMisnamed(segment, header)
      } else if isPassedOver(header, place) {
        plan.steps.append(
          RepairStep(
            change: .setAside(file: segment.name), what: "set \(segment.name) aside, into quarantine",
            consequence: "its LSNs are in an older segment, and the next one does not follow it: a stray copy"))
      } else {
        if place > 0, header.previousBaseLSN > directory.segments[place - 1].baseLSN {
          plan.remarks.append(
            "\(SegmentFile.name(header.previousBaseLSN)) is missing: records \(header.previousBaseLSN) to "
              + "\(header.baseLSN - 1) are told as a gap, unless a backup has it")
        }
        previous = try isScanned(place) ? scan(header, segment.name, isLast: isNewest) : nil
      }
    }
  }

  /// Scans take long. One is needed of the last segment that can be read, and where the next one can't.
  private func isScanned(_ place: Int) -> Bool {
    let later = directory.segments.dropFirst(place + 1)
    guard let next = later.first, next.header != nil else { return true }
    return !later.contains { $0.header?.uuid == uuid && !$0.isMisnamed }
  }

  private func scan(_ header: SegmentHeader, _ name: String, isLast: Bool) throws(IOFault) -> TailScan {
    var scan = TailScan(header)
    try scan.run(
      try FileWindow(try LogFile(directory.file(name), .read, on: directory.storage)),
      slotWitness: isLast ? directory.slotWitness : 0)
    return scan
  }

  private func isPassedOver(_ header: SegmentHeader, _ place: Int) -> Bool {
    guard let next = directory.segments.dropFirst(place + 1).first(where: { $0.header?.uuid == uuid })?.header else {
      return false
    }
    return next.previousBaseLSN < header.baseLSN && next.previousLastLSN >= header.baseLSN
  }

  private mutating func planUnreadable(
    _ segment: StreamDirectory.Segment, isNewest: Bool
  ) throws(IOFault) {
    let fault = segment.fault.map { "\($0)" } ?? "unknown"
    if let rescued = try directory.rescue(segment, previous: previous) {
      let how =
        rescued.groups.map { "made anew from \($0) groups that prove it" } ?? "with the bit put back that flipped"
      plan.steps.append(
        RepairStep(
          change: .writeSegment(file: segment.name, source: segment.name, rescued.header),
          what: "write \(segment.name) with its header \(how)",
          consequence: "loses nothing: its records can be read again"))
      previous = try scan(rescued.header, segment.name, isLast: isNewest)
      return
    }
    if isNewest {
      plan.remarks.append(
        "\(segment.name): the header can't be read (\(fault)), and nothing proves another. Opening the log sets the file "
          + "aside and goes on above its LSNs: records from \(segment.baseLSN) on are told as a gap")
      return
    }
    let next = directory.segments.first { $0.baseLSN > segment.baseLSN }?.baseLSN ?? segment.baseLSN + 1
    plan.steps.append(
      RepairStep(
        change: .setAside(file: segment.name), what: "set \(segment.name) aside, into quarantine",
        consequence: "its header can't be read (\(fault)), and nothing proves another: a gap is told",
        firstLSN: segment.baseLSN, lastLSN: next - 1))
  }

  private mutating func planForeign(
    _ segment: StreamDirectory.Segment, _ header: SegmentHeader, isNewest: Bool
  ) {
    var consequence = "it belongs to log \(header.uuid): none of its records is this log's"
    if isNewest {
      floor = segment.baseLSN + Limits.lsnSkipAfterCrash
      consequence += "; LSNs go on above those that a file of this name may have had, which is told as a gap"
    }
    plan.steps.append(
      RepairStep(
        change: .setAside(file: segment.name), what: "set \(segment.name) aside, into quarantine",
        consequence: consequence))
  }

  private mutating func planMisnamed(_ segment: StreamDirectory.Segment, _ header: SegmentHeader) {
    let name = SegmentFile.name(header.baseLSN)
    guard !directory.segments.contains(where: { $0.name == name }) else {
      plan.steps.append(
        RepairStep(
          change: .setAside(file: segment.name), what: "set \(segment.name) aside, into quarantine",
          consequence: "its header is that of \(name), which is there: a stray copy"))
      return
    }
    plan.steps.append(
      RepairStep(
        change: .rename(file: segment.name, to: name), what: "rename \(segment.name) to \(name)",
        consequence: "loses nothing: its header says that this is its name"))
  }

  // MARK: Quarantine

  /// Segments that recovery set aside since their headers could not be read, where something proves one.
  mutating func planQuarantined() throws(IOFault) {
    for file in directory.quarantined where file.name.hasSuffix(".slog.bad") {
      let name = String(file.name.dropLast(4))
      let source = SegmentFile.quarantineName + "/" + file.name
      guard let base = SegmentFile.baseLSN(ofName: name), uuid != nil,
        !directory.segments.contains(where: { $0.baseLSN == base }),
        let after = directory.segments.first(where: { $0.baseLSN > base })
      else { continue }
      // One that can be read was set aside for another reason.
      guard case .failure = try SegmentFile.readHeader(directory.file(source), on: directory.storage) else { continue }
      var older: TailScan?
      if let before = directory.segments.last(where: { $0.baseLSN < base }), let header = before.header,
        header.uuid == uuid, header.baseLSN == before.baseLSN
      {
        older = try scan(header, before.name, isLast: false)
      }
      guard (older?.nextLSN ?? 1) <= base,
        let rescued = try HeaderRescue.rescue(
          try LogFile(directory.file(source), .read, on: directory.storage),
          HeaderRescue.Hint(uuid: uuid, baseLSN: base, previous: older))
      else { continue }
      let found = try scan(rescued.header, source, isLast: false)
      guard found.nextLSN <= after.baseLSN, found.records > 0 else { continue }
      plan.steps.append(
        RepairStep(
          change: .writeSegment(file: name, source: source, rescued.header),
          what: "put \(source) back as \(name)",
          consequence:
            "records \(base) to \(found.nextLSN - 1) can be read again; a subscriber whose cursor has passed "
            + "them gets them with --cursor NAME=\(base)"))
    }
  }

  // MARK: Strays

  mutating func planStrays() {
    let inQuarantine = directory.quarantined.map { SegmentFile.quarantineName + "/" + $0.name }
    let names = directory.others.map(\.name).filter { $0.hasPrefix(RepairFiles.temporaryPrefix) } + inQuarantine
    for name in names where name.hasSuffix(".tmp") {
      plan.steps.append(
        RepairStep(
          change: .remove(file: name), what: "remove \(name)",
          consequence: "loses nothing: what made it was interrupted, and makes it anew"))
    }
  }

  // MARK: Cursors

  mutating func planCursors() throws(JournalError) {
    let pair = directory.cursors
    let isForeign = pair?.newest.map { $0.uuid != uuid } ?? false
    let known = isForeign ? nil : pair?.newest
    let isAsked = !options.cursors.isEmpty || !options.forgotten.isEmpty
    let hasFault = pair?.slots.contains { if case .fault = $0 { true } else { false } } ?? false
    guard isAsked || floor > 1 || (hasFault && known != nil) else {
      if isForeign, let other = pair?.newest?.uuid {
        plan.steps.append(
          RepairStep(
            change: .setAside(file: SegmentFile.cursorsName),
            what: "set \(SegmentFile.cursorsName) aside, into quarantine",
            consequence:
              "its cursors are those of log \(other): every subscriber begins at its `start` again, unless you "
              + "say where with --cursor NAME=LSN"))
      } else if known == nil, !directory.segments.isEmpty {
        plan.remarks.append(
          "\(SegmentFile.cursorsName) \(pair == nil ? "is missing" : "can't be read"): every subscriber begins at its "
            + "`start` again, unless you say where with --cursor NAME=LSN")
      }
      return
    }
    let slot = try slot(instead: known)
    var parts = plan.changes(from: known?.entries ?? [], to: slot.entries)
    if isForeign, let other = pair?.newest?.uuid { parts.append("the cursors of log \(other) go") }
    if parts.isEmpty { parts.append("loses nothing: the cursors stay where they are") }
    if let known, known.entries == slot.entries, !hasFault, floor <= known.durableLSN { return }
    plan.steps.append(
      RepairStep(
        change: .writeCursors(slot), what: "write \(SegmentFile.cursorsName) anew",
        consequence: parts.joined(separator: "; ")))
  }

  private func slot(instead known: CursorSlot?) throws(JournalError) -> CursorSlot {
    guard let uuid else {
      throw JournalError(.foreign, "\(directory.path): no file tells which log this is, so it can have no cursors")
    }
    let oldest = directory.segments.first?.baseLSN ?? 1
    let end = max((previous?.nextLSN ?? 1) - 1, known?.durableLSN ?? 0)
    var slot = CursorSlot(
      generation: (known?.generation ?? 0) + 1, uuid: uuid, durableLSN: max(end, floor - 1),
      trimLSN: known?.trimLSN ?? oldest, writtenTime: Clock.wall(), entries: known?.entries ?? [])
    for name in options.forgotten {
      guard let place = slot.entries.firstIndex(where: { $0.name == name }) else {
        let names = slot.entries.map(\.name).joined(separator: ", ")
        throw JournalError(.options, "there is no cursor '\(name)'; there are: \(names.isEmpty ? "none" : names)")
      }
      slot.entries.remove(at: place)
    }
    for (name, position) in options.cursors {
      guard !name.isEmpty, name.utf8.count <= Limits.maxCursorNameBytes else {
        throw JournalError(.options, "a cursor's name has 1 to \(Limits.maxCursorNameBytes) bytes")
      }
      let lsn: UInt64
      switch position {
      case .oldest: lsn = oldest
      case .newest: lsn = end + 1
      case .lsn(let wanted):
        guard wanted >= 1, wanted <= end + 1 else {
          throw JournalError(.options, "--cursor \(name)=\(wanted): the log has LSNs \(oldest) to \(end)")
        }
        lsn = wanted
      }
      slot.entries.removeAll { $0.name == name }
      slot.entries.append(CursorEntry(name: name, lsn: lsn, updatedTime: Clock.wall()))
    }
    guard slot.entries.count <= Limits.maxCursorsPerLog else {
      throw JournalError(.limit, "a stream has at most \(Limits.maxCursorsPerLog) cursors: forget some")
    }
    return slot
  }
}

extension RepairPlan {
  /// What moves, in words.
  fileprivate func changes(from old: [CursorEntry], to new: [CursorEntry]) -> [String] {
    var parts: [String] = []
    for entry in old where !new.contains(where: { $0.name == entry.name }) {
      parts.append("cursor \(entry.name), at \(entry.lsn), is forgotten and holds nothing back any more")
    }
    for entry in new {
      guard let before = old.first(where: { $0.name == entry.name }) else {
        parts.append("\(entry.name) begins at \(entry.lsn)")
        continue
      }
      if entry.lsn < before.lsn {
        parts.append("\(entry.name) gets records \(entry.lsn) to \(before.lsn - 1) again")
      } else if entry.lsn > before.lsn {
        parts.append("\(entry.name) does not get records \(before.lsn) to \(entry.lsn - 1)")
      }
    }
    return parts
  }
}
