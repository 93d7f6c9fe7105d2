import SluiceCore
import Synchronization

/// What becomes of records that were handed in to be delivered again. One thread waits.
package final class ReplayTicket: Sendable {
  package enum Outcome: Sendable, Equatable {
    /// Not settled.
    case open
    /// The plugin acknowledged it.
    case delivered
    /// It was rejected once more, or its attempts were used up.
    case rejected
  }

  private struct State {
    var outcomes: [Outcome]
    var open: Int
    /// Nobody works on what is open.
    var isOver = false
  }

  private let state: Mutex<State>
  private let bell = Doorbell()

  init(records: Int) { state = Mutex(State(outcomes: Array(repeating: .open, count: records), open: records)) }

  func settle(_ index: Int, _ outcome: Outcome) {
    let isDone = state.withLock { state -> Bool in
      guard state.outcomes[index] == .open else { return false }
      state.outcomes[index] = outcome
      state.open -= 1
      return state.open == 0
    }
    if isDone { bell.ring() }
  }

  func end() {
    state.withLock { $0.isOver = true }
    bell.ring()
  }

  /// Returns when all are settled, none will be, the time is over, or, looking now and then, the wait `isGivenUp`.
  package func wait(until deadline: Int64, _ isGivenUp: () -> Bool = { false }) -> [Outcome] {
    while !isGivenUp(), state.withLock({ $0.open > 0 && !$0.isOver }) {
      let look = Clock.monotonic() + Limits.replayLookNanoseconds
      if !bell.wait(until: min(deadline, look)), deadline < look { break }
    }
    return state.withLock { $0.outcomes }
  }
}
