import Glibc
import SluiceCore
import Testing

@testable import SluiceJournal

/// Segments that were others before, and the files that lie beside segments.
@Suite("Recycled segments and their indices")
struct RecyclingTests {
  /// The last segment is then some groups long.
  private static let rounds = 390
  private let filler = String(repeating: "x", count: 60_000)

  private func small(_ options: inout StreamOptions) { options.retainBytes = 3 << 20 }

  /// A log that has gone round often enough for segments to be used again, its subscriber at the end.
  private func worn(_ storage: MemoryStorage) throws -> StreamLog {
    let log = try StreamLog.openByHand(MemoryLog.options(small), observer: EventLog(), storage: storage)
    let reader = try log.openReader(subscriber: "s", start: .oldest)
    for round in 0..<Self.rounds {
      put(log, "\(round) " + filler)
      _ = try reader.drain()
      log.stepKeeper(now: Clock.monotonic())
    }
    return log
  }

  private func put(_ log: StreamLog, _ payload: String) {
    let lane = TestLane(log)
    #expect(lane.append(payload) == .accepted)
    _ = lane.lane.submit()
    #expect(log.stepCommit())
    lane.lane.close()
  }

  private func header(_ storage: MemoryStorage, _ path: String) throws -> SegmentHeader {
    try SegmentFile.readHeader(path, on: storage).get()
  }

  @Test("retired segments are written again under a new salt, and what they held before is never seen again")
  func recycles() throws {
    let storage = MemoryStorage()
    let log = try worn(storage)
    let paths = MemoryLog.segments(storage)
    #expect(try header(storage, try #require(paths.last)).isRecycled)
    #expect(log.core.supply.spareCount <= Limits.maxSpareSegments)
    let seen = try MemoryLog.contents(log).seen
    #expect(seen.map(\.lsn) == Array(log.oldestLSN...UInt64(Self.rounds)))
    #expect(seen.allSatisfy { $0.payload == "\($0.lsn - 1) " + filler })
    log.close()
  }

  @Test("a crash in a recycled segment ends the log at its last group, and takes none of its old bytes for torn ones")
  func crashes() throws {
    let storage = MemoryStorage()
    let log = try worn(storage)
    let copy = storage.copy()
    log.close()
    let path = try #require(MemoryLog.segments(copy).last)
    #expect(try header(copy, path).isRecycled)
    let old = try #require(copy.get(path))
    #expect(old[(old.count / 2)...].contains { $0 != 0 }, "there are old bytes behind the end")
    let again = try MemoryLog.open(copy) { small(&$0) }
    #expect(again.recovery.tail == .clean && again.recovery.quarantined.isEmpty && again.recovery.findings.isEmpty)
    #expect(try MemoryLog.contents(again).seen.last?.lsn == UInt64(Self.rounds))
    TestLane(again).commit(["next"])
    #expect(try MemoryLog.contents(again).seen.last?.payload == "next")
    again.close()
  }

  @Test("a group that was being written into a recycled segment is cut off and kept aside, and nothing else is")
  func tears() throws {
    let storage = MemoryStorage()
    let log = try worn(storage)
    let before = storage.copy()
    put(log, "torn " + filler)
    let after = storage.copy()
    log.close()
    let path = try #require(MemoryLog.segments(before).last)
    try #require(MemoryLog.segments(after).last == path)
    var bytes = try #require(before.get(path))
    let whole = try #require(after.get(path))
    let start = try #require(zip(bytes, whole).enumerated().first { $0.element.0 != $0.element.1 }?.offset)
    // Its first block reached the disk, the others did not.
    bytes.replaceSubrange(start..<(start + 4096), with: whole[start..<(start + 4096)])
    before.put(path, bytes)
    let again = try MemoryLog.open(before) { small(&$0) }
    #expect(again.recovery.tail == .torn)
    let kept = try #require(again.recovery.quarantined.first)
    #expect(try #require(before.get("d/" + kept)).count == GroupHeader.padded(64 + 60_000 + 64))
    #expect(try MemoryLog.contents(again).seen.last?.lsn == UInt64(Self.rounds))
    again.close()
  }

  @Test("a spare is used by the next start, and those that are too many are removed")
  func sparesStay() throws {
    let storage = MemoryStorage()
    try worn(storage).close()
    let spares = storage.paths.filter { SegmentFile.isSpare(String($0.dropFirst(2))) }
    #expect(!spares.isEmpty && spares.count <= Limits.maxSpareSegments)
    for number in 1...4 { storage.put("d/" + SegmentFile.spareName(UInt64(number)), [1, 2, 3]) }
    let log = try MemoryLog.open(storage) { small(&$0) }
    #expect(try header(storage, try #require(MemoryLog.segments(storage).last)).isRecycled)
    #expect(storage.paths.filter { SegmentFile.isSpare(String($0.dropFirst(2))) }.count <= Limits.maxSpareSegments)
    TestLane(log).commit(["next"])
    log.close()
  }

  @Test("a disk that gets full has the spares' space back")
  func sparesGo() throws {
    let storage = MemoryStorage()
    let log = try worn(storage)
    #expect(log.core.supply.spareCount > 0)
    log.core.setFull(.noSpace, true)
    log.stepKeeper(now: Clock.monotonic() + 2 * Limits.diskCheckNanoseconds)
    #expect(log.core.supply.spareCount == 0)
    log.core.setFull(.noSpace, false)
    log.close()
  }

  @Test("a spare that can't be had leaves its space, and one for which there is no descriptor stays")
  func uselessSpares() throws {
    for (code, stays) in [(ENOSPC, false), (EMFILE, true)] {
      let storage = MemoryStorage()
      let log = try worn(storage)
      func isThere(_ spare: String) -> Bool { storage.paths.contains(spare) }
      let spares = storage.paths.filter { SegmentFile.isSpare(String($0.dropFirst(2))) }
      try #require(!spares.isEmpty)
      storage.fail(.open, code: code, onPathsWith: SegmentFile.sparePrefix)
      // What was made ready before is used up first.
      for round in 0..<2 * Self.rounds where spares.contains(where: isThere) && !(stays && round > 40) {
        put(log, filler)
        log.stepKeeper(now: Clock.monotonic())
      }
      #expect(spares.contains(where: isThere) == stays)
      #expect(log.core.supply.spareCount == storage.paths.count { SegmentFile.isSpare(String($0.dropFirst(2))) })
      storage.fail(.open, code: nil)
      log.close()
    }
  }

  @Test("the next segment is filled with zeros while nothing is committed, and not while something is")
  func fills() throws {
    let storage = MemoryStorage()
    let log = try StreamLog.openByHand(MemoryLog.options(), observer: EventLog(), storage: storage)
    var now = Clock.monotonic()
    log.stepKeeper(now: now)
    #expect(log.core.supply.wantsFilling)
    let before = storage.syncs
    log.stepKeeper(now: now + 1)
    #expect(storage.syncs == before, "it has not been quiet for long enough")
    // Other tests of this process commit too, and each of their commits puts it off.
    while log.core.supply.wantsFilling {
      now += 2 * Limits.idleBeforeFillNanoseconds
      log.stepKeeper(now: now)
    }
    #expect(storage.syncs > before)
    log.close()
  }

  @Test("an index stands beside each segment that has ended, and goes with it")
  func indices() throws {
    let storage = MemoryStorage()
    let log = try worn(storage)
    while log.core.catalog.unwrittenIndex != nil { log.stepKeeper(now: Clock.monotonic()) }
    let ended = MemoryLog.segments(storage).dropLast().map { String($0.dropLast(5)) + SegmentFile.indexSuffix }
    #expect(storage.paths.filter { $0.hasSuffix(SegmentFile.indexSuffix) } == Array(ended))
    log.close()
  }

  @Test(
    "a reader finds its place by an index, and without one, and by one that lies, and reads the same",
    arguments: ["good", "none", "cut", "flipped", "lying", "other salt"])
  func hints(_ kind: String) throws {
    let storage = MemoryStorage()
    try worn(storage).close()
    let path = try #require(storage.paths.first { $0.hasSuffix(SegmentFile.indexSuffix) })
    let segment = String(path.dropLast(SegmentFile.indexSuffix.utf8.count)) + ".slog"
    let header = try header(storage, segment)
    var bytes = try #require(storage.get(path))
    var index = try bytes.withUnsafeBytes { try SegmentIndex.decode($0, of: header) }
    #expect(index.entries.count > 2)
    switch kind {
    case "none": bytes = []
    case "cut": bytes.removeLast()
    case "flipped": bytes[60] ^= 1
    case "lying":
      for place in index.entries.indices { index.entries[place].lsn += 1 }
      bytes = index.encoded()
    case "other salt":
      index.salt ^= 1
      bytes = index.encoded()
    default: break
    }
    if kind == "none" { try storage.unlink(path, .indexUnlink) } else { storage.put(path, bytes) }
    let log = try MemoryLog.open(storage) { small(&$0) }
    let scan = log.openScan(at: index.entries[2].lsn + 1)
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try scan.drain(gaps: &gaps, settling: false)
    #expect(gaps.isEmpty && seen.first?.lsn == index.entries[2].lsn + 1 && seen.last?.lsn == UInt64(Self.rounds))
    let time = try #require(log.core.catalog.time(of: seen[0].lsn))
    let reader = try log.openReader(subscriber: "by time", start: .time(time))
    #expect(reader.cursor <= seen[0].lsn)
    log.close()
  }

  @Test("a slab is what another mapping of the ring's memory shows")
  func sharedMemory() throws {
    let memory = SlabMemory(slabBytes: 1 << 20)
    let slabs = (0..<3).map { Slab($0, size: 1 << 20, in: memory) }
    slabs[2].memory.storeBytes(of: 0x1234_5678_9ABC_DEF0, toByteOffset: 4096, as: UInt64.self)
    let mapped = mmap(nil, 1 << 20, PROT_READ, MAP_SHARED, memory.descriptor, memory.offset(of: 2))
    let other = try #require(mapped)
    #expect(other.load(fromByteOffset: 4096, as: UInt64.self) == 0x1234_5678_9ABC_DEF0)
    slabs[2].releasePages()
    #expect(other.load(fromByteOffset: 4096, as: UInt64.self) == 0)
    munmap(other, 1 << 20)
  }
}

/// On real files: what a person does to a directory behind the daemon's back.
@Suite("A log whose directory is taken away")
struct IdentityTests {
  @Test(
    "a log whose directory or newest segment is removed or replaced fails, with what happened",
    arguments: ["directory", "replaced", "segment"])
  func takenAway(_ what: String) throws {
    let directory = TestDirectory()
    let events = EventLog()
    let log = try StreamLog.openByHand(directory.options(), observer: events, storage: LinuxStorage())
    var now = Clock.monotonic()
    func lookAgain() {
      now += 2 * Limits.diskCheckNanoseconds
      log.stepKeeper(now: now)
    }
    lookAgain()
    #expect(log.status.state == .open)
    switch what {
    case "directory": #expect(rename(directory.path, directory.path + "-moved") == 0)
    case "replaced": try directory.replaceLock()
    default: #expect(try unlink(directory.path + "/" + #require(directory.segments.last)) == 0)
    }
    lookAgain()
    #expect(log.status.state == .failed)
    let failures = events.events.compactMap { if case .failed(let fault) = $0 { fault } else { nil } }
    #expect(failures.map(\.operation) == [.identity])
    #expect("\(failures[0])".contains("was removed or replaced"))
    #expect(TestLane(log).append("late") != .accepted)
    log.close()
    if what == "directory" { #expect(rename(directory.path + "-moved", directory.path) == 0) }
  }
}

extension TestDirectory {
  fileprivate func replaceLock() throws {
    #expect(unlink(path + "/" + SegmentFile.lockName) == 0)
    try write(SegmentFile.lockName, [])
  }
}
