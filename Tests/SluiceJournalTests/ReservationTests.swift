import SluiceCore
import TestSupport
import Testing

@testable import SluiceJournal

@Suite("Room that a lane reserved")
struct ReservationTests {
  /// The size in the log of a record that `append` made of so many bytes.
  private func size(payload: Int) -> Int { 56 + RecordLayout.padded(payload) }

  private func append(_ lane: TestLane, payload: Int) -> AppendResult {
    lane.append(String(repeating: "r", count: payload))
  }

  @Test("is there for records of any sizes up to max_record, however much is taken elsewhere", arguments: 1...4)
  func isKept(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) {
      $0.ringBytes = 16 << 20
      $0.maxRecordBytes = 512 << 10
      $0.retainBytes = 1 << 30
    }
    let (lane, other) = (TestLane(log, source: "reserves"), TestLane(log, source: "other"))
    var total = 0
    var reserved = 0
    for _ in 0..<2 {
      // Until the ring has no room for it.
      storage.holdSegmentSyncs(true)
      while true {
        if Bool.random(using: &generator), append(lane, payload: 1000) == .accepted { total += 1 }
        let wanted = Int.random(in: 1...(6 << 20), using: &generator)
        guard lane.lane.reserve(bytes: wanted, largest: log.maxRecordBytes) == nil else { break }
        reserved += 1
        // The other lane takes whatever is left.
        while append(other, payload: Int.random(in: 1...300_000, using: &generator)) == .accepted { total += 1 }
        _ = other.lane.submit()
        var left = wanted
        while left >= 64 {
          let largest = Bool.random(using: &generator) ? 30_000 : 512 << 10
          let payload = Int.random(in: 0...(min(left, largest) - 56), using: &generator)
          guard size(payload: payload) <= left else { continue }
          left -= size(payload: payload)
          guard append(lane, payload: payload) == .accepted else {
            Issue.record("seed \(seed): \(left) of \(wanted) left")
            break
          }
          total += 1
          if Int.random(in: 0..<40, using: &generator) == 0 { break }
        }
        if Bool.random(using: &generator) { _ = lane.lane.submit() }
      }
      storage.holdSegmentSyncs(false)
      lane.commit()
      other.commit()
    }
    #expect(reserved >= 2)
    let found = try MemoryLog.contents(log)
    #expect(found.gaps.isEmpty && found.seen.count == total, "seed \(seed)")
    log.close()
  }

  @Test("goes on from slab to slab, however many pieces of the ring the lane has taken in the same tick")
  func spansSlabs() throws {
    let log = try MemoryLog.open(MemoryStorage()) {
      $0.ringBytes = 128 << 20
      $0.maxRecordBytes = 512 << 10
      $0.retainBytes = 1 << 30
    }
    let (lane, other) = (TestLane(log, source: "reserves"), TestLane(log, source: "other"))
    var total = 0
    // In turn, so that no chunk goes on where the lane's last one ended.
    for _ in 0..<Limits.maxLaneRanges - 6 {
      for each in [lane, other] { #expect(append(each, payload: 60_000) == .accepted) }
      total += 2
    }
    let wanted = 40 << 20
    #expect(lane.lane.reserve(bytes: wanted, largest: log.maxRecordBytes) == nil)
    for _ in 0..<wanted / size(payload: 400_000) {
      #expect(append(lane, payload: 400_000) == .accepted)
      total += 1
    }
    lane.commit()
    other.commit()
    let found = try MemoryLog.contents(log)
    #expect(found.gaps.isEmpty && found.seen.count == total)
    log.close()
  }

  @Test(
    "is all that the ring has once it is empty, however often that was filled", arguments: [4 << 20, 5 << 20, 16 << 20])
  func emptyRing(ringBytes: Int) throws {
    let log = try MemoryLog.open(MemoryStorage()) {
      $0.ringBytes = ringBytes
      $0.maxRecordBytes = 1 << 20
      $0.retainBytes = 1 << 30
    }
    let (lane, other) = (TestLane(log), TestLane(log))
    let slab = 2 << 20
    for round in 0..<10 {
      for largest in [1000, 1 << 20] {
        // Each slab but the last may be left by a little less than a record.
        let most = ringBytes / slab * (slab - (largest - 8)) + largest - 8
        #expect(most >= ringBytes / 2, "what a plugin may publish in a call")
        #expect(lane.lane.reserve(bytes: most, largest: largest) == nil, "round \(round), \(largest)")
        #expect(append(lane, payload: 900) == .accepted)
        lane.commit()
        if round % 2 == 0 { #expect(append(other, payload: 100) == .accepted) }
        other.commit()
      }
    }
    log.close()
  }

  @Test("that is not used is not missing afterwards, whatever size it had")
  func leaksNothing() throws {
    let log = try MemoryLog.open(MemoryStorage()) {
      $0.ringBytes = 16 << 20
      $0.maxRecordBytes = 512 << 10
    }
    let (lane, other) = (TestLane(log), TestLane(log))
    for round in 0..<500 {
      #expect(
        lane.lane.reserve(bytes: (round % 90 + 1) * 100_000 + 8, largest: log.maxRecordBytes) == nil, "round \(round)")
      if round % 3 == 0 { #expect(append(lane, payload: 10_000) == .accepted) }
      if round % 7 == 0 { #expect(append(lane, payload: 400_000) == .accepted) }
      if round % 5 == 0 { #expect(append(other, payload: 100) == .accepted) }
      lane.commit()
      other.commit()
    }
    log.close()
  }

  @Test("is refused whole when there is not as much, and then costs nobody anything")
  func isAllOrNothing() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.ringBytes = 8 << 20 }
    let (lane, other) = (TestLane(log), TestLane(log))
    storage.holdSegmentSyncs(true)
    #expect(lane.lane.reserve(bytes: 64 << 20, largest: log.maxRecordBytes) == .ring)
    #expect(append(other, payload: 50_000) == .accepted)
    // The other lane is still at work in one of the four slabs.
    #expect(lane.lane.reserve(bytes: 7 << 20, largest: log.maxRecordBytes) == .ring)
    #expect(lane.lane.submit() == 0)
    _ = other.lane.submit()
    var taken = 0
    while append(other, payload: 50_000) == .accepted { taken += 50_000 }
    #expect(taken > 7 << 20, "all of the ring was there for the others")
    #expect(
      lane.lane.reserve(bytes: 100_000, largest: log.maxRecordBytes) == .ring && log.core.counters.rejected(.ring) == 4)
    storage.holdSegmentSyncs(false)
    other.commit()
    #expect(lane.lane.reserve(bytes: 5 << 20, largest: log.maxRecordBytes) == nil)
    lane.commit()
    log.close()
    #expect(lane.lane.reserve(bytes: 8, largest: log.maxRecordBytes) == .closing)
  }

  @Test(
    "takes records of the size that it was made for, whatever a reload makes of max_record", arguments: [false, true])
  func keepsItsSize(isActive: Bool) throws {
    let log = try MemoryLog.open(MemoryStorage()) { $0.maxRecordBytes = 4096 }
    let lane = TestLane(log)
    if isActive { #expect(append(lane, payload: 100) == .accepted) }
    // Larger than the stream's, as one that has just been lowered, or raised behind the tick's first record.
    #expect(lane.lane.reserve(bytes: 20 << 10, largest: 16 << 10) == nil)
    #expect(append(lane, payload: 10 << 10) == .accepted)
    lane.commit()
    #expect(append(lane, payload: 10 << 10) == .tooLarge(limit: 4096), "the next tick goes by the stream's")
    log.close()
  }
}
