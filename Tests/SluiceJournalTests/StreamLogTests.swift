import SluiceCore
import TestSupport
import Testing

@testable import SluiceJournal

@Suite("A stream's log")
struct StreamLogTests {
  let directory = TestDirectory()

  @Test("hands out what was committed, in order, with its names, and again after a restart")
  func keepsRecords() throws {
    var log = try StreamLog.open(directory.options())
    let uuid = log.uuid
    let lane = TestLane(log, source: "api")
    lane.commit(["one", "two", "three"])
    #expect(log.committedLSN == 3 && log.durableLSN == 3)
    var reader = try log.openReader(subscriber: "s", start: .oldest)
    #expect(
      try reader.drain() == [
        Seen(lsn: 1, payload: "one"), Seen(lsn: 2, payload: "two"), Seen(lsn: 3, payload: "three"),
      ])
    let other = try log.openReader(subscriber: "other", start: .oldest)
    reader.close()
    other.close()
    log.close()

    log = try StreamLog.open(directory.options())
    #expect(log.uuid == uuid && log.recovery.tail == .sealed && log.recovery.nextLSN == 4)
    reader = try log.openReader(subscriber: "s", start: .oldest)
    #expect(try reader.drain().isEmpty, "what is settled is not handed out again")
    let again = try log.openReader(subscriber: "other", start: .newest)
    let batch = RecordBatch(capacity: 10)
    #expect(try again.read(into: batch, maxRecords: 10, maxBytes: 1000) == .records)
    #expect(batch.count == 3 && batch.firstLSN == 1 && again.sourceName(batch[0].source) == "api")
    batch.release()
    TestLane(log).commit(["four"])
    #expect(try reader.drain() == [Seen(lsn: 4, payload: "four")])
    log.close()
  }

  @Test("acknowledges only what is on the device, and wakes the lane that asked", arguments: Durability.allCases)
  func acknowledges(_ durability: Durability) throws {
    let log = try StreamLog.open(directory.options { $0.durability = durability })
    let lane = TestLane(log)
    for _ in 0..<50 { lane.commit(["x"]) }
    #expect(durability == .memory ? lane.lane.acknowledged == .max : lane.lane.acknowledged == 50)
    if durability == .fsync { #expect(log.durableLSN == 50) }
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    log.close()
    #expect(log.committedLSN == 50 && log.durableLSN == 50, "closing commits and syncs everything")
    reader.close()
  }

  @Test("recovers everything acknowledged when it was never closed")
  func recoversUnclosed() throws {
    let payloads = (0..<500).map { "record \($0)" }
    do {
      let log = try StreamLog.open(directory.options())
      for start in stride(from: 0, to: 500, by: 50) { TestLane(log).commit(Array(payloads[start..<(start + 50)])) }
      try copyDirectory(to: "copy")
      log.close()
    }
    let options = directory.options { $0.directory = directory.path + "/copy" }
    let log = try StreamLog.open(options)
    #expect(log.recovery.lastLSN == 500)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    #expect(try reader.drain().map(\.payload) == payloads)
    log.close()
  }

  @Test("is refused to a second opener, with the first one's pid")
  func isLocked() throws {
    let log = try StreamLog.open(directory.options())
    let error = #expect(throws: JournalError.self) { try StreamLog.open(directory.options()) }
    #expect(error?.kind == .locked)
    #expect(error?.message.contains("\(ProcessInfoForTests.pid)") == true)
    log.close()
    try StreamLog.open(directory.options()).close()
  }

  @Test("can be opened anew at once while a child that has not exec'd yet has a copy of its lock's descriptor")
  func isUnlocked() throws {
    let log = try StreamLog.open(directory.options())
    let copy = try #require(DescriptorCopy(of: directory.path + "/LOCK"))
    log.close()
    try StreamLog.open(directory.options()).close()
    _ = copy
  }

  @Test("goes on over many segments, and a reader that starts late reads them from disk")
  func rotates() throws {
    let log = try StreamLog.open(directory.options())
    let lane = TestLane(log)
    let filler = String(repeating: "x", count: 10_000)
    for round in 0..<100 { lane.commit((0..<10).map { "\(round * 10 + $0) \(filler)" }) }
    #expect(log.status.segments >= 8)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let seen = try reader.drain(maxBytes: 100_000)
    #expect(seen.map(\.lsn) == Array(1...1000))
    #expect(seen.enumerated().allSatisfy { $1.payload.hasPrefix("\($0) ") })
    log.close()
  }

  @Test("writes nothing more once it is closed, so that a reader that was left behind spoils no successor's cursors")
  func closedWritesNothing() throws {
    var log = try StreamLog.open(directory.options())
    TestLane(log).commit(["one", "two"])
    let late = try log.openReader(subscriber: "late", start: .oldest)
    log.close()
    log = try StreamLog.open(directory.options())
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    #expect(try reader.drain().count == 2)
    try reader.flushCursor()
    let written = try directory.read(SegmentFile.cursorsName)
    for _ in 0..<3 { #expect(throws: StreamReadError.self) { try late.flushCursor() } }
    #expect(try directory.read(SegmentFile.cursorsName) == written)
    late.close()
    reader.close()
    log.close()
  }

  /// What a kill -9 would leave: the files as they are, while the log is open.
  private func copyDirectory(to name: String) throws {
    try LinuxStorage().makeDirectory(directory.path + "/" + name)
    for file in try LinuxStorage().list(directory.path) where file.name != SegmentFile.lockName {
      try directory.write(name + "/" + file.name, directory.read(file.name))
    }
  }
}

extension StreamReader {
  func drain(maxBytes: Int) throws -> [Seen] {
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try drain(maxBytes: maxBytes, gaps: &gaps)
    #expect(gaps.isEmpty)
    return seen
  }
}
