import CSluice
import Logging
import SluiceCore
import Synchronization

extension SubscriberWorker {
  /// What became of one stream's turn.
  enum Turn {
    case served
    case nothing
    case later(Int64)
    case broken(String)
  }

  /// Delivers until the subscriber is to end or the instance is of no more use.
  func deliverUntilAsked() -> Ending {
    deliveryEnd = 0
    while !shared.isStopping {
      let now = deliveryEnd > 0 ? deliveryEnd : Clock.monotonic()
      deliveryEnd = 0
      keepBooks(now: now)
      if services.hasCrashed { return .broken(suspectOpenRecords(now: now)) }
      if let why = reconfigureIfAsked(now: now) { return .broken(why) }
      takeUpReplay(now: now)
      var wake = booksDue
      if isPaused(now: now) {
        wake = min(wake, pausedUntil)
      } else {
        var served = false
        let first = ahead?.stream ?? turn
        for step in 0..<feeds.count where !served {
          let stream = (first + step) % feeds.count
          guard mayHaveWork(feeds[stream]) else { continue }
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

  /// Dead letters that do not get away hold what makes such letters: not what is delivered once more.
  private func mayHaveWork(_ feed: StreamFeed) -> Bool {
    feed.replay.map(\.hasWork) ?? (feed.range != nil || !isHeld)
  }

  private func isPaused(now: Int64) -> Bool {
    guard pausedUntil > now else { return false }
    guard let busySince, services.credit.epoch != busySince else { return true }
    pausedUntil = 0
    return false
  }

  // MARK: One stream's turn

  private func serve(_ stream: Int, now: Int64) -> Turn {
    let feed = feeds[stream]
    guard feed.holdUntil <= now else { return .later(feed.holdUntil) }
    let pace = feed.paced(now: now)
    let plan = services.tracker.withLock { tracker -> (StreamPlan, UInt64, Int) in
      var room = min(options.records, options.maxInflight - tracker.openRecords, services.credit.room)
      if !suspects.isEmpty {
        guard tracker.openBatches == 0 else { return (.hold(until: tracker.earliestAckDeadline), 0, 0) }
        room = min(room, suspects.most(of: stream))
      }
      // Half of what the plugin takes at a time is for what is live.
      if feed.range != nil { room = min(room, max(1, options.maxInflight / 2) - tracker.openRecords(of: stream)) }
      return (tracker.plan(stream: stream, now: now, maxRecords: room), tracker.freshLSN(of: stream), room)
    }
    switch plan {
    case (.hold(let until), _, _):
      return until == .max ? .nothing : .later(until)
    case (.retry(let range), _, let room):
      feed.reader.seek(to: range.first)
      return read(feed, stream, room: room, retrying: range, now: now)
    case (.fresh, let first, let room):
      switch takeAhead(stream, first: first, room: room) {
      case .records(let choice): return deliver(choice, feed, stream, now: now)
      case .gap(let first, let last, let reason): return tellGap(feed, stream, first: first, last: last, reason)
      case nil: break
      }
      if feed.reader.position != first { feed.reader.seek(to: first) }
      // Replays are all there already.
      if feed.replay != nil { return read(feed, stream, room: room, retrying: nil, now: now) }
      if let range = feed.range {
        guard first <= range.last else { return .nothing }
        guard pace > 0 else { return .later(feed.nextPortion) }
        return read(feed, stream, room: min(room, pace), retrying: nil, now: now)
      }
      let (records, bytes) = reach(of: feed, room: room)
      switch feed.supply(now: now, maxRecords: records, maxBytes: bytes, wait: options.waitNanoseconds) {
      case .filling(let until): return .later(until)
      case .ready: return read(feed, stream, room: room, retrying: nil, now: now)
      }
    }
  }

  /// How much of the log is read at a time: with `match` there is more to look through than to deliver.
  func reach(of feed: StreamFeed, room: Int) -> (records: Int, bytes: Int) {
    let (records, bytes) =
      feed.matcher == nil ? (room, options.bytes) : (batch.capacity, max(options.bytes, Limits.matchScanBytes))
    guard let last = feed.range?.last else { return (records, bytes) }
    return (Int(min(UInt64(records), last - feed.reader.position + 1)), bytes)
  }

  /// `room`: messages that may be delivered.
  private func read(_ feed: StreamFeed, _ stream: Int, room: Int, retrying: RetryRange?, now: Int64) -> Turn {
    let (records, bytes) =
      retrying.map { (Int($0.last - $0.first) + 1, options.bytes) } ?? reach(of: feed, room: room)
    let outcome: ReadOutcome
    do throws(StreamReadError) {
      outcome = try feed.reader.read(into: batch, maxRecords: records, maxBytes: bytes)
      if feed.failures > 0 { noteReadable(feed) }
    } catch {
      batch.release()
      return putOff(feed, error, now: now)
    }
    switch outcome {
    case .records:
      feed.noteRecords(mayHaveMore: batch.count == records)
      if let retrying, batch.firstLSN > retrying.first {
        let next = batch.firstLSN
        batch.release()
        // What was to be delivered again is gone, without a trace in the log.
        return tellGap(feed, stream, first: retrying.first, last: next - 1, .unknown)
      }
      if let last = feed.range?.last, batch.firstLSN > last {
        // Up to the end of the range there were only LSNs that no record ever had.
        batch.release()
        _ = services.tracker.withLock { $0.discard(stream: stream, first: last, last: last) }
        return .served
      }
      return deliver(feed, stream, retrying: retrying, room: room, now: now)
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

  /// The stream is tried again after a pause that grows; the others go on.
  private func putOff(_ feed: StreamFeed, _ fault: StreamReadError, now: Int64) -> Turn {
    let stream = feed.reader.streamName
    feed.failures = min(feed.failures + 1, 64)
    feed.holdUntil = now + options.retry.delay(afterAttempt: feed.failures, random: jitter.next())
    shared.life.withLock { life in
      life.lastError = "reading stream \(stream): \(fault)"
      life.unreadable[stream] = "\(fault)"
    }
    // In a long row of failures one line in 2ⁿ is enough.
    if feed.failures.nonzeroBitCount == 1 {
      logger.error(
        "reading failed", metadata: ["stream": "\(stream)", "why": "\(fault)", "in_a_row": "\(feed.failures)"])
    }
    return .later(feed.holdUntil)
  }

  private func noteReadable(_ feed: StreamFeed) {
    feed.failures = 0
    shared.life.withLock { _ = $0.unreadable.removeValue(forKey: feed.reader.streamName) }
  }

  private func tellGap(_ feed: StreamFeed, _ stream: Int, first: UInt64, last: UInt64, _ reason: GapReason) -> Turn {
    let last = min(last, feed.range?.last ?? last)
    let lost = services.tracker.withLock { $0.discard(stream: stream, first: first, last: last) }
    guard lost > 0, feed.replay == nil else { return .served }
    if feed.range != nil {
      services.tracker.withLock { $0.replayed.gone += lost }
      logger.warning(
        "records to be replayed are gone",
        metadata: [
          "stream": "\(feed.reader.streamName)", "lsn": "\(first)...\(last)", "records": "\(lost)",
          "reason": "\(reason.rawValue)",
        ])
      return .served
    }
    shared.life.withLock { life in
      let place = GapReason.allCases.firstIndex(of: reason) ?? 0
      life.gaps[place].count += 1
      life.gaps[place].records += lost
    }
    logger.warning(
      "records are gone",
      metadata: [
        "stream": "\(feed.reader.streamName)", "lsn": "\(first)...\(last)", "records": "\(lost)",
        "reason": "\(reason.rawValue)",
      ])
    guard let tell = plugin.table.gap else { return .served }
    var gap = feed.gap(first: first, last: last, reason)
    let now = Clock.monotonic()
    let rc = shared.call(.gap, from: now, until: now + options.ackDeadlineNanoseconds) {
      tell(instance, &gap, clearedError())
    }
    guard rc < 0 else { return .served }
    let why = "gap answered " + error.pointee.description(of: rc)
    note(why)
    if ReturnCode(rc) == .fatal { return .broken(why) }
    logger.warning("gap not taken", metadata: ["why": "\(why)"])
    return .served
  }
}
