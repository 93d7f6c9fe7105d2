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

  package var name: String
  package var plugin: String
  package var version: String
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
  package var gaps: UInt64
  package var lostRecords: UInt64
  package var openRecords: Int
  /// ns since 1970; 0 before the first.
  package var lastDelivery: Int64
  package var streams: [Stream]

  /// Whether records flow: what `/ready` asks.
  package var isReady: Bool {
    state == .running && health != .down && failedDeliveries < UInt64(Limits.failedDeliveriesUntilNotReady)
  }

  /// Why not; nil if it is ready.
  package var whyNotReady: String? {
    guard !isReady else { return nil }
    if state == .running, health != .down { return "\(failedDeliveries) deliveries in a row failed: \(lastError)" }
    if state == .running { return healthReason.isEmpty ? "the plugin says that it is down" : healthReason }
    return lastError.isEmpty ? state.rawValue : "\(state.rawValue): \(lastError)"
  }
}
