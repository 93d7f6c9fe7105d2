import Synchronization

/// How many producers one identity has made, on all streams together, that are remembered. So that nobody fills the streams'
/// tables for all others.
package final class ProducerAllowance: Sendable {
  private let made = Atomic<Int>(0)
  private let limit: Int
  /// When the names that were made within it are looked through again for some to forget; of the monotonic clock.
  private let sweep = Atomic<Int64>(0)

  package init(limit: Int = Limits.maxProducersPerIdentity) { self.limit = limit }

  /// For one more. False: there are as many as there may be.
  package func take() -> Bool {
    guard made.add(1, ordering: .relaxed).newValue > limit else { return true }
    giveBack()
    return false
  }

  /// One is forgotten, or was not made.
  package func giveBack() { made.subtract(1, ordering: .relaxed) }

  package var nextSweep: Int64 {
    get { sweep.load(ordering: .relaxed) }
    set { sweep.store(newValue, ordering: .relaxed) }
  }
}
