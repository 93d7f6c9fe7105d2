import SluiceCore
import Testing

@testable import SluiceHost

/// Random deliveries and verdicts against a model that keeps one state per record.
@Suite struct SettleTrackerModelTests {
  private enum Part: Equatable { case open(attempt: UInt32), retry(attempt: UInt32), rejected, settled }

  private struct Model {
    var parts: [Part] = []
    var tokens: [UInt64: Int] = [:]

    var cursor: UInt64 { UInt64(parts.firstIndex { $0 != .settled } ?? parts.count) + 1 }
  }

  @Test(arguments: 0..<60)
  func theCursorIsTheLowestUnsettledRecord(run: Int) {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = JitterSource(seed: seed)
    let attempts: UInt32? = run % 3 == 0 ? 3 : nil
    var tracker = SettleTracker(
      fresh: [1], policy: RetryPolicy(firstNanoseconds: 10, maxNanoseconds: 50, attempts: attempts),
      order: run % 2 == 0 ? .relaxed : .strict, maxOpenBatches: 5, seed: seed)
    var model = Model()
    var deliveries: [(token: UInt64, count: Int)] = []
    var now: Int64 = 0
    for step in 0..<400 {
      now += Int64(random.next() % 30)
      let word = random.next()
      switch word % 10 {
      case 0...3: deliver(&tracker, &model, &deliveries, &random, now: now)
      case 4...8: settle(&tracker, &model, deliveries, &random, attempts: attempts, now: now)
      default: tidy(&tracker, &model, word)
      }
      #expect(tracker.cursor(of: 0) == model.cursor, "step \(step), seed \(seed)")
      #expect(tracker.openRecords == model.parts.count { if case .open = $0 { true } else { false } }, "seed \(seed)")
    }
    // Everything ends when it is acknowledged.
    while model.cursor <= UInt64(model.parts.count) {
      now += 100
      for (token, lsn) in model.tokens.sorted(by: { $0.key < $1.key }) {
        _ = tracker.settle(Settlement(firstToken: token, count: 1, verdict: .ack), now: now)
        if case .open = model.parts[lsn] { model.parts[lsn] = .settled }
      }
      model.tokens.removeAll()
      tidy(&tracker, &model, 0)
      deliver(&tracker, &model, &deliveries, &random, now: now, retriesOnly: true)
    }
    #expect(tracker.cursor(of: 0) == UInt64(model.parts.count) + 1, "seed \(seed)")
    let counts = tracker.counts
    #expect(counts.acked + counts.rejected + counts.exhausted == UInt64(model.parts.count), "seed \(seed)")
  }

  private func deliver(
    _ tracker: inout SettleTracker, _ model: inout Model, _ deliveries: inout [(token: UInt64, count: Int)],
    _ random: inout JitterSource, now: Int64, retriesOnly: Bool = false
  ) {
    let size = Int(random.next() % 150) + 1
    let token: UInt64
    let lsns: [Int]
    switch tracker.plan(stream: 0, now: now, maxRecords: size) {
    case .hold: return
    case .fresh where retriesOnly: return
    case .fresh:
      token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: size)
      lsns = Array(model.parts.count..<(model.parts.count + size))
      model.parts.append(contentsOf: repeatElement(.open(attempt: 1), count: size))
    case .retry(let range):
      #expect(range.last - range.first < UInt64(size))
      // A slab may end anywhere.
      let last = range.first + random.next() % (range.last - range.first + 1)
      var offsets: [UInt32] = []
      token = tracker.openRetry(stream: 0, range: range, upTo: last, now: now, offsets: &offsets)
      lsns = offsets.map { Int(range.first) - 1 + Int($0) }
      for lsn in lsns {
        #expect(model.parts[lsn] == .retry(attempt: range.attempt))
        model.parts[lsn] = .open(attempt: range.attempt)
      }
    }
    for (index, lsn) in lsns.enumerated() { model.tokens[token + UInt64(index)] = lsn }
    deliveries.append((token, lsns.count))
    tracker.finish(token: token, .accepted, now: now)
  }

  private func settle(
    _ tracker: inout SettleTracker, _ model: inout Model, _ deliveries: [(token: UInt64, count: Int)],
    _ random: inout JitterSource, attempts: UInt32?, now: Int64
  ) {
    guard !deliveries.isEmpty else { return }
    let delivery = deliveries[Int(random.next() % UInt64(deliveries.count))]
    let start = Int(random.next() % UInt64(delivery.count))
    let count = Int(random.next() % UInt64(delivery.count - start)) + 1
    let verdict: Settlement.Verdict =
      switch random.next() % 6 {
      case 0: .retry
      case 1: .reject
      case 2: .unknown
      default: .ack
      }
    _ = tracker.settle(
      Settlement(firstToken: delivery.token + UInt64(start), count: UInt32(count), verdict: verdict), now: now)
    for slot in start..<(start + count) {
      guard let lsn = model.tokens.removeValue(forKey: delivery.token + UInt64(slot)),
        case .open(let attempt) = model.parts[lsn]
      else { continue }
      switch verdict {
      case .ack: model.parts[lsn] = .settled
      case .reject: model.parts[lsn] = .rejected
      case .retry, .unknown: model.parts[lsn] = attempt == attempts ? .rejected : .retry(attempt: attempt + 1)
      }
    }
  }

  /// Lets the sink take some of what was rejected.
  private func tidy(_ tracker: inout SettleTracker, _ model: inout Model, _ word: UInt64) {
    let count = tracker.rejectedRanges(of: 0).count - Int(word >> 32) % (tracker.rejectedRanges(of: 0).count + 1)
    for range in tracker.rejectedRanges(of: 0).prefix(count) {
      for lsn in range.first...range.last { model.parts[Int(lsn) - 1] = .settled }
    }
    tracker.kept(count, of: 0)
  }
}
