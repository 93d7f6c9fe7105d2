import SluiceCore

/// Goes through a log's files from the oldest segment to the end; what `StreamVerifier` offers is made of it.
struct LogExamination {
  let directory: StreamDirectory
  let uuid: LogUUID?
  let range: LogRange
  let visitor: (any GroupVisitor)?
  var report: StreamVerifier.Report
  /// The last segment of this log that was read.
  private var previous: TailScan?
  private var done = 0
  private var isEnough = false

  init(_ directory: StreamDirectory, range: LogRange, visitor: (any GroupVisitor)?) {
    self.directory = directory
    self.range = range
    self.visitor = visitor
    uuid = directory.uuid
    report = StreamVerifier.Report(directory: directory.path, uuid: directory.uuid, writer: directory.writer)
    report.firstLSN = directory.segments.first?.baseLSN ?? 1
    report.lastLSN = report.firstLSN - 1
  }

  mutating func run(_ onProgress: (Int, Int) -> Void) throws(IOFault) {
    if visitor == nil { checkCursors() }
    let places = directory.segments.indices.filter(isWanted)
    let total = places.reduce(0) { $0 + directory.segments[$1].bytes }
    for place in places where !isEnough {
      let segment = directory.segments[place]
      var problems: [LogProblem] = []
      let before = done
      do throws(IOFault) {
        try check(segment, place, &problems) { onProgress(before + $0, total) }
      } catch {
        // Retention may have been faster.
        if error.code == ErrorCode.notFound, directory.writer != nil { continue }
        problems.append(refusal(of: segment, error))
      }
      done += segment.bytes
      onProgress(done, total)
      // A daemon may have let the file go, and used its blocks again, while it was read.
      if !problems.isEmpty, directory.writer != nil, !directory.isThere(segment.name) { continue }
      for problem in problems { note(problem) }
    }
  }

  /// Whether a segment may hold records of the range. Ingest times rise, and none is above the next header's.
  private func isWanted(_ place: Int) -> Bool {
    let segment = directory.segments[place]
    if let name = range.segment, name != segment.name { return false }
    if segment.baseLSN > range.lastLSN { return false }
    guard place + 1 < directory.segments.count else { return true }
    let next = directory.segments[place + 1]
    if next.baseLSN <= range.firstLSN { return false }
    return next.header.map { $0.createdTime >= range.notBefore } ?? true
  }

  private mutating func note(_ problem: LogProblem) {
    visitor?.problem(problem)
    guard report.problems.count < Limits.maxToolProblems else { return report.untold += 1 }
    report.problems.append(problem)
  }

  // MARK: Cursors

  private mutating func checkCursors() {
    func problem(_ kind: LogProblem.Kind, _ offset: Int, _ message: String, _ consequence: String) -> LogProblem {
      LogProblem(
        kind: kind, file: SegmentFile.cursorsName, offset: offset, message: message, consequence: consequence)
    }
    let lost = "every subscriber begins at its `start` again; `sluice stream repair` sets cursors"
    guard let pair = directory.cursors else {
      return note(problem(.cursors, 0, "the file is not there", lost))
    }
    if let version = pair.newerVersion {
      note(problem(.newer, 0, "format version \(version)", "use the newer sluice that wrote it"))
    }
    for (place, content) in pair.slots.enumerated() {
      guard case .fault(let fault) = content else { continue }
      if case .version = fault { continue }
      let other = pair.newest == nil ? lost : "the other slot counts: what was settled last may be delivered again"
      note(problem(.cursors, place * Limits.cursorSlotBytes, "slot \(place) can't be read (\(fault))", other))
    }
    if pair.newest == nil, pair.slots.allSatisfy({ $0 == .empty }) {
      note(problem(.cursors, 0, "neither slot was ever written", lost))
    }
    if let slot = pair.newest, slot.uuid != uuid {
      note(
        problem(
          .foreign, slot.offset, "the cursors are those of log \(slot.uuid)",
          "the log can't be opened; `sluice stream repair` sets them aside"))
    }
    checkHead(pair.newest)
  }

  /// Whether what lies in front of the oldest segment was deleted, or is missing. A daemon may delete while this reads.
  private mutating func checkHead(_ slot: CursorSlot?) {
    guard let slot, slot.uuid == uuid, directory.writer == nil, let first = directory.segments.first,
      slot.trimLSN < first.baseLSN
    else { return }
    var problem = LogProblem(
      kind: .missing, file: SegmentFile.name(slot.trimLSN), offset: 0,
      message: "the oldest segments are missing: the cursor slots say from where on records are kept",
      consequence: "subscribers that are not behind them are told a gap")
    (problem.firstLSN, problem.lastLSN) = (slot.trimLSN, first.baseLSN - 1)
    note(problem)
  }

  // MARK: Segments

  private mutating func check(
    _ segment: StreamDirectory.Segment, _ place: Int, _ problems: inout [LogProblem], _ onProgress: (Int) -> Void
  ) throws(IOFault) {
    report.segments += 1
    if let refusal = segment.refusal { throw refusal }
    guard let header = try header(of: segment, &problems) else { return }
    checkChain(header, segment, &problems)
    let next = directory.segments.dropFirst(place + 1).first { $0.header?.uuid == header.uuid }?.header
    let isLast = place == directory.segments.count - 1
    let file = directory.file(segment.name)
    let storage = directory.storage
    var walk = try SegmentWalk(
      header, slotWitness: isLast ? directory.slotWitness : 0, names: previous?.definitions ?? DefinitionTable(),
      isLive: isLast && directory.writer != nil
    ) { () throws(IOFault) in try LogFile(file, .read, on: storage) }
    while !isEnough, let piece = try walk.next() {
      try take(piece, segment, walk, &problems)
      onProgress(walk.position)
    }
    if isEnough { return }
    if isLast, segment.header == nil { extend(&problems, through: walk.scan.nextLSN - 1) }
    let before = problems.count
    checkEnd(walk.scan, segment, next, &problems)
    if problems.count > before, visitor != nil { try giveTail(&walk, segment) }
    previous = walk.scan
    report.bytes += walk.position
    if walk.scan.nextLSN > segment.baseLSN { report.lastLSN = max(report.lastLSN, walk.scan.nextLSN - 1) }
  }

  /// A disk that refuses to read is no reason to leave the other segments unread.
  private func refusal(of segment: StreamDirectory.Segment, _ fault: IOFault) -> LogProblem {
    LogProblem(
      kind: .refused, file: segment.name, offset: 0, message: "\(fault)",
      consequence:
        "the rest of the segment was not read: copy what the disk still gives to another one, with zeros for "
        + "what it doesn't, and go on there")
  }

  /// The segment's header, from the file or worked out from its groups.
  private func header(
    of segment: StreamDirectory.Segment, _ problems: inout [LogProblem]
  ) throws(IOFault) -> SegmentHeader? {
    var problem = LogProblem(
      kind: .segmentHeader, file: segment.name, offset: 0, message: "", consequence: "")
    if let header = segment.header {
      if segment.isMisnamed {
        problem.kind = .order
        problem.message = "it begins at LSN \(header.baseLSN), which is not its name"
        problem.consequence = "nothing in it is delivered; `sluice stream repair` puts it right"
      } else if header.uuid != uuid {
        problem.kind = .foreign
        problem.message = "it belongs to log \(header.uuid)"
        problem.consequence = "nothing in it is delivered; `sluice stream repair` sets it aside"
      } else {
        return header
      }
      problems.append(problem)
      return nil
    }
    problem.message = "the header can't be read (\(segment.fault.map { "\($0)" } ?? "unknown"))"
    switch segment.fault {
    case .version, .incompatible, .readOnlyCompatible:
      problem.kind = .newer
      problem.consequence = "use the newer sluice that wrote it"
      problems.append(problem)
      return nil
    default: break
    }
    if let next = directory.segments.first(where: { $0.baseLSN > segment.baseLSN }) {
      (problem.firstLSN, problem.lastLSN) = (segment.baseLSN, next.baseLSN - 1)
    }
    let rescued = try directory.rescue(segment, previous: previous)
    if let rescued {
      problem.consequence =
        "nothing in it is delivered; `sluice stream repair` can "
        + (rescued.groups.map { "make it anew from \($0) groups" } ?? "put the one bit back that has flipped")
    } else {
      problem.consequence = "nothing in it is delivered, and no group proves another header"
    }
    problems.append(problem)
    return rescued?.header
  }

  /// Of the newest segment it is its groups that tell how many records a damaged header costs.
  private func extend(_ problems: inout [LogProblem], through last: UInt64) {
    guard let place = problems.firstIndex(where: { $0.kind == .segmentHeader }) else { return }
    problems[place].firstLSN = directory.segments.last?.baseLSN ?? 1
    problems[place].lastLSN = last
  }

  private func checkChain(
    _ header: SegmentHeader, _ segment: StreamDirectory.Segment, _ problems: inout [LogProblem]
  ) {
    var problem = LogProblem(kind: .missing, file: segment.name, offset: 64, message: "", consequence: "")
    if let previous, header.previousBaseLSN != previous.header.baseLSN, previous.nextLSN <= header.previousBaseLSN,
      !directory.segments.contains(where: { $0.baseLSN == header.previousBaseLSN })
    {
      problem.message = "the segment before it, \(SegmentFile.name(header.previousBaseLSN)), is missing"
      problem.consequence = "a gap is told to subscribers"
      (problem.firstLSN, problem.lastLSN) = (previous.nextLSN, header.baseLSN - 1)
      problems.append(problem)
    } else if header.flags.contains(.lost) {
      problem.offset = 28
      problem.message = "what was lost before it is known since a recovery"
      problem.consequence = "a gap is told to subscribers"
      (problem.firstLSN, problem.lastLSN) = (header.previousLastLSN + 1, header.baseLSN - 1)
      problem.isKnown = true
      problems.append(problem)
    } else if let previous, header.previousBaseLSN == previous.header.baseLSN,
      header.previousLastLSN == previous.nextLSN - 1, header.previousLinkCRC != previous.link
    {
      problem.kind = .order
      problem.offset = 80
      problem.message = "the link to the last group of the segment before does not fit"
      problem.consequence = "costs nothing by itself: the groups of both are whole"
      problems.append(problem)
    }
  }

  // MARK: Groups

  private mutating func take(
    _ piece: SegmentPiece, _ segment: StreamDirectory.Segment, _ walk: borrowing SegmentWalk,
    _ problems: inout [LogProblem]
  ) throws(IOFault) {
    switch piece {
    case .loss(let loss):
      problems.append(
        LogProblem(
          kind: loss.offset == loss.end ? .order : .group, file: segment.name, offset: loss.offset,
          firstLSN: loss.firstLSN, lastLSN: loss.lastLSN, message: loss.reason,
          consequence: loss.lastLSN < loss.firstLSN ? "costs no record" : "a gap is told to subscribers"))
    case .group(let group, let offset, let flaws):
      report.groups += 1
      try give(group, offset, flaws, segment, walk, isCutOff: false)
      if let fault = flaws.unproven {
        problems.append(
          LogProblem(
            kind: .group, file: segment.name, offset: offset, firstLSN: group.firstLSN, lastLSN: group.nextLSN - 1,
            message: "a group is damaged (\(fault))",
            consequence: "a gap is told to subscribers; `sluice stream export` still gets "
              + "\(group.count - flaws.damaged.count) of its \(group.count) records"))
        return
      }
      report.records += group.count - flaws.damaged.count
      for (index, fault) in flaws.damaged.sorted(by: { $0.key < $1.key }) {
        let lsn = group.firstLSN + UInt64(index)
        problems.append(
          LogProblem(
            kind: .record, file: segment.name, offset: try place(of: index, in: group, offset, walk), firstLSN: lsn,
            lastLSN: lsn, message: "a record is damaged (\(fault))", consequence: "a gap is told to subscribers"))
      }
    }
  }

  private mutating func give(
    _ group: GroupHeader, _ offset: Int, _ flaws: GroupFlaws, _ segment: StreamDirectory.Segment,
    _ walk: borrowing SegmentWalk, isCutOff: Bool
  ) throws(IOFault) {
    guard let visitor, group.count == 0 || group.nextLSN > range.firstLSN, group.wallTime >= range.notBefore else {
      return
    }
    let found = FoundGroup(
      segment: segment.name, offset: offset, header: group, flaws: flaws, isCutOff: isCutOff,
      bytes: try walk.bytes(of: group, at: offset))
    isEnough = group.firstLSN > range.lastLSN || !visitor.visit(found, names: walk.scan.definitions)
  }

  /// What is behind the last group that counts is lost to subscribers, and may be wanted all the same.
  private mutating func giveTail(
    _ walk: inout SegmentWalk, _ segment: StreamDirectory.Segment
  ) throws(IOFault) {
    try walk.takeTail(through: walk.scan.nextLSN - 1)
    while !isEnough, let piece = try walk.next() {
      if case .group(let group, let offset, let flaws) = piece {
        try give(group, offset, flaws, segment, walk, isCutOff: true)
      }
    }
  }

  private func place(
    of index: Int, in group: GroupHeader, _ offset: Int, _ walk: borrowing SegmentWalk
  ) throws(IOFault) -> Int {
    guard let base = try walk.bytes(of: group, at: offset).baseAddress else { return offset }
    var at = group.recordsOffset
    for _ in 0..<index { at += Int(base.loadLE(at + RecordLayout.length) as UInt32) }
    return offset + at
  }

  // MARK: Ends

  private func checkEnd(
    _ scan: TailScan, _ segment: StreamDirectory.Segment, _ next: SegmentHeader?, _ problems: inout [LogProblem]
  ) {
    var problem = LogProblem(
      kind: .missing, file: segment.name, offset: scan.end, message: "", consequence: "a gap is told to subscribers")
    if let next, next.previousBaseLSN == scan.header.baseLSN {
      problem.firstLSN = scan.nextLSN
      problem.lastLSN = next.previousLastLSN
      if problem.lostRecords > 0 {
        problem.message = "records that the next segment knows of can't be read"
        problems.append(problem)
      } else if !scan.sealed, next.supersedesFrom == 0 {
        problem.kind = .group
        problem.message = "the seal at its end can't be read"
        problem.consequence = "costs no record"
        problems.append(problem)
      }
      return
    }
    switch scan.verdict {
    case .clean, .sealed, .resume: return
    case .lost(let last):
      (problem.firstLSN, problem.lastLSN) = (scan.nextLSN, last)
      problem.message = "the cursor slots prove that more records were durable here"
    case .torn:
      problem.kind = .tornTail
      problem.message = "\(scan.usedEnd - scan.end) bytes of a commit that was cut off, or damaged since"
      problem.consequence =
        "if a crash did it, nothing that was acknowledged: the next start keeps the bytes in quarantine and goes on"
    }
    problems.append(problem)
  }
}
