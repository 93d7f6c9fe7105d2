import SluiceCore
import TestSupport
import Testing

@testable import SluiceJournal

@Suite("Verifying a log")
struct VerifierTests {
  private let first = MemoryLog.path(SegmentFile.name(1))
  private let group = Limits.groupAlignment

  /// A closed log of three groups with two records each, a cursor and a seal.
  private func closed() throws -> MemoryStorage {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let reader = try log.openReader(subscriber: "archive", start: .oldest)
    let lane = TestLane(log)
    for round in 0..<3 { lane.commit(MemoryLog.payloads(round..<(round + 1))) }
    reader.seek(to: 3)
    reader.settle(below: 3)
    reader.close()
    log.close()
    return storage
  }

  @Test("a log that was closed in order is sound, and nothing of it is touched")
  func sound() throws {
    let storage = try closed()
    let before = storage.paths.map { storage.get($0) }
    let report = try OfflineLog.verify(storage)
    #expect(report.problems.isEmpty && report.isSound)
    #expect(report.records == 6 && report.firstLSN == 1 && report.lastLSN == 6 && report.segments == 1)
    #expect(storage.paths.map { storage.get($0) } == before)
  }

  @Test("every single flipped bit in headers, definitions, records, padding and slots is found")
  func everyBit() throws {
    let storage = try closed()
    let whole = try #require(storage.get(first))
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    // All bits of a group header; of the other headers one in each byte; of all else some.
    var places: [(place: Int, bit: Int)] = []
    for number in 1..<(whole.count / group) {
      let start = number * group
      for place in start..<(start + 64) {
        for bit in number == 2 ? 0..<8 : (place % 8)..<(place % 8 + 1) { places.append((place, bit)) }
      }
      for place in (start + 64)..<(start + 320) { places.append((place, Int.random(in: 0..<8, using: &random))) }
      for _ in 0..<60 { places.append((Int.random(in: (start + 320)..<(start + group), using: &random), number % 8)) }
    }
    for bit in 0..<40 { places.append((Int.random(in: 0..<group, using: &random), bit % 8)) }
    for (place, bit) in places {
      var bytes = whole
      bytes[place] ^= 1 << bit
      storage.put(first, bytes)
      let report = try OfflineLog.verify(storage)
      #expect(!report.isSound, "bit \(bit) of byte \(place) (seed \(seed))")
      #expect(report.problems.allSatisfy { $0.offset <= place && !$0.message.isEmpty && !$0.consequence.isEmpty })
    }
    storage.put(first, whole)
    let path = MemoryLog.path(SegmentFile.cursorsName)
    let slots = try #require(storage.get(path))
    for start in [0, Limits.cursorSlotBytes] {
      let used = Int(slots[start + 12]) + Int(slots[start + 13]) << 8
      for place in start..<(start + used) {
        var bytes = slots
        bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        storage.put(path, bytes)
        #expect(try !OfflineLog.verify(storage).isSound, "byte \(place) of the slots (seed \(seed))")
      }
    }
  }

  @Test("a flipped bit anywhere in a log of several segments is found")
  func everySegment() throws {
    let storage = try OfflineLog.long()
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    for path in MemoryLog.segments(storage) {
      let whole = try #require(storage.get(path))
      // What a sealed segment leaves unused of its file stays behind the seal, and means nothing.
      let used = try #require(whole.lastIndex { $0 != 0 }) / group + 1
      for round in 0..<20 {
        // Whole blocks at random; then the last one, which is the seal, and the header.
        let block = round < 16 ? Int.random(in: 0..<used, using: &random) : used - 1
        let place = (round == 19 ? 0 : block * group) + Int.random(in: 0..<(round < 16 ? group : 64), using: &random)
        var bytes = whole
        bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        storage.put(path, bytes)
        let report = try OfflineLog.verify(storage)
        #expect(!report.isSound, "byte \(place) of \(path) (seed \(seed))")
        storage.put(path, whole)
      }
    }
    #expect(try OfflineLog.verify(storage).isSound)
  }

  @Test("damage in one record costs that record, in a server part its group, in a group header no more than its group")
  func costs() throws {
    let storage = try closed()
    let whole = try #require(storage.get(first))
    let definitions = Int(whole[group + 48])
    // The first record of the first group: its payload, and the time at which it came in.
    let record = group + 64 + definitions
    for (place, kind, lost) in [
      (record + 24 + 32, LogProblem.Kind.record, UInt64(1)...1), (record + 9, .group, 1...2),
      (2 * group + 17, .group, 3...4),
    ] {
      var bytes = whole
      bytes[place] ^= 4
      storage.put(first, bytes)
      let report = try OfflineLog.verify(storage)
      #expect(report.problems.count == 1 && report.problems.first?.kind == kind, "\(report.problems)")
      #expect(report.problems.first.map { $0.firstLSN...$0.lastLSN } == lost)
      #expect(report.lostRecords == UInt64(lost.count) && report.lastLSN == 6)
      let found = try OfflineLog.delivered(storage.copy())
      #expect(found.gaps == [lost] && found.records.count == 6 - lost.count)
    }
  }

  @Test("a commit that a crash cut off is told as such, and not as a loss of what was acknowledged")
  func tornTail() throws {
    let storage = try MemoryLog.crashed(groups: 3)
    try OfflineLog.change(storage, first) { $0[3 * group + 200] ^= 1 }
    let report = try OfflineLog.verify(storage)
    #expect(report.problems.map(\.kind) == [.tornTail] && report.problems[0].offset == 3 * group)
    #expect(report.lostRecords == 0 && !report.isSound)
  }

  @Test("missing and foreign segments, cursors of another log and a lost past are each told in their words")
  func chain() throws {
    let names = MemoryLog.segments(try OfflineLog.long())
    var storage = try OfflineLog.long()
    try storage.unlink(names[1], .segmentUnlink)
    var report = try OfflineLog.verify(storage)
    #expect(report.problems.map(\.kind) == [.missing])
    #expect(
      report.problems.first.map { $0.firstLSN...$0.lastLSN }
        == OfflineLog.base(names[1])...(OfflineLog.base(names[2]) - 1))

    storage = try OfflineLog.long()
    storage.put(names[1], try #require(try OfflineLog.long().get(names[1])))
    report = try OfflineLog.verify(storage)
    #expect(report.problems.first?.kind == .foreign && !report.isSound)

    storage = try OfflineLog.long()
    storage.put("d/cursors.slot", try #require(try OfflineLog.long().get("d/cursors.slot")))
    report = try OfflineLog.verify(storage)
    #expect(report.problems.map(\.kind) == [.foreign])

    // What a recovery has found and told is known, and does not make the log unsound.
    storage = try OfflineLog.long()
    let newest = try #require(MemoryLog.segments(storage).last)
    try OfflineLog.change(storage, newest) { bytes in for place in 0..<group { bytes[place] = 0 } }
    #expect(try !OfflineLog.verify(storage).isSound)
    try MemoryLog.open(storage).close()
    report = try OfflineLog.verify(storage)
    #expect(report.isSound && report.problems.map(\.isKnown) == [true], "\(report.problems)")
  }
}

@Suite("Reading records from a log's files")
struct FileReadingTests {
  private let group = Limits.groupAlignment

  private func read(_ storage: MemoryStorage, _ range: LogRange = LogRange()) throws -> (
    GroupCollector, StreamVerifier.Report
  ) {
    let collector = GroupCollector()
    let directory = try StreamDirectory(OfflineLog.directory, storage: storage)
    let report = try StreamVerifier.read(directory, range, collector)
    return (collector, report)
  }

  @Test("gives every record in order, and of a range the segments that may have some of it")
  func ranges() throws {
    let storage = try OfflineLog.long()
    var (found, report) = try read(storage)
    #expect(found.lsns == Array(1...50) && report.isSound && found.salvaged.isEmpty)
    (found, report) = try read(storage, LogRange(firstLSN: 30, lastLSN: 31))
    #expect(found.lsns.contains(30) && found.lsns.contains(31) && report.segments < 3)
    let directory = try StreamDirectory(OfflineLog.directory, storage: storage)
    let third = try #require(directory.segments[2].header)
    (found, _) = try read(storage, LogRange(notBefore: third.createdTime + 1))
    #expect(found.lsns.last == 50 && found.lsns.first ?? 0 >= directory.segments[1].baseLSN)
    let few = GroupCollector(atMost: 3)
    _ = try StreamVerifier.read(directory, LogRange(), few)
    #expect(few.lsns == [1, 2, 3])
  }

  @Test("gets what a subscriber no longer would: unproven groups, a cut off commit, a segment without its header")
  func salvage() throws {
    var storage = try MemoryLog.crashed(groups: 3)
    let first = MemoryLog.path(SegmentFile.name(1))
    // The ingest time of the second group's first record; then a record of the last group, which was not durable yet.
    try OfflineLog.change(storage, first) { bytes in
      bytes[2 * group + 64 + Int(bytes[2 * group + 48]) + 9] ^= 1
      bytes[3 * group + 64 + Int(bytes[3 * group + 48]) + 57] ^= 1
    }
    var (found, report) = try read(storage)
    #expect(found.payloads == ["0 a", "0 b", "1 a", "1 b", "2 b"] && found.salvaged == [3, 4, 6])
    #expect(!report.isSound && found.problems.count == 2)

    storage = try OfflineLog.long()
    let middle = MemoryLog.segments(storage)[1]
    try OfflineLog.change(storage, middle) { bytes in for place in 0..<group { bytes[place] = 0 } }
    (found, report) = try read(storage)
    #expect(found.lsns == Array(1...50) && found.problems.map(\.kind) == [.segmentHeader])
  }

  @Test("goes on with the other segments where the disk refuses to read one")
  func refusedReads() throws {
    let storage = try OfflineLog.long()
    let names = MemoryLog.segments(storage)
    storage.fail(.open, code: 5, onPathsWith: SegmentFile.name(OfflineLog.base(names[1])))
    let (found, report) = try read(storage)
    let lost = OfflineLog.base(names[1])..<OfflineLog.base(names[2])
    #expect(found.lsns == (1...50).filter { !lost.contains($0) })
    #expect(report.problems.contains { $0.kind == .refused } && !report.isSound)
  }
}

@Suite("A stream at a glance")
struct SurveyTests {
  @Test("tells size, LSNs, cursors with their lag and how it was left")
  func survey() throws {
    var survey = try StreamSurvey(of: OfflineLog.directory, storage: try OfflineLog.long(settled: 31))
    #expect(survey.state == .closed && survey.records == 50 && survey.firstLSN == 1 && survey.lastLSN == 50)
    #expect(survey.cursors.map(\.name) == ["archive"] && survey.cursors[0].lag == 20 && survey.segments > 3)
    survey = try StreamSurvey(of: OfflineLog.directory, storage: try MemoryLog.crashed(groups: 2))
    #expect(survey.state == .notClosed && survey.records == 4)
    let storage = try OfflineLog.long()
    try OfflineLog.change(storage, MemoryLog.segments(storage)[1]) { $0[9] ^= 1 }
    survey = try StreamSurvey(of: OfflineLog.directory, storage: storage)
    guard case .damaged(let problems) = survey.state else {
      Issue.record("\(survey.state)")
      return
    }
    #expect(problems.count == 1 && survey.records == 50)
    #expect(throws: JournalError.self) { try StreamSurvey(of: "nowhere", storage: MemoryStorage()) }
  }
}
