import SluiceCore
import Synchronization
import Testing

@testable import SluiceJournal

@Suite("Retention")
struct RetentionTests {
  private let filler = String(repeating: "f", count: 60_000)

  /// A log driven by hand, with records in several segments; the keeper has looked.
  private func filled(
    _ storage: MemoryStorage = MemoryStorage(), _ events: EventLog = EventLog(), records: Int = 100,
    _ change: (inout StreamOptions) -> Void = { _ in }
  ) throws -> StreamLog {
    let log = try StreamLog.openByHand(MemoryLog.options(change), observer: events, storage: storage)
    fill(log, records)
    return log
  }

  private func fill(_ log: StreamLog, _ records: Int) {
    let lane = TestLane(log)
    for _ in 0..<records {
      #expect(lane.append(filler) == .accepted)
      _ = lane.lane.submit()
      #expect(log.stepCommit())
    }
    log.stepKeeper(now: Clock.monotonic())
  }

  @Test("by bytes: without subscribers the oldest segments go as soon as there are more than retain.bytes")
  func bytesWithoutSubscribers() throws {
    let log = try filled { $0.retainBytes = 3 << 20 }
    #expect(log.oldestLSN > 1 && log.status.retainedBytes <= 3 << 20 && log.core.fullReason == nil)
    let found = try MemoryLog.contents(log)
    #expect(found.seen.count == Int(100 - log.oldestLSN + 1) && found.gaps.isEmpty)
    log.close()
  }

  @Test("by bytes: what a slow subscriber has not settled stays, and producers are refused instead")
  func bytesWithSlowSubscriber() throws {
    let storage = MemoryStorage()
    let log = try filled(storage, records: 1) { $0.retainBytes = 3 << 20 }
    let slow = try log.openReader(subscriber: "slow", start: .oldest)
    let lane = TestLane(log)
    var taken: UInt64 = 1
    while lane.append(filler) == .accepted, taken < 1000 {
      _ = lane.lane.submit()
      #expect(log.stepCommit())
      log.stepKeeper(now: Clock.monotonic())
      taken += 1
    }
    #expect(taken < 100 && log.core.fullReason == .retention && log.oldestLSN == 1)
    #expect(try slow.drain().count == Int(taken), "it gets every one of them")
    log.stepKeeper(now: Clock.monotonic())
    #expect(log.core.fullReason == nil && log.oldestLSN > 1)
    log.close()
  }

  @Test("by age: segments that are older go once they are settled, whatever their bytes; the newest stays")
  func age() throws {
    let log = try filled { $0.retainAgeNanoseconds = 3_600_000_000_000 }
    let slow = try log.openReader(subscriber: "slow", start: .oldest)
    log.stepKeeper(now: Clock.monotonic())
    #expect(log.oldestLSN == 1, "an hour has not passed")
    try log.reconfigure(MemoryLog.options { $0.retainAgeNanoseconds = 1 })
    log.stepKeeper(now: Clock.monotonic())
    #expect(log.oldestLSN == 1, "it is old, but not settled")
    let half = log.core.catalog.bases[2]
    #expect(try slow.drain().count == 100)
    log.stepKeeper(now: Clock.monotonic())
    #expect(log.oldestLSN > half && log.status.segments == 1, "only the one that is written is left")
    log.close()
  }

  @Test("by age: after a restart a segment is as old as its records, not as the process")
  func ageAfterRestart() throws {
    let storage = MemoryStorage()
    try filled(storage).close()
    let segments = MemoryLog.segments(storage).count
    let kept = try StreamLog.openByHand(
      MemoryLog.options { $0.retainAgeNanoseconds = 3_600_000_000_000 }, observer: EventLog(), storage: storage)
    kept.stepKeeper(now: Clock.monotonic())
    #expect(kept.status.segments == segments + 1)
    kept.close()
    let dropped = try StreamLog.openByHand(
      MemoryLog.options { $0.retainAgeNanoseconds = 1 }, observer: EventLog(), storage: storage)
    dropped.stepKeeper(now: Clock.monotonic())
    #expect(dropped.status.segments == 2, "the newest has no record yet: the one before it has the producers' marks")
    let lane = TestLane(dropped)
    #expect(lane.append("new") == .accepted)
    _ = lane.lane.submit()
    _ = dropped.stepCommit()
    dropped.stepKeeper(now: Clock.monotonic())
    #expect(dropped.status.segments == 1)
    dropped.close()
  }

  @Test("drop_oldest drops unsettled records, says which, and tells and counts the gap for who had not settled them")
  func dropOldest() throws {
    let events = EventLog()
    let log = try filled(MemoryStorage(), events, records: 1) {
      $0.retainBytes = 3 << 20
      $0.whenFull = .dropOldest
    }
    let slow = try log.openReader(subscriber: "slow", start: .oldest)
    fill(log, 200)
    let oldest = log.oldestLSN
    #expect(oldest > 100 && log.core.fullReason == nil)
    let dropped = events.events.compactMap { event -> ClosedRange<UInt64>? in
      if case .dropped(let first, let last) = event { first...last } else { nil }
    }
    #expect(dropped.first?.lowerBound == 1 && dropped.last?.upperBound == oldest - 1)
    #expect(zip(dropped, dropped.dropFirst()).allSatisfy { $0.upperBound + 1 == $1.lowerBound }, "each once")
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try slow.drain(gaps: &gaps)
    #expect(gaps == [1...(oldest - 1)] && seen.first?.lsn == oldest && seen.count == Int(201 - oldest + 1))
    #expect(log.core.counters.gapRecords(.dropped) == oldest - 1)
    log.close()
  }

  // MARK: Cursors

  @Test("a cursor that expires is told with what it frees, counted, and gone from the disk, also where nothing moves")
  func expiry() throws {
    let storage = MemoryStorage()
    let events = EventLog()
    let log = try filled(storage, events) {
      $0.retainBytes = 16 << 20
      $0.cursorExpiryNanoseconds = 3_600_000_000_000
    }
    for (name, start) in [("gone", StartPosition.oldest), ("new", .newest), ("near", .newest)] {
      try log.openReader(subscriber: name, start: start).close()
    }
    let keeper = LogKeeper(
      log.core, cursorsLost: false, openedAt: Clock.monotonic() - Limits.cursorGraceNanoseconds - 1)
    _ = keeper.tick(now: Clock.monotonic())
    _ = keeper.tick(now: Clock.monotonic() + Limits.cursorIntervalNanoseconds)
    #expect(log.cursorNames.count == 3 && !log.core.cursors.dirty.load(ordering: .acquiring))
    let lastSeen = Clock.wall() - 3_600_000_000_001
    for name in ["gone", "new"] { log.core.cursors.find(name)?.updatedTime.store(lastSeen, ordering: .relaxed) }
    let held = log.status.unsettledBytes
    #expect(held > 5 << 20)
    let later = Clock.monotonic() + 2 * Limits.cursorExpiryLookNanoseconds
    _ = keeper.tick(now: later)
    _ = keeper.tick(now: later + Limits.cursorIntervalNanoseconds)
    #expect(log.cursorNames.map(\.name) == ["near"])
    #expect(
      events.events.suffix(2) == [
        .cursorExpired(name: "gone", lsn: 1, lastSeen: lastSeen, frees: held),
        .cursorExpired(name: "new", lsn: 101, lastSeen: lastSeen, frees: 0),
      ])
    let expired = log.metrics().first { $0.name == "sluice_stream_expired_cursors_total" }
    #expect(expired?.samples.first?.value == 2)
    guard case .slot(let slot) = try CursorFile.read("d/cursors.slot", on: storage) else { throw JournalError(.io, "") }
    #expect(slot.entries.map(\.name) == ["near"])
    log.close()
  }

  @Test("says what an absent subscriber holds back that nobody else needs, and lets go of it for good")
  func lettingGo() throws {
    let storage = MemoryStorage()
    let log = try filled(storage) { $0.retainBytes = 3 << 20 }
    fill(log, 20)
    let oldest = log.oldestLSN
    let absent = try log.openReader(subscriber: "absent", start: .oldest)
    let here = try log.openReader(subscriber: "here", start: .newest)
    #expect(log.cursorNames.map(\.holdsBytes) == [0, 0])
    absent.close()
    let holds = log.cursorNames.map(\.holdsBytes)
    #expect(holds == [log.core.catalog.bytes(from: oldest) - log.core.catalog.bytes(from: here.cursor), 0])
    #expect(try log.letGo(ofCursor: "here") == .connected && log.letGo(ofCursor: "nobody") == .unknown)
    #expect(try log.letGo(ofCursor: "absent") == .forgotten(lsn: oldest, frees: holds[0]))
    guard case .slot(let slot) = try CursorFile.read("d/cursors.slot", on: storage) else { throw JournalError(.io, "") }
    #expect(slot.entries.map(\.name) == ["here"], "it is on the disk when the call returns")
    log.close()
  }
}
