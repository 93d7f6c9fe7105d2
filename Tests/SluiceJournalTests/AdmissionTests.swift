import Glibc
import SluiceCore
import Synchronization
import Testing

@testable import SluiceJournal

@Suite("A full stream")
struct AdmissionTests {
  private let filler = String(repeating: "f", count: 50_000)

  @Test("refuses when the ring holds nothing but unwritten records, and takes more when they are written")
  func ringFull() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    storage.holdSegmentSyncs(true)
    var accepted = 0
    while lane.append(filler) == .accepted {
      accepted += 1
      if accepted % 10 == 0 { _ = lane.lane.submit() }
    }
    #expect(lane.append(filler) == .full(.ring))
    #expect(accepted >= Limits.minRingBytes / 2 / 50_000)
    storage.holdSegmentSyncs(false)
    #expect(lane.commit() == UInt64(accepted))
    lane.commit(["after"])
    let found = try MemoryLog.contents(log)
    #expect(found.seen.count == accepted + 1 && found.seen.last?.payload == "after")
    #expect(log.core.counters.rejected(.ring) >= 2)
    log.close()
  }

  @Test("a subscriber that keeps leases up to its budget does not stop producers")
  func leases() throws {
    let log = try MemoryLog.open(MemoryStorage()) { $0.retainBytes = 1 << 30 }
    let lane = TestLane(log)
    let reader = try log.openReader(subscriber: "hoarder", start: .oldest)
    let batch = RecordBatch(capacity: 1)
    var kept: [any RecordPin] = []
    let slabs = Limits.pluginLeaseBytes / log.core.options.slabBytes
    for _ in 0..<((slabs + 4) * log.core.options.slabBytes / 50_000) {
      #expect(lane.append(filler) == .accepted)
      lane.commit()
      #expect(try reader.read(into: batch, maxRecords: 1, maxBytes: 1) == .records)
      if let pin = batch.pin, kept.count < slabs, kept.last !== pin {
        pin.retain()
        kept.append(pin)
      }
      reader.settle(below: batch.lastLSN + 1)
      batch.release()
    }
    #expect(kept.count == slabs && log.core.counters.rejected(.ring) == 0)
    for pin in kept { pin.unpin() }
    log.close()
  }

  @Test("refuses a record that is larger than max_record, and takes the largest")
  func tooLarge() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let lane = TestLane(log)
    let limit = 64 << 10
    #expect(lane.append(String(repeating: "x", count: limit - 56)) == .accepted)
    #expect(lane.append(String(repeating: "x", count: limit - 55)) == .tooLarge(limit: limit))
    lane.commit()
    #expect(try MemoryLog.contents(log).seen.first?.payload.utf8.count == limit - 56)
    log.close()
  }

  @Test("refuses when unsettled bytes reach retain.bytes, and takes more when they are settled")
  func retention() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.retainBytes = 4 << 20 }
    let reader = try log.openReader(subscriber: "slow", start: .oldest)
    let lane = TestLane(log)
    var committed = 0
    while log.core.fullReason == nil {
      lane.commit([filler])
      committed += 1
      #expect(committed < 200, "refused long before")
    }
    #expect(lane.append(filler) == .full(.retention) && log.status.state == .full)
    #expect(try MemoryLog.contents(log).seen.count == committed, "nothing unsettled was deleted")
    _ = log.forgetCursor("all-1")
    #expect(try reader.drain().count == committed)
    storage.wait { log.core.fullReason == nil }
    lane.commit(["after"])
    #expect(try reader.drain().map(\.payload) == ["after"])
    log.close()
  }

  @Test("deletes only settled segments when it holds more than retain.bytes")
  func deletesOnlySettled() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.retainBytes = 4 << 20 }
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let lane = TestLane(log)
    for _ in 0..<300 {
      lane.commit([filler])
      _ = try reader.drain()
      storage.wait { log.status.retainedBytes < 6 << 20 }
    }
    #expect(log.oldestLSN > 1 && log.oldestLSN <= reader.cursor)
    let slot = try CursorFile.read("d/cursors.slot", on: storage)
    guard case .slot(let slot) = slot else { throw JournalError(.io, "no slot") }
    #expect(slot.trimLSN >= log.oldestLSN, "the slot knows before the file goes")
    log.close()
    let again = try MemoryLog.open(storage) { $0.retainBytes = 4 << 20 }
    #expect(again.oldestLSN >= log.oldestLSN && again.recovery.findings.isEmpty)
    again.close()
  }

  @Test("with drop_oldest lets the oldest go and tells the subscriber which")
  func dropOldest() throws {
    let storage = MemoryStorage()
    let events = EventLog()
    let log = try MemoryLog.open(storage, events) {
      $0.retainBytes = 4 << 20
      $0.whenFull = .dropOldest
    }
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let lane = TestLane(log)
    for _ in 0..<200 {
      lane.commit([filler])
      storage.wait { log.status.retainedBytes < 6 << 20 }
    }
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try reader.drain(gaps: &gaps)
    // The keeper may go on dropping while the reader drains, so there may be more than one gap.
    #expect(gaps.first?.lowerBound == 1)
    #expect(seen.count + gaps.reduce(0) { $0 + $1.count } == 200, "every record was seen or told to be gone")
    #expect(events.events.contains { if case .dropped = $0 { true } else { false } })
    log.close()
  }

  @Test("without free space refuses producers, goes on delivering, and recovers by itself")
  func diskReserve() throws {
    let storage = MemoryStorage()
    storage.setFreeBytes(1 << 30)
    let log = try MemoryLog.open(storage) { $0.diskReserveBytes = 1 << 20 }
    let lane = TestLane(log)
    lane.commit(["before"])
    storage.setFreeBytes(1000)
    log.core.keeperBell.ring()
    while log.core.fullReason == nil { lane.commit(["more"]) }
    #expect(lane.append("x") == .full(.disk))
    #expect(try MemoryLog.contents(log).seen.count == Int(log.committedLSN))
    storage.setFreeBytes(1 << 30)
    log.core.keeperBell.ring()
    while log.core.fullReason != nil { sched_yield() }
    lane.commit(["after"])
    log.close()
  }

  @Test("a write that finds no space is repeated, and loses nothing")
  func noSpace() throws {
    let storage = MemoryStorage()
    let events = EventLog()
    let log = try MemoryLog.open(storage, events)
    let lane = TestLane(log)
    lane.commit(["before"])
    storage.fail(.write, code: ENOSPC)
    #expect(lane.append("during") == .accepted)
    let last = lane.lane.submit()
    while log.core.fullReason != .disk { sched_yield() }
    #expect(lane.append("x") == .full(.disk) && lane.lane.acknowledged < last)
    storage.fail(.write, code: nil)
    lane.commit()
    while log.core.fullReason != nil { sched_yield() }
    lane.commit(["after"])
    #expect(try MemoryLog.contents(log).seen.map(\.payload) == ["before", "during", "after"])
    #expect(events.events.contains(.full(.disk)) && events.events.contains(.full(nil)))
    log.close()
  }

  @Test("a failed sync is final: nobody is told of the record, and nothing is taken or handed out any more")
  func failedSync() throws {
    let storage = MemoryStorage()
    let events = EventLog()
    let log = try MemoryLog.open(storage, events)
    let lane = TestLane(log)
    lane.commit(["good"])
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    storage.fail(.sync, code: EIO)
    lane.append("bad")
    let last = lane.lane.submit()
    #expect(lane.lane.requestWake(at: last))
    while !log.core.hasFailed.load(ordering: .acquiring) { sched_yield() }
    storage.fail(.sync, code: nil)
    #expect(log.committedLSN == 1 && lane.lane.acknowledged == 1 && lane.append("x") == .full(.closing))
    #expect(!lane.bell.wait(until: Clock.monotonic()), "no wake came")
    #expect(throws: StreamReadError.self) { try reader.drain() }
    #expect(log.status.state == .failed)
    #expect(events.events.contains { if case .failed(let fault) = $0 { fault.code == EIO } else { false } })
    log.close()
  }

  @Test("closing commits what was submitted, refuses more, and can be called twice")
  func closing() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    for index in 0..<100 { lane.append("\(index)") }
    _ = lane.lane.submit()
    log.close()
    log.close()
    #expect(lane.lane.acknowledged == 100 && lane.append("x") == .full(.closing))
    let again = try MemoryLog.open(storage)
    #expect(again.recovery.tail == .sealed)
    #expect(try MemoryLog.contents(again).seen.map(\.payload) == (0..<100).map { "\($0)" })
    again.close()
  }
}
