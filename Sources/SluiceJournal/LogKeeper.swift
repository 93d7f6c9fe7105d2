import SluiceCore
import Synchronization

// The keeper: everything of a log that may wait. It writes cursors, lays out the next segment, looks at free space,
// deletes what retention allows, and finds out whether unsettled records have reached their bound. One thread per
// stream, asleep unless there is something to do.
//
// A segment goes in this order: trim_lsn above it is written to the cursor slots and synced; its file is unlinked, or
// renamed to be used again. A crash in between brings back a file that trim_lsn says may go: recovery removes it. The last
// segment whose names and marks are durable stays.

/// `@unchecked Sendable`: made on one thread and handed to the keeper's, which alone touches it from then on.
final class LogKeeper: @unchecked Sendable {
  private let core: LogCore
  private let stop = Atomic<Bool>(false)
  private var lastCursorWrite: Int64 = 0
  private var lastDiskCheck: Int64 = 0
  private var lastExpiryLook: Int64 = 0
  private var spaceFault: IOFault?
  private var commitsSeen: UInt64 = 0
  private var quietSince: Int64
  private var toldOfLag = false
  private var lastTold: Int64?
  private let openedAt: Int64
  /// Before this nothing is deleted.
  private let retainsFrom: Int64

  /// `openedAt`: when the log was opened, on the monotonic clock. `cursorsLost`: who has settled what is not known until
  /// the subscribers are back.
  init(_ core: LogCore, cursorsLost: Bool, openedAt: Int64 = Clock.monotonic()) {
    self.core = core
    self.openedAt = openedAt
    quietSince = openedAt
    retainsFrom = cursorsLost ? openedAt + Limits.lostCursorsGraceNanoseconds : openedAt
  }

  /// From any thread.
  func requestStop() {
    stop.store(true, ordering: .releasing)
    core.keeperBell.ring()
  }

  func run() {
    while !stop.load(ordering: .acquiring) {
      let deadline = tick(now: Clock.monotonic())
      core.keeperBell.wait(until: deadline)
    }
  }

  /// Does what is due, and says when to look again.
  func tick(now: Int64) -> Int64 {
    if core.hasFailed.load(ordering: .acquiring) { return .max }
    // First what goes, then what comes: a segment that retention lets go may be the next one.
    retain(now: now)
    attempt { () throws(IOFault) in try core.supply.prepare() }
    var deadline = min(now + Limits.diskCheckNanoseconds, fillWhileIdle(now: now))
    if now - lastDiskCheck >= (core.isFull(.reserve) ? Limits.fullRetryNanoseconds : Limits.diskCheckNanoseconds) {
      do throws(IOFault) { try core.checkIdentity() } catch {
        if error.operation == .identity {
          core.fail(error)
          core.commitBell.ring()
          return .max
        }
        report(error)
      }
      checkSpace()
      lastDiskCheck = now
    }
    // Nothing moves in a stream whose subscribers are all gone, and just then it fills.
    if now - lastExpiryLook >= Limits.cursorExpiryLookNanoseconds {
      expireCursors(now: Clock.wall())
      lastExpiryLook = now
    }
    if core.cursors.dirty.load(ordering: .acquiring) {
      let due = lastCursorWrite + Limits.cursorIntervalNanoseconds
      if now >= due {
        writeCursors()
        lastCursorWrite = now
      } else {
        deadline = min(deadline, due)
      }
    }
    if let index = core.catalog.unwrittenIndex {
      attempt { () throws(IOFault) in try index.write(in: core.options.directory, on: core.storage) }
      // One that could not be written is missed by nobody.
      core.catalog.wroteIndex(of: index.baseLSN)
      deadline = now
    }
    if core.lagWatch.isNeeded.load(ordering: .acquiring) {
      core.lagWatch.look(core)
      tellOfLag(now: now)
      deadline = min(deadline, now + Limits.fullRetryNanoseconds)
    }
    if core.fullReason != nil { deadline = min(deadline, now + Limits.fullRetryNanoseconds) }
    return deadline
  }

  /// A stream that is full for a subscriber's lag is most often at the bound for long, and below it for moments.
  private func tellOfLag(now: Int64) {
    let isFull = core.isFull(.lag)
    guard isFull != toldOfLag, lastTold.map({ now - $0 >= Limits.refusalLogIntervalNanoseconds }) ?? true else {
      return
    }
    toldOfLag = isFull
    lastTold = now
    core.observer.logEvent(.full(core.fullReason))
  }

  // MARK: Cursors and space

  private func writeCursors() {
    let now = Clock.wall()
    for cursor in core.cursors.all where cursor.connected.load(ordering: .acquiring) {
      cursor.updatedTime.store(now, ordering: .relaxed)
    }
    do throws(IOFault) { try core.writeCursors() } catch { report(error) }
  }

  /// Time in which the log was not open is no time in which a subscriber failed to come.
  func expireCursors(now: Int64) {
    guard Clock.monotonic() - openedAt >= Limits.cursorGraceNanoseconds else { return }
    var held = core.measureUnsettled()
    while let cursor = core.cursors.expireOne(before: now - core.live.cursorExpiryNanoseconds) {
      core.counters.countExpiredCursor()
      core.cursorMoved()
      let left = core.measureUnsettled()
      core.observer.logEvent(
        .cursorExpired(
          name: cursor.name, lsn: cursor.lsn.load(ordering: .acquiring),
          lastSeen: cursor.updatedTime.load(ordering: .relaxed), frees: max(0, held - left)))
      held = left
    }
  }

  /// Tells of a fault that is tried again, once until it is another.
  private func report(_ fault: IOFault) {
    if fault != spaceFault { core.observer.logEvent(.retrying(fault)) }
    spaceFault = fault
  }

  /// Tells of what goes wrong; it is tried again.
  private func attempt(_ body: () throws(IOFault) -> Void) {
    do throws(IOFault) { try body() } catch { report(error) }
  }

  /// Commits on blocks that were written before are cheaper; but filling doubles what the disk has to write, so it is
  /// done only while nothing else is. Says when to look again.
  private func fillWhileIdle(now: Int64) -> Int64 {
    guard core.options.durability == .fsync, core.supply.wantsFilling, core.fullReason == nil else { return .max }
    let commits = DiskActivity.commits.load(ordering: .relaxed)
    if commits != commitsSeen {
      commitsSeen = commits
      quietSince = now
    }
    guard now - quietSince >= Limits.idleBeforeFillNanoseconds else {
      return quietSince + Limits.idleBeforeFillNanoseconds
    }
    do throws(IOFault) { try core.supply.fill() } catch {
      report(error)
      return .max
    }
    return now + Limits.fillPauseNanoseconds
  }

  private func checkSpace() {
    attempt { () throws(IOFault) in
      core.setFull(.reserve, try core.storage.freeBytes(core.options.directory) < core.options.diskReserveBytes)
      if needsSpace { try core.supply.dropSpares() }
    }
  }

  private var needsSpace: Bool { core.isFull(.reserve) || core.isFull(.noSpace) }

  // MARK: Retention

  private func retain(now: Int64) {
    let drops = core.live.whenFull == .dropOldest
    while now >= retainsFrom, let oldest = core.catalog.oldestClosed() {
      let lowest = core.cursors.lowest ?? .max
      let isSettled = lowest >= oldest.nextBase && oldest.nextBase <= core.durableLSN.load(ordering: .acquiring) + 1
      let isOver = core.catalog.totalBytes > core.live.retainBytes
      let isUnwanted = oldest.nextBase <= core.trimRequest.load(ordering: .acquiring)
      guard core.catalog.hasHeadBesideOldest(durableLSN: core.durableLSN.load(ordering: .acquiring)) else { break }
      guard (isOver && (isSettled || drops)) || (isSettled && (isUnwanted || isTooOld(oldest))) else { break }
      guard remove(oldest.info, below: oldest.nextBase, unsettledFrom: isSettled ? nil : lowest) else { break }
    }
    core.setFull(.retention, core.measureUnsettled() >= core.live.retainBytes && !drops)
  }

  private func isTooOld(_ oldest: (info: SegmentInfo, nextBase: UInt64, nextHeader: SegmentHeader?)) -> Bool {
    guard let age = core.live.retainAgeNanoseconds else { return false }
    var ended = oldest.info.lastTime ?? oldest.nextHeader?.createdTime
    if ended == nil {
      let name = core.path(SegmentFile.name(oldest.nextBase))
      if case .success(let header)? = try? SegmentFile.readHeader(name, on: core.storage), header.uuid == core.uuid {
        core.catalog.learned(header)
        ended = header.createdTime
      }
    }
    return ended.map { Clock.wall() - $0 > age } ?? false
  }

  private func remove(_ segment: SegmentInfo, below next: UInt64, unsettledFrom lowest: UInt64?) -> Bool {
    let baseLSN = segment.baseLSN
    let name = SegmentFile.name(baseLSN)
    let before = core.trimLSN.exchange(next, ordering: .acquiringAndReleasing)
    precondition(next >= before, "trim_lsn only rises")
    do throws(IOFault) {
      try core.writeCursors(at: .trim)
      core.catalog.removeOldest(baseLSN)
      let isKept = needsSpace ? false : try core.supply.takeOver(name, bytes: segment.bytes)
      if !isKept { try core.storage.unlink(core.path(name), .segmentUnlink) }
      try? core.storage.unlink(core.path(SegmentFile.indexName(baseLSN)), .indexUnlink)
    } catch {
      report(error)
      return false
    }
    if let lowest, lowest < next {
      core.observer.logEvent(.dropped(first: max(lowest, baseLSN), last: next - 1))
    }
    return true
  }
}
