import CSluice
import Logging
import SluiceCore
import Synchronization

extension SubscriberWorker {
  /// What became of one stream's turn.
  private enum Turn {
    case served
    case nothing
    case later(Int64)
    case broken(String)
  }

  /// Delivers until the subscriber is to end or the instance is of no more use.
  func deliverUntilAsked() -> Ending {
    while !shared.isStopping {
      let now = Clock.monotonic()
      keepBooks(now: now)
      var wake = booksDue
      if isPaused(now: now) {
        wake = min(wake, pausedUntil)
      } else {
        var served = false
        for step in 0..<feeds.count where !served {
          let stream = (turn + step) % feeds.count
          switch serve(stream, now: now) {
          case .served:
            turn = stream + 1
            served = true
          case .nothing: break
          case .later(let time): wake = min(wake, time)
          case .broken(let why): return .broken(why)
          }
        }
        if served { continue }
      }
      services.bell.wait(until: wake)
    }
    return .asked
  }

  private func isPaused(now: Int64) -> Bool {
    guard pausedUntil > now else { return false }
    guard let busySince, services.creditEpoch != busySince else { return true }
    pausedUntil = 0
    return false
  }

  /// Brings tracker, dead letters and cursors up to date.
  func keepBooks(now: Int64) {
    let (overdue, rejected) = services.tracker.withLock { tracker -> (Int, [RejectedRange]) in
      let overdue = tracker.earliestAckDeadline <= now ? tracker.expire(now: now) : 0
      booksDue = tracker.nextDeadline(after: now)
      for stream in cursors.indices { cursors[stream] = tracker.cursor(of: stream) }
      return (overdue, tracker.rejectedRanges)
    }
    if overdue > 0 {
      logger.warning("ack deadline passed; the records come again", metadata: ["records": "\(overdue)"])
    }
    if !rejected.isEmpty { giveAway(rejected, now: now) }
    for (stream, feed) in feeds.enumerated() where cursors[stream] > feed.reader.cursor {
      // After a retry the reader stands below records that were read, and settled, before.
      if feed.reader.position < cursors[stream] { feed.reader.seek(to: cursors[stream]) }
      feed.reader.settle(below: cursors[stream])
    }
  }

  /// Offers what was rejected to the dead letter sink; what it keeps is settled.
  private func giveAway(_ rejected: [RejectedRange], now: Int64) {
    var kept = 0
    for range in rejected {
      let feed = feeds[range.stream]
      let letter = DeadLetter(
        subscriber: name, stream: feed.reader.streamName, logUUID: feed.reader.logUUID, range: range)
      guard deadLetters.keep(letter) else {
        booksDue = min(booksDue, now + options.retry.firstNanoseconds)
        break
      }
      kept += 1
    }
    services.tracker.withLock { tracker in
      // Other threads only append to what is rejected, so the first `kept` are the same still.
      tracker.kept(kept)
      for stream in cursors.indices { cursors[stream] = tracker.cursor(of: stream) }
    }
  }

  // MARK: One stream's turn

  private func serve(_ stream: Int, now: Int64) -> Turn {
    let feed = feeds[stream]
    guard feed.holdUntil <= now else { return .later(feed.holdUntil) }
    let plan = services.tracker.withLock { tracker -> (StreamPlan, UInt64, Int) in
      let room = min(options.records, options.maxInflight - tracker.openRecords, services.room)
      return (tracker.plan(stream: stream, now: now, maxRecords: room), tracker.freshLSN(of: stream), room)
    }
    switch plan {
    case (.hold(let until), _, _):
      return until == .max ? .nothing : .later(until)
    case (.retry(let range), _, _):
      feed.reader.seek(to: range.first)
      return read(feed, stream, records: Int(range.last - range.first) + 1, retrying: range, now: now)
    case (.fresh, let first, let room):
      if feed.reader.position != first { feed.reader.seek(to: first) }
      switch feed.supply(now: now, maxRecords: room, maxBytes: options.bytes, wait: options.waitNanoseconds) {
      case .filling(let until): return .later(until)
      case .ready: return read(feed, stream, records: room, retrying: nil, now: now)
      }
    }
  }

  private func read(_ feed: StreamFeed, _ stream: Int, records: Int, retrying: RetryRange?, now: Int64) -> Turn {
    let outcome: ReadOutcome
    do throws(StreamReadError) {
      outcome = try feed.reader.read(into: batch, maxRecords: records, maxBytes: options.bytes)
      feed.failures = 0
    } catch {
      batch.release()
      feed.failures = min(feed.failures + 1, 64)
      feed.holdUntil = now + options.retry.delay(afterAttempt: feed.failures, random: jitter.next())
      note("reading stream \(feed.reader.streamName): \(error)")
      logger.error("reading failed", metadata: ["stream": "\(feed.reader.streamName)", "why": "\(error)"])
      return .later(feed.holdUntil)
    }
    switch outcome {
    case .records:
      feed.lingerUntil = nil
      feed.mayHaveMore = batch.count == records
      if let retrying, batch.firstLSN > retrying.first {
        let next = batch.firstLSN
        batch.release()
        // What was to be delivered again is gone, without a trace in the log.
        return tellGap(feed, stream, first: retrying.first, last: next - 1, .unknown)
      }
      return deliver(feed, stream, retrying: retrying, now: now)
    case .gap(let first, let last, let reason):
      // Records to be delivered again that lie before what the log calls a gap are gone as well.
      return tellGap(feed, stream, first: min(first, retrying?.first ?? first), last: last, reason)
    case .nothingYet:
      feed.lingerUntil = nil
      feed.mayHaveMore = false
      guard retrying == nil else {
        // Records that were delivered before are there or gone, never yet to come: wait and see.
        feed.holdUntil = now + options.retry.firstNanoseconds
        return .later(feed.holdUntil)
      }
      return .nothing
    }
  }

  private func tellGap(_ feed: StreamFeed, _ stream: Int, first: UInt64, last: UInt64, _ reason: GapReason) -> Turn {
    let lost = services.tracker.withLock { $0.discard(stream: stream, first: first, last: last) }
    guard lost > 0 else { return .served }
    shared.life.withLock { life in
      life.gaps += 1
      life.lostRecords += lost
    }
    logger.warning(
      "records are gone",
      metadata: [
        "stream": "\(feed.reader.streamName)", "lsn": "\(first)...\(last)", "records": "\(lost)",
        "reason": "\(reason.rawValue)",
      ])
    guard let tell = plugin.table.gap else { return .served }
    var gap = feed.gap(first: first, last: last, reason)
    let rc = tell(instance, &gap, clearedError())
    guard rc < 0 else { return .served }
    let why = "gap answered " + error.pointee.description(of: rc)
    note(why)
    if ReturnCode(rc) == .fatal { return .broken(why) }
    logger.warning("gap not taken", metadata: ["why": "\(why)"])
    return .served
  }

  // MARK: One batch

  private func deliver(_ feed: StreamFeed, _ stream: Int, retrying: RetryRange?, now: Int64) -> Turn {
    let deadline = now + options.ackDeadlineNanoseconds
    let lastLSN = batch.lastLSN
    var descriptor = feed.batchTemplate
    let token: UInt64
    if let range = retrying {
      assert(batch.firstLSN == range.first)
      token = services.tracker.withLock { tracker in
        tracker.openRetry(
          stream: stream, range: range, upTo: lastLSN, now: now, ackDeadline: deadline, offsets: &offsets)
      }
      builder.fill(from: batch, offsets: offsets, token: token, attempt: range.attempt, names: feed.names)
      descriptor.count = UInt32(offsets.count)
      descriptor.flags = range.attempt > 1 ? UInt32(SLU_BATCH_REDELIVERY) : 0
    } else {
      let (first, count) = (batch.firstLSN, batch.count)
      token = services.tracker.withLock { tracker in
        tracker.openFresh(stream: stream, first: first, count: count, ackDeadline: deadline)
      }
      builder.fill(from: batch, token: token, attempt: 1, names: feed.names)
      descriptor.count = UInt32(count)
    }
    descriptor.messages = UnsafePointer(builder.messages)
    descriptor.lease = token
    descriptor.lease_bytes = UInt64(batch.pin?.chargedBytes ?? 0)
    descriptor.first_lsn = batch.firstLSN
    descriptor.last_lsn = lastLSN
    descriptor.ack_deadline_ns = deadline
    services.useCredit(Int(descriptor.count))
    let creditEpoch = services.creditEpoch
    services.beginDelivery(lease: token, pin: batch.pin)
    let rc = plugin.table.deliver(instance, &descriptor, clearedError())
    services.endDelivery()
    batch.release()
    let end = Clock.monotonic()
    shared.lastDelivery.store(end, ordering: .relaxed)
    shared.deliveryTimes.observe(Double(end - now) / 1e9)
    return conclude(rc, token: token, count: Int(descriptor.count), creditEpoch: creditEpoch, now: end)
  }

  /// Draws the consequences of what `deliver` answered.
  private func conclude(_ rc: slu_rc, token: UInt64, count: Int, creditEpoch: UInt64, now: Int64) -> Turn {
    let code = ReturnCode(rc)
    let result: DeliverResult =
      switch code {
      case .ok: .ok
      case .accepted: .accepted
      case .busy: .busy
      default: .failed
      }
    let due = services.tracker.withLock { $0.finish(token: token, result, now: now) }
    switch result {
    case .ok, .accepted:
      if failures > 0 { shared.life.withLock { $0.failedDeliveries = 0 } }
      failures = 0
      return .served
    case .busy:
      services.returnCredit(count, since: creditEpoch)
      failures = min(failures + 1, 64)
      pausedUntil = now + options.retry.delay(afterAttempt: failures, random: jitter.next())
      busySince = creditEpoch
      return .served
    case .failed:
      let why = "deliver answered " + error.pointee.description(of: rc)
      shared.life.withLock { life in
        life.lastError = why
        life.failedDeliveries += 1
      }
      if code == .fatal || code == .config { return .broken(why) }
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
}
