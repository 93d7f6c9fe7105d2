import Glibc
import SluiceCore
import Testing

@testable import SluiceJournal

/// What the simulation of crash states found, each as small as it gets.
@Suite("Cases that the simulation found")
struct FoundBySimulationTests {
  @Test("what a recovery cut off is not read, although it looks whole, when new records have its LSNs")
  func voidBytes() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    TestLane(log).commit(["a", "b"])
    TestLane(log).commit([String(repeating: "x", count: 10_000)])
    let crashed = storage.copy()
    log.close()
    // One sector of the payload did not reach the disk: header, lengths and body_crc of the group are right all the same.
    let path = MemoryLog.path(SegmentFile.name(1))
    var bytes = try #require(crashed.get(path))
    let start = Limits.segmentHeaderBytes + Limits.groupAlignment + 4096
    bytes.replaceSubrange(start..<(start + 512), with: [UInt8](repeating: 0, count: 512))
    crashed.put(path, bytes)
    let again = try MemoryLog.open(crashed)
    #expect(again.recovery.tail == .torn && again.recovery.lastLSN == 2)
    TestLane(again).commit(["c", "d"])
    again.close()
    let last = try MemoryLog.open(crashed)
    let (seen, gaps) = try MemoryLog.contents(last)
    #expect(seen.map(\.payload) == ["a", "b", "c", "d"] && gaps.isEmpty)
    last.close()
  }

  @Test("segments below trim_lsn that a crash brought back are removed unread, whatever is in them")
  func trimmedComesBack() throws {
    let storage = MemoryStorage()
    let log = try StreamLog.openByHand(
      MemoryLog.options { $0.retainBytes = 2 << 20 }, observer: EventLog(), storage: storage)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let lane = TestLane(log)
    let filler = String(repeating: "x", count: 60_000)
    for _ in 0..<100 {
      #expect(lane.append(filler) == .accepted)
      _ = lane.lane.submit()
      _ = log.stepCommit()
      _ = try reader.drain()
      log.stepKeeper(now: Clock.monotonic())
    }
    try reader.flushCursor()
    let crashed = storage.copy()
    let oldest = log.oldestLSN
    #expect(oldest > 1)
    crashed.put(MemoryLog.path(SegmentFile.name(1)), try #require(crashed.get(MemoryLog.segments(crashed)[0])))
    reader.close()
    log.close()
    let again = try MemoryLog.open(crashed) { $0.retainBytes = 2 << 20 }
    #expect(again.recovery.findings.isEmpty && again.oldestLSN == oldest)
    #expect(!MemoryLog.segments(crashed).contains(MemoryLog.path(SegmentFile.name(1))))
    #expect(try MemoryLog.contents(again).gaps.isEmpty)
    again.close()
  }

  @Test("the last segment that has a producer's mark on the device is kept, settled and over its bound as it may be")
  func marksStay() throws {
    let storage = MemoryStorage()
    let log = try StreamLog.openByHand(
      MemoryLog.options {
        $0.retainBytes = 2 << 20
        $0.retainAgeNanoseconds = 1
        $0.durability = .written
      }, observer: EventLog(), storage: storage)
    let producer = try #require(log.producer(named: "p"))
    let lane = log.openLane(source: "tests") {}
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let payload = [UInt8](repeating: 7, count: 60_000)
    var sequence: UInt64 = 0
    while log.status.segments < 2 {
      sequence += 1
      let result = payload.withUnsafeBytes {
        lane.append(RecordFields(eventTime: 7, sequence: sequence, payload: $0), producer: producer.id, epoch: 1)
      }
      #expect(result == .accepted)
      _ = lane.submit()
      _ = log.stepCommit()
    }
    // The newest segment has its first group, which is not on the device.
    #expect(log.durableLSN < log.committedLSN)
    _ = try reader.drain()
    log.stepKeeper(now: Clock.monotonic() + 1_000_000_000)
    #expect(log.oldestLSN == 1)
    reader.close()
    log.abandon()
  }
}
