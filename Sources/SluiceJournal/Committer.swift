import SluiceCore
import Synchronization

// The commit thread. Depth one, and no linger unless the topology asks for one (`memory` streams apart, whose producers do
// not wait for it): it takes all that waits (up to `groupBytes`), writes it as one group, syncs it if the stream's
// durability asks for that, publishes it, and begins again. What comes in while it syncs is the next
// group. After `idleMarkerNanoseconds` without records an empty group is written and synced: its watermark is the
// witness of the group before.

/// `@unchecked Sendable`: made on one thread and handed to the commit thread, or to whoever drives the log by hand, which
/// alone touches it from then on.
final class Committer: @unchecked Sendable {
  private let core: LogCore
  private var segment: ActiveSegment
  private let extents: UnsafeMutableBufferPointer<Extent>
  private let pieces: UnsafeMutableBufferPointer<WritePiece>
  private var head: UnsafeMutableRawBufferPointer
  /// A seal's header, and zeros.
  private let sealBlock: UnsafeMutableRawBufferPointer
  private var definitions: DefinitionImage
  /// Bytes written since the last sync.
  private var isDirty = false
  private var gathering: CommitGathering
  private var lastSync: Int64 = 0
  private var lastCommit: Int64 = 0
  /// The last group carries records, so nothing after it witnesses them yet.
  private var needsMarker = false
  private var lastIngestTime: Int64
  private var lastWallTime: Int64

  /// `gathers`: it may wait for more records before it makes a group; by hand it never does.
  init(
    _ core: LogCore, _ segment: consuming ActiveSegment, definitions: DefinitionTable, lastTime: Int64, gathers: Bool
  ) {
    self.core = core
    gathering = CommitGathering(core, isWanted: gathers)
    self.definitions = DefinitionImage(definitions.all)
    self.segment = segment
    lastIngestTime = lastTime
    lastWallTime = lastTime
    extents = .allocate(capacity: Limits.maxGroupPieces)
    // Head, padding and seal beside the records.
    pieces = .allocate(capacity: Limits.maxGroupPieces + 3)
    sealBlock = .allocate(byteCount: Limits.groupAlignment, alignment: Limits.groupAlignment)
    sealBlock.initializeMemory(as: UInt8.self, repeating: 0)
    head = .allocate(byteCount: Limits.groupAlignment, alignment: Limits.groupAlignment)
    lastSync = Clock.monotonic()
  }

  deinit {
    extents.deallocate()
    pieces.deallocate()
    head.deallocate()
    sealBlock.deallocate()
  }

  // MARK: The loop

  /// What is to be done after one round.
  enum Step: Equatable {
    case again
    /// More records are waited for, until then or until there are enough.
    case gather(until: Int64)
    case wait(until: Int64)
    case over
  }

  func run() {
    while true {
      switch step() {
      case .again: continue
      case .gather(let deadline): gathering.wait(until: deadline)
      case .wait(let deadline): core.commitBell.wait(until: deadline)
      case .over: return
      }
    }
  }

  /// One round: a group if records wait, else what idleness or the end ask for.
  func step() -> Step {
    do throws(IOFault) {
      if let deadline = gathering.ends() { return .gather(until: deadline) }
      let count = core.ring.take(into: extents, maxBytes: core.options.groupBytes)
      if count > 0 {
        try retryingWithoutRoom { () throws(IOFault) in try commit(count) }
        gathering.committed()
        return .again
      }
      guard core.isClosing.load(ordering: .acquiring) else { return .wait(until: try serveIdleness()) }
      if core.ring.pending.bytes > 0 { return .again }
      try retryingWithoutRoom { () throws(IOFault) in try finish() }
      return .over
    } catch {
      leave(error)
      return .over
    }
  }

  /// No room at an orderly end is no failure: what was acknowledged as written is made durable, the rest was not
  /// acknowledged as such, and the next start finds a log without a seal. Anything else is final.
  private func leave(_ fault: IOFault) {
    var fault = fault
    if fault.passes {
      do throws(IOFault) {
        try syncIfDirty()
        return core.observer.logEvent(.retrying(fault))
      } catch { fault = error }
    }
    core.fail(fault)
    core.readers.forEach { $0.ringSync() }
  }

  /// Does what is due when no records wait, and says until when there is nothing to do.
  private func serveIdleness() throws(IOFault) -> Int64 {
    var now = Clock.monotonic()
    if core.syncRequested.exchange(false, ordering: .acquiringAndReleasing) {
      try syncIfDirty()
      now = Clock.monotonic()
    }
    var deadline = Int64.max
    if isDirty {
      let due = lastSync + Limits.lazySyncNanoseconds
      if now >= due { try syncIfDirty() } else { deadline = due }
    }
    if needsMarker {
      let due = lastCommit + core.options.idleMarkerNanoseconds
      guard now >= due else { return min(deadline, due) }
      try retryingWithoutRoom { () throws(IOFault) in
        try syncIfDirty()
        try writeGroup(extents: 0, flags: .idle, .markerWrite)
        try sync(.markerSync)
      }
      needsMarker = false
      core.counters.countMarker()
    }
    return deadline
  }

  /// A full disk is no failure, nor is having no descriptor for the next segment: producers are refused and the same
  /// bytes are written again when there is room.
  private func retryingWithoutRoom(_ body: () throws(IOFault) -> Void) throws(IOFault) {
    while true {
      do throws(IOFault) {
        try body()
        if core.isFull(.noSpace) { core.setFull(.noSpace, false) }
        return
      } catch {
        guard error.passes, !core.isClosing.load(ordering: .acquiring) else { throw error }
        if !core.isFull(.noSpace) { core.observer.logEvent(.retrying(error)) }
        core.setFull(.noSpace, true)
        core.keeperBell.ring()
        // What is written already needs no space to become durable, and cursors wait for that.
        if core.syncRequested.exchange(false, ordering: .acquiringAndReleasing)
          || Clock.monotonic() - lastSync >= Limits.lazySyncNanoseconds
        {
          try syncIfDirty()
        }
        core.commitBell.wait(until: Clock.monotonic() + Limits.fullRetryNanoseconds)
      }
    }
  }

  // MARK: One commit

  private func commit(_ count: Int) throws(IOFault) {
    let started = Clock.monotonic()
    DiskActivity.commits.add(1, ordering: .relaxed)
    let first = extents[0].firstLSN
    let group = try writeGroup(extents: count, flags: [], .groupWrite)
    let isLast = segment.isSealWritten
    core.ring.finishWrite()
    precondition(group.firstLSN == first && group.nextLSN == extents[count - 1].nextLSN, "LSNs follow each other")
    let last = group.nextLSN - 1
    core.writtenLSN.store(last, ordering: .sequentiallyConsistent)
    if core.options.durability == .fsync {
      try sync(.groupSync)
      if isLast { sealed() }
    } else if started - lastSync >= Limits.lazySyncNanoseconds
      || core.syncRequested.exchange(false, ordering: .acquiringAndReleasing)
    {
      try sync(.groupSync)
    }
    // The sync of the cursors may have failed meanwhile: from then on nobody is told of anything.
    if core.hasFailed.load(ordering: .acquiring), let fault = core.fault { throw fault }
    let now = Clock.monotonic()
    lastCommit = now
    needsMarker = true
    // Counted before anyone is told, so that who was told finds it counted.
    core.counters.countCommit(
      records: group.count, bytes: group.bodyBytes - group.definitionBytes, diskBytes: group.paddedBytes,
      nanoseconds: now - started)
    core.noteWritten()
    core.publish(committed: last)
    wakeLanes()
  }

  private func wakeLanes() {
    let acknowledged = core.acknowledgedLSN
    core.lanes.forEach { $0.wakeIfReached(acknowledged) }
  }

  private func syncIfDirty() throws(IOFault) { if isDirty { try sync(.groupSync) } }

  private func sync(_ point: StoragePoint) throws(IOFault) {
    let started = Clock.monotonic()
    try segment.file.sync(point)
    isDirty = false
    lastSync = Clock.monotonic()
    core.counters.countSync(nanoseconds: lastSync - started)
    core.durableLSN.store(core.writtenLSN.load(ordering: .relaxed), ordering: .sequentiallyConsistent)
    core.readers.forEach { $0.ringSync() }
  }

  /// Writes one group of the first `count` extents. Repeatable: until it returns, the same call writes the same place.
  @discardableResult
  private func writeGroup(
    extents count: Int, flags: GroupHeader.Flags, _ point: StoragePoint
  ) throws(IOFault) -> GroupHeader {
    var recordBytes = 0
    for place in 0..<count { recordBytes += extents[place].length }
    if let news = core.names.takeNews() {
      for definition in news.unwritten { definitions.append(definition) }
      definitions.forget(news.forgotten)
    }
    if !segment.hasRoom(for: definitions.due.count + recordBytes, sealing: flags.contains(.seal)) { try rotate() }
    let definitionBytes = stageDefinitions()
    var group = GroupHeader(
      firstLSN: core.writtenLSN.load(ordering: .relaxed) + 1,
      durableLSN: core.durableLSN.load(ordering: .relaxed), previousCRC: segment.link, wallTime: 0)
    group.flags = flags
    group.definitionBytes = definitionBytes
    group.bodyBytes = definitionBytes + recordBytes
    fill(&group, extents: count)
    if count > 0, let first = extents.first { precondition(first.firstLSN == group.firstLSN, "no LSN is left out") }
    group.encode(to: head.baseAddress!, salt: segment.header.salt, offset: segment.offset)
    var piecesUsed = 1
    pieces[0] = WritePiece(UnsafeRawPointer(head.baseAddress!), Limits.groupHeaderBytes + definitionBytes)
    for place in 0..<count { add(extents[place], to: &piecesUsed) }
    let padding = group.paddedBytes - Limits.groupHeaderBytes - group.bodyBytes
    if padding > 0 {
      pieces[piecesUsed] = WritePiece(ZeroBlock.bytes.baseAddress!, padding)
      piecesUsed += 1
    }
    let seal = isLastOfSegment(group, extents: count) ? stageSeal(behind: group) : nil
    if seal != nil {
      pieces[piecesUsed] = WritePiece(UnsafeRawPointer(sealBlock.baseAddress!), Limits.groupAlignment)
      piecesUsed += 1
    }
    isDirty = true
    try segment.file.write(UnsafeMutableBufferPointer(rebasing: pieces[..<piecesUsed]), at: segment.offset, point)
    definitions.wrote()
    wrote(group)
    if let seal { wrote(seal) }
    return group
  }

  private func wrote(_ group: GroupHeader) {
    core.catalog.wroteGroup(group, at: segment.offset)
    segment.wrote(group)
  }

  /// Under load the next group waits already, and would not fit behind this one: then the seal goes out with it, for one
  /// write and one sync instead of two. A crash may leave either without the other: a seal behind a group that is not whole
  /// witnesses nothing, and a group without its seal is the end of the log like any other.
  private func isLastOfSegment(_ group: GroupHeader, extents count: Int) -> Bool {
    guard count > 0, core.options.durability == .fsync else { return false }
    let next = min(core.ring.pending.bytes, core.options.groupBytes)
    return next > 0 && !segment.hasRoom(for: next, behind: group) && core.supply.isReady
  }

  private func stageSeal(behind group: GroupHeader) -> GroupHeader {
    var seal = GroupHeader(
      firstLSN: group.nextLSN, durableLSN: group.durableLSN, previousCRC: group.checksum, wallTime: group.wallTime)
    seal.flags = .seal
    seal.bodyCRC = CRC32C.of(.empty)
    seal.encode(
      to: sealBlock.baseAddress!, salt: segment.header.salt, offset: segment.offset + group.paddedBytes)
    return seal
  }

  private func add(_ extent: Extent, to used: inout Int) {
    if used > 1, pieces[used - 1].base + pieces[used - 1].count == UnsafeRawPointer(extent.start) {
      pieces[used - 1].count += extent.length
      return
    }
    pieces[used] = WritePiece(extent.start, extent.length)
    used += 1
  }

  /// Copies the definitions that are due behind the place of the header, and returns their length: their marks move on
  /// with the records of this very group, which come behind them.
  private func stageDefinitions() -> Int {
    let due = definitions.due
    if due.isEmpty { return 0 }
    if head.count < Limits.groupHeaderBytes + due.count {
      head.deallocate()
      head = .allocate(
        byteCount: GroupHeader.padded(Limits.groupHeaderBytes + due.count), alignment: Limits.groupAlignment)
    }
    UnsafeMutableRawBufferPointer(rebasing: head[Limits.groupHeaderBytes...]).copyMemory(from: due)
    return due.count
  }

  /// One walk over the records: counts them, makes their ingest times rise, sums up body_crc, and moves each producer's
  /// mark, once per run of records with the same producer, source and epoch.
  private func fill(_ group: inout GroupHeader, extents count: Int) {
    var crc = CRC32C.of(
      UnsafeRawBufferPointer(start: head.baseAddress! + Limits.groupHeaderBytes, count: group.definitionBytes))
    var last = lastIngestTime
    var run: UInt64 = 0
    var runEnd = UnsafeMutableRawPointer(pieces.baseAddress!)
    for place in 0..<count {
      let extent = extents[place]
      var at = extent.start
      let end = at + extent.length
      var records = 0
      while at < end {
        let own: Int64 = at.loadLE(RecordLayout.ingestTime)
        if own < last { at.storeLE(last, RecordLayout.ingestTime) } else { last = own }
        let writer: UInt64 = at.loadLE(RecordLayout.producer)
        if writer != run {
          endRun(run, at: runEnd)
          run = writer
        }
        runEnd = at
        crc = CRC32C.of(UnsafeRawBufferPointer(start: at, count: Limits.serverPartBytes), seed: crc)
        at += Int(at.loadLE(RecordLayout.length) as UInt32)
        records += 1
      }
      precondition(at == end && records == extent.count, "an extent holds whole records, as many as it says")
      group.count += records
    }
    endRun(run, at: runEnd)
    lastIngestTime = last
    lastWallTime = max(lastWallTime, last, Clock.wall())
    group.wallTime = lastWallTime
    group.bodyCRC = crc
  }

  /// A producer's sequences rise along the log, so the last record of a run says how far it is. `writer`: the bytes of
  /// the record's producer, source and epoch; 0 before the first record, when `record` is none.
  @inline(__always)
  private func endRun(_ writer: UInt64, at record: UnsafeMutableRawPointer) {
    let producer = UInt32(truncatingIfNeeded: writer)
    guard producer != 0 else { return }
    definitions.note(
      producer: producer, epoch: UInt16(truncatingIfNeeded: writer >> 48),
      sequence: record.loadLE(RecordLayout.sequence))
  }

  // MARK: Segments

  /// Seals the segment and begins the next. The seal is on the device before the next file has a name. Without room for
  /// a next one there is no seal either: the zeros behind the last group are then what a start on a full disk lives on.
  private func rotate() throws(IOFault) {
    try core.supply.prepare()
    if !segment.isSealed { try seal() }
    var header = SegmentHeader(
      uuid: core.uuid, salt: UInt64.random(in: 1...UInt64.max),
      baseLSN: core.writtenLSN.load(ordering: .relaxed) + 1, createdTime: max(lastWallTime, Clock.wall()))
    if core.options.durability != .fsync { header.flags.insert(.early) }
    header.previousBaseLSN = segment.header.baseLSN
    header.previousLastLSN = header.baseLSN - 1
    header.previousLinkCRC = segment.link
    let file = try core.supply.install(header)
    core.catalog.started(file.header)
    segment = ActiveSegment(file, limit: core.options.effectiveSegmentBytes)
    definitions.beginSegment()
    isDirty = false
    core.keeperBell.ring()
  }

  private func seal() throws(IOFault) {
    try syncIfDirty()
    try writeGroup(extents: 0, flags: .seal, .sealWrite)
    try sync(.sealSync)
    sealed()
  }

  /// The seal is on the device.
  private func sealed() {
    segment.isSealed = true
    // What was laid out and not used. Nothing depends on it; a little stays, so that the whole file can be used again.
    if segment.unusedBytes > core.options.effectiveSegmentBytes / Limits.sealedSlackDivisor {
      try? segment.file.truncate(to: segment.offset, .sealTruncate)
    }
  }

  /// The last group of an orderly end: after it, the next start knows that nothing is missing.
  private func finish() throws(IOFault) {
    if !segment.isSealed { try seal() }
    needsMarker = false
  }
}
