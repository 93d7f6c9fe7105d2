// Whose turn it is to have compressed bodies expanded. A few bytes become megabytes that have to be parsed, and one read may
// bring hundreds of such bodies; what a loop does for them at a stretch is bounded, for all its connections together.
//
//   a compressed request ─┬─ nobody waits, and this tick has something left ──► is served
//                         └─ else ──► waits, first come, first served ──► a turn ──► is served
//
// A turn lasts until `Limits.expansionTurnBytes` are spent. Between two of them everybody else is served: the pause is a
// timer's, because NIO runs whatever is `execute`d, or falls due, before it looks at its sockets again. So the pause begins
// only when the tick is over, which has to submit and to answer what the turn brought.

import NIOCore
import SluiceCore

/// `@unchecked Sendable`: all of it is touched on `eventLoop` only; the timer's task runs there. What every compressed request
/// touches is `@exclusivity(unchecked)`, for the reason that `HTTPConnection` gives.
final class ExpansionTurns: @unchecked Sendable {
  private let eventLoop: any EventLoop
  private var waiting = CircularBuffer<HTTPConnection>()
  /// As `BodyExpander.costBytes`, in this tick or turn.
  @exclusivity(unchecked) private var spent = 0
  @exclusivity(unchecked) private var isTurn = false
  private var isPause = false

  init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

  /// Whether the request at hand need not wait.
  var mayExpand: Bool { spent < Limits.expansionTurnBytes && (isTurn || waiting.isEmpty) }

  func spend(_ bytes: Int) { spent += bytes }

  /// `connection` is told to go on when it is its turn, once. Whoever waits does so because something was expanded, so the
  /// end of a tick is to come.
  func enter(_ connection: HTTPConnection) { waiting.append(connection) }

  func endOfTick() {
    spent = 0
    guard !waiting.isEmpty, !isPause else { return }
    isPause = true
    eventLoop.scheduleTask(in: .nanoseconds(Limits.expansionPauseNanoseconds)) { [weak self] in self?.takeTurn() }
  }

  private func takeTurn() {
    isPause = false
    spent = 0
    isTurn = true
    while spent < Limits.expansionTurnBytes, let connection = waiting.popFirst() { connection.goOn() }
    isTurn = false
  }
}
