import SluiceCore
import SluiceHost
import SluiceJournal
import Synchronization

/// The dead letters of one stream, for commands that come at any time: the stream closes when those under way are done.
final class DeadLetterDoor: Sendable {
  private struct State {
    var users = 0
    var isClosed = false
  }

  private let letters: DeadLetterLog
  private let state = Mutex(State())
  private let left = Doorbell()

  /// Blocks on the disk.
  init(_ log: StreamLog) throws(JournalError) { letters = try DeadLetterLog(log) }

  /// A command that takes long looks whether it is to end.
  var isClosing: Bool { state.withLock { $0.isClosed } }

  func use(_ body: (DeadLetterLog) throws -> Void) throws(ControlError) {
    let isOpen = state.withLock { state in
      if !state.isClosed { state.users += 1 }
      return !state.isClosed
    }
    guard isOpen else { throw ControlError(.stopping, "the stream is being closed") }
    defer {
      state.withLock { $0.users -= 1 }
      left.ring()
    }
    do { try body(letters) } catch { throw ControlError(.failed, "\(error)") }
  }

  /// Waits for those that are under way: who walks the letters or waits for a subscriber sees `isClosing` and ends, and a
  /// purge ends at the end of the stream. One caller.
  func close() {
    state.withLock { $0.isClosed = true }
    while state.withLock({ $0.users > 0 }) { left.wait(until: .max) }
    letters.close()
  }
}
