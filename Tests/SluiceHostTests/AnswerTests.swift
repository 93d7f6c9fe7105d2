import CSluice
import SluiceCore
import SluiceTopology
import Testing

@testable import SluiceHost

/// What each answer of `deliver` does to the records without a verdict, in both orders.
@Suite struct AnswerTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var answer: Int32
    /// Attempts of the second record, which has no verdict when `deliver` returns.
    var attempts: [Int]
    var restarts: UInt64 = 0
    var testDescription: String { "\(answer)" }
  }

  static let rows: [Row] = [
    Row(answer: SLU_OK, attempts: [1]),
    Row(answer: SLU_BUSY, attempts: [1, 1]),
    Row(answer: SLU_STALE, attempts: [1, 2]),
    Row(answer: SLU_E_RETRYABLE, attempts: [1, 2]),
    Row(answer: SLU_E_TIMEOUT, attempts: [1, 2]),
    Row(answer: SLU_E_INTERNAL, attempts: [1, 2]),
    Row(answer: SLU_E_UNSUPPORTED, attempts: [1, 2]),
    Row(answer: SLU_E_INVALID, attempts: [1, 2]),
    Row(answer: -99, attempts: [1, 2]),
    Row(answer: 99, attempts: [1, 2]),
    Row(answer: SLU_E_FATAL, attempts: [1, 2], restarts: 1),
    Row(answer: SLU_E_CONFIG, attempts: [1, 2], restarts: 1),
  ]

  @Test(arguments: rows, [SubscriberSettings.Order.relaxed, .strict])
  func anAnswerDoesWhatTheTableSays(row: Row, order: SubscriberSettings.Order) throws {
    let rig = try SubscriberRig("answering", n: Int(row.answer)) { $0.order = order }
    rig.reader.append(numbered: 0..<3)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    let attempts = (1...3).map { lsn in rig.messages.filter { $0.lsn == lsn }.map(\.attempt) }
    #expect(attempts == [[1], row.attempts, row.attempts], "a verdict given before stands")
    #expect(rig.subscriber.status.restarts == row.restarts)
    #expect(rig.reader.pinCount == 0)
  }

  @Test func aVerdictsDelayIsKeptWhenItIsLongerThanTheBackoff() {
    var tracker = SettleTracker(fresh: [1], policy: RetryPolicy(firstNanoseconds: 10, maxNanoseconds: 50), seed: 1)
    let token = tracker.openFresh(stream: 0, first: 1, count: 2)
    _ = tracker.settle(Settlement(firstToken: token, count: 1, verdict: .retry, delayMilliseconds: 3), now: 100)
    _ = tracker.settle(Settlement(firstToken: token + 1, count: 1, verdict: .retry), now: 100)
    let dues = tracker.retries[0].ranges.map(\.due)
    #expect(dues[0] == 3_000_100 && dues[1] <= 110)
  }

  @Test func strictOrderHoldsMatchesBehindARetriedOne() throws {
    let rig = try SubscriberRig("verdicts") {
      $0.match = SubscriberSettings.Match(topicsOf: ["yes"])
      $0.order = .strict
      $0.batch.records = 2
    }
    let kinds = ["r", "a", "a", "r", "a", "a"]
    rig.reader.append(
      kinds.enumerated().flatMap { index, kind -> [MemoryReader.Draft] in
        [.init(payload: "\(kind)\(index)", topic: "yes"), .init(payload: "no", topic: "no")]
      })
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 13))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == [1, 3, 1, 1, 5, 7, 7, 7, 9, 11])
  }

  @Test(arguments: GapReason.allCases)
  func everyReasonOfAGapReachesThePluginAndTheMetrics(reason: GapReason) throws {
    let rig = try SubscriberRig("recorder")
    rig.reader.append(numbered: 0..<5)
    rig.reader.lose(2...3, reason)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 6))
    let families = rig.subscriber.metrics()
    #expect(rig.stop() == .stopped)
    #expect(rig.seen.filter { $0.hasPrefix("gap") } == ["gap 2 3"])
    for (name, expected) in [("gaps", 1.0), ("lost_records", 2.0)] {
      let family = try #require(families.first { $0.name == "sluice_subscriber_\(name)_total" })
      for sample in family.samples {
        #expect(sample.value == (sample.labels[1].1 == reason.rawValue ? expected : 0))
      }
    }
  }

  @Test func recordsDroppedUnderASubscriberThatIsHeldAreToldAsAGap() throws {
    let rig = try SubscriberRig("verdicts") { $0.batch.records = 2 }
    rig.letters.refuse(2)
    rig.reader.append(["x0", "a1", "a2", "a3", "a4", "a5"])
    let reader = rig.reader
    rig.log.first("held by its dead letters") { reader.drop(below: 5) }
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 7))
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.map(\.lsn) == [1])
    #expect(rig.messages.map(\.lsn) == [1, 2, 5, 6] && rig.seen.contains("gap 3 4"))
    #expect(rig.subscriber.status.lostRecords == 2)
  }
}

extension SubscriberSettings.Match {
  fileprivate init(topicsOf topics: [String]) {
    self.init()
    self.topics = topics
  }
}
