import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("Recovery of files that are missing, foreign or newer")
struct RecoveryFileTests {
  let first = MemoryLog.path(SegmentFile.name(1))

  /// A log of several sealed segments, closed.
  private func longLog() throws -> MemoryStorage {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    let filler = String(repeating: "x", count: 60_000)
    for round in 0..<50 { lane.commit(["\(round) \(filler)"]) }
    log.close()
    #expect(MemoryLog.segments(storage).count > 3)
    return storage
  }

  @Test("an unknown incompat bit is refused by its number, and nothing is touched")
  func unknownFeature() throws {
    let storage = try MemoryLog.crashed(groups: 1)
    var header = try SegmentFile.readHeader(first, on: storage).get()
    header.incompatible = 1 << 5
    var bytes = try #require(storage.get(first))
    bytes.withUnsafeMutableBytes { header.encode(to: UnsafeMutableRawBufferPointer(rebasing: $0[..<4096])) }
    storage.put(first, bytes)
    let error = #expect(throws: JournalError.self) { try MemoryLog.open(storage) }
    #expect(error?.kind == .incompatible && error?.message.contains("bit 5") == true)
    #expect(storage.get(first) == bytes && MemoryLog.segments(storage) == [first])
  }

  @Test("a damaged header of the newest segment is kept aside, and what it held is a gap")
  func damagedHeader() throws {
    let storage = try longLog()
    let names = MemoryLog.segments(storage)
    let last = try #require(names.last)
    var bytes = try #require(storage.get(last))
    bytes[60] ^= 1
    storage.put(last, bytes)
    let log = try MemoryLog.open(storage)
    #expect(log.recovery.tail == .corrupt && log.recovery.quarantined.count == 1)
    TestLane(log).commit(["new"])
    let found = try MemoryLog.contents(log)
    let base = try #require(SegmentFile.baseLSN(ofName: String(last.dropFirst(2))))
    #expect(found.gaps.count == 1 && found.gaps[0].lowerBound == base)
    #expect(found.seen.last?.payload == "new" && found.seen.count == Int(base))
    log.close()
  }

  @Test("a missing segment in the middle is told at recovery and as a gap to readers")
  func missingSegment() throws {
    let storage = try longLog()
    let names = MemoryLog.segments(storage)
    try storage.unlink(names[1], .segmentUnlink)
    let log = try MemoryLog.open(storage)
    let events = log.recovery.findings
    #expect(events.contains { if case .corruption = $0 { true } else { false } })
    let found = try MemoryLog.contents(log)
    let base = { (name: String) in SegmentFile.baseLSN(ofName: String(name.dropFirst(2))) ?? 0 }
    #expect(found.gaps == [base(names[1])...(base(names[2]) - 1)])
    #expect(found.seen.count + Int(base(names[2]) - base(names[1])) == 50)
    log.close()
  }

  @Test("a segment of another log that stands in the place of one is told, and none of its records is handed out")
  func foreignSegment() throws {
    let storage = try longLog()
    let other = try longLog()
    storage.put(first, try #require(other.get(first)))
    let log = try MemoryLog.open(storage)
    #expect(log.recovery.findings.contains { if case .corruption = $0 { true } else { false } })
    let second = try #require(SegmentFile.baseLSN(ofName: String(MemoryLog.segments(storage)[1].dropFirst(2))))
    let found = try MemoryLog.contents(log)
    #expect(found.gaps == [1...(second - 1)] && found.seen.first?.lsn == second)
    log.close()
  }

  @Test("cursor slots of another log are refused")
  func foreignSlots() throws {
    let storage = try MemoryLog.crashed(groups: 1)
    let other = try MemoryLog.crashed(groups: 1)
    storage.put("d/cursors.slot", try #require(other.get("d/cursors.slot")))
    #expect(throws: JournalError.self) { try MemoryLog.open(storage) }
  }

  @Test("without a readable cursor slot every subscriber begins anew, and the observer is told")
  func unreadableSlots() throws {
    for lose in [true, false] {
      let storage = try MemoryLog.crashed(groups: 2)
      if lose {
        try storage.unlink("d/cursors.slot", .segmentUnlink)
      } else {
        storage.put("d/cursors.slot", [1, 2, 3])
      }
      let events = EventLog()
      let log = try MemoryLog.open(storage, events)
      #expect(events.events.contains { if case .cursorsLost = $0 { true } else { false } })
      #expect(try MemoryLog.contents(log).seen.count == 4)
      log.close()
      #expect(try MemoryLog.open(storage).recovery.findings.isEmpty)
    }
  }

  @Test("one damaged cursor slot falls back to the generation before")
  func oneSlot() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    TestLane(log).commit(["a", "b"])
    _ = try reader.drain()
    try reader.flushCursor()
    let copy = storage.copy()
    log.close()
    var bytes = try #require(copy.get("d/cursors.slot"))
    bytes[16] ^= 1
    copy.put("d/cursors.slot", bytes)
    log = try MemoryLog.open(copy)
    #expect(log.status.subscribers.allSatisfy { $0.cursor <= 3 })
    log.close()
  }

  @Test("the names at the head of the newest segment come back from the one before when it has no group yet")
  func namesSurvive() throws {
    let storage = try MemoryLog.crashed(groups: 1)
    for _ in 0..<3 {
      let log = try MemoryLog.open(storage.copy())
      #expect(log.core.names.sourceName(1) == "tests")
      log.close()
    }
    let once = storage.copy()
    var log = try MemoryLog.open(once)
    let twice = once.copy()
    log.close()
    log = try MemoryLog.open(twice)
    #expect(log.core.names.sourceName(1) == "tests")
    log.close()
  }

  @Test("a crash while a segment is being laid out leaves nothing behind")
  func leftoverTemporary() throws {
    let storage = try MemoryLog.crashed(groups: 1)
    storage.put("d/next.tmp", [UInt8](repeating: 7, count: 10_000))
    let log = try MemoryLog.open(storage)
    #expect(try MemoryLog.contents(log).seen.count == 2)
    log.close()
    #expect(!storage.paths.contains("d/next.tmp"))
  }
}
