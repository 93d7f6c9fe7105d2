import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("A subscriber's max_lag")
struct LagTests {
  private let filler = String(repeating: "f", count: 50_000)

  /// Appends and commits until the stream refuses; how many it took.
  private func fill(_ lane: TestLane, _ payload: String = "x", most: Int = 1000) -> Int {
    for count in 0..<most {
      guard lane.append(payload) == .accepted else { return count }
      lane.commit()
    }
    return most
  }

  @Test("in records, refuses producers from exactly that many on, and takes them as the cursor moves")
  func rejectsAtRecords() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let lane = TestLane(log)
    lane.commit(["old", "old"])
    let reader = try log.openReader(
      subscriber: "slow", start: .oldest, maxLag: LagBound(records: 10, then: .reject))
    let other = try log.openReader(subscriber: "free", start: .oldest)
    #expect(fill(lane) == 8)
    #expect(lane.append("x") == .full(.retention) && lane.lane.reserve(bytes: 64, largest: 64) == .retention)
    #expect(log.core.counters.rejected(.maxLag) == 3 && log.core.counters.rejected(.retention) == 0)
    #expect(try other.drain().count == 10)
    #expect(lane.append("x") == .full(.retention), "only the bounded one counts")
    let batch = RecordBatch(capacity: 4)
    #expect(try reader.read(into: batch, maxRecords: 4, maxBytes: 1000) == .records)
    batch.release()
    #expect(lane.append("x") == .full(.retention), "what is read is not settled")
    reader.settle(below: 5)
    #expect(fill(lane) == 4)
    #expect(log.status.state == .full && log.status.fullReason == .retention)
    reader.close()
    #expect(fill(lane, most: 50) == 50, "who is not there has no lag")
    let again = try log.openReader(
      subscriber: "slow", start: .oldest, maxLag: LagBound(records: 10, then: .reject))
    #expect(lane.append("x") == .full(.retention), "what it was behind before counts at once")
    #expect(try again.drain().count == 60)
    #expect(fill(lane) == 10)
    log.close()
  }

  @Test("counts what is submitted while a commit is under way, and no LSN that a crash skipped")
  func countsPending() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage) { $0.durability = .written }
    TestLane(log).commit(["a", "b", "c"])
    let before = try log.openReader(subscriber: "s", start: .oldest)
    try before.flushCursor()
    let copy = storage.copy()
    log.close()
    log = try MemoryLog.open(copy)
    #expect(log.recovery.nextLSN > Limits.lsnSkipAfterCrash)
    let bound = LagBound(records: 20, then: .reject)
    let slow = try log.openReader(subscriber: "s", start: .newest, maxLag: bound)
    #expect(slow.cursor == 1)
    let lane = TestLane(log)
    copy.holdSegmentSyncs(true)
    var sent = 0
    for _ in 0..<30 where lane.append("x") == .accepted {
      _ = lane.lane.submit()
      sent += 1
    }
    #expect(sent == 17)
    copy.holdSegmentSyncs(false)
    lane.commit()
    #expect(try slow.drain().count == 20)
    #expect(lane.append("x") == .accepted)
    lane.commit()
    log.close()
  }

  @Test(
    "in bytes or by age, refuses producers too",
    arguments: [
      LagBound(bytes: 1_000_000, then: .reject), LagBound(ageNanoseconds: 50_000_000, then: .reject),
    ])
  func rejectsOtherwise(_ bound: LagBound) throws {
    let log = try MemoryLog.open(MemoryStorage())
    let reader = try log.openReader(subscriber: "slow", start: .oldest, maxLag: bound)
    let lane = TestLane(log)
    var taken = 0
    while lane.append(filler) == .accepted {
      lane.commit()
      taken += 1
      if bound.bytes != nil { #expect(taken < 25) } else { _ = Doorbell().wait(until: Clock.monotonic() + 5_000_000) }
    }
    #expect(lane.append("x") == .full(.retention))
    #expect(try reader.drain().count == taken)
    #expect(lane.append("x") == .accepted)
    lane.commit()
    log.close()
  }

  @Test(
    "then: gap drops the oldest for this subscriber only, and tells it which",
    arguments: [
      LagBound(records: 40, then: .gap), LagBound(bytes: 2_000_000, then: .gap),
    ])
  func gap(_ bound: LagBound) throws {
    let storage = MemoryStorage()
    let events = EventLog()
    let log = try MemoryLog.open(storage, events) { $0.retainBytes = 4 << 20 }
    let bounded = try log.openReader(subscriber: "bounded", start: .oldest, maxLag: bound)
    let batch = RecordBatch(capacity: 3)
    let lane = TestLane(log)
    lane.commit([filler, filler, filler])
    #expect(try bounded.read(into: batch, maxRecords: 3, maxBytes: 1 << 20) == .records)
    batch.release()
    for _ in 0..<297 { lane.commit([filler]) }
    #expect(log.core.fullReason == nil, "it holds nothing back")
    #expect(bounded.lag.records <= 41)
    #expect(try bounded.read(into: batch, maxRecords: 3, maxBytes: 1 << 20) != .records)
    #expect(bounded.position > 250)
    bounded.settle(below: bounded.position)
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try bounded.drain(gaps: &gaps)
    #expect(seen.last?.lsn == 300 && seen.count >= 30 && gaps.isEmpty)
    #expect(events.events.contains { if case .dropped(1...4, _) = $0 { true } else { false } })
    log.close()
  }

  @Test("with drop_oldest the reason of the gap is that it was dropped")
  func reasonOfDropOldest() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) {
      $0.retainBytes = 4 << 20
      $0.whenFull = .dropOldest
    }
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let lane = TestLane(log)
    for _ in 0..<200 { lane.commit([filler]) }
    storage.wait { log.status.retainedBytes < 6 << 20 }
    let batch = RecordBatch(capacity: 3)
    let outcome = try reader.read(into: batch, maxRecords: 3, maxBytes: 1 << 20)
    #expect(outcome == .gap(first: 1, last: reader.position - 1, .dropped))
    log.close()
  }
}
