import SluiceCore
import TestSupport
import Testing

@testable import SluiceJournal

/// What a test expects the log to know of a producer.
struct Mark: Equatable {
  var epoch: UInt16 = 0
  var sequence: UInt64 = 0
}

extension TestLane {
  /// Appends a record that came over the wire, or a note that its sequence is consumed.
  func append(_ producer: UInt32, _ mark: Mark, payload: Int = 0, consumed: Bool = false) -> AppendResult {
    if consumed { return lane.appendConsumed(producer: producer, epoch: mark.epoch, sequence: mark.sequence) }
    let bytes = [UInt8](repeating: 0x70, count: payload)
    return bytes.withUnsafeBytes { payload in
      let fields = RecordFields(eventTime: 1, sequence: mark.sequence, payload: payload)
      let part = UnsafeMutableRawBufferPointer.allocate(byteCount: fields.producerPartBytes, alignment: 8)
      defer { part.deallocate() }
      let crc = fields.encodeProducerPart(to: part.baseAddress!)
      return lane.append(
        encoded: UnsafeRawBufferPointer(part), crc: crc, producer: producer, epoch: mark.epoch)
    }
  }
}

extension StreamLog {
  /// What a source would be told of the producer.
  func mark(_ name: String) -> Mark? {
    producer(named: name).map { Mark(epoch: $0.known.epoch, sequence: $0.known.position.sequence) }
  }
}

@Suite("A producer's high-water mark in the log")
struct ProducerMarkTests {
  private let first = MemoryLog.path(SegmentFile.name(1))
  private let group = Limits.groupAlignment

  @Test("one name is one producer, and a name that can't be kept is refused")
  func names() throws {
    let log = try MemoryLog.open(MemoryStorage())
    let pump = try #require(log.producer(named: "pump-7"))
    #expect(log.producer(named: "pump-7") === pump && log.producer(named: "pump-8")?.id != pump.id)
    #expect(pump.known.epoch == 0 && pump.known.position == ProducerPosition())
    #expect(log.producer(named: "") == nil && log.producer(named: String(repeating: "n", count: 256)) == nil)
    #expect(log.producer(named: String(repeating: "n", count: 255)) != nil)
    let cafe = try #require(log.producer(named: "caf\u{e9}"))
    #expect(log.producer(named: "cafe\u{301}")?.id != cafe.id, "a name is its bytes")
    log.close()
  }

  @Test("is what records and consumed notes made it, with the highest epoch, after a restart and after two")
  func survivesRestarts() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    let a = try #require(log.producer(named: "a")).id
    let b = try #require(log.producer(named: "b")).id
    for sequence in 1...5 { #expect(lane.append(a, Mark(epoch: 1, sequence: UInt64(sequence))) == .accepted) }
    #expect(lane.append(b, Mark(epoch: 7, sequence: 1), consumed: true) == .accepted)
    lane.append("anonymous")
    #expect(lane.append(a, Mark(epoch: 2, sequence: 6)) == .accepted)
    #expect(lane.append(a, Mark(epoch: 2, sequence: 7), consumed: true) == .accepted)
    lane.commit()
    let crashed = storage.copy()
    log.close()
    for start in [storage, crashed] {
      for _ in 0..<3 {
        log = try MemoryLog.open(start)
        #expect(log.mark("a") == Mark(epoch: 2, sequence: 7) && log.mark("b") == Mark(epoch: 7, sequence: 1))
        #expect(log.producer(named: "a")?.id == a && log.producer(named: "c")?.id == b + 1)
        log.close()
      }
    }
  }

  @Test("cut at every byte of the last groups, is what the whole groups before the cut say")
  func everyCut() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    var marks: [[String: Mark]] = [[:]]
    for turn in 1...4 {
      var now: [String: Mark] = marks[turn - 1]
      for name in ["a", "b", "new in \(turn)"] {
        let mark = Mark(epoch: UInt16(turn / 2), sequence: (now[name]?.sequence ?? 0) + 1)
        let id = try #require(log.producer(named: name)).id
        #expect(lane.append(id, mark, consumed: turn == 3) == .accepted)
        now[name] = mark
      }
      lane.commit()
      marks.append(now)
    }
    let copy = storage.copy()
    log.close()
    let whole = try #require(copy.get(first))
    let header = try SegmentFile.readHeader(first, on: copy).get()
    for cut in (2 * group)...(5 * group) {
      copy.put(first, Array(whole[..<cut]))
      var scan = TailScan(header)
      try scan.run(try FileWindow(try LogFile(first, .read, on: copy)), slotWitness: 0)
      let found = Dictionary(
        uniqueKeysWithValues: scan.definitions.producers.values.map {
          ($0.name, Mark(epoch: $0.epoch, sequence: $0.highWater))
        })
      #expect(found == marks[cut / group - 1], "cut \(cut)")
    }
    for cut in stride(from: 2 * group - 1, through: 5 * group, by: 1023) {
      copy.put(first, Array(whole[..<cut]))
      let once = copy.copy()
      let log = try MemoryLog.open(once)
      for (name, mark) in marks[cut / group - 1] { #expect(log.mark(name) == mark, "cut \(cut)") }
      log.close()
    }
  }

  @Test("outlives the segments that its records were in")
  func outlivesSegments() throws {
    let storage = MemoryStorage()
    var log = try MemoryLog.open(storage) { $0.retainBytes = 4 << 20 }
    var lane = TestLane(log)
    let old = try #require(log.producer(named: "old")).id
    #expect(lane.append(old, Mark(epoch: 3, sequence: 41)) == .accepted)
    lane.commit()
    var moving = Mark(epoch: 1)
    for round in 0..<3 {
      let id = try #require(log.producer(named: "moving")).id
      for _ in 0..<80 {
        moving.sequence += 1
        #expect(lane.append(id, moving, payload: 60_000) == .accepted)
        lane.commit()
      }
      let crashed = storage.copy()
      if round == 1 { storage.wait { log.oldestLSN > 1 } }
      log.close()
      log = try MemoryLog.open(crashed) { $0.retainBytes = 4 << 20 }
      #expect(log.mark("moving") == moving && log.mark("old") == Mark(epoch: 3, sequence: 41))
      log.close()
      log = try MemoryLog.open(storage) { $0.retainBytes = 4 << 20 }
      #expect(log.mark("moving") == moving && log.mark("old") == Mark(epoch: 3, sequence: 41))
      lane = TestLane(log)
    }
    #expect(log.oldestLSN > 1)
    log.close()
  }

  @Test("is found behind segments that hold nothing, however many starts were cut short")
  func manyEmptySegments() throws {
    var storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.durability = .written }
    let lane = TestLane(log)
    #expect(lane.append(try #require(log.producer(named: "p")).id, Mark(epoch: 1, sequence: 9)) == .accepted)
    lane.commit()
    var copy = storage.copy()
    log.close()
    for _ in 0..<(2 * Limits.maxDefinitionSegments) {
      storage = copy
      let log = try MemoryLog.open(storage) { $0.durability = .written }
      copy = storage.copy()
      log.close()
    }
    let again = try MemoryLog.open(copy) { $0.durability = .written }
    #expect(again.mark("p") == Mark(epoch: 1, sequence: 9))
    again.close()
  }

  @Test("through random records, rotations, restarts and crashes", arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
  func random(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var storage = MemoryStorage()
    var log = try MemoryLog.open(storage) { $0.retainBytes = 3 << 20 }
    var lanes = [TestLane(log, source: "x"), TestLane(log, source: "y")]
    var model: [String: Mark] = [:]
    for step in 0..<150 {
      let lane = lanes[Int.random(in: 0..<2, using: &generator)]
      for _ in 0..<Int.random(in: 0...30, using: &generator) {
        let name = "p\(Int.random(in: 0..<12, using: &generator))"
        var mark = model[name] ?? Mark(epoch: 1)
        if Int.random(in: 0..<20, using: &generator) == 0 { mark.epoch += 1 }
        let run = Int.random(in: 1...4, using: &generator)
        let id = try #require(log.producer(named: name)).id
        for _ in 0..<run {
          mark.sequence += 1
          let payload = Int.random(in: 0...3000, using: &generator)
          let consumed = Int.random(in: 0..<10, using: &generator) == 0
          #expect(lane.append(id, mark, payload: payload, consumed: consumed) == .accepted, "seed \(seed)")
        }
        model[name] = mark
      }
      lane.commit()
      guard Int.random(in: 0..<10, using: &generator) == 0 else { continue }
      let crashed = storage.copy()
      log.close()
      if Bool.random(using: &generator) { storage = crashed }
      log = try MemoryLog.open(storage) { $0.retainBytes = 3 << 20 }
      lanes = [TestLane(log, source: "x"), TestLane(log, source: "y")]
      for (name, mark) in model { #expect(log.mark(name) == mark, "seed \(seed) step \(step)") }
    }
    log.close()
  }

  @Test("is forgotten only when there are many producers, nobody holds it, and none of its records is left")
  func forgets() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.retainBytes = 2 << 20 }
    let lane = TestLane(log)
    let written = try #require(log.producer(named: "written")).id
    #expect(lane.append(written, Mark(epoch: 1, sequence: 5)) == .accepted)
    let last = lane.commit()
    // What a source does when it lets go of it.
    if case .granted(let claim)? = log.producer(named: "written")?.claim(
      epoch: 1, ClaimNotices(ready: { _ in }, revoked: { _ in }))
    {
      log.producer(named: "written")?.release(claim, at: ProducerPosition(sequence: 5, lsn: last))
    }
    let held = try #require(log.producer(named: "held"))
    // More names than a quarter of a segment takes.
    for number in 0..<12_000 { #expect(log.producer(named: "n\(number)") != nil) }
    #expect(log.core.names.producerCount < 12_000)
    #expect(log.producer(named: "held") === held && log.mark("written") == Mark(epoch: 1, sequence: 5))
    for _ in 0..<80 { lane.commit([String(repeating: "f", count: 60_000)]) }
    storage.wait { log.oldestLSN > last }
    for number in 12_000..<24_000 { #expect(log.producer(named: "n\(number)") != nil) }
    #expect(log.mark("written") == Mark() && log.producer(named: "held") === held)
    let highest = try #require(log.producer(named: "a new one")).id
    lane.commit(["carries the definitions"])
    log.close()
    let again = try MemoryLog.open(storage) { $0.retainBytes = 2 << 20 }
    #expect(try #require(again.producer(named: "one more")).id > highest, "no id is given twice")
    #expect(again.recovery.findings.isEmpty)
    again.close()
  }

  @Test("of those forgotten, the commit thread hears of what it has heard of before, and of nothing else")
  func forgottenBeforeTheyWereWritten() throws {
    let names = LogNames(DefinitionTable(), recoveredLSN: 0, maxBytes: Limits.maxDefinitionBytes)
    let written = UInt32(Limits.maxProducersPerLog / 2)
    for number in 1...Limits.maxProducersPerLog {
      _ = names.producer(named: "producer-\(number)", within: ProducerAllowance(), oldestLSN: 1)
      if number == Int(written) { #expect(names.takeNews()?.unwritten.count == number) }
    }
    let held = try #require(names.producer(named: "one more", within: ProducerAllowance(), oldestLSN: 1))
    #expect(names.producerCount == Limits.maxProducersPerLog * 3 / 4 + 1)
    let news = try #require(names.takeNews())
    #expect(news.forgotten.allSatisfy { $0 <= written } && !news.forgotten.isEmpty)
    #expect(news.unwritten.allSatisfy { $0.id > written } && news.unwritten.last?.id == held.id)
    let before = Limits.maxProducersPerLog - Int(written)
    #expect(news.unwritten.count - 1 + Limits.maxProducersPerLog / 4 - news.forgotten.count == before)
  }

  @Test("those without an identity leave a quarter of the table to those who have one")
  func sharesOfTheTable() {
    let names = LogNames(DefinitionTable(), recoveredLSN: 0, maxBytes: Limits.maxDefinitionBytes)
    let common = Limits.maxProducersPerLog * 3 / 4
    // Below LSN 0 there is nothing: none of them is forgotten.
    for number in 1...common { #expect(names.producer(named: "p\(number)", oldestLSN: 0) != nil) }
    #expect(names.producer(named: "one more", oldestLSN: 0) == nil)
    #expect(names.producer(named: "p1", oldestLSN: 0) != nil)
    #expect(names.producer(named: "one more", within: ProducerAllowance(), oldestLSN: 0) != nil)
  }

  @Test("who has made as many as it may makes room among its own silent ones, and among nobody else's")
  func ownShare() {
    let names = LogNames(DefinitionTable(), recoveredLSN: 0, maxBytes: Limits.maxDefinitionBytes)
    let allowance = ProducerAllowance(limit: 10)
    let other = ProducerAllowance(limit: 10)
    for number in 1...10 {
      #expect(names.producer(named: "a\(number)", within: allowance, oldestLSN: 0) != nil)
      #expect(names.producer(named: "b\(number)", within: other, oldestLSN: 0) != nil)
    }
    #expect(names.producer(named: "b11", within: other, oldestLSN: 0) == nil)
    #expect(names.producerCount == 20)
    #expect(names.producer(named: "a11", within: allowance, oldestLSN: 1) != nil)
    #expect(names.producerCount == 11, "its ten were silent; the other's ten are there")
  }

  @Test("of one that was forgotten and came back is that of its new records alone, however often the log is opened")
  func comesBack() throws {
    var storage = MemoryStorage()
    var log = try MemoryLog.open(storage) { $0.retainBytes = 2 << 20 }
    var lane = TestLane(log)
    let old = try #require(log.producer(named: "back")).id
    #expect(lane.append(old, Mark(epoch: 3, sequence: 500)) == .accepted)
    let last = lane.commit()
    log.close()
    log = try MemoryLog.open(storage) { $0.retainBytes = 2 << 20 }
    lane = TestLane(log)
    for _ in 0..<80 { lane.commit([String(repeating: "f", count: 60_000)]) }
    storage.wait { log.oldestLSN > last }
    // Until some are forgotten, and so that the definitions of no group need a segment of their own.
    var number = 0
    while log.core.names.producerCount > number {
      #expect(log.producer(named: "n\(number)") != nil)
      number += 1
      if number % 100 == 0 { lane.commit(["carries some"]) }
    }
    let new = try #require(log.producer(named: "back")).id
    #expect(new > old && log.mark("back") == Mark())
    #expect(lane.append(new, Mark(epoch: 1, sequence: 1)) == .accepted)
    lane.commit()
    for _ in 0..<2 {
      let crashed = storage.copy()
      log.close()
      storage = crashed
      log = try MemoryLog.open(storage) { $0.retainBytes = 2 << 20 }
      TestLane(log).commit(["carries the definitions"])
      let newest = try #require(storage.paths.last { $0.hasSuffix(".slog") })
      var scan = TailScan(try SegmentFile.readHeader(newest, on: storage).get())
      try scan.run(try FileWindow(try LogFile(newest, .read, on: storage)), slotWitness: 0)
      #expect(scan.definitions.producers.values.filter { $0.name == "back" }.map(\.id) == [new])
      #expect(log.mark("back") == Mark(epoch: 1, sequence: 1))
    }
    log.close()
  }

  @Test("the image of all definitions is what the table says, after growing, marking and forgetting")
  func image() throws {
    var table = DefinitionTable()
    _ = table.intern(source: "api")
    for number in 1...6000 { _ = table.intern(producer: "producer \(number)") }
    var image = DefinitionImage(table.all)
    for id in stride(from: UInt32(1), through: 6000, by: 7) {
      image.note(producer: id, epoch: 2, sequence: UInt64(id) * 3)
      image.note(producer: id, epoch: 1, sequence: 1)
      table.note(producer: id, epoch: 2, sequence: UInt64(id) * 3)
    }
    image.note(producer: 1 << 30, epoch: 1, sequence: 1)
    #expect(try definitions(image.due) == table.all)
    image.wrote()
    #expect(image.due.isEmpty)
    let late = table.intern(producer: "late")
    if let late { image.append(late) }
    #expect(try definitions(image.due) == [late])
    image.forget(Array(2...5999))
    image.beginSegment()
    for id in 2...5999 as ClosedRange<UInt32> { table.removeProducer(id) }
    image.note(producer: 6000, epoch: 9, sequence: 1 << 40)
    table.note(producer: 6000, epoch: 9, sequence: 1 << 40)
    #expect(try definitions(image.due) == table.all)
  }

  private func definitions(_ bytes: UnsafeRawBufferPointer) throws -> [Definition] {
    var found: [Definition] = []
    try DefinitionCodec.decode(bytes) { found.append($0) }
    return found
  }
}
