import SluiceCore

/// What may be delivered of one stream now.
package enum StreamPlan: Equatable, Sendable {
  case retry(RetryRange)
  case fresh
  /// Nothing before this time, unless a verdict comes.
  case hold(until: Int64)
}

extension SettleTracker {
  /// The next delivery of `stream`. Retries that are due come first. With strict order nothing passes a record that
  /// is open or to be retried; with relaxed order fresh records go on until the open parts are too many. `maxRecords` is
  /// what the instance has room for; at 0 it waits for verdicts.
  package func plan(stream: Int, now: Int64, maxRecords: Int) -> StreamPlan {
    guard openBatches < maxOpenBatches, maxRecords > 0, hasShare(stream) else {
      return .hold(until: earliestAckDeadline)
    }
    switch order {
    case .strict:
      if isOpen(stream) { return .hold(until: earliestAckDeadline) }
      if let range = retries[stream].due(now: now, maxRecords: maxRecords, inOrder: true) { return .retry(range) }
      guard let first = retries[stream].ranges.first else { return .fresh }
      return .hold(until: first.due)
    case .relaxed:
      if let range = retries[stream].due(now: now, maxRecords: maxRecords, inOrder: false) { return .retry(range) }
      guard isFull(for: stream) else { return .fresh }
      return .hold(until: min(earliestAckDeadline, retries[stream].earliestDue(after: now)))
    }
  }

  /// When the next retry becomes due or ack deadline passes; `.max` if neither is ahead. Retries that are due
  /// already wait for something else: a verdict, room, a pause's end.
  package func nextDeadline(after now: Int64) -> Int64 {
    var earliest = earliestAckDeadline
    for index in retries.indices where !retries[index].isEmpty {
      earliest = min(earliest, retries[index].earliestDue(after: now))
    }
    return earliest
  }

  package var earliestAckDeadline: Int64 {
    var earliest = Int64.max
    guard openBatches > 0 else { return earliest }
    for index in batches.indices where !batches[index].isFree && !batches[index].isDelivering {
      earliest = min(earliest, batches[index].ackDeadline)
    }
    return earliest
  }

  private func isOpen(_ stream: Int) -> Bool {
    for index in batches.indices where !batches[index].isFree && batches[index].stream == stream { return true }
    return false
  }

  /// The lowest LSN of `stream` that is not settled.
  package func cursor(of stream: Int) -> UInt64 {
    var lowest = fresh[stream]
    // By index: a copy of a batch would count references.
    if openBatches > 0 {
      for index in batches.indices where !batches[index].isFree && batches[index].stream == stream {
        if let lsn = batches[index].lowestPendingLSN { lowest = min(lowest, lsn) }
      }
    }
    if let lsn = retries[stream].lowestLSN { lowest = min(lowest, lsn) }
    for index in rejected[stream].indices { lowest = min(lowest, rejected[stream][index].first) }
    for index in holds.indices where holds[index].stream == stream { lowest = min(lowest, holds[index].lsn) }
    return lowest
  }

  /// The LSN that `openFresh` would begin with.
  package func freshLSN(of stream: Int) -> UInt64 { fresh[stream] }

  /// The LSN that the next batch of `stream` begins with once what is open is settled; nil if something comes again before.
  package func nextFresh(of stream: Int) -> UInt64? {
    openBatches < maxOpenBatches && retries[stream].isEmpty ? fresh[stream] : nil
  }

  /// Gives back what is open past its ack deadline. Returns how many records that were.
  package mutating func expire(now: Int64) -> Int {
    var overdue = 0
    let why: StaticString = "no verdict before the ack deadline"
    let reason = UnsafeRawBufferPointer(start: why.utf8Start, count: why.utf8CodeUnitCount)
    for index in batches.indices
    where !batches[index].isFree && !batches[index].isDelivering && batches[index].ackDeadline <= now {
      overdue += batches[index].pendingCount
      retryLater(0..<batches[index].count, in: index, due: now, code: 0, reason: reason)
      closeIfDone(index)
    }
    counts.overdue += UInt64(overdue)
    return overdue
  }

  /// The instance is gone: no open token will be settled, and its records come again at once. That is no verdict on
  /// them, so it does not use up their attempts. The memory of the batches is let go.
  package mutating func abandon(now: Int64) {
    for index in batches.indices where !batches[index].isFree {
      batches[index].isDelivering = false
      batches[index].spared += 1
      giveBack(0..<batches[index].count, in: index, attempt: batches[index].attempt + 1, due: now)
      closeIfDone(index)
    }
    batches = Array(repeating: OpenBatch(), count: maxOpenBatches)
  }

  /// The records `first...last` of `stream` do not exist any more. Returns how many of them were still to come.
  package mutating func discard(stream: Int, first: UInt64, last: UInt64) -> UInt64 {
    var lost = retries[stream].discard(first: first, last: last)
    if last >= fresh[stream] {
      lost += last - fresh[stream] + 1
      fresh[stream] = last + 1
    }
    return lost
  }

  /// Whether a stream has rejected ranges that no sink has yet.
  package var hasRejected: Bool {
    for index in rejected.indices where !rejected[index].isEmpty { return true }
    return false
  }

  /// The rejected ranges of `stream` that no sink has yet. They hold the cursor until `kept` is called.
  package func rejectedRanges(of stream: Int) -> [RejectedRange] { rejected[stream] }

  /// The dead letter sink has the first `count` of the stream's rejected ranges.
  package mutating func kept(_ count: Int, of stream: Int) { rejected[stream].removeFirst(count) }

  /// What a delivery had of bytes.
  package mutating func count(deliveredBytes bytes: Int) { counts.deliveredBytes += UInt64(bytes) }
}
