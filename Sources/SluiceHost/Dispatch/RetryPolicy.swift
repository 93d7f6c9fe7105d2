//
//   attempt 1 fails → d(1) → attempt 2 fails → d(2) → …    d(n) = uniform in [b/2, b], b = min(max, first × 2ⁿ⁻¹)
//
// The jitter keeps subscribers that failed together from returning together. It is a function of a random word that
// the caller supplies, so that the same words give the same times.

import SluiceCore

/// A subscriber's `retry:` setting.
package struct RetryPolicy: Equatable, Sendable {
  package var firstNanoseconds: Int64
  package var maxNanoseconds: Int64
  /// How often a record is delivered at most; nil is without end.
  package var attempts: UInt32?

  package init(
    firstNanoseconds: Int64 = Limits.defaultRetryFirstNanoseconds,
    maxNanoseconds: Int64 = Limits.defaultRetryMaxNanoseconds, attempts: UInt32? = nil
  ) {
    precondition(firstNanoseconds > 0 && maxNanoseconds >= firstNanoseconds && attempts != 0)
    self.firstNanoseconds = firstNanoseconds
    self.maxNanoseconds = maxNanoseconds
    self.attempts = attempts
  }

  /// The longest wait after the `attempt`-th delivery (1 is the first) failed.
  package func ceiling(afterAttempt attempt: UInt32) -> Int64 {
    precondition(attempt >= 1)
    let doublings = Int(attempt - 1)
    // Shifting further than this would pass `max` anyway, or overflow.
    guard doublings < firstNanoseconds.leadingZeroBitCount - 1 else { return maxNanoseconds }
    return min(maxNanoseconds, firstNanoseconds << doublings)
  }

  /// The wait after the `attempt`-th delivery failed: between half the ceiling and the ceiling, by `random`.
  package func delay(afterAttempt attempt: UInt32, random: UInt64) -> Int64 {
    let ceiling = ceiling(afterAttempt: attempt)
    let half = ceiling / 2
    return ceiling - Int64(random.multipliedFullWidth(by: UInt64(half) + 1).high)
  }

  /// Whether no further attempt is allowed after the `attempt`-th.
  package func isExhausted(afterAttempt attempt: UInt32) -> Bool {
    guard let attempts else { return false }
    return attempt >= attempts
  }
}

/// A small generator (SplitMix64) whose whole state is one word: the same seed gives the same jitter.
package struct JitterSource: Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}
