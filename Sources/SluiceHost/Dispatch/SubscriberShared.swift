import SluiceCore
import Synchronization

/// What a subscriber's thread and those that watch or stop it have in common.
final class SubscriberShared: Sendable {
  struct Life {
    var state = SubscriberStatus.State.created
    var lastError = ""
    var restarts: UInt64 = 0
    var failedStarts: UInt64 = 0
    /// Deliveries that failed since the last that did not.
    var failedDeliveries: UInt64 = 0
    /// By `GapReason.allCases`.
    var gaps = [SubscriberStatus.Gaps](repeating: SubscriberStatus.Gaps(), count: GapReason.allCases.count)
    /// Why nothing is delivered: its dead letters do not get away.
    var held: String?
    /// Why streams of it can't be read, by name.
    var unreadable: [String: String] = [:]
    /// Dead records that were gone before they could be kept, and letters that were cut.
    var lostLetters: UInt64 = 0
    var cutLetters: UInt64 = 0
    /// Of all replays of parts of streams.
    var replayed = ReplayedRecords()
    /// What became of the first `create`: nil while it has not returned.
    var firstCreate: Result<Void, HostError>?
    /// The thread's body is over.
    var isDone = false
  }

  let life = Mutex(Life())
  private let reconfiguration = Mutex<Reconfiguration?>(nil)
  /// There may be one: so that looking costs an atomic load.
  private let isReconfigured = Atomic<Bool>(false)
  /// Monotonic time by which the subscriber is to be gone; 0: it is to go on.
  let stopDeadline = Atomic<Int64>(0)
  /// Rings for whoever waits in `start` or `stop`.
  let progress = Doorbell()
  /// Monotonic; 0: none yet.
  let lastDelivery = Atomic<Int64>(0)
  let deliveryTimes = HistogramCounts()
  let delays = HistogramCounts()
  /// Of the call that the plugin is in, on the monotonic clock, `.max` if it has none; 0: it is in no call.
  private let callDeadline = Atomic<Int64>(0)
  private let callBegan = Atomic<Int64>(0)
  /// The plugin's instance while `interrupt` may be called on it, as a bit pattern; 0: there is none.
  let interruptible = Mutex<UInt>(0)

  var isStopping: Bool { stopDeadline.load(ordering: .acquiring) != 0 }

  func submit(_ wanted: Reconfiguration) {
    reconfiguration.withLock { $0 = wanted }
    isReconfigured.store(true, ordering: .releasing)
  }

  func takeReconfiguration() -> Reconfiguration? {
    guard isReconfigured.load(ordering: .acquiring) else { return nil }
    isReconfigured.store(false, ordering: .relaxed)
    return reconfiguration.withLock { wanted in
      defer { wanted = nil }
      return wanted
    }
  }

  /// False if it was taken already.
  func withdraw(_ wanted: Reconfiguration) -> Bool {
    reconfiguration.withLock { waiting in
      guard waiting === wanted else { return false }
      waiting = nil
      return true
    }
  }

  /// Makes a call of the plugin's that is to return by `deadline`; `now` is when it begins.
  @inline(__always)
  func call<Result>(from now: Int64, until deadline: Int64, _ body: () -> Result) -> Result {
    callBegan.store(now, ordering: .relaxed)
    callDeadline.store(deadline, ordering: .releasing)
    defer { callDeadline.store(0, ordering: .releasing) }
    return body()
  }

  /// When the call that is under way began, and how far it is over its deadline; nil: there is none that is.
  func overdue(at now: Int64) -> (since: Int64, by: Int64)? {
    let deadline = callDeadline.load(ordering: .acquiring)
    guard deadline > 0, now > deadline else { return nil }
    return (callBegan.load(ordering: .relaxed), now - deadline)
  }

  func enter(_ state: SubscriberStatus.State) {
    life.withLock { life in
      // Who was given up stays given up, whatever it still does.
      if life.state != .stuck { life.state = state }
    }
  }
}

/// Why a subscriber could not be started.
package struct HostError: Error, Equatable, Sendable, CustomStringConvertible {
  package var subscriber: String
  package var message: String

  package init(subscriber: String, _ message: String) {
    self.subscriber = subscriber
    self.message = message
  }

  package var description: String { "subscriber \(subscriber): \(message)" }
}
