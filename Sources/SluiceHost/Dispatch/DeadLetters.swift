import Logging
import SluiceCore
import Synchronization

/// Records that a subscriber will never take.
package struct DeadLetter: Sendable {
  package var subscriber: String
  package var stream: String
  package var logUUID: LogUUID
  package var range: RejectedRange
}

/// Where dead records go. The subscriber's cursor waits until they are kept.
package protocol DeadLetterSink: Sendable {
  /// Keeps the records, on the subscriber's thread. False: not now; the same letter is offered again.
  func keep(_ letter: DeadLetter) -> Bool
}

/// Counts dead records and logs them, once per interval for each subscriber and code. It keeps no copy.
package final class LoggingDeadLetterSink: DeadLetterSink {
  private let logger: Logger
  private let clock: @Sendable () -> Int64
  private let seen = Mutex<[Key: (since: Int64, unlogged: UInt64)]>([:])

  private struct Key: Hashable {
    var subscriber: String
    var cause: RejectedRange.Cause
    var code: UInt32
  }

  package init(logger: Logger, clock: @escaping @Sendable () -> Int64 = Clock.monotonic) {
    self.logger = logger
    self.clock = clock
  }

  package func keep(_ letter: DeadLetter) -> Bool {
    let range = letter.range
    let records = range.last - range.first + 1
    let key = Key(subscriber: letter.subscriber, cause: range.cause, code: range.code)
    let now = clock()
    let total = seen.withLock { seen -> UInt64? in
      if let entry = seen[key], now - entry.since < Limits.refusalLogIntervalNanoseconds {
        seen[key] = (entry.since, entry.unlogged + records)
        return nil
      }
      // A plugin's codes are its own: forget all rather than grow without end.
      if seen.count >= Limits.maxRefusalKinds { seen.removeAll() }
      defer { seen[key] = (now, 0) }
      return (seen[key]?.unlogged ?? 0) + records
    }
    if let total {
      logger.warning(
        "records rejected",
        metadata: [
          "subscriber": "\(letter.subscriber)", "stream": "\(letter.stream)", "records": "\(total)",
          "cause": "\(range.cause.rawValue)", "code": "\(range.code)", "reason": "\(range.reason)",
          "lsn": "\(range.first)...\(range.last)", "attempt": "\(range.attempt)",
        ])
    }
    return true
  }
}
