// A quota is a token bucket per dimension, kept as one number (the generic cell rate algorithm): `due`, the time up to which
// everything taken is paid for. It lies at most the burst behind now. Taking n moves it by n / rate, and is possible while it is
// not ahead of now; so a batch larger than the burst goes through once and is paid for after, for `Limits.maxQuotaDebtNanoseconds`
// at most: nobody is shut out for days by one large body.
//
// All connections of an identity on all loops share it: the number is atomic, and one exchange per batch is all it takes.

import SluiceCore
import Synchronization

/// How much of one thing may come per second.
struct RateBucket: ~Copyable, Sendable {
  private let due = Atomic<Int64>(0)
  private let perSecond: Int
  private let burst: Int64

  init(perSecond: Int, burstNanoseconds: Int64) {
    self.perSecond = perSecond
    burst = burstNanoseconds
  }

  /// 0 if `count` was taken, else in how many nanoseconds something can be.
  func take(_ count: Int, at now: Int64) -> Int64 {
    let cost = cost(of: count)
    var seen = due.load(ordering: .relaxed)
    while true {
      let from = max(seen, now - burst)
      guard from <= now else { return from - now }
      let (exchanged, original) = due.compareExchange(
        expected: seen, desired: from + cost, ordering: .relaxed)
      if exchanged { return 0 }
      seen = original
    }
  }

  /// In how many nanoseconds something can be taken; 0: now.
  func wait(at now: Int64) -> Int64 { max(0, max(due.load(ordering: .relaxed), now - burst) - now) }

  /// How much can be taken piece by piece before something is refused.
  func available(at now: Int64) -> Int {
    let time = now - max(due.load(ordering: .relaxed), now - burst)
    return time > 0 ? amount(in: time) : 0
  }

  /// Gives back `count` of the `taken` that were taken at once: the others cost what they would have cost alone. So never more
  /// comes back than was taken, however much of that was beyond the largest debt.
  func giveBack(_ count: Int, of taken: Int) {
    assert(count <= taken, "what was not taken can't be given back")
    due.subtract(cost(of: taken) - cost(of: taken - count), ordering: .relaxed)
  }

  /// What comes in so long at this rate, and at least one.
  func amount(in nanoseconds: Int64) -> Int {
    let (high, low) = UInt(clamping: perSecond).multipliedFullWidth(by: UInt(clamping: nanoseconds))
    // The quotient of the others is a word, but not always one of the signed.
    guard high < 1_000_000_000 else { return .max }
    return max(1, Int(clamping: UInt(1_000_000_000).dividingFullWidth((high, low)).quotient))
  }

  func cost(of count: Int) -> Int64 {
    let (high, low) = UInt(clamping: count).multipliedFullWidth(by: 1_000_000_000)
    guard high < UInt(perSecond) else { return Limits.maxQuotaDebtNanoseconds }
    return min(Int64(clamping: UInt(perSecond).dividingFullWidth((high, low)).quotient), Limits.maxQuotaDebtNanoseconds)
  }
}

/// What an identity may send per second: records and bytes.
package final class IdentityQuota: Sendable {
  let definition: IdentityDefinition.Quota
  private let records: RateBucket
  private let bytes: RateBucket

  package init(_ definition: IdentityDefinition.Quota) {
    self.definition = definition
    records = RateBucket(
      perSecond: definition.recordsPerSecond ?? .max, burstNanoseconds: definition.burstNanoseconds)
    bytes = RateBucket(perSecond: definition.bytesPerSecond ?? .max, burstNanoseconds: definition.burstNanoseconds)
  }

  /// Nanoseconds after which it can be tried again; 0: taken. `now` is of the monotonic clock.
  package func take(records count: Int, bytes size: Int, at now: Int64) -> Int64 {
    let wait = definition.recordsPerSecond == nil ? 0 : records.take(count, at: now)
    guard wait == 0 else { return wait }
    guard definition.bytesPerSecond != nil else { return 0 }
    let longer = bytes.take(size, at: now)
    if longer > 0, definition.recordsPerSecond != nil { records.giveBack(count, of: count) }
    return longer
  }

  /// Nanoseconds after which something can be taken; 0: now. Nothing is taken.
  package func wait(at now: Int64) -> Int64 {
    max(
      definition.recordsPerSecond == nil ? 0 : records.wait(at: now),
      definition.bytesPerSecond == nil ? 0 : bytes.wait(at: now))
  }

  /// As much as may be invited at once, and how long that takes at the quota's rate.
  package func invitation() -> (records: Int, bytes: Int, nanoseconds: Int64) {
    let time = max(definition.burstNanoseconds, Limits.minQuotaCreditNanoseconds)
    let most = max(bytes.amount(in: time), Limits.minQuotaCreditBytes)
    let many = records.amount(in: time)
    return (many, most, max(time, records.cost(of: many), bytes.cost(of: most)))
  }

  /// As much as a connection that begins may be invited to, and after how long more can be: what there is at `now`, and in any
  /// case a record and `leastBytes`, without which it could send nothing.
  package func firstInvitation(
    leastBytes: Int, at now: Int64
  ) -> (records: Int, bytes: Int, nanoseconds: Int64) {
    let many = definition.recordsPerSecond == nil ? .max : max(records.available(at: now), 1)
    let most = definition.bytesPerSecond == nil ? .max : max(bytes.available(at: now), leastBytes)
    let used = max(
      definition.recordsPerSecond == nil ? 0 : records.cost(of: many),
      definition.bytesPerSecond == nil ? 0 : bytes.cost(of: most))
    return (many, most, max(wait(at: now) + used, Limits.minQuotaCreditNanoseconds))
  }

  /// Gives back what was taken for records that were not stored: all that was `taken` with them at once, or a part.
  package func giveBack(records count: Int, bytes size: Int, of taken: (records: Int, bytes: Int)) {
    if definition.recordsPerSecond != nil { records.giveBack(count, of: taken.records) }
    if definition.bytesPerSecond != nil { bytes.giveBack(size, of: taken.bytes) }
  }
}
