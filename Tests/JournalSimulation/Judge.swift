import SluiceCore
import SluiceJournal

/// Opens what a crash left and holds it against what was promised.
struct Judge {
  enum Crash: Equatable { case power, kill, damage }

  let options: StreamOptions
  let subscribers: [String]
  let producers: [String]
  let fault: SyncFault?

  struct Finding {
    var tail: RecoveryReport.Tail
    /// With damage: how many records the log told to be gone.
    var told = 0
    /// With damage: acknowledged records that are gone without a word: those of the last group, when nothing behind it
    /// was durable yet.
    var residual = 0
  }

  /// Judges one state; `disk` is as the crash left it.
  func judge(
    _ disk: SimulatedDisk, _ world: World, _ crash: Crash, _ random: inout SimulationRandom, isSecond: Bool = false
  ) throws -> Finding {
    let storage = SimulatedStorage(disk, fault: fault)
    let copyAt = isSecond ? 0 : 1 + random.below(40)
    storage.keepCopies { number, _ in number == copyAt }
    let events = SimulationEvents()
    let log = try open(storage, events)
    defer { log.abandon() }
    let copy = storage.takeCopies().first
    storage.keepCopies(nil)
    var finding = Finding(tail: log.recovery.tail)
    let promised = crash == .kill ? world.survivesKill : world.survivesPower
    if crash != .damage { try checkVerdict(log, world) }
    let seen = try read(log, world)
    if crash == .damage {
      try checkDamage(log, world, seen, promised, &finding)
      return finding
    }
    try checkContent(log, world, seen, promised)
    // What was never promised may be gone: nobody is behind for its sake.
    var found = world
    found.records = world.records.filter { $0.key <= log.recovery.lastLSN }
    try checkCursors(log, found)
    try checkProducers(log, found)
    guard !isSecond else { return finding }
    try judgeSecond(storage, log, copy?.disk, world, &random)
    return finding
  }

  private func open(_ storage: SimulatedStorage, _ events: SimulationEvents) throws -> StreamLog {
    do { return try StreamLog.openByHand(options, observer: events, storage: storage) } catch {
      throw SimulationViolation("a log can be opened after any crash", "\(error)")
    }
  }

  /// Power may be lost in the middle of the recovery, and right after it: then everything that it found was handed out.
  private func judgeSecond(
    _ storage: SimulatedStorage, _ log: StreamLog, _ during: SimulatedDisk?, _ world: World,
    _ random: inout SimulationRandom
  ) throws {
    var after = storage.disk
    after.crash(&random)
    try checkQuarantine(log, storage, after)
    var found = world
    found.recovered(through: log.recovery.lastLSN)
    _ = try judge(after, found, .power, &random, isSecond: true)
    if var during {
      during.crash(&random)
      // What was only in memory when the first crash was a kill may be gone now, but was not handed out either.
      var before = world
      before.survivesKill = before.survivesPower
      before.records = found.records
      before.isClosed = false
      _ = try judge(during, before, .power, &random, isSecond: true)
    }
  }

  // MARK: Rules

  private func checkVerdict(_ log: StreamLog, _ world: World) throws {
    let report = log.recovery
    if report.tail == .corrupt { throw SimulationViolation("a crash is no corruption", "\(report.findings)") }
    for finding in report.findings {
      switch finding {
      case .corruption, .cursorsLost: throw SimulationViolation("a crash is no corruption", "\(finding)")
      default: continue
      }
    }
    if world.isClosed, report.tail != .sealed {
      throw SimulationViolation("an orderly end is recognised", "the tail is \(report.tail)")
    }
    if report.nextLSN <= world.handedOut, report.lastLSN < world.handedOut {
      throw SimulationViolation(
        "no LSN is given out twice", "next is \(report.nextLSN), \(world.handedOut) was handed out")
    }
  }

  private struct Seen {
    var records: Set<UInt64> = []
    var gaps: [ClosedRange<UInt64>] = []
  }

  /// Reads all there is, from files, so that the log checks every byte; whatever comes must be what was sent under that
  /// LSN.
  private func read(_ log: StreamLog, _ world: World) throws -> Seen {
    var seen = Seen()
    let reader = log.openScan(at: log.oldestLSN)
    let batch = RecordBatch(capacity: 1024)
    var turns = 0
    while true {
      turns += 1
      if turns > 10_000 { throw SimulationViolation("reading ends", "at \(reader.position)") }
      switch try reader.read(into: batch, maxRecords: 1024, maxBytes: 1 << 20) {
      case .nothingYet:
        reader.close()
        return seen
      case .gap(let first, let last, _): seen.gaps.append(first...last)
      case .records:
        for place in 0..<batch.count {
          let lsn = batch.firstLSN + UInt64(place)
          try check(batch[place], lsn, world)
          seen.records.insert(lsn)
        }
        batch.release()
      }
    }
  }

  private func check(_ record: RecordView, _ lsn: UInt64, _ world: World) throws {
    let payload = record.payload
    let id: UInt64 = payload.count >= 8 ? payload.loadUnaligned(as: UInt64.self) : 0
    let expected = world.records[lsn]
    guard expected?.id == id, expected?.payloadBytes == payload.count else {
      throw SimulationViolation(
        "what is read is what was sent",
        "LSN \(lsn) holds \(id) of \(payload.count) bytes, sent was \(expected.map { "\($0)" } ?? "nothing")")
    }
  }

  private func checkContent(_ log: StreamLog, _ world: World, _ seen: Seen, _ promised: UInt64) throws {
    if let gap = seen.gaps.first {
      throw SimulationViolation("a crash makes no gap", "\(gap)")
    }
    let oldest = log.oldestLSN
    for lsn in world.records.keys where lsn >= oldest && lsn <= promised && !seen.records.contains(lsn) {
      throw SimulationViolation(
        "what was acknowledged is there", "LSN \(lsn) of \(promised) is gone, the log ends at \(log.recovery.lastLSN)")
    }
  }

  private func checkCursors(_ log: StreamLog, _ world: World) throws {
    for name in subscribers {
      guard let settled = world.settled[name] else { continue }
      let reader = try log.openReader(subscriber: name, start: .oldest)
      defer { reader.close() }
      let cursor = reader.cursor
      // A cursor behind the last record of the old segment goes on at the new one, when nothing lies between.
      if cursor > settled, world.hasRecords(in: settled..<cursor) {
        throw SimulationViolation("no cursor passes what is not settled", "\(name) is at \(cursor), settled \(settled)")
      }
      if let flushed = world.flushed[name], cursor < flushed {
        throw SimulationViolation("a cursor that was written stays", "\(name) is at \(cursor), written was \(flushed)")
      }
      if cursor < log.oldestLSN, world.hasRecords(in: cursor..<log.oldestLSN) {
        throw SimulationViolation("a subscriber loses nothing", "\(name) is at \(cursor), kept from \(log.oldestLSN)")
      }
    }
  }

  private func checkProducers(_ log: StreamLog, _ world: World) throws {
    for (place, name) in producers.enumerated() {
      let known = log.producer(named: name)?.known.position.sequence ?? 0
      let expected = world.lastSequence(of: place + 1, through: log.recovery.lastLSN)
      if known != expected {
        throw SimulationViolation(
          "a producer's mark is that of its last record", "\(name) has \(known), not \(expected)")
      }
    }
  }

  /// What recovery put aside is durable when the log is open.
  private func checkQuarantine(_ log: StreamLog, _ storage: SimulatedStorage, _ after: SimulatedDisk) throws {
    let crashed = SimulatedStorage(after)
    for name in log.recovery.quarantined {
      let path = SimulatedStorage.directory + "/" + name
      guard let kept = storage.content(path), crashed.content(path) == kept else {
        throw SimulationViolation("what recovery puts aside stays", name)
      }
    }
  }

  private func checkDamage(
    _ log: StreamLog, _ world: World, _ seen: Seen, _ promised: UInt64, _ finding: inout Finding
  ) throws {
    var missing: [UInt64] = []
    for lsn in world.records.keys where lsn <= promised && lsn >= log.oldestLSN && !seen.records.contains(lsn) {
      if seen.gaps.contains(where: { $0.contains(lsn) }) { finding.told += 1 } else { missing.append(lsn) }
    }
    if missing.isEmpty { return }
    // The one group whose only witness would have been the next one.
    if !world.isWitnessed, let first = missing.min(), first > log.recovery.lastLSN {
      finding.residual = missing.count
      return
    }
    throw SimulationViolation(
      "damage is told",
      "\(missing.sorted().prefix(5)) of \(promised) are gone; the tail is \(log.recovery.tail), "
        + "gaps \(seen.gaps)")
  }
}
