import SluiceCore

/// How a subscriber fares.
package struct SubscriberStatus: Sendable {
  package enum State: String, Sendable {
    case created, starting, running, draining, stopped
    /// Could not be started, or gave up; it is tried again after a pause.
    case waiting
    /// Did not return from a call in time and was left behind.
    case stuck
  }

  package enum Health: String, Sendable { case ok, degraded, down }

  package struct Stream: Sendable {
    package var name: String
    package var logUUID: LogUUID
    package var cursor: UInt64
    package var lag: StreamLag
  }

  /// Ranges of records that were gone before they could be delivered, and the records in them.
  package struct Gaps: Sendable, Equatable {
    package var count: UInt64 = 0
    package var records: UInt64 = 0
  }

  package var name: String
  package var plugin: String
  package var version: String
  /// The plugin has a process of its own.
  package var isIsolated = false
  package var state: State
  package var health: Health
  /// The plugin's own words.
  package var healthReason: String
  /// The last fault, of the plugin or of the log under it; "" if there was none.
  package var lastError: String
  /// Of the topology that it came with.
  package var generation: UInt64
  /// How often the instance was made anew.
  package var restarts: UInt64
  /// Starts that failed since it last ran.
  package var failedStarts: UInt64
  /// Deliveries that failed since the last that did not.
  package var failedDeliveries: UInt64
  package var counts: SettleCounts
  package var gapsByReason: [(reason: GapReason, gaps: Gaps)]
  /// Why nothing is delivered although the plugin could: the dead letter stream takes nothing. Nil: it is delivered.
  package var held: String?
  /// Why one of its streams can't be read; nil: they all can.
  package var unreadable: String?
  /// Where its dead letters go.
  package var deadLetterStream: String
  /// Dead records that were gone before they could be kept.
  package var lostLetters: UInt64
  /// Dead letters that did not fit and have not all of their record.
  package var cutLetters: UInt64
  /// By output; none if nothing is published.
  package var published: [PublishCounts]
  /// Of all replays of parts of streams, and the one that is under way.
  package var replayed: ReplayedRecords
  package var replay: StreamReplay?
  package var openRecords: Int
  /// A call of its plugin is under way.
  package var isInCall: Bool
  /// ns since 1970; 0 before the first.
  package var lastDelivery: Int64
  package var streams: [Stream]

  package var gaps: UInt64 { gapsByReason.reduce(0) { $0 + $1.gaps.count } }
  package var lostRecords: UInt64 { gapsByReason.reduce(0) { $0 + $1.gaps.records } }

  /// Whether records flow: what `/ready` asks.
  package var isReady: Bool {
    state == .running && held == nil && unreadable == nil && health != .down
      && failedDeliveries < UInt64(Limits.failedDeliveriesUntilNotReady)
  }

  /// Whether it is about to go on by itself: nothing has failed, and it is in its plugin, or has not given that the next
  /// records yet. A plugin that has records and returned may wait for more of them.
  package var isAtWork: Bool {
    switch state {
    case .created, .starting, .running:
      failedStarts == 0 && failedDeliveries == 0 && held == nil && unreadable == nil && (isInCall || openRecords == 0)
    case .draining, .stopped, .waiting, .stuck: false
    }
  }

  /// Why not; nil if it is ready.
  package var whyNotReady: String? {
    guard !isReady else { return nil }
    if state == .running, let why = held ?? unreadable { return why }
    if state == .running, health != .down { return "\(failedDeliveries) deliveries in a row failed: \(lastError)" }
    if state == .running { return healthReason.isEmpty ? "the plugin says that it is down" : healthReason }
    return lastError.isEmpty ? state.rawValue : "\(state.rawValue): \(lastError)"
  }
}
