/// Time that somebody is given, of which only what this process runs counts: it is waited for in slices, and one that took
/// longer than it was to is counted as one. A machine or a process that stood still is not the fault of who is waited for.
package struct RunningTime: Sendable {
  private var left: Int64
  private var seen: Int64

  /// `now`: when it begins, on the clock of all that follows.
  package init(_ nanoseconds: Int64, from now: Int64) {
    left = max(0, nanoseconds)
    seen = now
  }

  package var isOver: Bool { left == 0 }

  /// When to look again, unless something happens before.
  package var nextLook: Int64 { seen + min(left, Limits.runningSliceNanoseconds) }

  /// Counts what has passed since it was last looked at.
  package mutating func look(at now: Int64) {
    left -= min(left, max(0, now - seen), Limits.runningSliceNanoseconds)
    seen = now
  }
}

extension Doorbell {
  /// Waits for a ring, or one slice. True if it rang.
  package func wait(_ time: inout RunningTime) -> Bool {
    defer { time.look(at: Clock.monotonic()) }
    return wait(until: time.nextLook)
  }
}
