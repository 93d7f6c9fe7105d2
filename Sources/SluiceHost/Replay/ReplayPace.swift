import SluiceCore

/// A bucket of tokens, one per record: how many may be given now, and when the next may. Time comes in, so nobody sleeps.
///
/// What is given goes in portions of `Limits.replayPaceNanoseconds`, not record by record.
struct ReplayPace {
  private let perSecond: Double
  private let portion: Double
  private var tokens: Double
  private var filledAt: Int64

  init(perSecond: Int, now: Int64) {
    self.perSecond = Double(perSecond)
    portion = max(1, Double(perSecond) * Double(Limits.replayPaceNanoseconds) / 1e9)
    tokens = portion
    filledAt = now
  }

  /// Records that may be given; 0 before the next portion is whole.
  mutating func room(now: Int64) -> Int {
    tokens = min(2 * portion, tokens + perSecond * Double(max(0, now - filledAt)) / 1e9)
    filledAt = max(filledAt, now)
    return tokens >= portion ? Int(tokens) : 0
  }

  /// When the next portion is whole.
  var next: Int64 { filledAt + Int64(max(0, portion - tokens) / perSecond * 1e9) + 1 }

  mutating func use(_ records: Int) { tokens -= Double(records) }
}
