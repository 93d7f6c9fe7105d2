import SluiceCore
import Testing

@testable import SluiceJournal

/// Logs on disk for the offline tools, and ways to damage them.
enum OfflineLog {
  static let directory = MemoryLog.directory

  /// A closed log of several segments: 50 records of 60 kB, one a group, with a cursor `archive` at `settled`.
  static func long(settled: UInt64 = 1) throws -> MemoryStorage {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let reader = try log.openReader(subscriber: "archive", start: .oldest)
    let lane = TestLane(log)
    let filler = String(repeating: "x", count: 60_000)
    for round in 1...50 { lane.commit(["\(round) \(filler)"]) }
    reader.seek(to: settled)
    reader.settle(below: settled)
    try reader.flushCursor()
    reader.close()
    log.close()
    #expect(MemoryLog.segments(storage).count > 3)
    return storage
  }

  static func base(_ path: String) -> UInt64 { SegmentFile.baseLSN(ofName: String(path.dropFirst(2))) ?? 0 }

  static func change(_ storage: MemoryStorage, _ path: String, _ change: (inout [UInt8]) -> Void) throws {
    var bytes = try #require(storage.get(path))
    change(&bytes)
    storage.put(path, bytes)
  }

  static func verify(_ storage: MemoryStorage) throws -> StreamVerifier.Report {
    try StreamVerifier.verify(try StreamDirectory(directory, storage: storage))
  }

  static func plan(_ storage: MemoryStorage, _ options: RepairOptions = RepairOptions()) throws -> RepairPlan {
    try RepairPlan(for: try StreamDirectory(directory, storage: storage), options)
  }

  /// Carries a repair out and expects that a second one finds nothing to do.
  @discardableResult
  static func repair(
    _ storage: MemoryStorage, _ options: RepairOptions = RepairOptions()
  ) throws -> LogRepair.Outcome {
    let outcome = try LogRepair.apply(to: directory, options, backup: "backup-now", storage: storage)
    #expect(outcome.plan.steps.isEmpty == (outcome.backup == nil))
    let second = try plan(storage)
    #expect(second.steps.isEmpty, "a second repair finds \(second.steps)")
    return outcome
  }

  /// The number at the head of every record that a new subscriber gets, and the gaps.
  static func delivered(_ storage: MemoryStorage) throws -> (records: [Int], gaps: [ClosedRange<UInt64>]) {
    let log = try MemoryLog.open(storage)
    defer { log.close() }
    let found = try MemoryLog.contents(log)
    return (found.seen.map { Int($0.payload.split(separator: " ")[0]) ?? 0 }, found.gaps)
  }
}

/// Keeps what a reading of the files gives.
final class GroupCollector: GroupVisitor {
  private(set) var payloads: [String] = []
  private(set) var lsns: [UInt64] = []
  private(set) var salvaged: [UInt64] = []
  private(set) var problems: [LogProblem] = []
  private let most: Int

  init(atMost most: Int = .max) { self.most = most }

  func problem(_ problem: LogProblem) { problems.append(problem) }

  func visit(_ group: FoundGroup, names: DefinitionTable) -> Bool {
    group.records { lsn, record in
      lsns.append(lsn)
      payloads.append(String(decoding: record.payload, as: UTF8.self))
      if group.isCutOff || group.flaws.unproven != nil { salvaged.append(lsn) }
    }
    return lsns.count < most
  }
}
