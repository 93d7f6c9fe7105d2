import SluiceCore

/// The clocks that a source goes by, as `Clock` has them; a test has some that it moves itself.
package struct SourceClock: Sendable {
  /// Nanoseconds since 1970.
  package var wall: @Sendable () -> Int64
  /// Nanoseconds of a clock that never steps.
  package var monotonic: @Sendable () -> Int64

  package init(wall: @escaping @Sendable () -> Int64, monotonic: @escaping @Sendable () -> Int64) {
    self.wall = wall
    self.monotonic = monotonic
  }

  package static let system = SourceClock(wall: { Clock.wall() }, monotonic: { Clock.monotonic() })
}
