import SluiceCore
import TestSupport
import Testing

@testable import SluiceJournal

/// What a disk, or somebody with `mv`, does to whole blocks and files of a log whose segments have been used before: each
/// kind of damage at each kind of place, and what start, reader and verifier make of it.
///
/// Of any damage: what is handed out is what was appended, in order; what is not is told as a gap, but for the records of
/// the last group (the documented residual); another start changes nothing; `halt` opens a log that has lost
/// nothing, or leaves every byte; the verifier calls nothing sound of which acknowledged records are lost.
@Suite("Damaged blocks and files")
struct DamageMatrixTests {
  /// A log as kill -9 leaves it, and what was in its files when they had other contents.
  struct Specimen: Sendable {
    let storage: MemoryStorage
    let truth: [UInt64: String]
    let first: UInt64
    let last: UInt64
    /// The first record of the last group.
    let lastGroup: UInt64
    let segments: [String]
    /// A whole segment of an earlier life.
    let stale: [UInt8]

    init() throws {
      let storage = MemoryStorage()
      let log = try StreamLog.openByHand(
        MemoryLog.options { $0.retainBytes = 3 << 20 }, observer: EventLog(), storage: storage)
      let reader = try log.openReader(subscriber: "s", start: .oldest)
      var early: [UInt8] = []
      var truth: [UInt64: String] = [:]
      var lsn: UInt64 = 0
      for round in 0..<330 {
        let lane = TestLane(log)
        for part in 0..<(round % 3 + 1) {
          let payload = "\(round) \(part) " + String(repeating: "\(round % 10)", count: 1000 + round * 97 % 50_000)
          #expect(lane.append(payload) == .accepted)
          lsn += 1
          truth[lsn] = payload
        }
        _ = lane.lane.submit()
        #expect(log.stepCommit())
        lane.lane.close()
        _ = try reader.drain()
        log.stepKeeper(now: Clock.monotonic())
        if round == 40 { early = MemoryLog.segments(storage).first.flatMap { storage.get($0) } ?? [] }
      }
      try reader.flushCursor()
      let copy = storage.copy()
      segments = MemoryLog.segments(copy)
      first = log.oldestLSN
      last = lsn
      lastGroup = lsn - UInt64(329 % 3)
      log.close()
      self.storage = copy
      self.truth = truth.filter { $0.key >= log.oldestLSN }
      stale = early
    }
  }

  private static let specimen = Result { try Specimen() }

  /// One way to damage a log.
  struct Damage: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var apply: @Sendable (MemoryStorage) -> Void
  }

  private func check(_ damage: Damage, _ specimen: Specimen) throws {
    let name = damage.testDescription
    let storage = specimen.storage.copy()
    damage.apply(storage)
    let verdict = try? OfflineLog.verify(storage)
    try checkHalting(damage, specimen)
    let before = storage.contents
    let log: StreamLog
    do {
      log = try MemoryLog.open(storage) { $0.retainBytes = 1 << 30 }
    } catch {
      #expect(error.kind == .foreign && storage.contents == before, "\(name): \(error)")
      return
    }
    let found = try MemoryLog.contents(log)
    // A gap may reach over LSNs that no record ever had.
    let lost = Set(specimen.truth.keys.filter { lsn in found.gaps.contains { $0.contains(lsn) } })
    for record in found.seen { #expect(specimen.truth[record.lsn] == record.payload, "\(name): LSN \(record.lsn)") }
    #expect(zip(found.seen, found.seen.dropFirst()).allSatisfy { $0.lsn < $1.lsn }, "\(name): in order")
    let told = Set(found.seen.map(\.lsn)).union(lost)
    let silent = Set(specimen.truth.keys).subtracting(told)
    // A new subscriber begins behind a head that is missing; that it is, recovery and verifier have to say.
    let isTold = log.recovery.findings.contains {
      if case .corruption(_, _, specimen.first, let last, _) = $0 { last == log.oldestLSN - 1 } else { false }
    }
    let head = isTold && verdict?.isSound == false ? log.oldestLSN : specimen.first
    #expect(
      silent.allSatisfy { $0 >= specimen.lastGroup || $0 < head },
      "\(name): nothing was said of \(silent.min() ?? 0)...\(silent.max() ?? 0)")
    #expect(lost.isDisjoint(with: found.seen.map(\.lsn)), "\(name)")
    if !lost.isEmpty { #expect(verdict?.isSound != true, "\(name): the verifier calls it sound") }
    // New records have new LSNs, and are found behind what is left.
    TestLane(log).commit(["new"])
    let late = try MemoryLog.contents(log)
    #expect(late.seen.last?.payload == "new" && late.seen.dropLast() == found.seen[...], "\(name)")
    #expect(specimen.truth[try #require(late.seen.last).lsn] == nil, "\(name): an LSN was used twice")
    log.close()
    let again = try MemoryLog.open(storage) { $0.retainBytes = 1 << 30 }
    #expect(again.recovery.quarantined.isEmpty, "\(name): the second start found something")
    #expect(try MemoryLog.contents(again).seen == late.seen, "\(name)")
    again.close()
  }

  private func checkHalting(_ damage: Damage, _ specimen: Specimen) throws {
    let storage = specimen.storage.copy()
    damage.apply(storage)
    let before = storage.contents
    do throws(JournalError) {
      let log = try MemoryLog.open(storage) {
        $0.onCorruption = .halt
        $0.retainBytes = 1 << 30
      }
      log.close()
    } catch {
      #expect([.damaged, .foreign].contains(error.kind), "\(damage.testDescription): \(error)")
      #expect(storage.contents == before, "\(damage.testDescription): halt has changed something")
    }
  }

  private func run(_ damages: [Damage], _ specimen: Specimen) throws {
    #expect(damages.count > 5)
    for damage in damages { try check(damage, specimen) }
  }

  // MARK: Blocks

  /// Segments and places in them: the header, the first group, inside and at the border of groups, the last, behind it.
  private func places(_ specimen: Specimen, block: Int) throws -> [(path: String, offset: Int)] {
    var places: [(String, Int)] = []
    let chosen = [specimen.segments[0], specimen.segments[specimen.segments.count / 2], specimen.segments.last ?? ""]
    for path in chosen {
      let bytes = try #require(specimen.storage.get(path))
      var groups: [Int] = []
      _ = try StreamInspector.inspect(MemoryLog.directory, storage: specimen.storage) { group in
        if MemoryLog.path(group.segment) == path { groups.append(group.offset) }
      }
      let last = try #require(groups.last)
      let middle = groups[groups.count / 2]
      for offset in [
        0, 512, 4096, 4096 + 512, middle, middle + 512, middle + 8192, middle - 4096, last, last + 512, last + 4096,
        bytes.count - 4096,
      ] where offset >= 0 && offset + block <= bytes.count {
        places.append((path, offset))
      }
    }
    return places
  }

  private func replacing(
    _ what: String, _ path: String, _ offset: Int, _ block: @escaping @Sendable ([UInt8]) -> ArraySlice<UInt8>
  ) -> Damage {
    Damage(testDescription: "\(what) at \(offset) of \(path)") { storage in
      guard var bytes = storage.get(path) else { return }
      let new = block(bytes)
      bytes.replaceSubrange(offset..<(offset + new.count), with: new)
      storage.put(path, bytes)
    }
  }

  @Test("a block that reads as zeros", arguments: [512, 4096])
  func zeroed(block: Int) throws {
    let specimen = try Self.specimen.get()
    try run(
      try places(specimen, block: block).map { path, offset in
        replacing("\(block) zeros", path, offset) { _ in Array(repeating: 0, count: block)[...] }
      }, specimen)
  }

  @Test("two sectors that changed places")
  func swapped() throws {
    let specimen = try Self.specimen.get()
    var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
    let all = try places(specimen, block: 512)
    try run(
      all.map { path, offset in
        let size = specimen.storage.get(path)?.count ?? 0
        let other = Int.random(in: 0..<(size / 512), using: &random) * 512
        return Damage(testDescription: "sectors \(offset) and \(other) of \(path) swapped (seed \(random.seed))") {
          storage in
          guard var bytes = storage.get(path) else { return }
          let (a, b) = (Array(bytes[offset..<(offset + 512)]), Array(bytes[other..<(other + 512)]))
          bytes.replaceSubrange(offset..<(offset + 512), with: b)
          bytes.replaceSubrange(other..<(other + 512), with: a)
          storage.put(path, bytes)
        }
      }, specimen)
  }

  @Test("a block of an earlier life of the file, of another segment, or of another place", arguments: [512, 4096])
  func misplaced(block: Int) throws {
    let specimen = try Self.specimen.get()
    let other = try #require(specimen.storage.get(specimen.segments[1]))
    let stale = specimen.stale
    try run(
      try places(specimen, block: block).flatMap { path, offset in
        [
          replacing("a stale block", path, offset) { _ in stale[min(offset, stale.count - block)...].prefix(block) },
          replacing("another segment's block", path, offset) { _ in
            other[min(offset, other.count - block)...].prefix(block)
          },
          replacing("a misdirected block", path, offset) { bytes in bytes[8192..<(8192 + block)] },
        ]
      }, specimen)
  }

  // MARK: Files

  @Test("segments that are missing, short, renamed, copied, exchanged, or of another log")
  func files() throws {
    let specimen = try Self.specimen.get()
    let segments = specimen.segments
    try #require(segments.count >= 3)
    var damages: [Damage] = []
    func add(_ what: String, _ apply: @escaping @Sendable (MemoryStorage) -> Void) {
      damages.append(Damage(testDescription: what, apply: apply))
    }
    for (place, path) in segments.enumerated() {
      let isLast = place == segments.count - 1
      // Without its newest segment a log can't know what was in it.
      if !isLast { add("\(path) is missing") { $0.remove(path) } }
      for size in [0, 100, 4096, 8192, 200_000] where !isLast || size > 8192 {
        add("\(path) is cut to \(size)") { storage in
          if let bytes = storage.get(path) { storage.put(path, Array(bytes.prefix(size))) }
        }
      }
      let base = OfflineLog.base(path)
      for other in [base + 1, base + 1_000_000] {
        let name = MemoryLog.path(SegmentFile.name(other))
        add("\(path) is copied to \(name)") { storage in
          if let bytes = storage.get(path) { storage.put(name, bytes) }
        }
        if !isLast {
          add("\(path) is renamed to \(name)") { storage in
            if let bytes = storage.get(path) { storage.put(name, bytes) }
            storage.remove(path)
          }
        }
      }
      if !isLast {
        let next = segments[place + 1]
        add("\(path) and \(next) are exchanged") { storage in
          guard let a = storage.get(path), let b = storage.get(next) else { return }
          storage.put(path, b)
          storage.put(next, a)
        }
      }
      add("\(path) is of another log") { storage in
        guard var bytes = storage.get(path) else { return }
        bytes.withUnsafeMutableBytes { raw in
          guard var header = try? SegmentHeader.decode(UnsafeRawBufferPointer(rebasing: raw[..<4096])) else { return }
          header.uuid = LogUUID.random()
          header.encode(to: UnsafeMutableRawBufferPointer(rebasing: raw[..<4096]))
        }
        storage.put(path, bytes)
      }
    }
    try run(damages, specimen)
  }

  // MARK: The end of a segment that was used before

  @Test("the last groups of a recycled segment, cut at every byte, with old bytes or nothing behind the cut")
  func everyCut() throws {
    let specimen = try Self.specimen.get()
    let path = try #require(specimen.segments.last)
    let whole = try #require(specimen.storage.get(path))
    let header = try SegmentFile.readHeader(path, on: specimen.storage).get()
    #expect(header.isRecycled)
    var groups: [(start: Int, end: Int, last: UInt64)] = []
    _ = try StreamInspector.inspect(MemoryLog.directory, storage: specimen.storage) { group in
      guard MemoryLog.path(group.segment) == path else { return }
      groups.append((group.offset, group.offset + group.bytes, group.firstLSN + UInt64(max(group.count, 1)) - 1))
    }
    let tail = groups.suffix(3)
    let start = try #require(tail.first).start
    let end = try #require(tail.last).end
    let storage = specimen.storage.copy()
    // Every byte where headers, first records and borders are; some elsewhere.
    let cuts = (start...end).filter { cut in
      tail.contains { (-70...200).contains(cut - $0.start) } || end - cut < 70 || cut % 997 == 0
    }
    for cut in cuts {
      for keepsOld in [true, false] {
        var bytes = whole
        // What the segment's earlier life left there, as far as it is known: other bytes under another salt.
        let old = keepsOld ? Array(specimen.stale[min(cut, specimen.stale.count)...].prefix(end - cut)) : []
        bytes.replaceSubrange(cut..<end, with: old + Array(repeating: 0, count: end - cut - old.count))
        storage.put(path, bytes)
        var scan = TailScan(header)
        try scan.run(try FileWindow(try LogFile(path, .readWrite, on: storage)), slotWitness: 0)
        // The zeros at a group's end may be cut off without harm when zeros follow.
        let torn = tail.first { bytes[$0.start..<$0.end] != whole[$0.start..<$0.end] }
        let expected = torn.map { torn in groups.last { $0.end <= torn.start } } ?? groups.last
        #expect(scan.nextLSN == (expected?.last ?? header.baseLSN - 1) + 1, "cut \(cut), old bytes \(keepsOld)")
        #expect(scan.verdict == .clean || scan.verdict == .torn, "cut \(cut), old bytes \(keepsOld): \(scan.verdict)")
      }
    }
  }
}

@Suite("Indices of segments, damaged")
struct SegmentIndexFuzzTests {
  private let header = SegmentHeader(uuid: LogUUID.random(), salt: 77, baseLSN: 5, createdTime: 1)

  private var good: SegmentIndex {
    SegmentIndex(
      salt: header.salt, baseLSN: header.baseLSN,
      entries: (0..<40).map {
        IndexEntry(lsn: header.baseLSN + UInt64($0 * 10), offset: 4096 * ($0 + 1), time: Int64(1000 + $0))
      })
  }

  @Test("every cut and every flipped bit is refused, and what is accepted is what was written")
  func everyBit() throws {
    let bytes = good.encoded()
    #expect(try bytes.withUnsafeBytes { try SegmentIndex.decode($0, of: header) } == good)
    for cut in 0..<bytes.count {
      #expect(throws: SegmentIndexFault.self) {
        try bytes[..<cut].withUnsafeBytes { try SegmentIndex.decode($0, of: header) }
      }
    }
    for bit in 0..<(bytes.count * 8) {
      var damaged = bytes
      damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(throws: SegmentIndexFault.self, "bit \(bit)") {
        try damaged.withUnsafeBytes { try SegmentIndex.decode($0, of: header) }
      }
    }
  }

  @Test(
    "any bytes, their checksum made right, are refused or give entries that rise", arguments: [21, 22, 23] as [UInt64])
  func anything(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let whole = good.encoded()
    for _ in 0..<20_000 {
      var bytes = whole
      for _ in 0..<Int.random(in: 0...6, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      bytes.removeLast(Int.random(in: 0...3, using: &random) * Int.random(in: 0...24, using: &random))
      if bytes.count >= 40, random.next() % 8 != 0 {
        bytes.withUnsafeMutableBytes { raw in
          let crc = CRC32C.of(
            UnsafeRawBufferPointer(rebasing: raw[12...]),
            seed: CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[..<8])))
          raw.baseAddress!.storeLE(crc, 8)
        }
      }
      guard let index = try? bytes.withUnsafeBytes({ try SegmentIndex.decode($0, of: header) }) else { continue }
      #expect(index.encoded() == bytes, "seed \(seed): what is accepted is written the same way")
      #expect(
        zip(index.entries, index.entries.dropFirst()).allSatisfy {
          $0.lsn <= $1.lsn && $0.offset < $1.offset && $0.time <= $1.time
        }, "seed \(seed)")
    }
  }
}
