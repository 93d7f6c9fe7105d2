import SluiceCore
import SluiceHost
import SluiceIngest
import SluiceJournal
import SluiceTopology

/// A stream that is open.
struct RunningStream: Sendable {
  var settings: StreamSettings
  var log: StreamLog
  /// There from the moment that a subscriber may send its dead records here.
  var letters: DeadLetterDoor?
}

/// A subscriber that was started, and what it was started with, so that it can be started again.
struct RunningSubscriber: Sendable {
  var settings: SubscriberSettings
  var plugin: LoadedPlugin
  var instance: SubscriberInstance

  /// What it counted, as `DaemonView` is told of an end.
  var counts: (name: String, part: any MetricSource) { ("subscriber \(settings.name)", instance) }
}

/// A subscriber that is to be started again with what it had.
struct LeftBehind: Sendable {
  var before: RunningSubscriber
  /// Which has its cursors until its plugin returns: itself, or one that a failed reload put in its place.
  var last: RunningSubscriber
}

/// A source that takes records in.
struct RunningSource: Sendable {
  /// Nil for the admin listener.
  var settings: SourceSettings?
  var source: any IngestSource
  /// Also of the sources before it.
  var load: SourceLoad
  var listen: ListenAddress?
  /// Open for as long as this source or one that follows it is to accept.
  var socket: ListeningSocket?
  /// Of the topology that it came with.
  var generation: UInt64

  var name: String { settings?.name ?? "admin" }
  var counts: (name: String, part: any MetricSource) { ("source \(name)", source) }
}

/// What runs, by name.
struct RunningParts: Sendable {
  var streams: [String: RunningStream] = [:]
  var subscribers: [String: RunningSubscriber] = [:]
  var sources: [String: RunningSource] = [:]
  var admin: RunningSource?
  /// Sources that were replaced, whose connections go on under the settings that they came under.
  var retired: [RunningSource] = []
  /// Sources that are being drained.
  var leaving: [RunningSource] = []

  /// The socket that holds `address` already. One whose port the system chose belongs to its source.
  func socket(on address: ListenAddress, of name: String?) -> ListeningSocket? {
    let own = name.map { sources[$0] } ?? admin
    if let own, own.listen == address { return own.socket }
    guard address.port != 0 else { return nil }
    return (Array(sources.values) + [admin].compactMap(\.self)).first { $0.listen == address }?.socket
  }
}
