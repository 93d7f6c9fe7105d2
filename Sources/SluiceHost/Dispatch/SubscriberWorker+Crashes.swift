import Logging
import SluiceCore
import Synchronization

/// A plugin's process that died: which records it had, and what they get for it.
extension SubscriberWorker {
  /// Suspects what was in the plugin's hands; a record that has killed it too often goes to the dead letters. Returns what
  /// happened.
  func suspectOpenRecords(now: Int64) -> String {
    let death = services.takeCrash() ?? ProcessDeath(why: "ended")
    let why = "the plugin's process \(death.why)"
    note(why)
    let hands = services.tracker.withLock { $0.hands }
    if death.isLate, hands.count == 1, let hand = hands.first, hand.count == 1 {
      suspects.failed(hand)
      services.tracker.withLock { tracker in
        why.withBytes {
          tracker.fail(
            stream: hand.stream, lsn: hand.first, now: now, reason: $0.raw(limit: Limits.maxVerdictReasonBytes))
        }
      }
      return why
    }
    guard let condemned = suspects.died(with: hands) else {
      if !suspects.isEmpty {
        let shown = hands.map { "\(feeds[$0.stream].reader.streamName) \($0.first)...\($0.last)" }
        logger.warning(
          "records that may have killed the plugin are delivered apart",
          metadata: ["records": "\(shown.joined(separator: ", "))"])
      }
      return why
    }
    services.tracker.withLock { tracker in
      why.withBytes { tracker.condemn(stream: condemned.stream, lsn: condemned.first, reason: $0.raw(limit: .max)) }
    }
    logger.error(
      "a record kills the plugin and is a dead letter now",
      metadata: ["stream": "\(feeds[condemned.stream].reader.streamName)", "lsn": "\(condemned.first)"])
    return why
  }

  /// What was settled is suspected no more.
  func forgetSuspects() {
    guard !suspects.isEmpty else { return }
    services.tracker.withLock { tracker in
      suspects.forget { stream, range in tracker.isUnsettled(stream: stream, range) }
    }
  }
}
