import SluiceCore

extension SettleTracker {
  /// What the plugin has in its hands: the batches with records that have no verdict.
  var hands: [CrashSuspects.Hand] {
    var hands: [CrashSuspects.Hand] = []
    for index in batches.indices where !batches[index].isFree {
      guard let first = batches[index].lowestPendingLSN, let last = batches[index].highestPendingLSN else { continue }
      hands.append(
        CrashSuspects.Hand(stream: batches[index].stream, first: first, last: last, count: batches[index].pendingCount))
    }
    return hands
  }

  /// An open record, the only one of its batch that is, is given up.
  mutating func condemn(stream: Int, lsn: UInt64, reason: UnsafeRawBufferPointer) {
    for index in batches.indices where !batches[index].isFree && batches[index].stream == stream {
      guard batches[index].lowestPendingLSN == lsn else { continue }
      reject(0..<batches[index].count, in: index, cause: .crash, code: 0, reason: reason)
      return closeIfDone(index)
    }
  }

  /// An open record, the only one of its batch that is, was not settled in time, and its process was killed for that: it comes
  /// again as what failed does, or is given up if that was its last attempt.
  mutating func fail(stream: Int, lsn: UInt64, now: Int64, reason: UnsafeRawBufferPointer) {
    for index in batches.indices where !batches[index].isFree && batches[index].stream == stream {
      guard batches[index].lowestPendingLSN == lsn else { continue }
      retryLater(
        0..<batches[index].count, in: index, due: batchRetryDue(index, now: now), code: 0, reason: reason)
      return closeIfDone(index)
    }
  }

  /// Whether some of these records of `stream` are open or to come again.
  func isUnsettled(stream: Int, _ range: ClosedRange<UInt64>) -> Bool {
    for index in batches.indices where !batches[index].isFree && batches[index].stream == stream {
      if let first = batches[index].lowestPendingLSN, let last = batches[index].highestPendingLSN,
        first <= range.upperBound, last >= range.lowerBound
      {
        return true
      }
    }
    return retries[stream].ranges.contains { $0.first <= range.upperBound && $0.last >= range.lowerBound }
  }
}
