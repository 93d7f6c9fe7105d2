import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("Repairing a log")
struct RepairTests {
  private let all = Array(1...50)

  private func zeroHeader(_ storage: MemoryStorage, _ path: String) throws {
    try OfflineLog.change(storage, path) { bytes in
      for place in 0..<Limits.segmentHeaderBytes { bytes[place] = 0 }
    }
  }

  @Test("a sound log has nothing to repair, and --apply changes no byte of it")
  func nothingToDo() throws {
    let storage = try OfflineLog.long()
    let before = MemoryLog.segments(storage).map { storage.get($0) }
    let outcome = try OfflineLog.repair(storage)
    #expect(outcome.plan.steps.isEmpty && outcome.plan.remarks.isEmpty && outcome.backup == nil)
    #expect(MemoryLog.segments(storage).map { storage.get($0) } == before)
  }

  @Test(
    "a header with a flipped bit is put back as it was, a destroyed one is made anew; then everything is delivered",
    arguments: [0, 1, 3, -1], [true, false])
  func headers(place: Int, isOneBit: Bool) throws {
    let storage = try OfflineLog.long()
    let names = MemoryLog.segments(storage)
    let path = names[place < 0 ? names.count - 1 : place]
    let whole = try #require(storage.get(path))
    if isOneBit { try OfflineLog.change(storage, path) { $0[49] ^= 16 } } else { try zeroHeader(storage, path) }
    let damaged = storage.get(path)
    let plan = try OfflineLog.plan(storage)
    #expect(plan.steps.count == 1 && plan.steps[0].lastLSN < plan.steps[0].firstLSN)
    #expect(storage.get(path) == damaged, "a plan changes nothing")
    let outcome = try OfflineLog.repair(storage)
    #expect(storage.get("d/\(outcome.backup ?? "")/\(path.dropFirst(2))") == damaged)
    let repaired = try #require(storage.get(path))
    #expect(repaired[4096...] == whole[4096...])
    if isOneBit { #expect(repaired == whole) }
    let report = try OfflineLog.verify(storage)
    #expect(report.isSound, "\(report.problems)")
    let found = try OfflineLog.delivered(storage)
    #expect(found.records == all && found.gaps.isEmpty)
  }

  @Test("whichever bit of a header has flipped, the header comes back byte for byte")
  func everyHeaderBit() throws {
    let storage = try MemoryLog.crashed(groups: 1)
    let path = MemoryLog.path(SegmentFile.name(1))
    let whole = try #require(storage.get(path))
    let header = try SegmentFile.readHeader(path, on: storage).get()
    for place in Array(0..<128) + [128, 1000, 4094, 4095] {
      for bit in 0..<8 {
        try OfflineLog.change(storage, path) { $0[place] ^= 1 << bit }
        let hint = HeaderRescue.Hint(uuid: header.uuid, baseLSN: 1, previous: nil)
        let rescued = try HeaderRescue.rescue(try LogFile(path, .read, on: storage), hint)
        #expect(rescued == HeaderRescue.Rescued(header: header, groups: nil), "bit \(bit) of byte \(place)")
        storage.put(path, whole)
      }
    }
  }

  @Test("a header that no group proves is set aside, and the log goes on with a gap that is told")
  func unprovenHeader() throws {
    for isNewest in [false, true] {
      let storage = try OfflineLog.long()
      let names = MemoryLog.segments(storage)
      let path = isNewest ? names[names.count - 1] : names[1]
      // Of the groups nothing is left but one header.
      try OfflineLog.change(storage, path) { bytes in
        for place in bytes.indices where place < 4096 || place >= 4096 + 64 { bytes[place] = 0 }
      }
      let outcome = try OfflineLog.repair(storage)
      let lost = OfflineLog.base(path)...(isNewest ? 50 : OfflineLog.base(names[2]) - 1)
      if isNewest {
        // Recovery does it better: it knows which LSNs must not come back.
        #expect(outcome.plan.steps.isEmpty && outcome.plan.remarks.count == 1)
      } else {
        #expect(outcome.plan.steps.map { $0.firstLSN...$0.lastLSN } == [lost])
        #expect(storage.get("d/quarantine/\(path.dropFirst(2)).bad") != nil && storage.get(path) == nil)
      }
      let found = try OfflineLog.delivered(storage)
      #expect(found.records == all.filter { !lost.contains(UInt64($0)) })
      #expect(found.gaps.first?.lowerBound == lost.lowerBound)
      if !isNewest { #expect(found.gaps == [lost]) }
    }
  }

  @Test("groups of an earlier life of the blocks prove no header")
  func staleGroups() throws {
    let storage = try OfflineLog.long()
    let names = MemoryLog.segments(storage)
    // One group of the segment's own is left; behind it lies what an older segment had there.
    let older = try #require(storage.get(names[1]))
    let header = try SegmentFile.readHeader(names[2], on: storage).get()
    try OfflineLog.change(storage, names[2]) { bytes in
      let length = bytes.withUnsafeBytes {
        (try? GroupHeader.decode(UnsafeRawBufferPointer(rebasing: $0[4096...]), salt: header.salt, offset: 4096))?
          .paddedBytes ?? 0
      }
      for place in 0..<4096 { bytes[place] = 0 }
      for place in (4096 + length)..<min(bytes.count, older.count) { bytes[place] = older[place] }
    }
    let plan = try OfflineLog.plan(storage)
    #expect(plan.steps.count == 1 && plan.steps[0].what.contains("aside"), "\(plan.steps)")
    try OfflineLog.repair(storage)
    let lost = OfflineLog.base(names[2])..<OfflineLog.base(names[3])
    #expect(try OfflineLog.delivered(storage).records == all.filter { !lost.contains(UInt64($0)) })
  }

  @Test("a segment that a start has set aside comes back from quarantine under its proven header")
  func fromQuarantine() throws {
    let storage = try OfflineLog.long()
    let newest = try #require(MemoryLog.segments(storage).last)
    try zeroHeader(storage, newest)
    var log = try MemoryLog.open(storage)
    TestLane(log).commit(["51 after"])
    log.close()
    #expect(storage.get(newest) == nil)
    try OfflineLog.repair(storage)
    log = try MemoryLog.open(storage)
    let found = try MemoryLog.contents(log)
    log.close()
    #expect(found.seen.compactMap { Int($0.payload.split(separator: " ")[0]) } == Array(1...51))
    #expect(found.gaps.count == 1 && found.gaps[0].lowerBound == 51, "the gap that was told stays, without records")
  }

  @Test("cursors of another log no longer keep a log from opening")
  func foreignCursors() throws {
    let storage = try OfflineLog.long()
    let foreign = try #require(try OfflineLog.long().get("d/cursors.slot"))
    storage.put("d/cursors.slot", foreign)
    #expect(throws: JournalError.self) { try MemoryLog.open(storage) }
    let kept = storage.copy()
    try OfflineLog.repair(storage)
    #expect(storage.get("d/quarantine/cursors.slot.bad") == foreign)
    #expect(try OfflineLog.delivered(storage).records == all)
    // The same with cursors that are asked for.
    var options = RepairOptions()
    options.cursors = [("archive", .lsn(20)), ("audit", .oldest), ("late", .newest)]
    _ = try LogRepair.apply(to: OfflineLog.directory, options, backup: "backup-now", storage: kept)
    #expect(kept.get("d/backup-now/cursors.slot") == foreign)
    let log = try MemoryLog.open(kept)
    let cursors = log.status.subscribers.map { "\($0.name) \($0.cursor)" }
    #expect(cursors == ["archive 20", "audit 1", "late 51"])
    log.close()
  }

  @Test("a segment of another log is set aside; where it was the newest, no LSN is given out again")
  func foreignSegments() throws {
    for isNewest in [false, true] {
      let storage = try OfflineLog.long()
      let names = MemoryLog.segments(storage)
      let path = isNewest ? names[names.count - 1] : names[1]
      storage.put(path, try #require(try OfflineLog.long().get(path)))
      try OfflineLog.repair(storage)
      #expect(storage.get("d/quarantine/\(path.dropFirst(2)).bad") != nil)
      let lost = OfflineLog.base(path)...(isNewest ? 50 : OfflineLog.base(names[2]) - 1)
      let log = try MemoryLog.open(storage)
      if isNewest { #expect(log.recovery.nextLSN > 50) }
      let found = try MemoryLog.contents(log)
      log.close()
      #expect(found.seen.map { Int($0.lsn) } == all.filter { !lost.contains(UInt64($0)) })
      #expect(found.gaps.count == 1 && found.gaps[0].lowerBound == lost.lowerBound)
      #expect(found.gaps[0].upperBound >= lost.upperBound)
    }
  }

  @Test("misnamed segments get their names, and stray copies are set aside")
  func names() throws {
    let storage = try OfflineLog.long()
    let names = MemoryLog.segments(storage)
    let wrong = MemoryLog.path(SegmentFile.name(OfflineLog.base(names[2]) + 1))
    storage.put(wrong, try #require(storage.get(names[2])))
    try storage.unlink(names[2], .segmentUnlink)
    // A copy of the first one under a name between.
    let copy = MemoryLog.path(SegmentFile.name(2))
    storage.put(copy, try #require(storage.get(names[0])))
    let outcome = try OfflineLog.repair(storage)
    #expect(outcome.plan.steps.count == 2)
    #expect(storage.get(wrong) == nil && storage.get(copy) == nil && storage.get(names[2]) != nil)
    let found = try OfflineLog.delivered(storage)
    #expect(found.records == all && found.gaps.isEmpty)
  }

  @Test("one unreadable slot is written anew, lost cursors only as they are asked for, and cursors can be forgotten")
  func cursors() throws {
    let storage = try OfflineLog.long(settled: 31)
    let whole = try #require(storage.get("d/cursors.slot"))
    let pair = try #require(try CursorSlotPair.read("d/cursors.slot", on: storage))
    let other = pair.slots.firstIndex { if case .slot(let slot) = $0 { slot != pair.newest } else { false } } ?? 0
    try OfflineLog.change(storage, "d/cursors.slot") { $0[other * Limits.cursorSlotBytes + 20] ^= 1 }
    #expect(try !OfflineLog.verify(storage).isSound)
    try OfflineLog.repair(storage)
    #expect(try OfflineLog.verify(storage).isSound)
    #expect(try CursorSlotPair.read("d/cursors.slot", on: storage)?.newest?.entries == pair.newest?.entries)

    storage.put("d/cursors.slot", Array(repeating: 7, count: whole.count))
    let outcome = try OfflineLog.repair(storage)
    #expect(outcome.plan.steps.isEmpty && outcome.plan.remarks.count == 1, "a start makes them anew and tells of it")
    var options = RepairOptions()
    options.cursors = [("archive", .lsn(31))]
    _ = try LogRepair.apply(to: OfflineLog.directory, options, backup: "b", storage: storage)
    var survey = try StreamSurvey(of: OfflineLog.directory, storage: storage)
    #expect(survey.state == .closed && survey.cursors.map(\.lag) == [20])
    options = RepairOptions()
    options.forgotten = ["archive"]
    _ = try LogRepair.apply(to: OfflineLog.directory, options, backup: "b", storage: storage)
    survey = try StreamSurvey(of: OfflineLog.directory, storage: storage)
    #expect(survey.cursors.isEmpty && storage.get("d/b-2/cursors.slot") != nil)
    for wrong in [("archive", RepairOptions.Position.lsn(52)), ("archive", .lsn(0)), ("", .oldest)] {
      options = RepairOptions()
      options.cursors = [wrong]
      #expect(throws: JournalError.self) { try OfflineLog.plan(storage, options) }
    }
    options.forgotten = ["nobody"]
    #expect(throws: JournalError.self) { try OfflineLog.plan(storage, options) }
  }

  @Test("a log that is open is refused by the lock, a newer format by its name, another directory before it is touched")
  func refusals() throws {
    let storage = try OfflineLog.long()
    let log = try MemoryLog.open(storage)
    #expect(throws: JournalError.self) { try OfflineLog.repair(storage) }
    log.close()
    let first = MemoryLog.segments(storage)[1]
    var header = try SegmentFile.readHeader(first, on: storage).get()
    header.incompatible = 1 << 3
    try OfflineLog.change(storage, first) { bytes in
      bytes.withUnsafeMutableBytes { header.encode(to: UnsafeMutableRawBufferPointer(rebasing: $0[..<4096])) }
    }
    let error = #expect(throws: JournalError.self) { try OfflineLog.plan(storage) }
    #expect(error?.kind == .incompatible && error?.message.contains("bit 3") == true)
    let empty = MemoryStorage()
    #expect(throws: JournalError.self) {
      try LogRepair.apply(to: "d", RepairOptions(), backup: "b", storage: empty)
    }
    #expect(empty.paths.isEmpty)
  }

  @Test("wherever a repair ends too early, the log still opens or is repaired by the next, and nothing is lost")
  func interrupted() throws {
    let broken = try OfflineLog.long()
    let names = MemoryLog.segments(broken)
    for path in [names[1], names[3]] { try OfflineLog.change(broken, path) { $0[49] ^= 1 } }
    try zeroHeader(broken, names[2])
    try OfflineLog.change(broken, "d/cursors.slot") { $0[20] ^= 1 }
    // What a repair that was killed left.
    broken.put("d/" + RepairFiles.temporary(String(names[1].dropFirst(2))), [1, 2, 3])
    for operation in [IOFault.Operation.open, .write, .sync, .rename, .allocate, .unlink] {
      var calls = 0
      var isDone = false
      while !isDone {
        let storage = broken.copy()
        storage.fail(operation, code: 28, after: calls)
        do {
          _ = try LogRepair.apply(to: OfflineLog.directory, RepairOptions(), backup: "b", storage: storage)
          isDone = true
        } catch {}
        storage.fail(operation, code: nil)
        try OfflineLog.repair(storage)
        let report = try OfflineLog.verify(storage)
        #expect(report.isSound && report.records == 50, "\(operation) \(calls): \(report.problems)")
        #expect(!storage.paths.contains { $0.hasPrefix("d/repair-") })
        calls += operation == .open ? 3 : 1
      }
      #expect(calls > 1, "\(operation) was never refused")
    }
  }
}
