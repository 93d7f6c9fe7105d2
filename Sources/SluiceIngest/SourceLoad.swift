import NIOCore
import SluiceCore
import Synchronization

/// What all connections of a source take together, on whichever loop they are. A source that takes another's place is given
/// that of the other, whose connections may go on for long: the limits hold for both together.
package final class SourceLoad: Sendable {
  private let connections = Atomic<Int>(0)
  /// Of the connections: those that are one too many and are being told so.
  private let turnedAway = Atomic<Int>(0)
  private let unfinished = Atomic<Int>(0)
  private let waiting = Atomic<Int>(0)

  package init() {}

  /// A connection is there. Each that enters leaves once.
  func enter() { connections.add(1, ordering: .relaxed) }
  func leave() { connections.subtract(1, ordering: .relaxed) }

  /// Whether the one that entered last is one too many. Those that are being turned away keep nobody out.
  func isOver(_ maxConnections: Int) -> Bool {
    connections.load(ordering: .relaxed) - turnedAway.load(ordering: .relaxed) > maxConnections
  }

  /// Whether one more may be told that it is one too many; then it ends that when it has left.
  func beginTurningAway() -> Bool {
    guard turnedAway.add(1, ordering: .relaxed).newValue > Limits.maxTurnedAway else { return true }
    turnedAway.subtract(1, ordering: .relaxed)
    return false
  }

  func endTurningAway() { turnedAway.subtract(1, ordering: .relaxed) }

  /// Bytes of requests, frames or lines that have not ended, or wait for room in the stream.
  var heldBytes: Int { unfinished.load(ordering: .relaxed) + waiting.load(ordering: .relaxed) }

  /// A connection holds so many bytes more, or less, that wait or have not ended. Returns what all hold of those now.
  @discardableResult
  func hold(_ change: Int, isWaiting: Bool) -> Int {
    isWaiting
      ? waiting.add(change, ordering: .relaxed).newValue : unfinished.add(change, ordering: .relaxed).newValue
  }
}

/// What a connection keeps of its input, because that has not ended or waits for room, as its source's load counts it: strangers
/// can't take the daemon's memory. The two have an account each, so that a full stream keeps nobody from sending the rest of what
/// has begun.
struct HeldInput {
  private var counted = 0
  private var isWaiting = false

  /// Counts what `rest` holds by now, and lets go of a buffer that is far too large for it. Whether that is too much: all
  /// connections whose input waits, or all whose does not, hold more than `limit`, and this one more than `uncontested`.
  mutating func isTooMuch(
    _ rest: inout ByteBuffer, isWaiting: Bool, in load: SourceLoad, limit: Int,
    uncontested: Int = Limits.uncontestedHeldBytes
  ) -> Bool {
    let held = Self.bytes(of: &rest)
    guard held != counted || isWaiting != self.isWaiting else { return false }
    if isWaiting != self.isWaiting {
      load.hold(-counted, isWaiting: self.isWaiting)
      counted = 0
      self.isWaiting = isWaiting
    }
    let total = load.hold(held - counted, isWaiting: isWaiting)
    counted = held
    return total > limit && held > uncontested
  }

  /// Nothing is kept any longer.
  mutating func drop(_ rest: inout ByteBuffer, from load: SourceLoad) {
    rest = ByteBuffer()
    load.hold(-counted, isWaiting: isWaiting)
    counted = 0
  }

  /// A buffer grows to at most twice of what it has to hold, and keeps that when it is read: half of its size counts in any
  /// case. What is small is not looked at.
  private static func bytes(of rest: inout ByteBuffer) -> Int {
    guard rest.storageCapacity > Limits.uncontestedHeldBytes else { return rest.readableBytes }
    if rest.readableBytes == 0 {
      rest = ByteBuffer()
    } else if rest.readableBytes <= rest.storageCapacity / 4 {
      var small = ByteBuffer()
      small.writeImmutableBuffer(rest)
      rest = small
    }
    return max(rest.readableBytes, rest.storageCapacity / 2)
  }
}
