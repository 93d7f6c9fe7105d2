// A named producer of one stream: which of its records the stream has, and who may add to them.
//
// One writer at a time *owns* a producer: a channel of a framed connection. The owner numbers and appends without a
// lock. When another one claims the producer, the owner is told once and lets go when everything it appended is
// submitted; only then the newcomer learns the last sequence, and the position at which that is durable. HTTP requests
// come one by one on any loop, so that they own nothing: each checks, appends and submits under the producer's lock.
//
//   state     claim(epoch ≥ highest)            release            sequence (HTTP)
//   free      → owned; ready at once            —                  runs under the lock
//   owned     → handing; the owner is revoked   → free             refused: owned
//   handing   → handing; the claim that waited  → owned by who     refused: owned
//             is revoked in its place             waited; ready
//
// A claim or request with an epoch below the highest is fenced. A higher one raises it at once in memory, and in the
// log with the first record under it.

import Synchronization

/// A producer's name as what names are looked up by: two are one if their bytes are, which of `String`s that look alike is not
/// so.
package struct ProducerName: Hashable, Sendable {
  package let text: String

  package init(_ text: String) { self.text = text }

  package static func == (one: ProducerName, other: ProducerName) -> Bool {
    one.text.utf8.elementsEqual(other.text.utf8)
  }

  package func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}

/// Why a writer lost a producer.
package enum ClaimEnd: Equatable, Sendable {
  /// A writer with the same epoch claimed it: a connection that broke can't be told from one that lives.
  case superseded
  /// A writer with this higher epoch did.
  case fenced(epoch: UInt16)
}

/// What the stream has of a producer.
package struct ProducerPosition: Equatable, Sendable {
  /// The last sequence that was submitted or consumed; 0 = none.
  package var sequence: UInt64
  /// It has the stream's durability once a lane's `acknowledged` reaches this; 0 = it has already.
  package var lsn: UInt64

  package init(sequence: UInt64 = 0, lsn: UInt64 = 0) {
    self.sequence = sequence
    self.lsn = lsn
  }
}

/// One claim on a producer. Not reused.
package struct ProducerClaim: Equatable, Sendable {
  fileprivate let number: UInt64
}

/// How a writer is told about its claim. Both are called on whatever thread caused it, outside of any lock.
package struct ClaimNotices: Sendable {
  /// The producer is the claimant's: once, and not after `revoked`.
  package var ready: @Sendable (ProducerPosition) -> Void
  /// It is no longer; the claimant is to `release`: at most once.
  package var revoked: @Sendable (ClaimEnd) -> Void

  package init(
    ready: @escaping @Sendable (ProducerPosition) -> Void, revoked: @escaping @Sendable (ClaimEnd) -> Void
  ) {
    self.ready = ready
    self.revoked = revoked
  }
}

package final class Producer: Sendable {
  /// What its records carry in the log.
  package let id: UInt32
  package let name: String

  private struct State {
    var epoch: UInt16
    var position: ProducerPosition
    var claims: UInt64 = 0
    var owner: (claim: ProducerClaim, notices: ClaimNotices)?
    var waiting: (claim: ProducerClaim, notices: ClaimNotices)?
    /// The owner was told to let go.
    var isRevoked = false
  }
  private let state: Mutex<State>

  package init(id: UInt32, name: String, epoch: UInt16 = 0, lastSequence: UInt64 = 0) {
    self.id = id
    self.name = name
    state = Mutex(State(epoch: epoch, position: ProducerPosition(sequence: lastSequence)))
  }

  /// The highest epoch, and what the stream has as far as owners have let go.
  package var known: (epoch: UInt16, position: ProducerPosition) { state.withLock { ($0.epoch, $0.position) } }

  /// Nobody writes to it now.
  package var isFree: Bool { state.withLock { $0.owner == nil } }

  package enum ClaimOutcome: Equatable, Sendable {
    /// `notices.ready` was called, or will be when the owner has let go.
    case granted(ProducerClaim)
    /// A higher epoch is known.
    case fenced(highest: UInt16)
  }

  /// Asks to own the producer. Whoever owns it or waits for it is revoked.
  package func claim(epoch: UInt16, _ notices: ClaimNotices) -> ClaimOutcome {
    var toRevoke: ClaimNotices?
    var end = ClaimEnd.superseded
    var ready: ProducerPosition?
    let outcome = state.withLock { state -> ClaimOutcome in
      guard epoch >= state.epoch else { return .fenced(highest: state.epoch) }
      if epoch > state.epoch { end = .fenced(epoch: epoch) }
      state.epoch = epoch
      state.claims += 1
      let claim = ProducerClaim(number: state.claims)
      if let owner = state.owner {
        toRevoke = state.waiting?.notices ?? (state.isRevoked ? nil : owner.notices)
        state.isRevoked = true
        state.waiting = (claim, notices)
      } else {
        state.owner = (claim, notices)
        ready = state.position
      }
      return .granted(claim)
    }
    toRevoke?.revoked(end)
    if let ready { notices.ready(ready) }
    return outcome
  }

  /// Ends a claim, revoked or not. `position`: of the last record that the claimant submitted, nil if there was none.
  package func release(_ claim: ProducerClaim, at position: ProducerPosition?) {
    let next = state.withLock { state -> (ClaimNotices, ProducerPosition)? in
      if state.waiting?.claim == claim {
        state.waiting = nil
        return nil
      }
      guard state.owner?.claim == claim else { return nil }
      if let position {
        precondition(position.sequence >= state.position.sequence, "a producer's sequences rise")
        state.position = position
      }
      state.owner = state.waiting
      state.waiting = nil
      state.isRevoked = false
      return state.owner.map { ($0.notices, state.position) }
    }
    if let next { next.0.ready(next.1) }
  }

  package enum Sequencing<Value: Sendable>: Sendable {
    case done(Value)
    case fenced(highest: UInt16)
    /// A framed connection writes to it.
    case owned
  }

  /// Lets a writer that owns nothing check, append and submit in one step: `body` returns only after its lane's
  /// `submit`, with `position` moved to what that returned.
  package func sequence<Value: Sendable>(
    epoch: UInt16, _ body: (_ position: inout ProducerPosition) -> sending Value
  ) -> Sequencing<Value> {
    state.withLock { state in
      guard epoch >= state.epoch else { return .fenced(highest: state.epoch) }
      guard state.owner == nil else { return .owned }
      state.epoch = epoch
      return .done(body(&state.position))
    }
  }
}
