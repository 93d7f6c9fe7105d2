import Glibc
import SluiceCore
import Testing

@testable import SluiceJournal

/// What can be wrong with a directory that held acknowledged records.
enum Harm: String, CaseIterable, CustomTestStringConvertible {
  case flippedBit, damagedHeader, missingSegment, noSegments, lostEnd
  var testDescription: String { rawValue }

  /// A closed log of several segments with that harm done to it, and the LSN of its last record.
  func storage() throws -> (MemoryStorage, last: UInt64) {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    let filler = String(repeating: "x", count: 60_000)
    for round in 0..<50 { lane.commit(["\(round) \(filler)"]) }
    // Its cursor is a witness of all of them.
    let reader = try log.openReader(subscriber: "all", start: .newest)
    try reader.flushCursor()
    reader.close()
    log.close()
    let segments = MemoryLog.segments(storage)
    #expect(segments.count > 3)
    let newest = try #require(segments.last)
    switch self {
    case .flippedBit: try Self.flip(newest, at: Limits.segmentHeaderBytes + 20, storage)
    case .damagedHeader: try Self.flip(newest, at: 60, storage)
    case .missingSegment: try storage.unlink(segments[segments.count - 2], .segmentUnlink)
    case .noSegments: for segment in segments { try storage.unlink(segment, .segmentUnlink) }
    case .lostEnd: storage.put(newest, Array(try #require(storage.get(newest))[..<Limits.segmentHeaderBytes]))
    }
    return (storage, 50)
  }

  static func flip(_ path: String, at offset: Int, _ storage: MemoryStorage) throws {
    var bytes = try #require(storage.get(path))
    bytes[offset] ^= 1
    storage.put(path, bytes)
  }
}

@Suite("on_corruption: halt")
struct CorruptionHaltTests {
  private func files(_ storage: MemoryStorage) -> [String: [UInt8]] {
    Dictionary(uniqueKeysWithValues: storage.paths.map { ($0, storage.get($0) ?? []) })
  }

  @Test("refuses a log with damage, leaves every byte of it, and gap then finds the same", arguments: Harm.allCases)
  func refuses(_ harm: Harm) throws {
    let (storage, last) = try harm.storage()
    let untouched = storage.copy()
    let before = files(storage)
    let events = EventLog()
    for _ in 0..<2 {
      let error = #expect(throws: JournalError.self) { try MemoryLog.open(storage, events) { $0.onCorruption = .halt } }
      #expect(error?.kind == .damaged)
      for words in [".slog at offset", "LSN ", "d are damaged", "stream verify", "stream repair", "on_corruption: gap"]
      {
        #expect(error?.message.contains(words) == true, "\(words) is not in: \(error?.message ?? "")")
      }
    }
    #expect(files(storage) == before && events.events.isEmpty)
    let log = try MemoryLog.open(storage)
    let reference = try MemoryLog.open(untouched)
    #expect(log.recovery.tail == reference.recovery.tail && log.recovery.findings == reference.recovery.findings)
    #expect(log.recovery.nextLSN == reference.recovery.nextLSN && log.recovery.nextLSN > last, "no LSN comes back")
    #expect(log.recovery.findings.contains { if case .corruption = $0 { true } else { false } })
    log.close()
    reference.close()
    if harm == .missingSegment {
      #expect(throws: JournalError.self, "it stays missing") { try MemoryLog.open(storage) { $0.onCorruption = .halt } }
    } else {
      let again = try MemoryLog.open(storage) { $0.onCorruption = .halt }
      #expect(again.recovery.findings.isEmpty, "what was told is behind the log")
      again.close()
    }
  }

  @Test("opens a log that a crash has torn: what was cut was never acknowledged")
  func tornTail() throws {
    let storage = try MemoryLog.crashed(groups: 3)
    try Harm.flip(MemoryLog.path(SegmentFile.name(1)), at: 3 * Limits.groupAlignment + 70, storage)
    let log = try MemoryLog.open(storage) { $0.onCorruption = .halt }
    #expect(log.recovery.tail == .torn && log.recovery.quarantined.count == 1)
    #expect(try MemoryLog.contents(log).seen.count == 4)
    log.close()
  }

  @Test("stops the reader that meets damage where it is, and no other; gap lets it go on")
  func stopsReader() throws {
    let (storage, _) = try Harm.flippedBit.storage()
    // Repaired: the damage is to be met by a reader, not by recovery.
    let segments = MemoryLog.segments(storage)
    try Harm.flip(try #require(segments.last), at: Limits.segmentHeaderBytes + 20, storage)
    try Harm.flip(segments[0], at: Limits.segmentHeaderBytes + 20, storage)
    let log = try MemoryLog.open(storage) { $0.onCorruption = .halt }
    let reader = try log.openReader(subscriber: "stops", start: .oldest)
    let batch = RecordBatch(capacity: 4)
    for _ in 0..<3 {
      let error = #expect(throws: StreamReadError.self) {
        try reader.read(into: batch, maxRecords: 4, maxBytes: 1 << 20)
      }
      #expect(error?.message.contains("on_corruption is halt") == true && batch.count == 0)
    }
    #expect(reader.cursor == 1 && reader.position == 1)
    #expect(log.core.counters.gapRecords(.corruption) == 0)
    let other = try log.openReader(subscriber: "goes on", start: .newest)
    TestLane(log).commit(["new"])
    #expect(try other.drain().map(\.payload) == ["new"])
    var gaps: [ClosedRange<UInt64>] = []
    let scanned = try log.openScan(at: 1).drain(gaps: &gaps, settling: false)
    #expect(gaps.count == 1 && gaps[0].lowerBound == 1 && scanned.last?.payload == "new", "who only looks is told")
    try log.reconfigure(MemoryLog.options { $0.onCorruption = .gap })
    var told: [ClosedRange<UInt64>] = []
    #expect(try reader.drain(gaps: &told) == scanned && told == gaps)
    #expect(log.core.counters.gapRecords(.corruption) == gaps[0].upperBound)
    log.close()
  }

  @Test("stops at a single damaged record, behind those before it")
  func stopsAtRecord() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    lane.commit(["aaaaaaaa", "bbbbbbbb", "cccccccc"])
    log.close()
    let first = MemoryLog.path(SegmentFile.name(1))
    let bytes = try #require(storage.get(first))
    let place = try #require((0..<bytes.count).first { bytes[$0...].starts(with: Array("bbbbbbbb".utf8)) })
    log = try MemoryLog.open(storage) { $0.onCorruption = .halt }
    try Harm.flip(first, at: place, storage)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let batch = RecordBatch(capacity: 4)
    #expect(try reader.read(into: batch, maxRecords: 4, maxBytes: 1000) == .records && batch.count == 1)
    batch.release()
    #expect(throws: StreamReadError.self) { try reader.read(into: batch, maxRecords: 4, maxBytes: 1000) }
    #expect(reader.position == 2)
    log.close()
  }

  @Test(
    "an LSN that the registry knows is a witness: an older copy of the log is missing what came after it",
    arguments: [Durability.fsync, .written, .memory])
  func knownLSN(_ durability: Durability) throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.durability = durability }
    let lane = TestLane(log)
    lane.commit(["a", "b"])
    let older = storage.copy()
    lane.commit(["c", "d"])
    log.close()
    let known = log.durableLSN
    #expect(known == 4)
    let whole = try MemoryLog.open(storage) {
      $0.durability = durability
      $0.knownLSN = known
      $0.onCorruption = .halt
    }
    #expect(whole.recovery.tail == .sealed && whole.recovery.nextLSN == 5)
    whole.close()
    // What a memory stream had written when the copy was made is not known.
    guard durability != .memory else { return }
    #expect(throws: JournalError.self) {
      try MemoryLog.open(older) {
        $0.durability = durability
        $0.knownLSN = known
        $0.onCorruption = .halt
      }
    }
    let restored = try MemoryLog.open(older) {
      $0.durability = durability
      $0.knownLSN = known
    }
    #expect(restored.recovery.tail == .corrupt && restored.recovery.nextLSN > 4, "no LSN is given twice")
    TestLane(restored).commit(["e"])
    let found = try MemoryLog.contents(restored)
    #expect(found.gaps == [3...(restored.recovery.nextLSN - 1)] && found.seen.map(\.payload) == ["a", "b", "e"])
    restored.close()
  }
}
