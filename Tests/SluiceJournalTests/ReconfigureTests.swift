import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("A log that is reconfigured while it is open")
struct ReconfigureTests {
  private let filler = String(repeating: "f", count: 50_000)

  @Test("refuses larger records at once when max_record falls, and takes them again when it rises")
  func maxRecord() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let lane = TestLane(log)
    lane.commit([filler])
    try log.reconfigure(MemoryLog.options { $0.maxRecordBytes = 4096 })
    #expect(lane.append(filler) == .tooLarge(limit: 4096) && log.maxRecordBytes == 4096)
    try log.reconfigure(MemoryLog.options { $0.maxRecordBytes = 1 << 20 })
    lane.commit([filler, String(repeating: "g", count: 1_000_000)])
    #expect(try MemoryLog.contents(log).seen.count == 3)
    log.close()
  }

  @Test("takes a lower or higher retain, and another when_full")
  func retention() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.retainBytes = 8 << 20 }
    let reader = try log.openReader(subscriber: "slow", start: .oldest)
    let lane = TestLane(log)
    for _ in 0..<100 { lane.commit([filler]) }
    try log.reconfigure(MemoryLog.options { $0.retainBytes = 4 << 20 })
    storage.wait { log.core.fullReason == .retention }
    try log.reconfigure(MemoryLog.options { $0.retainBytes = 16 << 20 })
    storage.wait { log.core.fullReason == nil }
    try log.reconfigure(
      MemoryLog.options {
        $0.retainBytes = 4 << 20
        $0.whenFull = .dropOldest
      })
    storage.wait { log.status.retainedBytes < 6 << 20 }
    #expect(log.oldestLSN > 1 && reader.cursor == 1)
    #expect(log.status.whenFull == .dropOldest && log.core.fullReason == nil)
    log.close()
  }

  @Test("names what can't change, and then changes nothing")
  func refuses() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let wanted = MemoryLog.options {
      $0.ringBytes = 64 << 20
      $0.durability = .memory
      $0.maxRecordBytes = 16 << 20
      $0.retainBytes = 3 << 20
    }
    #expect(log.fixedKeys(changedBy: wanted) == ["durability", "ring", "max_record"])
    #expect(throws: JournalError.self) { try log.reconfigure(wanted) }
    #expect(throws: JournalError.self) { try log.reconfigure(MemoryLog.options { $0.retainBytes = 1 }) }
    #expect(log.status.retainBytes == MemoryLog.options().retainBytes)
    log.close()
  }

  @Test("lists its cursors, and forgets one whose subscriber is gone")
  func cursors() throws {
    let log = try MemoryLog.open(MemoryStorage())
    TestLane(log).commit(["a", "b"])
    let here = try log.openReader(subscriber: "here", start: .oldest)
    let gone = try log.openReader(subscriber: "gone", start: .newest)
    gone.close()
    let listed = log.cursorNames
    #expect(listed.map(\.name) == ["here", "gone"] && listed.map(\.connected) == [true, false])
    #expect(listed.map(\.cursor) == [1, 3] && listed.allSatisfy { $0.lastSeen > 0 })
    #expect(!log.forgetCursor("here") && log.forgetCursor("gone") && !log.forgetCursor("gone"))
    #expect(log.cursorNames.map(\.name) == ["here"])
    here.close()
    log.close()
  }

  @Test("its metrics follow the conventions, each name once, counters ending in _total")
  func metrics() throws {
    let log = try MemoryLog.open(MemoryStorage())
    TestLane(log).commit(["a", "b"])
    let families = log.metrics()
    #expect(Set(families.map(\.name)).count == families.count)
    for family in families {
      #expect(family.name.hasPrefix("sluice_") && family.name.hasSuffix("_total") == (family.kind == .counter))
      #expect(!family.help.isEmpty && family.samples.allSatisfy { $0.labels.first?.0 == "stream" })
    }
    let syncs = families.first { $0.name == "sluice_stream_sync_seconds" }
    #expect(try #require(syncs?.samples.first).value >= 1)
    log.close()
  }
}
