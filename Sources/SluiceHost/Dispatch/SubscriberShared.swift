import SluiceCore
import Synchronization

/// A function of a plugin's that may fail to return.
enum PluginCall: UInt8 { case create = 1, start, deliver, gap, flush, reconfigure, drain, stop, destroy }

/// A call that is over its deadline.
struct OverdueCall {
  var call: PluginCall
  /// When it began, on the monotonic clock.
  var since: Int64
  /// How far it is over.
  var by: Int64
}

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
    /// It was left behind before its first `create` had returned: the readers are another's, whether or not it ever gets to run.
    var isLeft = false
    /// What the first `start` answered: nil while it has not.
    var firstStart: Result<FirstStart, HostError>?
    /// It was left behind, and is started again when its plugin has returned.
    var comesBack = false
    /// The thread's body is over.
    var isDone = false
    /// What is to be called then.
    var awaitingEnd: [@Sendable () -> Void] = []
  }

  let life = Mutex(Life())
  private let admission = Mutex<Admission?>(nil)
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
  private let callKind = Atomic<UInt8>(0)
  /// The plugin's instance while `interrupt` may be called on it, as a bit pattern; 0: there is none.
  let interruptible = Mutex<UInt>(0)

  var isStopping: Bool { stopDeadline.load(ordering: .acquiring) != 0 }

  /// The readers that were handed over, whether or not the thread has taken them up. Nil: none were yet.
  var admitted: [any StreamReader]? { admission.withLock { $0 }?.readers }

  func admit(_ readers: Admission) {
    admission.withLock { admission in
      precondition(admission == nil, "a subscriber is given its readers once")
      admission = readers
    }
  }

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
  func call<Result>(_ kind: PluginCall, from now: Int64, until deadline: Int64, _ body: () -> Result) -> Result {
    // Behind the end of the call before, for who reads them: see `overdue`.
    callBegan.store(now, ordering: .releasing)
    callKind.store(kind.rawValue, ordering: .releasing)
    callDeadline.store(deadline, ordering: .releasing)
    defer { callDeadline.store(0, ordering: .releasing) }
    return body()
  }

  /// A call of the plugin is under way.
  var isInCall: Bool { callDeadline.load(ordering: .acquiring) > 0 }

  /// The call that is under way, if it is over its deadline. Who reads something of the next call finds another deadline
  /// afterwards, and such a call has only begun.
  func overdue(at now: Int64) -> OverdueCall? {
    let deadline = callDeadline.load(ordering: .acquiring)
    guard deadline > 0, now > deadline, let call = PluginCall(rawValue: callKind.load(ordering: .acquiring)) else {
      return nil
    }
    let since = callBegan.load(ordering: .acquiring)
    guard callDeadline.load(ordering: .relaxed) == deadline else { return nil }
    return OverdueCall(call: call, since: since, by: now - deadline)
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
