import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("The inspector")
struct InspectorTests {
  @Test("lists segments, groups, names and cursors without changing anything")
  func lists() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let reader = try log.openReader(subscriber: "archive", start: .oldest)
    TestLane(log, source: "api").commit(["a", "b"])
    TestLane(log, source: "modules").commit(["c"])
    _ = try reader.drain()
    log.close()
    let before = storage.paths.map { storage.get($0) }
    var groups: [StreamInspector.Group] = []
    let report = try StreamInspector.inspect(MemoryLog.directory, storage: storage) { groups.append($0) }
    #expect(report.problems.isEmpty && report.uuid == log.uuid && report.segments.count == 1)
    #expect(report.segments[0].ending == .sealed && report.segments[0].records == 3)
    #expect(report.sources == ["sluice", "api", "modules"])
    #expect(report.cursors?.entries.map(\.name) == ["archive"] && report.cursors?.entries.first?.lsn == 4)
    #expect(groups.filter { $0.count > 0 }.map(\.firstLSN) == [1, 3] && groups.last?.isSeal == true)
    #expect(groups.allSatisfy { $0.offset % Limits.groupAlignment == 0 && $0.durableLSN < $0.firstLSN })
    #expect(storage.paths.map { storage.get($0) } == before)
  }

  @Test("names what is damaged, and where")
  func findsDamage() throws {
    let storage = try MemoryLog.crashed(groups: 3)
    let path = MemoryLog.path(SegmentFile.name(1))
    var bytes = try #require(storage.get(path))
    bytes[2 * 4096 + 33] ^= 1
    storage.put(path, bytes)
    let report = try StreamInspector.inspect(MemoryLog.directory, storage: storage)
    #expect(report.segments[0].ending == .damaged)
    #expect(report.problems.map(\.offset) == [2 * 4096])
    #expect(report.problems[0].message.contains("3 to 4"))
  }
}

@Suite("Metrics and status of a stream")
struct StreamMetricsTests {
  @Test("count records, commits, rejects and lag")
  func metrics() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    TestLane(log).commit(["a", "b", "c"])
    func value(_ name: String) -> Double? { log.metrics().first { $0.name == name }?.samples.first?.value }
    #expect(value("sluice_stream_records_total") == 3 && value("sluice_stream_commits_total") == 1)
    #expect(value("sluice_stream_commit_seconds") == 1 && value("sluice_subscriber_lag_records") == 3)
    #expect(value("sluice_stream_durable_lsn") == 3 && value("sluice_stream_next_lsn") == 4)
    #expect(reader.lag.records == 3 && reader.lag.bytes > 0)
    _ = try reader.drain()
    #expect(reader.lag == StreamLag(records: 0, bytes: 0, ageNanoseconds: 0))
    #expect(log.metrics().allSatisfy { !$0.help.isEmpty && $0.name.hasPrefix("sluice_") })
    log.close()
  }

  @Test("latency buckets follow each other without holes")
  func buckets() {
    let last = (LatencyHistogram.lastPower - LatencyHistogram.firstPower) * LatencyHistogram.perPower
    for bucket in 0..<last {
      let bound = LatencyHistogram.upperBound(bucket)
      #expect(LatencyHistogram.bucket(bound - 1) == bucket && LatencyHistogram.bucket(bound) == bucket + 1)
    }
    #expect(LatencyHistogram.bucket(0) == 0 && LatencyHistogram.bucket(.max) == last)
  }
}
