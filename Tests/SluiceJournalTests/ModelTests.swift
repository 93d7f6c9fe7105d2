import SluiceCore
import TestSupport
import Testing

@testable import SluiceJournal

@Suite("A log behaves as a list does")
struct ModelTests {
  /// Appends, reads, seeks back, settles, restarts and crashes at random beside a list.
  @Test("through random appends, reads, restarts and crashes", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
  func random(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var storage = MemoryStorage()
    var log = try MemoryLog.open(storage)
    var lanes = [TestLane(log, source: "a"), TestLane(log, source: "b")]
    var model: [String] = []
    var reader = try log.openReader(subscriber: "s", start: .oldest)
    for step in 0..<300 {
      switch Int.random(in: 0..<100, using: &generator) {
      case 0..<60:
        let lane = lanes[Int.random(in: 0..<2, using: &generator)]
        let payloads = (0..<Int.random(in: 1...8, using: &generator)).map { index in
          "\(step).\(index)" + String(repeating: "+", count: Int.random(in: 0...20_000, using: &generator))
        }
        lane.commit(payloads)
        model += payloads
      case 60..<75:
        try check(reader, model, limit: Int.random(in: 1...50, using: &generator), step, seed)
        reader.settle(below: UInt64.random(in: reader.cursor...reader.position, using: &generator))
      case 75..<85:
        reader.seek(to: UInt64.random(in: reader.cursor...reader.position, using: &generator))
      case 85..<90:
        try reader.flushCursor()
      default:
        let crashes = Bool.random(using: &generator)
        let left = storage.copy()
        log.close()
        if crashes { storage = left }
        log = try MemoryLog.open(storage)
        #expect(log.committedLSN == UInt64(model.count), "seed \(seed) step \(step)")
        #expect(log.recovery.findings.isEmpty, "seed \(seed) step \(step): \(log.recovery.findings)")
        lanes = [TestLane(log, source: "a"), TestLane(log, source: "b")]
        reader = try log.openReader(subscriber: "s", start: .oldest)
      }
    }
    #expect(try MemoryLog.contents(log).seen.map(\.payload) == model, "seed \(seed)")
    log.close()
    let report = try StreamInspector.inspect(MemoryLog.directory, storage: storage)
    #expect(report.problems.isEmpty && report.segments.reduce(0) { $0 + $1.records } == model.count, "seed \(seed)")
  }

  private func check(_ reader: any StreamReader, _ model: [String], limit: Int, _ step: Int, _ seed: UInt64) throws {
    let batch = RecordBatch(capacity: limit)
    defer { batch.release() }
    let from = Int(reader.position)
    switch try reader.read(into: batch, maxRecords: limit, maxBytes: 100_000) {
    case .nothingYet: #expect(from == model.count + 1, "seed \(seed) step \(step)")
    case .gap(let first, let last, _): Issue.record("seed \(seed) step \(step): gap \(first)...\(last)")
    case .records:
      let got = (0..<batch.count).map { String(decoding: batch[$0].payload, as: UTF8.self) }
      #expect(batch.firstLSN == UInt64(from) && got == Array(model[(from - 1)..<(from - 1 + got.count)]))
    }
  }

  @Test("readers begin at the oldest, the newest, or at a time")
  func startPositions() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let lane = TestLane(log)
    lane.commit(["a", "b"])
    let between = Clock.wall() + 1
    while Clock.wall() <= between {}
    lane.commit(["c", "d"])
    func first(_ name: String, _ start: StartPosition) throws -> UInt64 {
      try log.openReader(subscriber: name, start: start).cursor
    }
    #expect(try first("oldest", .oldest) == 1)
    #expect(try first("newest", .newest) == 5)
    #expect(try first("time", .time(between)) == 3)
    #expect(try first("long ago", .time(0)) == 1)
    #expect(try first("in the future", .time(.max)) == 5)
    log.close()
  }

  @Test("a subscriber is connected once at a time, and keeps its cursor when it comes back")
  func connectsOnce() throws {
    let log = try MemoryLog.open(MemoryStorage())
    TestLane(log).commit(["a", "b"])
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    #expect(throws: JournalError.self) { try log.openReader(subscriber: "s", start: .oldest) }
    _ = try reader.drain()
    reader.close()
    #expect(try log.openReader(subscriber: "s", start: .oldest).cursor == 3)
    log.close()
  }
}
