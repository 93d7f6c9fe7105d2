import SluiceCore

/// What a change of one setting means to a daemon that runs.
package enum ChangeEffect: Int, Sendable, Comparable, CaseIterable {
  /// What runs is told, and goes on.
  case applied
  /// Connections that are open keep what they came under; the next ones have the new setting.
  case nextConnections
  /// Connections that are open are answered and closed; the listening socket stays open.
  case drained
  /// The instance ends behind the batch in its hands, and another takes its cursor over.
  case restarted
  /// Only the next start of the daemon brings it.
  case refused

  package static func < (left: ChangeEffect, right: ChangeEffect) -> Bool { left.rawValue < right.rawValue }
}

/// One setting: how the topology calls it, and what its change means.
package struct LiveSetting<Settings> {
  package var key: String
  /// The stored property that holds it.
  package var property: String
  package var effect: ChangeEffect
  /// Why it can't change in a running daemon; "" where it can.
  package var why: String
  /// Whether just this change can't be made.
  package var isRefused: (Settings, Settings) -> Bool
  package var differs: (Settings, Settings) -> Bool

  init<Value: Equatable>(
    _ key: String, _ property: String, _ value: KeyPath<Settings, Value>, _ effect: ChangeEffect, _ why: String = ""
  ) {
    precondition((effect == .refused) != why.isEmpty, "a refusal has a reason")
    self.key = key
    self.property = property
    self.effect = effect
    self.why = why
    isRefused = { _, _ in effect == .refused }
    differs = { $0[keyPath: value] != $1[keyPath: value] }
  }

  /// One that can change to some values and not to others.
  init<Value: Equatable>(
    _ key: String, _ property: String, _ value: KeyPath<Settings, Value>, _ effect: ChangeEffect,
    refused isRefused: @escaping (Value, Value) -> Bool, _ why: String
  ) {
    self.key = key
    self.property = property
    self.effect = effect
    self.why = why
    self.isRefused = { isRefused($0[keyPath: value], $1[keyPath: value]) }
    differs = { $0[keyPath: value] != $1[keyPath: value] }
  }
}

/// The table of what can change while the daemon runs. Every setting has a row.
package enum LiveSettings {
  package static var daemon: [LiveSetting<DaemonSettings>] {
    [
      .init("data", "data", \.data, .refused, "the streams' files are open"),
      .init("plugins", "plugins", \.plugins, .applied),
      .init("admin", "admin", \.admin, .drained),
      .init("event_loops", "eventLoops", \.eventLoops, .refused, "connections belong to the loops that there are"),
      .init("log.level", "logLevel", \.logLevel, .applied),
      .init("log.format", "logFormat", \.logFormat, .applied),
      .init("log.to", "logTarget", \.logTarget, .applied),
    ]
  }

  package static var streams: [LiveSetting<StreamSettings>] {
    [
      .init("durability", "durability", \.durability, .refused, "producers were promised the old one"),
      .init("ring", "ringBytes", \.ringBytes, .refused, "the ring is in use"),
      .init("segment", "segmentBytes", \.segmentBytes, .refused, "the next segments are laid out"),
      .init("retain.bytes", "retainBytes", \.retainBytes, .applied),
      .init("retain.age", "retainAgeNanoseconds", \.retainAgeNanoseconds, .applied),
      .init("retain.cursors", "cursorExpiryNanoseconds", \.cursorExpiryNanoseconds, .applied),
      .init("when_full", "whenFull", \.whenFull, .applied),
      // Its sources carry it, and change with it.
      .init("block_timeout", "blockTimeoutNanoseconds", \.blockTimeoutNanoseconds, .applied),
      // A slab holds two of the largest records, and slabs stay as they are.
      .init(
        "max_record", "maxRecordBytes", \.maxRecordBytes, .applied,
        refused: { old, new in new > old && 2 * new > Limits.defaultSlabBytes },
        "the ring is made for smaller ones"),
      .init("commit.linger", "commitLingerNanoseconds", \.commitLingerNanoseconds, .applied),
      .init("on_corruption", "onCorruption", \.onCorruption, .applied),
      .init("declared", "isBuiltin", \.isBuiltin, .applied),
    ]
  }

  package static var sources: [LiveSetting<SourceSettings>] {
    [
      .init("type", "kind", \.kind, .drained),
      .init("framing", "framing", \.framing, .drained),
      .init("listen", "listen", \.listen, .nextConnections),
      .init("stream", "stream", \.stream, .drained),
      .init("auth", "authentication", \.authentication, .drained),
      .init("tls", "tls", \.tls, .drained),
      // The certificate of the next handshake; connections that are open have had theirs.
      .init("tls files", "tlsFiles", \.tlsFiles, .applied),
      .init("topic", "topic", \.topic, .nextConnections),
      .init("block_timeout", "blockTimeoutNanoseconds", \.blockTimeoutNanoseconds, .nextConnections),
      .init("when_full", "waitsWhenFull", \.waitsWhenFull, .nextConnections),
      .init("max_body", "maxBodyBytes", \.maxBodyBytes, .nextConnections),
      .init("header_timeout", "headerTimeoutNanoseconds", \.headerTimeoutNanoseconds, .nextConnections),
      .init("body_timeout", "bodyTimeoutNanoseconds", \.bodyTimeoutNanoseconds, .nextConnections),
      .init("idle_timeout", "idleTimeoutNanoseconds", \.idleTimeoutNanoseconds, .nextConnections),
      .init("max_connections", "maxConnections", \.maxConnections, .nextConnections),
      .init("socket", "socket", \.socket, .nextConnections),
    ]
  }

  package static var subscribers: [LiveSetting<SubscriberSettings>] {
    [
      .init("plugin", "plugin", \.plugin, .restarted),
      .init("streams", "streams", \.streams, .restarted),
      .init("match", "match", \.match, .restarted),
      .init("batch", "batch", \.batch, .restarted),
      .init("retry", "retry", \.retry, .restarted),
      .init("order", "order", \.order, .restarted),
      .init("max_lag", "maxLag", \.maxLag, .restarted),
      .init("ack_deadline", "ackDeadlineNanoseconds", \.ackDeadlineNanoseconds, .restarted),
      .init("publish", "publish", \.publish, .restarted),
      .init("dead_letter", "deadLetter", \.deadLetter, .restarted),
      .init("isolation", "isolation", \.isolation, .restarted),
      .init("start", "start", \.start, .restarted),
      .init("config", "configJSON", \.configJSON, .restarted),
    ]
  }
}
