import CSluice
import SluiceCore
import SluiceJournal
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// Records that a plugin makes out of those it is given, in real logs.
@Suite struct PublishTests {
  @Test("Children carry their parent, their own headers and a time, and are there before the parent's cursor passes")
  func children() throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let rig = try SubscriberRig("publishing", publishTargets: targets(results, audit))
    rig.reader.append(numbered: 0..<500)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 501))
    // The cursor has passed, so all are durable.
    #expect(results.log.durableLSN == 500 && audit.log.durableLSN == 500)
    #expect(rig.stop() == .stopped)
    let children = try results.records()
    #expect(children.map(\.payload) == (0..<500).map { "child of m\($0)" })
    #expect(children.map(\.source) == Array(repeating: "it", count: 500))
    #expect(
      children.map(\.lineage)
        == (1...500).map { PublishedLineage(log: rig.reader.logUUID, lsn: UInt64($0), ordinal: 0) })
    #expect(children[7].topic == "children" && children[7].key == "k" && children[7].eventTime == 7)
    #expect(children[7].headers.suffix(5) == [1, 0x61, 1, 0, 0x62])
    let seen = try audit.records()
    #expect(seen.map(\.payload) == (0..<500).map { "seen m\($0)" })
    #expect(seen.allSatisfy { $0.lineage?.ordinal == 1 && $0.eventTime == 77 })
    #expect(rig.subscriber.status.published.map(\.records) == [500, 500])
    #expect(rig.subscriber.status.published.map(\.duplicates) == [0, 0])
  }

  @Test("A parent that is delivered again has its children once", arguments: [false, true])
  func deliveredAgain(isIsolated: Bool) throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let rig = try SubscriberRig("publishing", n: 1, publishTargets: targets(results, audit), isIsolated: isIsolated) {
      $0.batch.records = 100
    }
    rig.reader.append((0..<300).map { $0 % 10 == 3 ? "r\($0)" : "m\($0)" })
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 301))
    #expect(rig.stop() == .stopped)
    for stream in [results, audit] {
      let records = try stream.records()
      #expect(records.count == 300 && Set(records.map(\.payload)).count == 300)
    }
    // Each once more after the failed delivery, and what was to be retried twice.
    #expect(rig.subscriber.status.published.map(\.duplicates).allSatisfy { $0 >= 300 })
  }

  @Test("Children of records that were not settled are known again after a restart", arguments: [false, true])
  func restart(hasFloors: Bool) throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let reader = MemoryReader()
    let first = try SubscriberRig("publishing", readers: [reader], publishTargets: targets(results, audit))
    reader.append((0..<200).map { $0 == 120 ? "h\($0)" : "m\($0)" })
    try first.subscriber.start()
    #expect(reader.waitUntilSettled(below: 121))
    #expect(audit.log.durableWait(for: 200))
    #expect(first.stop() == .stopped)
    let path = PublishedFloors.path(dataDirectory: first.directory.path, subscriber: "it")
    let floors = PublishedFloors(readingFrom: path)
    #expect(floors.lsns[results.log.uuid].map { $0 <= 121 } == true)
    #expect(floors.cursors == [reader.logUUID: 121])
    if !hasFloors { try #require(PublishedFloors().write(to: path) == 0) }
    // Somebody else's records in between are nobody's children.
    try results.append(["stranger"])
    let second = try SubscriberRig(
      "publishing", readers: [reader], publishTargets: targets(results, audit), after: first)
    reader.append((200..<250).map { "m\($0)" })
    try second.subscriber.start()
    #expect(audit.log.durableWait(for: 250))
    #expect(second.stop() == .stopped)
    let payloads = try results.records().map(\.payload)
    #expect(payloads.filter { $0 != "stranger" } == (0..<250).map { $0 == 120 ? "child of h120" : "child of m\($0)" })
    #expect(second.subscriber.status.published.map(\.duplicates) == [80, 80])
  }

  @Test("Floors count only for who begins at the cursors that they were written with, or behind them")
  func earlierCursor() throws {
    var floors = PublishedFloors()
    let (read, other, target) = (LogUUID.random(), LogUUID.random(), LogUUID.random())
    floors.cursors = [read: 10]
    floors.lsns = [target: 50]
    func floor(_ target: LogUUID, _ cursors: (LogUUID, UInt64)...) -> UInt64 {
      floors.floor(of: target, reading: cursors.map { (log: $0.0, cursor: $0.1) })
    }
    #expect(floor(target, (read, 10)) == 50 && floor(target, (read, 11)) == 50)
    #expect(floor(target, (read, 9)) == 1 && floor(target, (read, 10), (other, 99)) == 1)
    #expect(floor(other, (read, 10)) == 1)
  }

  @Test("Who is given nothing but what is replayed leaves the floors of its subscriber alone")
  func replayOnly() throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let reader = MemoryReader()
    let first = try SubscriberRig("publishing", readers: [reader], publishTargets: targets(results, audit))
    reader.append((0..<20).map { $0 == 5 ? "h\($0)" : "m\($0)" })
    try first.subscriber.start()
    #expect(audit.log.durableWait(for: 20))
    #expect(first.stop() == .stopped)
    let path = PublishedFloors.path(dataDirectory: first.directory.path, subscriber: "it")
    let floors = PublishedFloors(readingFrom: path)
    #expect(!floors.lsns.isEmpty)
    // As `sluice worker` makes it for a replay.
    let replaying = try SubscriberRig("publishing", readers: [], publishTargets: targets(results, audit), after: first)
    try replaying.subscriber.start()
    let part = MemoryReader()
    part.append(["m0"])
    let replay = StreamReplay(part, first: 1, last: 1, total: 1)
    try replaying.subscriber.replay(replay)
    #expect(replay.wait(until: Clock.monotonic() + 120_000_000_000).state == .completed)
    #expect(replaying.stop() == .stopped)
    #expect(PublishedFloors(readingFrom: path) == floors)
  }

  @Test("A process that dies behind a publication has its children once, and they are all there")
  func crash() throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let rig = try SubscriberRig("publishing", n: 4, publishTargets: targets(results, audit), isIsolated: true)
    rig.reader.append(numbered: 0..<50)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 51))
    #expect(rig.stop() == .stopped)
    #expect(rig.subscriber.status.restarts == 1)
    #expect(try results.records().map(\.payload) == (0..<50).map { "child of m\($0)" })
  }

  @Test("A thread of the plugin's own publishes and settles", arguments: [false, true])
  func otherThread(isIsolated: Bool) throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let rig = try SubscriberRig("publishing", n: 2, publishTargets: targets(results, audit), isIsolated: isIsolated)
    rig.reader.append(numbered: 0..<400)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 401))
    #expect(rig.stop() == .stopped)
    let lsns = try results.records().compactMap { $0.lineage?.lsn }
    #expect(lsns.count == 400 && Set(lsns).count == 400)
  }

  @Test("A wrong publication is refused whole and stores nothing", arguments: [false, true])
  func wrong(isIsolated: Bool) throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let rig = try SubscriberRig("publishing", n: 3, publishTargets: targets(results, audit), isIsolated: isIsolated)
    rig.reader.append(["m"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2))
    #expect(rig.stop() == .stopped)
    let (config, invalid) = (SLU_E_CONFIG, SLU_E_INVALID)
    #expect(
      rig.seen == [
        "unknown output \(invalid)", "unmapped \(config)", "foreign token \(invalid)", "too large \(invalid)",
        "headers \(invalid)", "size \(invalid)", "stride \(invalid)", "nothing \(SLU_OK)", "null \(invalid)",
        "one of two \(invalid)", "twice \(SLU_OK)", "settled \(invalid)",
      ])
    #expect(try results.records().map(\.payload) == ["once"])
    #expect(try audit.records().isEmpty)
  }

  @Test("A target that is full makes the plugin busy, and nothing is lost or stored twice when there is room again")
  func full() throws {
    let results = try TargetStream("results")
    let audit = try TargetStream("audit", retainBytes: 2 << 20)
    let holder = try audit.log.openReader(subscriber: "holder", start: .oldest)
    let rig = try SubscriberRig("publishing", publishTargets: targets(results, audit)) { $0.batch.records = 500 }
    rig.reader.append(numbered: 0..<40_000)
    try rig.subscriber.start()
    #expect(eventually { rig.subscriber.status.published[1].refused > 3 })
    // In this order: it goes on as long as there is room, and what the cursor is past was stored before.
    let cursor = rig.reader.cursor
    let stored = audit.log.durableLSN
    #expect(stored < 40_000)
    // Both or neither.
    #expect(cursor <= stored + 1)
    try TargetStream.drain(holder, until: 40_000)
    #expect(rig.reader.waitUntilSettled(below: 40_001))
    #expect(rig.stop() == .stopped)
    #expect(results.log.durableLSN == 40_000 && audit.log.durableLSN == 40_000)
    holder.close()
  }

  @Test("What is replayed has new children, once each")
  func replay() throws {
    let (results, audit) = (try TargetStream("results"), try TargetStream("audit"))
    let rig = try SubscriberRig("publishing", publishTargets: targets(results, audit))
    rig.reader.append(numbered: 0..<40)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 41))
    let part = MemoryReader()
    part.append((0..<40).map { "r\($0)" })
    let replay = StreamReplay(part, first: 1, last: 40, total: 40)
    try rig.subscriber.replay(replay)
    #expect(replay.wait(until: Clock.monotonic() + 120_000_000_000).state == .completed)
    #expect(rig.stop() == .stopped)
    let children = try results.records()
    #expect(children.map(\.payload) == (0..<40).map { "child of m\($0)" } + (0..<40).map { "child of r\($0)" })
    #expect(children.suffix(40).allSatisfy { $0.lineage?.log == part.logUUID })
  }

  @Test("Without a mapping publish says that the config lacks it")
  func unmapped() throws {
    let rig = try SubscriberRig("publishing")
    rig.reader.append(["m"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2))
    #expect(rig.stop() == .stopped)
    #expect(rig.seen == ["1 1 \(SLU_E_CONFIG)"])
  }

  private func targets(_ results: TargetStream, _ audit: TargetStream) -> [PublishTarget] {
    [PublishTarget(output: "results", log: results.log), PublishTarget(output: "audit", log: audit.log)]
  }
}

/// A real log that takes publications.
final class TargetStream {
  struct Record {
    var payload: String
    var source: String
    var topic: String
    var key: String
    var headers: [UInt8]
    var eventTime: Int64
    var lineage: PublishedLineage?
  }

  private let directory = TemporaryDirectory()
  let log: StreamLog

  init(_ name: String, retainBytes: Int = 64 << 20) throws {
    var options = StreamOptions(name: name, directory: "\(directory.path)/\(name)")
    options.ringBytes = 8 << 20
    options.segmentBytes = 1 << 20
    options.retainBytes = retainBytes
    options.diskReserveBytes = 0
    log = try StreamLog.open(options, observer: DeadStream.Silence())
  }

  deinit { log.close() }

  func append(_ payloads: [String]) throws {
    let lane = log.openLane(source: "stranger") {}
    for payload in payloads {
      Array(payload.utf8).withUnsafeBytes { #expect(lane.append(RecordFields(eventTime: 1, payload: $0)) == .accepted) }
    }
    let last = lane.submit()
    #expect(log.durableWait(for: last))
    lane.close()
  }

  /// All of it, from the beginning.
  func records() throws -> [Record] {
    let reader = log.openScan(at: 1)
    defer { reader.close() }
    let batch = RecordBatch(capacity: 1000)
    var records: [Record] = []
    while try reader.read(into: batch, maxRecords: 1000, maxBytes: 1 << 20) == .records {
      for index in 0..<batch.count {
        let record = batch[index]
        records.append(
          Record(
            payload: String(decoding: record.payload, as: UTF8.self), source: reader.sourceName(record.source),
            topic: String(decoding: record.topic, as: UTF8.self), key: String(decoding: record.key, as: UTF8.self),
            headers: Array(record.headers), eventTime: record.eventTime,
            lineage: PublishedLineage(headers: record.headers)))
      }
      batch.release()
    }
    return records
  }

  /// Settles what comes until record `last` has.
  static func drain(_ reader: any StreamReader, until last: UInt64) throws {
    let bell = Doorbell()
    reader.setDoorbell(bell)
    let batch = RecordBatch(capacity: 1000)
    let deadline = Clock.monotonic() + 120_000_000_000
    while reader.position <= last, Clock.monotonic() < deadline {
      if try reader.read(into: batch, maxRecords: 1000, maxBytes: 1 << 20) == .nothingYet {
        bell.wait(until: deadline)
      }
      batch.release()
      if reader.position > reader.cursor { reader.settle(below: reader.position) }
    }
    reader.setDoorbell(nil)
  }
}

extension StreamLog {
  /// Waits until so many are durable.
  func durableWait(for lsn: UInt64) -> Bool {
    let bell = Doorbell()
    let deadline = Clock.monotonic() + 120_000_000_000
    while durableLSN < lsn {
      guard Clock.monotonic() < deadline else { return false }
      bell.wait(until: Clock.monotonic() + 5_000_000)
    }
    return true
  }
}
