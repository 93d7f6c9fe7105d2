// When records are meant to be sent.
//
// Open loop (`--rate`): record p of the whole run is due at start + p / rate, whatever the server does. Its latency is
// counted from that moment, so that a server which stalls is charged for all the records that had to wait behind the
// stall, and not only for the few that were under way ("coordinated omission").
//
// Closed loop: a record is due when there is room for it; its latency is counted from when it was made.
//
// Positions count over all connections: connection k of C makes the positions k, k + C, k + 2C …

/// The plan of a run's times, in nanoseconds of `Clock.monotonic`.
struct SendSchedule: Equatable, Sendable {
  /// Records per second over all connections; nil: closed loop.
  var rate: Double?
  var start: Int64
  /// No record is due from here on.
  var end: Int64 = .max

  /// When the record at `position` is due; nil in a closed loop.
  func due(_ position: UInt64) -> Int64? {
    guard let rate else { return nil }
    let offset = Double(position) * 1e9 / rate
    return offset < 9e18 - Double(start) ? start + Int64(offset) : .max
  }

  enum Moment: Equatable {
    case now
    case later(Int64)
    case over
  }

  /// Whether the record at `position` may be made.
  func moment(of position: UInt64, at now: Int64) -> Moment {
    guard let due = due(position) else { return now < end ? .now : .over }
    if due >= end { return .over }
    return due <= now ? .now : .later(due)
  }
}
