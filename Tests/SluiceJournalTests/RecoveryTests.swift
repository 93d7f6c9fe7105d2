import Glibc
import SluiceCore
import Synchronization
import Testing

@testable import SluiceJournal

/// A log over memory, with options small enough to make thousands of them.
struct MemoryLog {
  static let directory = "d"

  static func options(_ change: (inout StreamOptions) -> Void = { _ in }) -> StreamOptions {
    var options = StreamOptions(name: "test", directory: directory)
    options.ringBytes = Limits.minRingBytes
    options.segmentBytes = Limits.minSegmentBytes
    options.maxRecordBytes = 64 << 10
    options.diskReserveBytes = 0
    // Which groups there are is not to depend on how long a test takes between two commits.
    options.idleMarkerNanoseconds = .max / 2
    change(&options)
    return options
  }

  static func open(
    _ storage: MemoryStorage, _ events: EventLog = EventLog(), _ change: (inout StreamOptions) -> Void = { _ in }
  ) throws(JournalError) -> StreamLog {
    try StreamLog.open(options(change), observer: events, storage: storage)
  }

  static func path(_ name: String) -> String { directory + "/" + name }
  static func segments(_ storage: MemoryStorage) -> [String] { storage.paths.filter { $0.hasSuffix(".slog") } }

  /// Everything a new subscriber gets, and the gaps it is told of.
  static func contents(_ log: StreamLog) throws -> (seen: [Seen], gaps: [ClosedRange<UInt64>]) {
    let reader = try log.openReader(subscriber: "all-\(log.status.subscribers.count)", start: .oldest)
    defer { reader.close() }
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try reader.drain(gaps: &gaps)
    return (seen, gaps)
  }

  /// A log as a crash leaves it: `groups` groups of two records each, all acknowledged, no marker behind the last.
  static func crashed(groups: Int, idleMarker: Bool = false) throws -> MemoryStorage {
    while true {
      let storage = MemoryStorage()
      let log = try open(storage) { if idleMarker { $0.idleMarkerNanoseconds = 1_000_000 } }
      let lane = TestLane(log)
      for group in 0..<groups { lane.commit(["\(group) a", "\(group) b"]) }
      if idleMarker { storage.wait { log.core.counters.markers.load(ordering: .acquiring) >= 1 } }
      let copy = storage.copy()
      log.close()
      // On a busy machine a marker may come between two commits: such a log is not the one that was asked for.
      var markers: [Bool] = []
      _ = try StreamInspector.inspect(directory, storage: copy) { markers.append($0.isIdleMarker) }
      if markers == Array(repeating: false, count: groups) + (idleMarker ? [true] : []) { return copy }
    }
  }

  static func payloads(_ groups: Range<Int>) -> [String] { groups.flatMap { ["\($0) a", "\($0) b"] } }
}

@Suite("Recovery")
struct RecoveryTests {
  let group = Limits.groupAlignment
  let first = MemoryLog.path(SegmentFile.name(1))

  @Test("cut at every byte of the last groups, the scan finds exactly the whole groups before the cut")
  func everyCut() throws {
    let storage = try MemoryLog.crashed(groups: 4)
    let whole = try #require(storage.get(first))
    let header = try SegmentFile.readHeader(first, on: storage).get()
    for cut in (2 * group)...(5 * group) {
      storage.put(first, Array(whole[..<cut]))
      var scan = TailScan(header)
      try scan.run(try FileWindow(try LogFile(first, .readWrite, on: storage)), slotWitness: 0)
      let kept = cut / group - 1
      #expect(
        scan.groups == kept && scan.nextLSN == UInt64(2 * kept + 1) && scan.end == (kept + 1) * group, "cut \(cut)")
      #expect(scan.verdict == (cut % group == 0 || isZero(whole[scan.end..<cut]) ? .clean : .torn), "cut \(cut)")
    }
  }

  private func isZero(_ bytes: ArraySlice<UInt8>) -> Bool { bytes.allSatisfy { $0 == 0 } }

  @Test("cut anywhere, the log opens with the whole groups before the cut, and goes on with new LSNs")
  func opensCut() throws {
    let original = try MemoryLog.crashed(groups: 4)
    let whole = try #require(original.get(first))
    var cuts = Array(stride(from: 2 * group, through: 5 * group, by: 331))
    for boundary in 2...5 {
      cuts += [boundary * group - 1, boundary * group, boundary * group + 1, boundary * group + 64]
    }
    for cut in cuts {
      let storage = original.copy()
      storage.put(first, Array(whole[..<min(cut, whole.count)]))
      let kept = min(cut / group - 1, 4)
      let log = try MemoryLog.open(storage)
      #expect(try MemoryLog.contents(log).seen.map(\.payload) == MemoryLog.payloads(0..<kept), "cut \(cut)")
      TestLane(log).commit(["new"])
      let after = try MemoryLog.contents(log)
      #expect(after.gaps.isEmpty && after.seen.last == Seen(lsn: UInt64(2 * kept + 1), payload: "new"), "cut \(cut)")
      log.close()
    }
  }

  @Test("a torn tail is kept in quarantine, told, and not looked at again by the next recovery")
  func tornTail() throws {
    let storage = try MemoryLog.crashed(groups: 3)
    var bytes = try #require(storage.get(first))
    bytes[3 * group + 70] ^= 1
    storage.put(first, bytes)
    let events = EventLog()
    let log = try MemoryLog.open(storage, events)
    #expect(log.recovery.tail == .torn && log.recovery.lastLSN == 4 && log.recovery.nextLSN == 5)
    let kept = "quarantine/\(SegmentFile.name(1))-\(3 * group).bad"
    #expect(log.recovery.quarantined == [kept])
    #expect(storage.get(MemoryLog.path(kept)) == Array(bytes[(3 * group)..<(4 * group)]))
    #expect(
      events.events.contains(
        .tornTail(segment: SegmentFile.name(1), offset: 3 * group, bytes: group, quarantine: kept)))
    #expect(Array(try #require(storage.get(first))[..<(4 * group)]) == Array(bytes[..<(4 * group)]), "evidence stays")
    let copy = storage.copy()
    log.close()
    let again = try MemoryLog.open(copy)
    #expect(again.recovery.tail == .clean && again.recovery.quarantined.isEmpty && again.recovery.nextLSN == 5)
    #expect(try MemoryLog.contents(again).seen.map(\.payload) == MemoryLog.payloads(0..<2))
    again.close()
  }

  @Test("a flipped bit in an acknowledged group is found, told as a gap, and costs only that group")
  func flippedBitInTheMiddle() throws {
    let original = try MemoryLog.crashed(groups: 4)
    let whole = try #require(original.get(first))
    // A bit of every byte of the second group's header, and bits of its records.
    let header = (0..<64).map { ($0, UInt8(1) << UInt8($0 * 5 % 8)) }
    let body = stride(from: 64, to: 64 + 2 * 64, by: 3).map { ($0, UInt8(1) << UInt8($0 % 8)) }
    for (offset, mask) in header + body {
      let storage = original.copy()
      var bytes = whole
      bytes[2 * group + offset] ^= mask
      storage.put(first, bytes)
      let events = EventLog()
      let log = try MemoryLog.open(storage, events)
      #expect(log.recovery.tail == .corrupt && log.recovery.nextLSN == 9, "byte \(offset)")
      let found = try MemoryLog.contents(log)
      let lost = Set(found.gaps.flatMap { Array($0) })
      #expect(!lost.isEmpty && lost.isSubset(of: [3, 4]), "byte \(offset): \(found.gaps)")
      #expect(Set(found.seen.map(\.lsn)).union(lost) == Set(1...8), "byte \(offset)")
      #expect(events.events.contains { if case .corruption = $0 { true } else { false } })
      log.close()
    }
  }

  @Test("the last group's damage is proven by the idle marker behind it")
  func idleMarkerIsWitness() throws {
    for marker in [true, false] {
      let storage = try MemoryLog.crashed(groups: 3, idleMarker: marker)
      var bytes = try #require(storage.get(first))
      bytes[3 * group + 100] ^= 4
      storage.put(first, bytes)
      let log = try MemoryLog.open(storage)
      #expect(log.recovery.tail == (marker ? .corrupt : .torn), "without a witness it can't be told from a tear")
      // The flipped bit lies in the first record's payload, so the second one is still good.
      #expect(try MemoryLog.contents(log).gaps == (marker ? [5...5] : []))
      log.close()
    }
  }

  @Test("records that the cursor slots know to be durable are told as lost when the file ends before them")
  func slotIsWitness() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    let lane = TestLane(log)
    for group in 0..<3 { lane.commit(["\(group) a", "\(group) b"]) }
    _ = try reader.drain()
    reader.seek(to: 7)
    try reader.flushCursor()
    let copy = storage.copy()
    log.close()
    copy.put(first, Array(try #require(copy.get(first))[..<(3 * group)]))
    log = try MemoryLog.open(copy)
    #expect(log.recovery.tail == .corrupt && log.recovery.lastLSN == 4 && log.recovery.nextLSN == 7)
    let found = try MemoryLog.contents(log)
    #expect(found.seen.map(\.payload) == MemoryLog.payloads(0..<2))
    TestLane(log).commit(["new"])
    let late = try MemoryLog.contents(log)
    #expect(late.gaps == [5...6] && late.seen.last == Seen(lsn: 7, payload: "new"), "no LSN is used twice")
    let settled = try log.openReader(subscriber: "s", start: .oldest)
    #expect(try settled.drain() == [Seen(lsn: 7, payload: "new")])
    log.close()
  }

  @Test("a stream that hands out before it syncs never reuses an LSN after a crash")
  func earlyStreamsSkip() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.durability = .written }
    TestLane(log).commit(["a", "b"])
    let copy = storage.copy()
    log.close()
    copy.put(first, Array(try #require(copy.get(first))[..<group]))
    let again = try MemoryLog.open(copy) { $0.durability = .written }
    #expect(again.recovery.nextLSN > Limits.lsnSkipAfterCrash)
    TestLane(again).commit(["c"])
    let found = try MemoryLog.contents(again)
    #expect(found.gaps.isEmpty && found.seen == [Seen(lsn: again.recovery.nextLSN, payload: "c")])
    again.close()
  }

  @Test("a second recovery changes nothing, after each kind of tail")
  func secondRecoveryIsANoOp() throws {
    for damage in [0, 3 * group + 5, 2 * group + 5] {
      let storage = try MemoryLog.crashed(groups: 3)
      if damage > 0 {
        var bytes = try #require(storage.get(first))
        bytes[damage] ^= 0x10
        storage.put(first, bytes)
      }
      let log = try MemoryLog.open(storage)
      let found = try MemoryLog.contents(log)
      let once = storage.copy()
      log.close()
      let again = try MemoryLog.open(once)
      #expect(again.recovery.nextLSN == log.recovery.nextLSN && again.recovery.quarantined.isEmpty)
      #expect(MemoryLog.segments(once) == MemoryLog.segments(storage))
      let foundAgain = try MemoryLog.contents(again)
      #expect(foundAgain.seen == found.seen && foundAgain.gaps == found.gaps)
      again.close()
    }
  }

  @Test("errors of the disk are errors, not damage", arguments: [IOFault.Operation.read, .open, .sync, .list])
  func diskErrors(_ operation: IOFault.Operation) throws {
    let storage = try MemoryLog.crashed(groups: 2)
    let before = try #require(storage.get(first))
    storage.fail(operation, code: operation == .open ? EMFILE : EIO)
    let events = EventLog()
    let error = #expect(throws: JournalError.self) { try MemoryLog.open(storage, events) }
    #expect(error?.kind == .io && events.events.isEmpty && storage.get(first) == before)
    storage.fail(operation, code: nil)
    let log = try MemoryLog.open(storage)
    #expect(try MemoryLog.contents(log).seen.count == 4)
    log.close()
  }
}
