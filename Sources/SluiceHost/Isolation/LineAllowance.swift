import SluiceCore

/// How much of what one process says goes to the daemon's log, so that it can't fill a disk: in each period so many lines and
/// bytes. What is over that is counted.
///
///     what comes                                   the line          left out
///     within the period's lines and bytes          is logged         –
///     over them                                    is not            + 1
///     the period's end                                               is taken, once, to be said
struct LineAllowance {
  private var begin = Int64.min
  private var lines = 0
  private var bytes = 0
  /// Of the period that is under way.
  private(set) var leftOut = 0

  /// Whether a line of so many bytes is to be logged. The period before has been taken.
  mutating func admits(bytes count: Int, at now: Int64) -> Bool {
    if isOver(at: now) { self = LineAllowance(begin: now) }
    guard lines < Limits.isolationLogLines, bytes + count <= Limits.isolationLogBytes else {
      leftOut += 1
      return false
    }
    lines += 1
    bytes += count
    return true
  }

  /// How many lines were left out of a period that is over; 0 while it is not. `.max`: at the end of all.
  mutating func takeLeftOut(at now: Int64) -> Int {
    guard leftOut > 0, isOver(at: now) else { return 0 }
    defer { leftOut = 0 }
    return leftOut
  }

  private func isOver(at now: Int64) -> Bool {
    begin == .min || now - begin >= Limits.isolationLogPeriodNanoseconds
  }
}

extension LineAllowance {
  private init(begin: Int64) { self.begin = begin }
}
