import Logging
import SluiceCore

/// Tells the log of rejected records, once per interval for each cause and code.
///
/// Owned by the subscriber's thread.
struct RejectionLog {
  private struct Key: Hashable {
    var cause: RejectedRange.Cause
    var code: UInt32
  }

  private let logger: Logger
  private var seen: [Key: (since: Int64, unlogged: UInt64)] = [:]

  init(_ logger: Logger) { self.logger = logger }

  mutating func note(_ range: RejectedRange, stream: String, now: Int64) {
    let records = range.last - range.first + 1
    let key = Key(cause: range.cause, code: range.code)
    if let entry = seen[key], now - entry.since < Limits.refusalLogIntervalNanoseconds {
      seen[key] = (entry.since, entry.unlogged + records)
      return
    }
    // A plugin's codes are its own: forget all rather than grow without end.
    if seen.count >= Limits.maxRefusalKinds { seen.removeAll() }
    let total = (seen[key]?.unlogged ?? 0) + records
    seen[key] = (now, 0)
    logger.warning(
      "records rejected",
      metadata: [
        "stream": "\(stream)", "records": "\(total)", "cause": "\(range.cause.rawValue)", "code": "\(range.code)",
        "reason": "\(range.reason)", "lsn": "\(range.first)...\(range.last)", "attempt": "\(range.attempt)",
      ])
  }
}
