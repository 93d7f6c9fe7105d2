internal import CSluiceSystem

/// Wakes one sleeping thread. Ringing is one atomic exchange when nobody sleeps; a ring before the wait is not lost.
///
/// `@unchecked Sendable`: the only state is one word that every access goes to through the atomic operations of
/// `doorbell.c`, and it is freed when the last reference goes.
package final class Doorbell: @unchecked Sendable {
  private let word: UnsafeMutablePointer<UInt32>

  package init() {
    word = .allocate(capacity: 1)
    word.initialize(to: 0)
  }

  deinit { word.deallocate() }

  /// Wakes the waiter, now or at its next `wait`. From any thread.
  package func ring() { csluice_doorbell_ring(word) }

  /// Waits for a ring or until `deadline` (`Clock.monotonic`; `.max` = for ever). True if it rang.
  /// One thread at a time.
  @discardableResult
  package func wait(until deadline: Int64) -> Bool { csluice_doorbell_wait(word, deadline) == 1 }
}
