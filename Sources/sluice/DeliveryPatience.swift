import SluiceCore
import SluiceHost
import SluiceJournal

/// Whether a daemon that stops goes on waiting for a subscriber to come to the end of its streams: as long as it gets nearer,
/// or is at work; for one whose deliveries fail, or that holds records until it is told to drain, only so many looks.
struct DeliveryPatience {
  private var last = UInt64.max
  private var idleLooks = 0

  /// One look. `left`: records that are not settled.
  mutating func waits(left: UInt64, isAtWork: Bool) -> Bool {
    idleLooks = left < last || isAtWork ? 0 : idleLooks + 1
    last = left
    return left > 0 && idleLooks < Limits.drainIdleLooks
  }

  mutating func waits(for subscriber: SubscriberStatus) -> Bool {
    waits(left: subscriber.streams.reduce(0) { $0 + $1.lag.records }, isAtWork: subscriber.isAtWork)
  }

  /// For what sources have handed over: lines and datagrams are answered by nobody, so a source can end before they are
  /// durable, and until then no subscriber is behind.
  mutating func waits(for log: StreamLog) -> Bool {
    let submitted = log.submittedLSN
    let committed = log.committedLSN
    return waits(left: submitted > committed ? submitted - committed : 0, isAtWork: log.status.state == .open)
  }
}

extension Daemon {
  /// Lets all that is in come to its subscribers, and what they publish too, while `goesOn` and somebody gets nearer.
  func deliverRest(while goesOn: () -> Bool) async {
    var logs: [String: DeliveryPatience] = [:]
    var subscribers: [String: DeliveryPatience] = [:]
    while goesOn() {
      // Each is looked at, whatever the others say.
      var waiting = 0
      let before = parts.streams.values.map(\.log.committedLSN)
      for (name, stream) in parts.streams where logs[name, default: .init()].waits(for: stream.log) { waiting += 1 }
      for (name, running) in parts.subscribers
      where subscribers[name, default: .init()].waits(for: running.instance.status) { waiting += 1 }
      // What came in during the look may be what one published for another that had been looked at.
      if waiting == 0, before == parts.streams.values.map(\.log.committedLSN) { return }
      try? await Task.sleep(for: .nanoseconds(Limits.drainPollNanoseconds))
    }
  }
}
