import SluiceCore
import Synchronization

@testable import SluiceIngest

/// Time that stands still unless the test moves it.
final class TestClock: Sendable {
  private let start = (wall: Clock.wall(), monotonic: Clock.monotonic())
  private let moved = Atomic<Int64>(0)

  func advance(nanoseconds: Int64) { moved.add(nanoseconds, ordering: .relaxed) }

  var wall: Int64 { start.wall + moved.load(ordering: .relaxed) }
  private var monotonic: Int64 { start.monotonic + moved.load(ordering: .relaxed) }

  var source: SourceClock { SourceClock(wall: { self.wall }, monotonic: { self.monotonic }) }
}
