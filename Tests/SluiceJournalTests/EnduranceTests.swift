import Glibc
import SluiceCore
import Synchronization
import Testing

@testable import SluiceJournal

@Suite("Long halts, full disks and holes")
struct EnduranceTests {
  private func slot(_ storage: MemoryStorage) throws -> CursorSlot {
    guard case .slot(let slot) = try CursorFile.read("d/cursors.slot", on: storage) else {
      throw JournalError(.io, "no slot")
    }
    return slot
  }

  /// Replaces the newest slot by what `change` makes of it.
  private func rewriteSlot(_ storage: MemoryStorage, _ change: (inout CursorSlot) -> Void) throws {
    var slot = try slot(storage)
    slot.generation += 1
    change(&slot)
    var bytes = try #require(storage.get("d/cursors.slot"))
    bytes.replaceSubrange(slot.offset..<(slot.offset + slot.encoded().count), with: slot.encoded())
    storage.put("d/cursors.slot", bytes)
  }

  @Test("after a halt longer than the expiry no cursor is forgotten before its subscriber can come back")
  func longHalt() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage)
    TestLane(log).commit(["a", "b", "c"])
    let early = try log.openReader(subscriber: "early", start: .oldest)
    let late = try log.openReader(subscriber: "late", start: .oldest)
    late.close()
    early.close()
    log.close()
    try rewriteSlot(storage) { slot in
      for place in slot.entries.indices { slot.entries[place].updatedTime -= 2 * Limits.cursorExpiryNanoseconds }
    }
    let generation = try slot(storage).generation
    log = try MemoryLog.open(storage)
    let first = try log.openReader(subscriber: "early", start: .newest)
    storage.wait { (try? slot(storage).generation) ?? 0 > generation }
    let second = try log.openReader(subscriber: "late", start: .newest)
    #expect(second.cursor == 1, "it goes on where it was, not at the end")
    #expect(try second.drain().count == 3)
    second.close()
    log.core.cursors.find("late")?.updatedTime.store(0, ordering: .relaxed)
    let grace = Limits.cursorGraceNanoseconds
    LogKeeper(log.core, cursorsLost: false, openedAt: Clock.monotonic() - grace).expireCursors(now: Clock.wall())
    #expect(log.core.cursors.find("late") == nil && log.core.cursors.find("early") != nil)
    first.close()
    log.close()
  }

  @Test("when the cursors were lost nothing is deleted as settled before the subscribers are back")
  func lostCursors() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage)
    let filler = String(repeating: "x", count: 60_000)
    for _ in 0..<100 { TestLane(log).commit([filler]) }
    log.close()
    let segments = MemoryLog.segments(storage).count
    try storage.unlink("d/cursors.slot", .segmentUnlink)
    log = try MemoryLog.open(storage) { $0.retainBytes = 2 << 20 }
    let keeper = LogKeeper(log.core, cursorsLost: true)
    _ = keeper.tick(now: Clock.monotonic())
    #expect(log.status.segments == segments + 1 && log.oldestLSN == 1)
    #expect(try MemoryLog.contents(log).seen.count == 100)
    log.close()
  }

  @Test(
    "starts on a full disk, hands out what it holds, and takes records when there is space", arguments: [0, 300_000])
  func startsWhenFull(_ left: Int) throws {
    let storage = try MemoryLog.crashed(groups: 3)
    storage.removeTemporary()
    let capacity = storage.usedBytes + left
    storage.setCapacity(capacity)
    let log = try MemoryLog.open(storage)
    #expect(try MemoryLog.contents(log).seen.map(\.payload) == MemoryLog.payloads(0..<3))
    storage.setCapacity(.max)
    TestLane(log).commit(["after"])
    #expect(try MemoryLog.contents(log).seen.count == 7)
    log.close()
    #expect(try MemoryLog.open(storage).recovery.tail == .sealed)
  }

  @Test("space that was laid out until there was no more is given back")
  func layoutGivesBack() throws {
    let storage = MemoryStorage()
    storage.setCapacity(1000)
    #expect(throws: IOFault.self) { _ = try SegmentFile.layOut(in: "d", bytes: 4096, on: storage).file.size() }
    #expect(storage.get("d/next.tmp") == [])
  }

  @Test("a group that was being synced when the cursors' sync failed is not told to anyone")
  func failsBesideACommit() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    storage.holdSegmentSyncs(true)
    lane.append("in flight")
    let last = lane.lane.submit()
    #expect(lane.lane.requestWake(at: last))
    while log.core.writtenLSN.load(ordering: .acquiring) < last { sched_yield() }
    log.core.fail(IOFault(.sync, "d/cursors.slot", EIO))
    storage.holdSegmentSyncs(false)
    log.close()
    #expect(log.committedLSN == 0 && lane.lane.acknowledged == 0)
    #expect(!lane.bell.wait(until: Clock.monotonic()), "no wake came")
  }

  @Test("a torn tail on a full disk is cut although there is no room for its copy")
  func tornWhenFull() throws {
    let storage = try MemoryLog.crashed(groups: 2)
    var bytes = try #require(storage.get(MemoryLog.path(SegmentFile.name(1))))
    let end = Limits.segmentHeaderBytes + 2 * Limits.groupAlignment
    bytes.replaceSubrange(end..<(end + 100), with: [UInt8](repeating: 7, count: 100))
    storage.put(MemoryLog.path(SegmentFile.name(1)), bytes)
    storage.removeTemporary()
    storage.setCapacity(storage.usedBytes)
    storage.fail(.write, code: ENOSPC, onPathsWith: "quarantine/")
    let log = try MemoryLog.open(storage)
    #expect(log.recovery.tail == .torn && log.recovery.quarantined.isEmpty)
    #expect(try MemoryLog.contents(log).seen.count == 4)
    let kept = try #require(storage.get(MemoryLog.path(SegmentFile.name(1))))
    #expect(kept[end..<(end + 100)].allSatisfy { $0 == 7 }, "the bytes stay in the old segment")
    storage.setCapacity(.max)
    log.close()
  }

  @Test("a cursor is written while a group waits for space, and closing then is no failure")
  func closingWhenFull() throws {
    let storage = MemoryStorage()
    let events = EventLog()
    let log = try MemoryLog.open(storage, events) { $0.durability = .written }
    let lane = TestLane(log)
    lane.commit(["a", "b"])
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    #expect(try reader.drain().count == 2)
    storage.fail(.write, code: ENOSPC, onPathsWith: ".slog")
    lane.append("waits")
    _ = lane.lane.submit()
    while log.core.fullReason != .disk { sched_yield() }
    try reader.flushCursor()
    #expect(try slot(storage).entries.map(\.lsn) == [3])
    log.close()
    #expect(log.status.state == .closed)
    #expect(!events.events.contains { if case .failed = $0 { true } else { false } })
    storage.fail(.write, code: nil)
    let again = try MemoryLog.open(storage) { $0.durability = .written }
    #expect(try MemoryLog.contents(again).seen.map(\.payload) == ["a", "b"])
    again.close()
  }

  @Test("a cursor that was above what is durable is written again when the sync has come")
  func cappedCursor() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.durability = .written }
    TestLane(log).commit(["a", "b"])
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    #expect(try reader.drain().count == 2)
    while log.durableLSN == 0, try slot(storage).entries.isEmpty { sched_yield() }
    // The stream syncs after a second by itself; nothing moves the cursor any more.
    storage.wait { (try? slot(storage).entries.first?.lsn) == 3 }
    log.close()
  }

  @Test("the LSNs that a crash skipped are no lag")
  func skippedLSNs() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage) { $0.durability = .written }
    let lane = TestLane(log)
    lane.commit(["a", "b", "c"])
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    try reader.flushCursor()
    let copy = storage.copy()
    reader.close()
    log.close()
    log = try MemoryLog.open(copy) { $0.durability = .written }
    #expect(log.recovery.nextLSN > Limits.lsnSkipAfterCrash)
    let again = try log.openReader(subscriber: "s", start: .oldest)
    #expect(again.lag.records == 3 && log.status.subscribers.first?.lag.records == 3)
    TestLane(log).commit(["d", "e"])
    #expect(again.lag.records == 5)
    #expect(try again.drain().map(\.payload) == ["a", "b", "c", "d", "e"])
    #expect(again.lag.records == 0)
    log.close()
  }

  @Test(
    "a file whose name is an LSN that no log reaches is no segment, and stops no start",
    arguments: ["18446744073709551615", "18446744073709551000", "99999999999999999999", "00000000000000000000"])
  func strangeNames(_ digits: String) throws {
    for keep in [true, false] {
      let storage = keep ? try MemoryLog.crashed(groups: 2) : MemoryStorage()
      storage.put("d/\(digits).slog", [])
      let log = try MemoryLog.open(storage)
      TestLane(log).commit(["new"])
      #expect(try MemoryLog.contents(log).seen.count == (keep ? 5 : 1))
      log.close()
    }
  }
}
