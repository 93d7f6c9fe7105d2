import SluiceCore
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// A part of a stream that is delivered once more, beside what is live.
@Suite struct StreamReplayTests {
  private let soon: Int64 = 120_000_000_000

  /// `payloads` were delivered live; the replay is to be of `first...last`.
  private func rig(
    _ payloads: [String], n: Int? = nil, _ change: (inout SubscriberSettings) -> Void = { _ in }
  ) throws -> SubscriberRig {
    let rig = try SubscriberRig("marking", n: n, change)
    rig.reader.append(payloads)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: UInt64(payloads.count) + 1))
    return rig
  }

  private func replay(
    _ payloads: [String], _ first: UInt64, _ last: UInt64, rate: Int? = nil
  ) -> (StreamReplay, MemoryReader) {
    let reader = MemoryReader(recordsPerSlab: 7)
    reader.append(payloads)
    return (
      StreamReplay(scan(reader, at: first), first: first, last: last, total: last - first + 1, rate: rate), reader
    )
  }

  /// A reader that was opened at `lsn`.
  private func scan(_ reader: MemoryReader, at lsn: UInt64) -> MemoryReader {
    if lsn > 1 {
      reader.seek(to: lsn)
      reader.settle(below: lsn)
    }
    return reader
  }

  /// What the plugin saw of one kind: (lsn, attempt).
  private func seen(_ kind: String, _ rig: SubscriberRig) -> [[UInt64]] {
    rig.seen.compactMap { line in
      let parts = line.split(separator: " ")
      guard parts.count == 5, parts[0] == kind, parts[1] == "events" else { return nil }
      return [UInt64(parts[2]) ?? 0, UInt64(parts[3]) ?? 0]
    }
  }

  @Test("A replayed part comes marked, with the LSNs of its stream, each record once, and the live cursor stays")
  func marked() throws {
    let payloads = (0..<300).map { "a\($0)" }
    let rig = try rig(payloads)
    let (part, reader) = replay(payloads, 20, 199)
    try rig.subscriber.replay(part)
    let end = part.wait(until: Clock.monotonic() + soon)
    #expect(end.state == .completed && end.next == 200 && end.records.delivered == 180 && end.rejections.isEmpty)
    rig.reader.append(["a300"])
    #expect(rig.reader.waitUntilSettled(below: 302))
    #expect(rig.stop() == .stopped)
    #expect(seen("replay", rig) == (20...199).map { [$0, 1] })
    #expect(seen("live", rig) == (1...301).map { [$0, 1] })
    #expect(rig.reader.settles == rig.reader.settles.sorted() && rig.reader.cursor == 302)
    #expect(reader.isClosed && reader.pinCount == 0)
    let status = rig.subscriber.status
    #expect(status.replay == nil && status.replayed.delivered == 180)
  }

  @Test("What is rejected in a replay is told with its reason and makes no dead letter")
  func rejections() throws {
    let payloads = ["a0", "x1", "a2", "x3"]
    let rig = try rig(payloads)
    #expect(rig.letters.letters.count == 2)
    let (part, _) = replay(payloads, 1, 4)
    try rig.subscriber.replay(part)
    let end = part.wait(until: Clock.monotonic() + soon)
    #expect(end.state == .completed && end.records.delivered == 2 && end.records.rejected == 2)
    #expect(
      end.rejections.map(\.first) == [2, 4] && end.rejections.allSatisfy { $0.code == 7 && $0.reason == "bad row" })
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.count == 2)
    #expect(rig.subscriber.status.counts.rejected == 2, "the live ones")
  }

  @Test("Records that are put off in a replay come again until they are taken")
  func retries() throws {
    let payloads = (0..<40).map { $0 % 4 == 0 ? "r\($0)" : "a\($0)" }
    let rig = try rig(payloads)
    let (part, _) = replay(payloads, 1, 40)
    try rig.subscriber.replay(part)
    let end = part.wait(until: Clock.monotonic() + soon)
    #expect(end.state == .completed && end.records.delivered == 40)
    #expect(rig.stop() == .stopped)
    let attempts = Dictionary(grouping: seen("replay", rig)) { $0[0] }.mapValues { $0.map { $0[1] } }
    for lsn in 1...40 as ClosedRange<UInt64> {
      #expect(attempts[lsn] == ((lsn - 1) % 4 == 0 ? [1, 2, 3] : [1]))
    }
  }

  @Test("A replay that fails again and again does not hold what is live, and can be cancelled")
  func failing() throws {
    let rig = try rig(["a0", "a1"], n: 1)
    let (part, reader) = replay(["a0", "a1"], 1, 2)
    try rig.subscriber.replay(part)
    #expect(rig.log.wait(for: "delivery of a replay failed", count: 3))
    for round in 0..<5 as Range<UInt64> {
      rig.reader.append(["a"])
      #expect(rig.reader.waitUntilSettled(below: 4 + round))
    }
    #expect(rig.subscriber.status.isReady, "what is live is well")
    #expect(part.progress.state == .running && part.progress.next == 1)
    part.cancel()
    #expect(part.wait(until: Clock.monotonic() + soon).state == .cancelled)
    #expect(rig.log.wait(for: "replay cancelled"))
    #expect(reader.isClosed)
    // The place is free.
    let (next, _) = replay(["a0", "a1"], 2, 2)
    Files.write("", to: "\(rig.directory.path)/plugins/it/open")
    try rig.subscriber.replay(next)
    #expect(next.wait(until: Clock.monotonic() + soon).records.delivered == 1)
    #expect(rig.stop() == .stopped)
  }

  @Test("There is one replay at a time, and a subscriber that ends takes its replay along")
  func ends() throws {
    let rig = try rig(["a0"], n: 1)
    let (part, reader) = replay(["a0"], 1, 1)
    try rig.subscriber.replay(part)
    let (second, secondReader) = replay(["a0"], 1, 1)
    do throws(ReplayRefusal) {
      try rig.subscriber.replay(second)
      Issue.record("a second replay was taken")
    } catch {
      guard case .busy(let other) = error else { throw error }
      #expect(other === part)
    }
    #expect(secondReader.isClosed)
    #expect(rig.stop() == .stopped)
    #expect(part.wait(until: Clock.monotonic() + soon).state == .ended)
    #expect(reader.isClosed)
    let (late, lateReader) = replay(["a0"], 1, 1)
    #expect(throws: ReplayRefusal.self) { try rig.subscriber.replay(late) }
    #expect(lateReader.isClosed)
  }

  @Test("A replay that is handed in as soon as the one before is over is taken")
  func oneBehindTheOther() throws {
    let rig = try rig(["a0"])
    for _ in 0..<300 {
      let (part, _) = replay(["a0"], 1, 1)
      try rig.subscriber.replay(part)
      #expect(part.wait(until: Clock.monotonic() + soon).state == .completed)
    }
    #expect(rig.stop() == .stopped)
    #expect(seen("replay", rig).count == 300)
  }

  @Test("Records that are gone are counted, the plugin is told of no gap, and skipped LSNs are no records")
  func gone() throws {
    let payloads = (0..<100).map { "a\($0)" }
    let rig = try rig(payloads)
    let (part, reader) = replay(payloads, 1, 90)
    reader.lose(1...10)
    reader.lose(41...45, .corruption)
    reader.skip(60...69)
    reader.lose(85...100)
    try rig.subscriber.replay(part)
    let end = part.wait(until: Clock.monotonic() + soon)
    #expect(end.state == .completed && end.records.gone == 21 && end.records.delivered == 59 && end.next == 91)
    #expect(rig.stop() == .stopped)
    #expect(!rig.seen.contains { $0.hasPrefix("gap") } && rig.subscriber.status.gaps == 0)
    #expect(seen("replay", rig).map { $0[0] } == Array(11...40) + Array(46...59) + Array(70...84))
  }

  @Test("What the subscriber's match leaves out is passed over in a replay as well")
  func match() throws {
    let payloads = (0..<60).map { "a\($0)" }
    let rig = try rig(payloads) {
      $0.match = SubscriberSettings.Match()
      $0.match?.topics = ["t1"]
    }
    let (part, _) = replay(payloads, 1, 60)
    try rig.subscriber.replay(part)
    let end = part.wait(until: Clock.monotonic() + soon)
    #expect(end.state == .completed && end.records.delivered == 20 && end.records.passed == 40)
    #expect(rig.stop() == .stopped)
    #expect(seen("replay", rig).map { $0[0] } == stride(from: 2, through: 60, by: 3).map { UInt64($0) })
  }

  @Test("A replay with a rate begins at once and is not given more than the rate, while what is live is not held")
  func paced() throws {
    let payloads = (0..<50).map { "a\($0)" }
    let rig = try rig(payloads)
    let (part, _) = replay(payloads, 1, 50, rate: 100)
    let begin = Clock.monotonic()
    try rig.subscriber.replay(part)
    rig.reader.append(["a50"])
    #expect(rig.reader.waitUntilSettled(below: 52))
    #expect(part.wait(until: Clock.monotonic() + soon).state == .completed)
    // The rate is a promise not to be faster: 50 records at 100 per second, less the first portion and one that gathered.
    #expect(Clock.monotonic() - begin >= 400_000_000)
    #expect(rig.stop() == .stopped)
  }

  @Test("The bucket of a rate gives portions of 50 ms, never gathers more than two, and says when the next is whole")
  func bucket() {
    var pace = ReplayPace(perSecond: 1000, now: 0)
    #expect(pace.room(now: 0) == 50)
    pace.use(50)
    #expect(pace.room(now: 0) == 0 && pace.room(now: 49_000_000) == 0)
    #expect((50_000_000...50_000_002).contains(pace.next))
    #expect(pace.room(now: pace.next) == 50)
    #expect(pace.room(now: 10_000_000_000) == 100)
    var slow = ReplayPace(perSecond: 1, now: 0)
    #expect(slow.room(now: 0) == 1)
    slow.use(1)
    #expect(slow.room(now: 999_000_000) == 0 && slow.room(now: 1_000_000_001) == 1)
    // Over a long time it gives what it says, whatever the steps.
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    for perSecond in [3, 700, 123_456] {
      var pace = ReplayPace(perSecond: perSecond, now: 0)
      var (now, given): (Int64, Int) = (0, 0)
      while now < 20_000_000_000 {
        let room = pace.room(now: now)
        let taken = min(room, Int.random(in: 0...room + 1, using: &random))
        pace.use(taken)
        given += taken
        let most = Double(perSecond) * (Double(now) / 1e9 + 0.1) + 2
        #expect(Double(given) <= most, "seed \(random.seed)")
        now = max(pace.next, now + Int64.random(in: 0...30_000_000, using: &random))
      }
    }
  }

  @Test("A plugin that settles later, out of order and partly with a retry, gets a replay and live records whole")
  func asynchronous() throws {
    let rig = try SubscriberRig("async") { $0.batch.records = 16 }
    let payloads = (0..<500).map { "m\($0)" }
    rig.reader.append(payloads)
    try rig.subscriber.start()
    let (part, _) = replay(payloads, 1, 500)
    try rig.subscriber.replay(part)
    for round in 0..<20 { rig.reader.append(numbered: 500 + round * 10..<510 + round * 10) }
    #expect(part.wait(until: Clock.monotonic() + soon).records.delivered == 500)
    #expect(rig.reader.waitUntilSettled(below: 701))
    #expect(rig.stop() == .stopped)
    #expect(Set(rig.messages.filter { $0.attempt == 1 }.map(\.lsn)) == Set(1...700))
    #expect(rig.messages.count { $0.attempt == 1 } == 1200)
    #expect(rig.reader.pinCount == 0)
  }
}
