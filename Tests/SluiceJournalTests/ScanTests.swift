import SluiceCore
import Synchronization
import Testing

@testable import SluiceJournal

@Suite("A scan of a stream")
struct ScanTests {
  private let filler = String(repeating: "f", count: 50_000)

  @Test("sees the same records as a subscriber, moves nothing in the log, and may begin anywhere")
  func looksOnly() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let lane = TestLane(log)
    lane.commit(["a", "b", "c"])
    let scan = log.openScan(at: 2)
    #expect(try scan.drain().map(\.payload) == ["b", "c"] && scan.cursor == 4)
    try scan.flushCursor()
    let future = log.openScan(at: 5)
    #expect(try future.drain().isEmpty)
    lane.commit(["d", "e"])
    #expect(try scan.drain().map(\.payload) == ["d", "e"])
    #expect(try future.drain() == [Seen(lsn: 5, payload: "e")])
    #expect(log.status.subscribers.isEmpty && log.core.cursors.lowest == nil)
    scan.close()
    future.close()
    let isDirty = log.core.cursors.dirty.load(ordering: .acquiring)
    #expect(!isDirty)
    log.close()
  }

  @Test("holds no segment back, and is told of a gap where one went")
  func holdsNothingBack() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.retainBytes = 4 << 20 }
    let scan = log.openScan(at: 0)
    let lane = TestLane(log)
    for _ in 0..<300 { lane.commit([filler]) }
    storage.wait { log.status.retainedBytes < 6 << 20 }
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try scan.drain(gaps: &gaps)
    #expect(gaps.first?.lowerBound == 1 && seen.last?.lsn == 300)
    #expect(seen.count + gaps.reduce(0) { $0 + $1.count } == 300)
    log.close()
  }

  @Test("trimming deletes whole segments, but none that a subscriber has not settled")
  func trims() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let lane = TestLane(log)
    for _ in 0..<100 { lane.commit([filler]) }
    let bases = log.core.catalog.bases
    #expect(bases.count >= 4)
    log.trim(below: bases[2])
    lane.commit(["more"])
    #expect(log.oldestLSN == 1, "nothing is settled yet")
    #expect(try reader.drain().count == 101)
    storage.wait { log.oldestLSN >= bases[2] }
    #expect(log.oldestLSN == bases[2], "no further than it was asked to")
    log.trim(below: .max)
    storage.wait { log.status.segments == 1 }
    reader.close()
    log.close()
    let again = try MemoryLog.open(storage)
    #expect(again.recovery.nextLSN == 102 && again.recovery.findings.isEmpty)
    again.close()
  }

  @Test("a consumed sequence is a record of its own type, that survives a restart and an inspection")
  func consumedNotes() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    lane.append("a")
    #expect(lane.lane.appendConsumed(producer: 9, epoch: 3, sequence: 41) == .accepted)
    lane.append("b")
    #expect(lane.commit() == 3)
    log.close()
    let report = try StreamInspector.inspect(MemoryLog.directory, storage: storage)
    #expect(report.problems.isEmpty && report.segments.first?.records == 3)
    let again = try MemoryLog.open(storage)
    let scan = again.openScan(at: 1)
    let batch = RecordBatch(capacity: 10)
    #expect(try scan.read(into: batch, maxRecords: 10, maxBytes: 1 << 20) == .records)
    #expect(batch.count == 3, "it takes an LSN as a record does")
    let note = batch[1]
    #expect(note.type == RecordLayout.typeConsumed && note.producer == 9 && note.epoch == 3 && note.sequence == 41)
    #expect(note.checksumMatches && note.payload.isEmpty && batch[0].type == RecordLayout.typeData)
    batch.release()
    again.close()
  }
}
