import SluiceCore
import Synchronization
import TestSupport
import Testing

@testable import SluiceJournal

@Suite("Many threads on one stream")
struct ConcurrencyTests {
  let directory = TestDirectory()

  /// What one subscriber has seen, and what was wrong with it.
  private struct Tally {
    var seen = 0
    var nextLSN: UInt64 = 1
    var nextOfLane: [Int: Int] = [:]
    var faults: [String] = []

    mutating func add(_ batch: RecordBatch) {
      if batch.firstLSN != nextLSN { faults.append("LSN \(batch.firstLSN) instead of \(nextLSN)") }
      nextLSN = batch.lastLSN + 1
      for index in 0..<batch.count {
        // The event time carries the number of the record in its lane, the first byte of the payload the lane.
        let lane = Int(batch[index].payload.first ?? 255)
        let number = Int(batch[index].eventTime)
        if number != nextOfLane[lane, default: 0] { faults.append("lane \(lane): \(number)") }
        nextOfLane[lane] = number + 1
        if !batch[index].checksumMatches { faults.append("checksum at \(batch.firstLSN + UInt64(index))") }
      }
      seen += batch.count
    }
  }

  /// One lane on a thread of its own: records of many sizes, several to a submit, waiting when the stream is full.
  private func produce(_ log: StreamLog, lane number: Int, records: Int) -> OSThread {
    OSThread(name: "lane \(number)") {
      let bell = Doorbell()
      let lane = log.openLane(source: "lane-\(number)") { bell.ring() }
      var generator = SeededGenerator(seed: UInt64(number))
      let bytes = [UInt8](repeating: UInt8(number), count: 20_000)
      var sent = 0
      while sent < records {
        for _ in 0..<Int.random(in: 1...20, using: &generator) where sent < records {
          let size =
            Int.random(in: 1...100, using: &generator) == 1 ? 20_000 : Int.random(in: 1...600, using: &generator)
          let result = bytes.withUnsafeBytes { raw in
            lane.append(
              RecordFields(eventTime: Int64(sent), payload: UnsafeRawBufferPointer(rebasing: raw[..<size])))
          }
          guard result == .accepted else { break }
          sent += 1
        }
        let last = lane.submit()
        if lane.acknowledged + 3000 < last, lane.requestWake(at: last) { bell.wait(until: .max) }
      }
      let last = lane.submit()
      if lane.requestWake(at: last) { bell.wait(until: .max) }
      lane.close()
    }
  }

  /// A subscriber on a thread of its own. When it has seen `pauseAt` records it waits for `resume`.
  private func consume(
    _ log: StreamLog, _ name: String, total: Int, pauseAt: Int = .max, resume: Doorbell = Doorbell(),
    _ finish: @escaping @Sendable (Tally) -> Void
  ) throws -> OSThread {
    nonisolated(unsafe) let reader = try log.openReader(subscriber: name, start: .oldest)
    return OSThread(name: name) {
      let bell = Doorbell()
      reader.setDoorbell(bell)
      let batch = RecordBatch(capacity: 500)
      var tally = Tally()
      var hasPaused = false
      while tally.seen < total, tally.faults.isEmpty {
        do {
          switch try reader.read(into: batch, maxRecords: 500, maxBytes: 200_000) {
          case .nothingYet: bell.wait(until: .max)
          case .gap(let first, let last, _): tally.faults.append("gap \(first)-\(last)")
          case .records:
            tally.add(batch)
            batch.release()
            reader.settle(below: tally.nextLSN)
          }
        } catch { tally.faults.append("\(error)") }
        if tally.seen >= pauseAt, !hasPaused {
          hasPaused = true
          resume.wait(until: .max)
        }
      }
      finish(tally)
      reader.close()
    }
  }

  @Test("each subscriber sees each record once and in order, from the ring, from disk, and back in the ring")
  func hotColdHot() throws {
    let log = try StreamLog.open(directory.options { $0.maxRecordBytes = 64 << 10 })
    let lanes = 3
    let each = 15_000
    let resume = Doorbell()
    let tallies = Mutex<[String: Tally]>([:])
    let fast = try consume(log, "fast", total: lanes * each) { tally in tallies.withLock { $0["fast"] = tally } }
    let slow = try consume(log, "slow", total: lanes * each, pauseAt: 2000, resume: resume) { tally in
      tallies.withLock { $0["slow"] = tally }
    }
    let producers = (0..<lanes).map { produce(log, lane: $0, records: each) }
    fast.join()
    // The ring has long been written over where the slow one stopped.
    resume.ring()
    slow.join()
    producers.forEach { $0.join() }
    for (name, tally) in tallies.withLock({ $0 }) {
      #expect(tally.faults.isEmpty, "\(name): \(tally.faults.prefix(3))")
      #expect(tally.seen == lanes * each && tally.nextOfLane.values.allSatisfy { $0 == each })
    }
    #expect(log.status.subscribers.allSatisfy { $0.lag.records == 0 })
    log.close()
  }

  @Test("a pinned batch stays as it is while the ring goes round")
  func pinnedBatch() throws {
    let log = try StreamLog.open(directory.options { $0.maxRecordBytes = 64 << 10 })
    let reader = try log.openReader(subscriber: "holder", start: .oldest)
    let lane = TestLane(log)
    lane.commit(["first", "second"])
    let batch = RecordBatch(capacity: 10)
    #expect(try reader.read(into: batch, maxRecords: 10, maxBytes: 1000) == .records)
    let filler = String(repeating: "z", count: 60_000)
    for _ in 0..<200 { lane.commit([filler]) }
    #expect(batch.count == 2 && String(decoding: batch[1].payload, as: UTF8.self) == "second")
    #expect(batch[0].checksumMatches && batch[1].checksumMatches)
    batch.release()
    #expect(try reader.drain().count == 200)
    log.close()
  }
}
