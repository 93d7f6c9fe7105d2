// Which records of one subscriber are settled, and where its cursors may stand. Pure: time and randomness come in.
//
// Each stream's LSNs fall into four parts; the cursor is the lowest LSN of the last three:
//
//        settled …  │ open: in a batch, no verdict yet
//                   │ retry: to be delivered again, by a RetryList
//                   │ rejected: waiting for the dead letter sink to say that its copy is kept
//                   │ fresh: never delivered, everything from `fresh` on
//
//   event \ part        fresh              open                               retry             rejected
//   open(…)             → open             –                                  → open            –
//   pass (no match)     → settled          –                                  –                 –
//   verdict ack         –                  → settled                          –                 –
//   verdict retry       –                  → retry, attempt + 1, due later    –                 –
//   … attempts used up  –                  → rejected                         –                 –
//   verdict reject      –                  → rejected                         –                 –
//   unknown verdict     –                  as retry, counted                  –                 –
//   finish ok           –                  → settled                          –                 –
//   finish accepted     –                  stays                              –                 –
//   finish busy         –                  → retry, same attempt, due now     –                 –
//   finish failed       –                  as retry                           –                 –
//   ack deadline        –                  as retry; its tokens die           –                 –
//   abandon             –                  → retry, attempt + 1, due now,     –                 –
//                                          which counts as no attempt;
//                                          tokens die
//   discard (a gap)     → settled          –                                  → settled         –
//   condemn (a crash)   –                  → rejected                         –                 –
//   fail (killed late)  –                  as retry                           –                 –
//   dead letter kept    –                  –                                  –                 → settled
//
// A token counts once: the first verdict stands. A verdict on a token that is settled already, whose batch is gone, or
// that was never given out changes nothing but a counter. Memory is bounded by the open batches (`maxOpenBatches`),
// the ranges that they can fall into, and one rejected range per verdict until the sink has it.

import SluiceCore

/// How the topology wants retried records to come: `order:`.
package enum DeliveryOrder: String, Sendable { case relaxed, strict }

/// What `deliver` answered, as far as the records are concerned.
package enum DeliverResult: Equatable, Sendable { case ok, accepted, busy, failed }

/// One verdict on consecutive tokens. `reason` is borrowed for the call.
package struct Settlement {
  package enum Verdict: Equatable { case ack, retry, reject, unknown }

  package var firstToken: UInt64
  package var count: UInt32
  package var verdict: Verdict
  package var delayMilliseconds: UInt32 = 0
  package var code: UInt32 = 0
  package var reason = UnsafeRawBufferPointer.empty

  package init(
    firstToken: UInt64, count: UInt32, verdict: Verdict, delayMilliseconds: UInt32 = 0, code: UInt32 = 0,
    reason: UnsafeRawBufferPointer = .empty
  ) {
    self.firstToken = firstToken
    self.count = count
    self.verdict = verdict
    self.delayMilliseconds = delayMilliseconds
    self.code = code
    self.reason = reason
  }
}

/// What was wrong with some of the tokens of one `settle`.
package struct SettleFaults: OptionSet, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }
  /// Settled before, overdue, or never given out.
  package static let stale = SettleFaults(rawValue: 1)
  /// Count 0, or past the end of its batch.
  package static let invalid = SettleFaults(rawValue: 2)
}

/// Records of one stream that no delivery will settle.
package struct RejectedRange: Equatable, Sendable {
  package enum Cause: String, Sendable, CaseIterable {
    case plugin
    case attemptsExhausted = "attempts_exhausted"
    /// It killed the plugin's process again and again.
    case crash
  }
  package var first: UInt64
  package var last: UInt64
  package var attempt: UInt32
  package var cause: Cause
  package var code: UInt32
  package var reason: String
}

/// Totals since the start, for metrics.
package struct SettleCounts: Equatable, Sendable {
  package var delivered: UInt64 = 0
  /// Bytes of the records delivered, as they are in the log.
  package var deliveredBytes: UInt64 = 0
  /// Records that were passed over: they do not match.
  package var passed: UInt64 = 0
  package var acked: UInt64 = 0
  package var retried: UInt64 = 0
  /// Records that the plugin rejected, those whose attempts were used up, and those that killed its process.
  package var rejected: UInt64 = 0
  package var exhausted: UInt64 = 0
  package var crashed: UInt64 = 0
  package var batches: UInt64 = 0
  /// Tokens settled a second time while their batch was known.
  package var doubled: UInt64 = 0
  /// Tokens whose batch is gone: settled whole, overdue, or given back.
  package var late: UInt64 = 0
  /// Tokens that were never given out.
  package var foreign: UInt64 = 0
  /// Items whose verdict is none that this version knows.
  package var unknownVerdicts: UInt64 = 0
  /// Items with count 0 or past the end of their batch.
  package var invalid: UInt64 = 0
  /// Records that were not settled by their ack deadline.
  package var overdue: UInt64 = 0
}

package struct SettleTracker: ~Copyable {
  let policy: RetryPolicy
  let order: DeliveryOrder
  let maxOpenBatches: Int
  /// The place of what `SettleTracker+Replay` says: it has a small share of what is open, and its rejections are no dead
  /// letters. Nil: there is none.
  let replayStream: Int?
  var jitter: JitterSource
  var batches: [OpenBatch]
  package internal(set) var openBatches = 0
  package private(set) var openRecords = 0
  private var nextToken: UInt64 = 1
  /// The batch that the last verdict went to: verdicts come in runs.
  private var lastHit = 0

  var retries: [RetryList]
  var fresh: [UInt64]
  /// By stream.
  var rejected: [[RejectedRange]]
  /// Of the replay that is under way.
  package internal(set) var replayed = ReplayedRecords()
  package internal(set) var counts = SettleCounts()
  /// What keeps cursors although the records are settled (SettleTracker+Publishing.swift).
  var holds: [PublishHold] = []
  var lastHold: UInt64 = 0
  /// Why records were last asked to come again, in the plugin's words.
  package internal(set) var lastRetryReason = ""

  /// `fresh`: for each stream, the LSN to begin with.
  package init(
    fresh: [UInt64], policy: RetryPolicy, order: DeliveryOrder = .relaxed,
    maxOpenBatches: Int = Limits.maxUnsettledBatches, replayStream: Int? = nil, seed: UInt64
  ) {
    precondition(maxOpenBatches >= 1)
    self.fresh = fresh
    self.policy = policy
    self.order = order
    self.maxOpenBatches = maxOpenBatches
    self.replayStream = replayStream
    jitter = JitterSource(seed: seed)
    batches = Array(repeating: OpenBatch(), count: maxOpenBatches)
    retries = Array(repeating: RetryList(), count: fresh.count)
    rejected = Array(repeating: [], count: fresh.count)
  }

  // MARK: Deliveries

  /// Says where a stream begins of which nothing was delivered yet.
  package mutating func begin(stream: Int, at lsn: UInt64) {
    precondition(cursor(of: stream) == fresh[stream] && counts.delivered == 0, "it has not begun")
    fresh[stream] = lsn
  }

  /// Opens a batch of the next `count` fresh records, which begin at `first`: LSNs before it that were never given to a
  /// record (a log skips some after a crash) are as good as settled. Returns the first token.
  package mutating func openFresh(stream: Int, first: UInt64, count: Int, ackDeadline: Int64 = .max) -> UInt64 {
    precondition(first >= fresh[stream], "fresh records come in the order of the log")
    let index = freePlace()
    batches[index].open(token: nextToken, count: count, stream: stream, firstLSN: first, attempt: 1)
    fresh[stream] = first + UInt64(count)
    return opened(index, count: count, ackDeadline: ackDeadline)
  }

  /// As `openFresh`, for some of the records `first...last` only: `offsets` are their LSNs less `first`. The others do
  /// not match and are passed over.
  package mutating func openSelected(
    stream: Int, first: UInt64, through last: UInt64, offsets: [UInt32], ackDeadline: Int64 = .max
  ) -> UInt64 {
    precondition(first >= fresh[stream], "fresh records come in the order of the log")
    let index = freePlace()
    batches[index].open(token: nextToken, offsets: offsets, stream: stream, firstLSN: first, attempt: 1)
    fresh[stream] = last + 1
    countPassed(stream, last - first + 1 - UInt64(offsets.count))
    return opened(index, count: offsets.count, ackDeadline: ackDeadline)
  }

  /// None of the fresh records `first...last` matches: they are as good as settled.
  package mutating func pass(stream: Int, first: UInt64, through last: UInt64) {
    precondition(first >= fresh[stream] && last >= first, "fresh records come in the order of the log")
    fresh[stream] = last + 1
    countPassed(stream, last - first + 1)
  }

  /// Opens a batch of the due retries of `range`, up to the LSN `last` that could be read. `offsets` gets their LSNs
  /// less `range.first`.
  package mutating func openRetry(
    stream: Int, range: RetryRange, upTo last: UInt64, now: Int64, ackDeadline: Int64 = .max, offsets: inout [UInt32]
  ) -> UInt64 {
    offsets.removeAll(keepingCapacity: true)
    retries[stream].take(range, upTo: last, now: now, offsets: &offsets)
    let index = freePlace()
    batches[index].open(
      token: nextToken, offsets: offsets, stream: stream, firstLSN: range.first, attempt: range.attempt)
    batches[index].spared = range.spared
    return opened(index, count: offsets.count, ackDeadline: ackDeadline)
  }

  private mutating func opened(_ index: Int, count: Int, ackDeadline: Int64) -> UInt64 {
    batches[index].ackDeadline = ackDeadline
    lastHit = index
    openBatches += 1
    openRecords += count
    counts.delivered += UInt64(count)
    counts.batches += 1
    defer { nextToken += UInt64(count) }
    return nextToken
  }

  private func freePlace() -> Int {
    for index in batches.indices where batches[index].isFree { return index }
    preconditionFailure("a batch was opened beyond maxOpenBatches")
  }

  /// `deliver` returned for the batch that begins with `token`; `code` and `reason` say why it failed. Returns when what
  /// failed is due again.
  @discardableResult
  package mutating func finish(
    token: UInt64, _ result: DeliverResult, now: Int64, code: UInt32 = 0, reason: UnsafeRawBufferPointer = .empty
  ) -> Int64 {
    guard let index = place(of: token) else { preconditionFailure("a delivery ended that was never begun") }
    batches[index].isDelivering = false
    let all = 0..<batches[index].count
    var due = now
    switch result {
    case .ok:
      acknowledge(all, in: index)
    case .accepted:
      break
    case .busy:
      giveBack(all, in: index, attempt: batches[index].attempt, due: now)
    case .failed:
      due = batchRetryDue(index, now: now)
      retryLater(all, in: index, due: due, code: code, reason: reason)
    }
    closeIfDone(index)
    return due
  }

  // MARK: Verdicts

  /// Takes one verdict, in any order; `now` is only asked for when it is needed.
  package mutating func settle(_ item: Settlement, now: @autoclosure () -> Int64) -> SettleFaults {
    guard item.count > 0 else {
      counts.invalid += 1
      return .invalid
    }
    guard let index = place(of: item.firstToken) else { return countUnknown(item) }
    var faults: SettleFaults = []
    let start = Int(item.firstToken - batches[index].firstToken)
    var end = start + Int(item.count)
    if end > batches[index].count {
      end = batches[index].count
      counts.invalid += 1
      faults.insert(.invalid)
    }
    let pendingBefore = batches[index].pendingCount
    apply(item, to: start..<end, in: index, now: now())
    let stale = (end - start) - (pendingBefore - batches[index].pendingCount)
    if stale > 0 {
      counts.doubled += UInt64(stale)
      faults.insert(.stale)
    }
    closeIfDone(index)
    return faults
  }

  private mutating func apply(_ item: Settlement, to slots: Range<Int>, in index: Int, now: @autoclosure () -> Int64) {
    switch item.verdict {
    case .ack:
      acknowledge(slots, in: index)
    case .retry, .unknown:
      if item.verdict == .unknown { counts.unknownVerdicts += 1 }
      let now = now()
      let asked = now + Int64(item.delayMilliseconds) * 1_000_000
      if !item.reason.isEmpty { lastRetryReason = SettleTracker.text(item.reason) }
      retryLater(
        slots, in: index, due: max(asked, batchRetryDue(index, now: now)), code: item.code, reason: item.reason)
    case .reject:
      reject(slots, in: index, cause: .plugin, code: item.code, reason: item.reason)
    }
  }

  private mutating func countUnknown(_ item: Settlement) -> SettleFaults {
    // A plugin may say billions at once, as often as it likes: that is no reason to trap.
    if item.firstToken == 0 || item.firstToken >= nextToken {
      counts.foreign &+= UInt64(item.count)
    } else {
      counts.late &+= UInt64(item.count)
    }
    return .stale
  }

  mutating func place(of token: UInt64) -> Int? {
    if batches[lastHit].holds(token) { return lastHit }
    for index in batches.indices where batches[index].holds(token) {
      lastHit = index
      return index
    }
    return nil
  }

  // MARK: The parts that records go to

  private mutating func acknowledge(_ slots: Range<Int>, in index: Int) {
    let settled = batches[index].settle(slots)
    counts.acked += UInt64(settled)
    if batches[index].stream == replayStream { replayed.delivered += UInt64(settled) }
    openRecords -= settled
  }

  /// Pending slots come again as the next attempt, or are rejected when that was the last.
  mutating func retryLater(
    _ slots: Range<Int>, in index: Int, due: Int64, code: UInt32, reason: UnsafeRawBufferPointer
  ) {
    let attempt = batches[index].attempt
    if policy.isExhausted(afterAttempt: attempt - batches[index].spared) {
      reject(slots, in: index, cause: .attemptsExhausted, code: code, reason: reason)
    } else {
      counts.retried += UInt64(giveBack(slots, in: index, attempt: attempt + 1, due: due))
    }
  }

  @discardableResult
  mutating func giveBack(_ slots: Range<Int>, in index: Int, attempt: UInt32, due: Int64) -> Int {
    let (stream, spared) = (batches[index].stream, batches[index].spared)
    var given = 0
    var rest = slots
    while let run = batches[index].firstPendingRun(in: rest) {
      let first = batches[index].lsn(ofSlot: run.lowerBound)
      retries[stream].insert(
        RetryRange(first: first, last: first + UInt64(run.count) - 1, attempt: attempt, due: due, spared: spared))
      given += batches[index].settle(run)
      rest = run.upperBound..<slots.upperBound
    }
    openRecords -= given
    return given
  }

  mutating func reject(
    _ slots: Range<Int>, in index: Int, cause: RejectedRange.Cause, code: UInt32, reason: UnsafeRawBufferPointer
  ) {
    var rest = slots
    while let run = batches[index].firstPendingRun(in: rest) {
      let first = batches[index].lsn(ofSlot: run.lowerBound)
      rejected[batches[index].stream].append(
        RejectedRange(
          first: first, last: first + UInt64(run.count) - 1,
          attempt: batches[index].attempt, cause: cause, code: code, reason: SettleTracker.text(reason)))
      let settled = batches[index].settle(run)
      switch cause {
      case _ where batches[index].stream == replayStream: replayed.rejected += UInt64(settled)
      case .plugin: counts.rejected += UInt64(settled)
      case .attemptsExhausted: counts.exhausted += UInt64(settled)
      case .crash: counts.crashed += UInt64(settled)
      }
      openRecords -= settled
      rest = run.upperBound..<slots.upperBound
    }
  }

  mutating func batchRetryDue(_ index: Int, now: Int64) -> Int64 {
    if batches[index].retryDue == 0 {
      batches[index].retryDue = now + policy.delay(afterAttempt: batches[index].attempt, random: jitter.next())
    }
    return batches[index].retryDue
  }

  mutating func closeIfDone(_ index: Int) {
    guard batches[index].pendingCount == 0, !batches[index].isDelivering else { return }
    batches[index].close()
    openBatches -= 1
  }

  private static func text(_ reason: UnsafeRawBufferPointer) -> String {
    // Cutting may split a character; decoding repairs what is left of it.
    String(decoding: reason.prefix(Limits.maxVerdictReasonBytes), as: UTF8.self)
  }
}
