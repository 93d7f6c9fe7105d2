import CSluice
import Logging
import SluiceCore
import Synchronization

/// Which of the fresh records that were read go to the plugin. `SubscriberWorker.builder` has their messages, and `offsets` tells
/// which they are if `isSelected`, until something else is read.
struct Choice {
  /// Of the first; it has not been given out yet.
  var token: UInt64
  var count: Int
  /// The range of the log that was looked through.
  var first: UInt64
  var last: UInt64
  var bytes: Int
  var isSelected: Bool
}

/// One batch, from what was read to what the plugin's answer means.
extension SubscriberWorker {
  /// What goes to the plugin, and under which tokens.
  private struct Selection {
    var token: UInt64
    var count: Int
    var attempt: UInt32
    /// Of the range of the log that was looked through.
    var firstLSN: UInt64
    var lastLSN: UInt64
  }

  func deliver(_ feed: StreamFeed, _ stream: Int, retrying: RetryRange?, room: Int, now: Int64) -> Turn {
    dropAhead()
    let deadline = now + options.ackDeadlineNanoseconds
    let chosen =
      if let retrying {
        openRetry(feed, stream, retrying, ackDeadline: deadline, now: now)
      } else {
        open(choose(feed, room: room), stream, ackDeadline: deadline)
      }
    guard let chosen else {
      batch.release()
      return .served
    }
    return hand(over: chosen, feed, stream, deadline: deadline, now: now)
  }

  /// Delivers what was read ahead, whose messages are made.
  func deliver(_ choice: Choice, _ feed: StreamFeed, _ stream: Int, now: Int64) -> Turn {
    let deadline = now + options.ackDeadlineNanoseconds
    guard let chosen = open(choice, stream, ackDeadline: deadline) else { return .served }
    return hand(over: chosen, feed, stream, deadline: deadline, now: now)
  }

  private func hand(over chosen: Selection, _ feed: StreamFeed, _ stream: Int, deadline: Int64, now: Int64) -> Turn {
    var descriptor = feed.batchTemplate
    descriptor.count = UInt32(chosen.count)
    descriptor.flags = chosen.attempt > 1 ? UInt32(SLU_BATCH_REDELIVERY) : 0
    descriptor.messages = UnsafePointer(builder.messages)
    descriptor.lease = chosen.token
    descriptor.lease_bytes = UInt64(batch.pin?.chargedBytes ?? 0)
    descriptor.first_lsn = chosen.firstLSN
    descriptor.last_lsn = chosen.lastLSN
    descriptor.ack_deadline_ns = deadline
    if let replay = feed.replay { describe(replay, chosen.count, &descriptor) }
    if feed.range != nil { descriptor.flags |= UInt32(SLU_BATCH_REPLAY) }
    if services.publisher != nil {
      services.tracker.withLock { $0.keepEventTimes(token: chosen.token, descriptor.messages, chosen.count) }
    }
    if chosen.attempt == 1 { feed.pace?.use(chosen.count) }
    let creditEpoch = services.credit.use(chosen.count)
    services.beginDelivery(lease: chosen.token, pin: batch.pin)
    deliveredStream = stream
    let ingestTime = builder.messages.pointee.ingest_time_ns
    let rc = shared.call(.deliver, from: now, until: deadline) {
      plugin.table.deliver(instance, &descriptor, clearedError())
    }
    services.endDelivery()
    batch.release()
    let end = Clock.monotonic()
    deliveryEnd = end
    shared.lastDelivery.store(end, ordering: .relaxed)
    shared.deliveryTimes.observe(Double(end - now) / 1e9)
    if chosen.attempt == 1, feed.replay == nil, feed.range == nil {
      shared.delays.observe(Double(max(0, Clock.wall() - ingestTime)) / 1e9)
    }
    return conclude(rc, feed, token: chosen.token, count: chosen.count, creditEpoch: creditEpoch, now: end)
  }

  /// Lets the plugin see the records as their own log has them.
  private func describe(_ replay: ReplayQueue, _ count: Int, _ descriptor: inout slu_batch) {
    builder.renumber(count, from: replay)
    descriptor.flags |= UInt32(SLU_BATCH_REPLAY)
    descriptor.first_lsn = builder.messages[0].lsn
    descriptor.last_lsn = builder.messages[count - 1].lsn
  }

  // MARK: What is delivered

  private func openRetry(
    _ feed: StreamFeed, _ stream: Int, _ range: RetryRange, ackDeadline: Int64, now: Int64
  ) -> Selection? {
    assert(batch.firstLSN == range.first)
    let last = batch.lastLSN
    let token = services.tracker.withLock { tracker in
      tracker.openRetry(
        stream: stream, range: range, upTo: last, now: now, ackDeadline: ackDeadline, offsets: &offsets)
    }
    nextToken = token + UInt64(offsets.count)
    // What is to come again was delivered before, so it matched.
    builder.fill(from: batch, offsets: offsets, token: token, attempt: range.attempt, names: feed.names)
    return Selection(
      token: token, count: offsets.count, attempt: range.attempt, firstLSN: batch.firstLSN, lastLSN: last)
  }

  /// Makes messages of what goes to the plugin of the fresh records in `batch`, as far as there is room.
  func choose(_ feed: StreamFeed, room: Int) -> Choice {
    // Only this thread gives out tokens.
    let (first, token) = (batch.firstLSN, nextToken)
    let isWithin = feed.range.map { batch.lastLSN <= $0.last } ?? true
    if feed.matcher == nil, isWithin, builder.fill(from: batch, token: token, attempt: 1, names: feed.names) {
      return Choice(
        token: token, count: batch.count, first: first, last: batch.lastLSN, bytes: batch.bytes, isSelected: false)
    }
    let last = select(feed, room: room)
    // What does not fit any more does not wait for company.
    if last < batch.lastLSN { feed.mayHaveMore = true }
    builder.fill(from: batch, offsets: offsets, token: token, attempt: 1, names: feed.names)
    let bytes = offsets.reduce(0) { $0 + batch[Int($1)].length }
    return Choice(token: token, count: offsets.count, first: first, last: last, bytes: bytes, isSelected: true)
  }

  /// Nil if nothing of what was read matches: it is passed over.
  private func open(_ choice: Choice, _ stream: Int, ackDeadline: Int64) -> Selection? {
    let opened = services.tracker.withLock { tracker -> UInt64? in
      guard choice.count > 0 else {
        tracker.pass(stream: stream, first: choice.first, through: choice.last)
        return nil
      }
      tracker.count(deliveredBytes: choice.bytes)
      guard choice.isSelected else {
        return tracker.openFresh(stream: stream, first: choice.first, count: choice.count, ackDeadline: ackDeadline)
      }
      return tracker.openSelected(
        stream: stream, first: choice.first, through: choice.last, offsets: offsets, ackDeadline: ackDeadline)
    }
    guard let opened else { return nil }
    assert(opened == choice.token)
    nextToken += UInt64(choice.count)
    return Selection(token: opened, count: choice.count, attempt: 1, firstLSN: choice.first, lastLSN: choice.last)
  }

  /// Puts the matching records into `offsets`, as far as there is room. Returns the last LSN that was looked at.
  private func select(_ feed: StreamFeed, room: Int) -> UInt64 {
    offsets.removeAll(keepingCapacity: true)
    var bytes = 0
    for index in 0..<batch.count {
      let record = batch[index]
      if let end = feed.range?.last, batch.firstLSN + UInt64(index) > end { return end }
      guard feed.matcher?.matches(record) ?? (record.type == RecordLayout.typeData) else { continue }
      bytes += record.length
      guard offsets.count < room, offsets.isEmpty || bytes <= options.bytes else {
        return batch.firstLSN + UInt64(index) - 1
      }
      offsets.append(UInt32(index))
    }
    return batch.lastLSN
  }

  // MARK: What the plugin answered

  /// Draws the consequences of what `deliver` answered.
  private func conclude(
    _ rc: slu_rc, _ feed: StreamFeed, token: UInt64, count: Int, creditEpoch: UInt64, now: Int64
  ) -> Turn {
    let code = ReturnCode(rc)
    switch code {
    case .ok, .accepted:
      services.tracker.withLock { _ = $0.finish(token: token, code == .ok ? .ok : .accepted, now: now) }
      feed.refusals = 0
      // That old records are taken says nothing of why new ones were not.
      if feed.range != nil { return .served }
      if failures > 0 { shared.life.withLock { $0.failedDeliveries = 0 } }
      failures = 0
      return .served
    case .busy:
      services.tracker.withLock { _ = $0.finish(token: token, .busy, now: now) }
      services.credit.giveBack(count, to: creditEpoch)
      failures = min(failures + 1, 64)
      pausedUntil = now + options.retry.delay(afterAttempt: failures, random: jitter.next())
      busySince = creditEpoch
      return .served
    default:
      if services.hasCrashed {
        let why = suspectOpenRecords(now: now)
        // That is no verdict on them.
        services.tracker.withLock { _ = $0.finish(token: token, .busy, now: now) }
        return .broken(why)
      }
      return fail(code, "deliver answered " + error.pointee.description(of: rc), feed, token: token, now: now)
    }
  }

  /// The records without a verdict come again, or are dead if that was their last attempt; `why` goes with them.
  private func fail(_ code: ReturnCode, _ why: String, _ feed: StreamFeed, token: UInt64, now: Int64) -> Turn {
    let number = error.pointee.code
    let due = why.withBytes { why in
      services.tracker.withLock { tracker in
        tracker.finish(
          token: token, .failed, now: now, code: number, reason: why.raw(limit: Limits.maxVerdictReasonBytes))
      }
    }
    shared.life.withLock { life in
      life.lastError = why
      if feed.range == nil { life.failedDeliveries += 1 }
    }
    if code == .fatal || code == .config { return .broken(why) }
    if feed.range != nil {
      // What is live does not wait for a replay that fails.
      feed.holdUntil = due
      feed.refusals = min(feed.refusals + 1, 64)
      if feed.refusals.nonzeroBitCount == 1 {
        logger.warning("delivery of a replay failed", metadata: ["why": "\(why)", "in_a_row": "\(feed.refusals)"])
      }
      return .served
    }
    failures = min(failures + 1, 64)
    // In a long row of failures one line in 2ⁿ is enough.
    if failures.nonzeroBitCount == 1 {
      logger.warning("delivery failed", metadata: ["why": "\(why)", "in_a_row": "\(failures)"])
    }
    pausedUntil = due
    busySince = nil
    return .served
  }
}
