import SluiceCore
import Testing

@testable import SluiceHost

/// The rows of the table in SettleTracker.swift.
@Suite struct SettleTrackerTests {
  private func tracker(attempts: UInt32? = nil, order: DeliveryOrder = .relaxed, maxOpen: Int = 4) -> SettleTracker {
    SettleTracker(
      fresh: [1, 1], policy: RetryPolicy(firstNanoseconds: 100, maxNanoseconds: 1_000, attempts: attempts),
      order: order, maxOpenBatches: maxOpen, seed: 1)
  }

  private func item(_ token: UInt64, _ count: UInt32, _ verdict: Settlement.Verdict) -> Settlement {
    Settlement(firstToken: token, count: count, verdict: verdict)
  }

  @Test func anOpenBatchHoldsTheCursorOfItsStreamOnly() {
    var tracker = tracker()
    _ = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 10)
    #expect(tracker.cursor(of: 0) == 1)
    #expect(tracker.cursor(of: 1) == 1)
    #expect(tracker.freshLSN(of: 0) == 11)
    #expect(tracker.openRecords == 10)
  }

  @Test func lsnsThatNoRecordEverHadHoldNothing() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: 1 << 32, count: 2)
    #expect(tracker.cursor(of: 0) == 1 << 32)
    tracker.finish(token: token, .ok, now: 0)
    #expect(tracker.cursor(of: 0) == 1 << 32 + 2)
  }

  @Test func acksMoveTheCursorToTheLowestOpenRecord() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 200)
    #expect(tracker.settle(item(token + 100, 100, .ack), now: 0).isEmpty)
    #expect(tracker.cursor(of: 0) == 1)
    #expect(tracker.settle(item(token, 70, .ack), now: 0).isEmpty)
    #expect(tracker.cursor(of: 0) == 71)
    #expect(tracker.settle(item(token + 70, 30, .ack), now: 0).isEmpty)
    #expect(tracker.cursor(of: 0) == 201)
    tracker.finish(token: token, .ok, now: 0)
    #expect(tracker.openBatches == 0)
    #expect(tracker.counts.acked == 200)
  }

  @Test func returningOKAcknowledgesTheRest() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 5)
    _ = tracker.settle(item(token + 2, 1, .retry), now: 0)
    tracker.finish(token: token, .ok, now: 0)
    #expect(tracker.counts.acked == 4)
    #expect(tracker.cursor(of: 0) == 3)
  }

  @Test func anAcceptedBatchStaysOpenUntilItsLastVerdict() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 3)
    tracker.finish(token: token, .accepted, now: 0)
    #expect(tracker.openBatches == 1)
    _ = tracker.settle(item(token, 3, .ack), now: 0)
    #expect(tracker.openBatches == 0)
    #expect(tracker.cursor(of: 0) == 4)
  }

  @Test func aBusyBatchComesAgainAtOnceAsTheSameAttempt() {
    var tracker = tracker(attempts: 1)
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 3)
    tracker.finish(token: token, .busy, now: 50)
    let again = RetryRange(first: 1, last: 3, attempt: 1, due: 50)
    #expect(tracker.plan(stream: 0, now: 50, maxRecords: 10) == .retry(again))
    #expect(tracker.counts.retried == 0)
  }

  @Test func aFailedBatchComesAgainAfterTheBackoffAsTheNextAttempt() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 3)
    _ = tracker.settle(item(token + 1, 1, .ack), now: 0)
    let due = tracker.finish(token: token, .failed, now: 1_000)
    #expect((1_050...1_100).contains(due))
    #expect(tracker.retries[0].ranges.map(\.first) == [1, 3])
    #expect(tracker.retries[0].ranges.allSatisfy { $0.attempt == 2 && $0.due == due })
    #expect(tracker.counts.retried == 2)
  }

  @Test func aRetryWaitsForItsOwnDelayOrTheBackoffWhicheverIsLater() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 2)
    _ = tracker.settle(
      Settlement(firstToken: token, count: 1, verdict: .retry, delayMilliseconds: 5), now: 0)
    _ = tracker.settle(item(token + 1, 1, .retry), now: 0)
    #expect(tracker.retries[0].ranges[0].due == 5_000_000)
    #expect((50...100).contains(tracker.retries[0].ranges[1].due))
  }

  @Test func verdictsRecordByRecordMakeOneRange() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 100)
    for slot in 0..<UInt64(100) { _ = tracker.settle(item(token + (slot * 37) % 100, 1, .retry), now: 0) }
    #expect(tracker.retries[0].ranges.count == 1)
  }

  @Test func anUnknownVerdictIsARetryAndCounted() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 1)
    #expect(tracker.settle(item(token, 1, .unknown), now: 0).isEmpty)
    #expect(tracker.retries[0].ranges.count == 1)
    #expect(tracker.counts.unknownVerdicts == 1)
  }

  @Test func aRejectedRecordHoldsTheCursorUntilTheSinkHasIt() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 3)
    "bad row".utf8.withContiguousStorageIfAvailable { reason in
      _ = tracker.settle(
        Settlement(
          firstToken: token, count: 1, verdict: .reject, code: 9, reason: UnsafeRawBufferPointer(reason)), now: 0)
    }
    tracker.finish(token: token, .ok, now: 0)
    #expect(tracker.cursor(of: 0) == 1)
    let expected = RejectedRange(first: 1, last: 1, attempt: 1, cause: .plugin, code: 9, reason: "bad row")
    #expect(tracker.rejectedRanges(of: 0) == [expected])
    tracker.kept(1, of: 0)
    #expect(tracker.cursor(of: 0) == 4)
    #expect(tracker.counts.rejected == 1)
  }

  @Test func recordsAreRejectedWhenTheirAttemptsAreUsedUp() {
    var tracker = tracker(attempts: 2)
    var offsets: [UInt32] = []
    let first = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 2)
    let due = tracker.finish(token: first, .failed, now: 0)
    let range = RetryRange(first: 1, last: 2, attempt: 2, due: due)
    #expect(tracker.plan(stream: 0, now: due, maxRecords: 10) == .retry(range))
    let second = tracker.openRetry(stream: 0, range: range, upTo: 2, now: due, offsets: &offsets)
    tracker.finish(token: second, .failed, now: due)
    #expect(tracker.rejectedRanges(of: 0).map(\.cause) == [.attemptsExhausted])
    #expect(tracker.retries[0].isEmpty)
  }

  @Test func aTokenCountsOnceAndTheFirstVerdictStands() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 4)
    #expect(tracker.settle(item(token, 2, .ack), now: 0).isEmpty)
    #expect(tracker.settle(item(token, 3, .reject), now: 0) == .stale)
    #expect(tracker.counts.doubled == 2)
    #expect(tracker.counts.acked == 2 && tracker.counts.rejected == 1)
  }

  @Test func tokensOfBatchesThatAreGoneAreLateAndThoseNeverGivenOutForeign() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 4)
    tracker.finish(token: token, .ok, now: 0)
    #expect(tracker.settle(item(token + 1, 2, .retry), now: 0) == .stale)
    #expect(tracker.settle(item(token + 4, 1, .ack), now: 0) == .stale)
    #expect(tracker.settle(item(0, 1, .ack), now: 0) == .stale)
    #expect(tracker.settle(item(.max, .max, .ack), now: 0) == .stale)
    #expect(tracker.counts.late == 2)
    #expect(tracker.counts.foreign == 2 + UInt64(UInt32.max))
    #expect(tracker.cursor(of: 0) == 5)
  }

  @Test func aRangePastItsBatchCountsForTheBatchAndIsInvalid() {
    var tracker = tracker()
    let first = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 2)
    _ = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 2)
    #expect(tracker.settle(item(first, 3, .ack), now: 0) == .invalid)
    #expect(tracker.settle(item(first, 0, .ack), now: 0) == .invalid)
    #expect(tracker.cursor(of: 0) == 3)
    #expect(tracker.counts.invalid == 2)
  }

  @Test func whatIsOpenPastItsDeadlineComesAgainAndItsTokensDie() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 2, ackDeadline: 100)
    #expect(tracker.expire(now: 200) == 0, "deliver has not returned")
    tracker.finish(token: token, .accepted, now: 50)
    #expect(tracker.nextDeadline(after: 60) == 100)
    #expect(tracker.expire(now: 99) == 0)
    #expect(tracker.expire(now: 100) == 2)
    #expect(tracker.settle(item(token, 2, .ack), now: 101) == .stale)
    let again = RetryRange(first: 1, last: 2, attempt: 2, due: 100)
    #expect(tracker.plan(stream: 0, now: 101, maxRecords: 9) == .retry(again))
    #expect(tracker.counts.overdue == 2)
  }

  @Test func abandonedRecordsComeAgainWithoutUsingUpAttempts() {
    var tracker = tracker(attempts: 1)
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 2)
    tracker.finish(token: token, .accepted, now: 0)
    tracker.abandon(now: 7)
    #expect(tracker.openBatches == 0 && tracker.rejectedRanges(of: 0).isEmpty)
    #expect(tracker.retries[0].ranges == [RetryRange(first: 1, last: 2, attempt: 2, due: 7, spared: 1)])
    #expect(tracker.settle(item(token, 2, .ack), now: 8) == .stale)
  }

  @Test("A record whose instances ended is given up only when its plugin has failed it as often as it may")
  func endsOfInstancesAreNoAttempts() {
    var tracker = tracker(attempts: 2)
    var offsets: [UInt32] = []
    var token = tracker.openFresh(stream: 0, first: 1, count: 2)
    for end in 0..<3 as Range<Int64> {
      tracker.finish(token: token, .accepted, now: end)
      tracker.abandon(now: end)
      guard case .retry(let range) = tracker.plan(stream: 0, now: end, maxRecords: 10) else {
        Issue.record("it comes again at once")
        return
      }
      #expect(range.attempt == UInt32(end) + 2, "the plugin is told how often it came")
      token = tracker.openRetry(stream: 0, range: range, upTo: 2, now: end, offsets: &offsets)
    }
    let due = tracker.finish(token: token, .failed, now: 10)
    #expect(tracker.rejectedRanges(of: 0).isEmpty)
    guard case .retry(let range) = tracker.plan(stream: 0, now: due, maxRecords: 10) else {
      Issue.record("its first attempt has failed, it has another")
      return
    }
    token = tracker.openRetry(stream: 0, range: range, upTo: 2, now: due, offsets: &offsets)
    tracker.finish(token: token, .failed, now: due)
    #expect(tracker.rejectedRanges(of: 0).map(\.cause) == [.attemptsExhausted])
    #expect(tracker.rejectedRanges(of: 0).map(\.attempt) == [5])
  }

  @Test("What killed its plugin is not counted among what has used up its attempts")
  func crashesAreCountedApart() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: 1, count: 1)
    tracker.condemn(stream: 0, lsn: 1, reason: .empty)
    tracker.finish(token: token, .busy, now: 0)
    #expect(tracker.rejectedRanges(of: 0).map(\.cause) == [.crash])
    #expect(tracker.counts.crashed == 1 && tracker.counts.exhausted == 0)
  }

  @Test func aGapSettlesWhatWasStillToCome() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 10)
    _ = tracker.settle(item(token + 2, 4, .retry), now: 0)
    tracker.finish(token: token, .ok, now: 0)
    #expect(tracker.discard(stream: 0, first: 4, last: 5) == 2)
    #expect(tracker.retries[0].ranges.map { $0.first...$0.last } == [3...3, 6...6])
    #expect(tracker.discard(stream: 0, first: 5, last: 20) == 11)
    #expect(tracker.freshLSN(of: 0) == 21)
    #expect(tracker.cursor(of: 0) == 3)
  }

  @Test func relaxedOrderGoesOnWithFreshRecordsUntilTooManyPartsAreOpen() {
    var tracker = tracker(maxOpen: 100)
    for _ in 0..<Limits.maxUnsettledBatches {
      #expect(tracker.plan(stream: 0, now: 0, maxRecords: 10) == .fresh)
      let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 3)
      tracker.finish(token: token, .accepted, now: 0)
      _ = tracker.settle(item(token + 1, 1, .retry), now: 0)
      _ = tracker.settle(item(token, 1, .ack), now: 0)
      _ = tracker.settle(item(token + 2, 1, .ack), now: 0)
    }
    guard case .hold(let until) = tracker.plan(stream: 0, now: 0, maxRecords: 10) else {
      Issue.record("a record too many was planned")
      return
    }
    #expect((50...100).contains(until))
  }

  @Test func relaxedOrderHoldsWhenAllPlacesAreTaken() {
    var tracker = tracker(maxOpen: 1)
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 1, ackDeadline: 500)
    tracker.finish(token: token, .accepted, now: 0)
    #expect(tracker.plan(stream: 1, now: 0, maxRecords: 10) == .hold(until: 500))
    #expect(tracker.plan(stream: 0, now: 0, maxRecords: 0) == .hold(until: 500))
  }

  @Test func strictOrderHoldsBackWhileARecordIsOpenOrToBeRetried() {
    var tracker = tracker(order: .strict)
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 3, ackDeadline: 500)
    tracker.finish(token: token, .accepted, now: 0)
    #expect(tracker.plan(stream: 0, now: 0, maxRecords: 10) == .hold(until: 500))
    #expect(tracker.plan(stream: 1, now: 0, maxRecords: 10) == .fresh, "streams don't wait for each other")
    _ = tracker.settle(item(token, 1, .ack), now: 0)
    _ = tracker.settle(item(token + 1, 2, .retry), now: 0)
    let due = tracker.retries[0].ranges[0].due
    #expect(tracker.plan(stream: 0, now: due - 1, maxRecords: 10) == .hold(until: due))
    let range = RetryRange(first: 2, last: 3, attempt: 2, due: due)
    #expect(tracker.plan(stream: 0, now: due, maxRecords: 10) == .retry(range))
  }

  @Test func dueRangesOfOneAttemptTravelTogether() {
    var tracker = tracker()
    let token = tracker.openFresh(stream: 0, first: tracker.freshLSN(of: 0), count: 10)
    for slot in [0, 1, 4, 9] { _ = tracker.settle(item(token + UInt64(slot), 1, .retry), now: 0) }
    tracker.finish(token: token, .ok, now: 0)
    guard case .retry(let range) = tracker.plan(stream: 0, now: 200, maxRecords: 6) else {
      Issue.record("nothing is due")
      return
    }
    #expect(range.first == 1 && range.last == 5)
    var offsets: [UInt32] = []
    let again = tracker.openRetry(stream: 0, range: range, upTo: 5, now: 200, offsets: &offsets)
    #expect(offsets == [0, 1, 4])
    _ = tracker.settle(item(again + 1, 2, .ack), now: 200)
    #expect(tracker.cursor(of: 0) == 1)
    tracker.finish(token: again, .ok, now: 200)
    #expect(tracker.cursor(of: 0) == 10)
  }

  // MARK: A replay's place

  @Test func aReplayHasASmallShareOfTheOpenBatchesAndLeavesTheOthersAlone() {
    var tracker = SettleTracker(
      fresh: [5, 1], policy: RetryPolicy(firstNanoseconds: 100, maxNanoseconds: 1_000, attempts: nil),
      replayStream: 1, seed: 1)
    tracker.restart(stream: 1, at: 1)
    var tokens: [UInt64] = []
    while tracker.plan(stream: 1, now: 0, maxRecords: 10) == .fresh {
      tokens.append(tracker.openFresh(stream: 1, first: tracker.freshLSN(of: 1), count: 10))
    }
    #expect(tokens.count == Limits.maxReplayBatches && Limits.maxReplayBatches * 4 <= Limits.maxUnsettledBatches)
    #expect(tracker.plan(stream: 0, now: 0, maxRecords: 10) == .fresh)
    tracker.finish(token: tokens[0], .failed, now: 0)
    #expect(tracker.plan(stream: 1, now: 0, maxRecords: 10) != .fresh, "what is to come again has a share as well")
    #expect(tracker.openRecords(of: 1) == 30 && tracker.cursor(of: 1) == 1 && tracker.cursor(of: 0) == 5)
    #expect(tracker.counts.rejected == 0)
    _ = tracker.settle(item(tokens[1], 10, .reject), now: 0)
    #expect(tracker.replayed.rejected == 10 && tracker.counts.rejected == 0)
  }

  @Test func aReplayThatIsGivenUpWaitsForWhatIsInThePluginsHandsOnly() {
    var tracker = SettleTracker(
      fresh: [5, 1], policy: RetryPolicy(firstNanoseconds: 100, maxNanoseconds: 1_000, attempts: nil),
      replayStream: 1, seed: 1)
    tracker.restart(stream: 1, at: 1)
    let first = tracker.openFresh(stream: 1, first: 1, count: 10)
    let second = tracker.openFresh(stream: 1, first: 11, count: 10)
    tracker.finish(token: first, .failed, now: 0)
    tracker.finish(token: second, .accepted, now: 0)
    tracker.giveUp(stream: 1, through: 1000)
    #expect(tracker.cursor(of: 1) == 11)
    // What it puts off now is given up with the next look.
    _ = tracker.settle(item(second, 5, .ack), now: 0)
    _ = tracker.settle(item(second + 5, 5, .retry), now: 0)
    tracker.giveUp(stream: 1, through: 1000)
    #expect(tracker.cursor(of: 1) == 1001 && tracker.replayed.delivered == 5)
    tracker.restart(stream: 1, at: 3)
    #expect(tracker.cursor(of: 1) == 3 && tracker.replayed == ReplayedRecords())
  }
}
