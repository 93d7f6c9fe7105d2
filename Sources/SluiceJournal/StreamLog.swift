import SluiceCore
import Synchronization

/// A stream's durable log: many lanes in, many readers out, one thread that commits, one that keeps house.
///
/// `@unchecked Sendable`: every stored property is either immutable and Sendable or behind a mutex.
package final class StreamLog: IngestStream, MetricSource, @unchecked Sendable {
  package let recovery: RecoveryReport
  let core: LogCore
  let committer: Committer
  let keeper: LogKeeper
  /// None when the log is driven by hand.
  private let threads = Mutex<Threads?>(nil)
  private let isClosed = Mutex<Bool>(false)

  /// Recovers what the directory holds, makes it ready to be written, and starts the threads.
  package static func open(
    _ options: StreamOptions, observer: any LogObserver, storage: any LogStorage = LinuxStorage()
  ) throws(JournalError) -> StreamLog {
    try options.check()
    var recovery = LogRecovery(options, storage)
    let recovered = try recovery.run()
    let log = StreamLog(recovered, options, observer, storage, gathers: true)
    do throws(OSThread.Failure) {
      try log.startThreads()
    } catch {
      log.close()
      throw JournalError(.limit, error.description)
    }
    for event in log.recovery.findings { observer.logEvent(event) }
    return log
  }

  private init(
    _ recovered: consuming RecoveredLog, _ options: StreamOptions, _ observer: any LogObserver,
    _ storage: any LogStorage, gathers: Bool
  ) {
    recovery = recovered.report
    let start = recovered.start
    core = LogCore(
      start, cursorFile: CursorFile(recovered.cursorFile, generation: recovered.generation), options: options,
      storage: storage, observer: observer, lock: recovered.lock)
    committer = Committer(
      core,
      ActiveSegment(
        InstalledSegment(file: recovered.file, header: start.header), limit: options.effectiveSegmentBytes),
      definitions: start.definitions, lastTime: start.lastTime, gathers: gathers)
    keeper = LogKeeper(core, cursorsLost: recovered.cursorsLost)
  }

  private struct Threads {
    var commit: OSThread
    /// None if there was no second thread to be had: the log is closed then.
    var keeper: OSThread?
  }

  private func startThreads() throws(OSThread.Failure) {
    let commit = try OSThread(starting: "commit \(streamName)") { [committer] in committer.run() }
    threads.withLock { $0 = Threads(commit: commit) }
    let keeper = try OSThread(starting: "keep \(streamName)") { [keeper] in keeper.run() }
    threads.withLock { $0?.keeper = keeper }
  }

  // MARK: By hand

  /// The same without threads: whoever opens it calls `stepCommit` and `stepKeeper`, from one thread at a time, so that
  /// a simulation decides what happens when.
  package static func openByHand(
    _ options: StreamOptions, observer: any LogObserver, storage: any LogStorage
  ) throws(JournalError) -> StreamLog {
    try options.check()
    var recovery = LogRecovery(options, storage)
    let log = StreamLog(try recovery.run(), options, observer, storage, gathers: false)
    for event in log.recovery.findings { observer.logEvent(event) }
    return log
  }

  /// One round of the commit thread: a group, a marker that is due, or nothing. False once it is over.
  package func stepCommit() -> Bool { committer.step() != .over }

  /// One round of the keeper at a moment of the monotonic clock.
  package func stepKeeper(now: Int64) { _ = keeper.tick(now: now) }

  /// Lets go of a log that is driven by hand as a kill would: nothing more is written.
  package func abandon() {
    precondition(threads.withLock { $0 == nil }, "threads would go on")
    isClosed.withLock { $0 = true }
    core.buffers.close()
    core.releaseLock()
  }

  // MARK: In

  package var streamName: String { core.options.name }
  package var durability: Durability { core.options.durability }
  package var maxRecordBytes: Int { core.live.maxRecordBytes }
  package var ringBytes: Int { core.options.ringBytes }

  package func openLane(source: String, wake: @escaping @Sendable () -> Void) -> any IngestLane {
    let lane = LogLane(core: core, source: core.names.intern(source: source), wake: wake)
    core.lanes.add(lane)
    return lane
  }

  package func producer(named name: String, within allowance: ProducerAllowance? = nil) -> Producer? {
    core.names.producer(named: name, within: allowance, oldestLSN: core.catalog.oldestLSN)
  }
  package var logUUID: LogUUID { core.uuid }
  /// Whether records of this source may be in the log.
  package func knows(source: String) -> Bool { core.names.knows(source: source) }
  /// The last LSN that was given out, to a record that is perhaps not committed yet.
  package var submittedLSN: UInt64 { core.ring.pending.lastLSN }

  // MARK: Out

  package var uuid: LogUUID { core.uuid }
  package var oldestLSN: UInt64 { max(core.catalog.oldestLSN, 1) }
  /// The last LSN that may be handed out.
  package var committedLSN: UInt64 { core.committedLSN.load(ordering: .acquiring) }
  package var durableLSN: UInt64 { core.durableLSN.load(ordering: .acquiring) }

  /// The named subscriber's reader; `start` counts only when the log has no cursor of that name. `maxLag` holds from
  /// now on, also for what it was behind before, until the reader closes.
  package func openReader(
    subscriber name: String, start: StartPosition, maxLag: LagBound? = nil
  ) throws(JournalError) -> any StreamReader {
    guard !name.isEmpty, name.utf8.count <= Limits.maxCursorNameBytes else {
      throw JournalError(.options, "a subscriber's name has 1 to \(Limits.maxCursorNameBytes) bytes")
    }
    let lsn: UInt64
    if let known = core.cursors.find(name) {
      lsn = known.lsn.load(ordering: .acquiring)
    } else {
      lsn = try StartSearch(core).lsn(of: start)
    }
    let cursor = try core.cursors.connect(name, newAt: lsn, now: Clock.wall())
    core.cursorMoved()
    let reader = LogReader(core, cursor, isSubscription: true)
    if let maxLag {
      cursor.setLagBound(maxLag)
      core.lagWatch.isNeeded.store(true, ordering: .releasing)
      core.lagWatch.look(core)
    }
    return reader
  }

  /// A reader from `lsn` on that only looks: the log keeps neither its position nor, for its sake, any record. What is
  /// older than the log is told as a gap.
  package func openScan(at lsn: UInt64) -> any StreamReader {
    let cursor = Cursor(CursorEntry(name: "", lsn: max(lsn, 1), updatedTime: 0), connected: true)
    return LogReader(core, cursor, isSubscription: false)
  }

  /// Deletes, in a while, the segments that hold nothing but records below `lsn` which every subscriber has settled.
  /// The segment that is being written stays, and so does what is still to come.
  package func trim(below lsn: UInt64) {
    core.trimRequest.max(min(lsn, committedLSN + 1), ordering: .releasing)
    core.keeperBell.ring()
  }

  /// Forgets the cursor of a subscriber that is not connected; its records are held back no longer.
  package func forgetCursor(_ name: String) -> Bool {
    defer { core.cursorMoved() }
    return core.cursors.forget(name) != nil
  }

  /// What became of a cursor that was to be let go.
  package enum Forgetting: Sendable, Equatable {
    /// `frees`: bytes that only it held back.
    case forgotten(lsn: UInt64, frees: Int)
    case connected
    case unknown
  }

  /// The same for good: when this returns, no restart brings it back. Blocks on the disk.
  package func letGo(ofCursor name: String) throws(JournalError) -> Forgetting {
    let before = core.measureUnsettled()
    guard let cursor = core.cursors.forget(name) else {
      return core.cursors.find(name) == nil ? .unknown : .connected
    }
    let frees = max(0, before - core.measureUnsettled())
    var isWritten = false
    do throws(IOFault) { isWritten = try core.writeCursors() } catch { throw JournalError(error) }
    guard isWritten else { throw JournalError(.options, "the stream is closed") }
    core.keeperBell.ring()
    return .forgotten(lsn: cursor.lsn.load(ordering: .acquiring), frees: frees)
  }

  // MARK: Change

  /// The keys in which `options` differ from those in force and that can't change while the log is open. `retain`,
  /// `when_full`, `commit.linger`, `on_corruption`, the disk's reserve apart, and `max_record` up to half a slab can.
  package func fixedKeys(changedBy options: StreamOptions) -> [String] { core.options.fixedKeys(changedBy: options) }

  /// Makes what may change of `options` take effect now; segments keep the size they were opened with. Refused whole
  /// when the options are wrong or something else differs.
  package func reconfigure(_ options: StreamOptions) throws(JournalError) {
    try options.check()
    let fixed = fixedKeys(changedBy: options)
    guard fixed.isEmpty else {
      throw JournalError(
        .options, "stream \(streamName): \(fixed.joined(separator: ", ")) can't change while the stream is open")
    }
    core.live.set(options)
    core.keeperBell.ring()
  }

  // MARK: End

  /// Takes no more records, commits what was accepted, syncs, seals, writes the cursors, and ends the threads.
  package func close() {
    let isFirst = isClosed.withLock { closed -> Bool in
      defer { closed = true }
      return !closed
    }
    guard isFirst else { return }
    core.setFull(.closing, true)
    core.isClosing.store(true, ordering: .releasing)
    core.commitBell.ring()
    let threads = threads.withLock { $0 }
    if let threads { threads.commit.join() } else { while stepCommit() {} }
    keeper.requestStop()
    threads?.keeper?.join()
    if !core.hasFailed.load(ordering: .acquiring) {
      // What fails here costs that some records are delivered again.
      do throws(IOFault) { try core.writeCursors() } catch { core.observer.logEvent(.retrying(error)) }
    }
    // A reader that is left behind may come to flush its cursor yet, when the directory has another log.
    core.cursorFile.close()
    core.supply.close()
    core.buffers.close()
    core.releaseLock()
  }

  deinit { close() }
}
