import SluiceCore
import SluiceHost
import SluiceIngest
import SluiceJournal
import SluiceTopology
import Synchronization

/// What `/health`, `/ready` and `/metrics` show: the running parts, asked when somebody looks. Nothing here blocks on a
/// disk or a plugin.
final class DaemonView: ControlEndpoints {
  private struct Parts {
    var streams: [StreamLog] = []
    var subscribers: [SubscriberInstance] = []
    var sources: [any IngestSource] = []
    var isStopping = false
  }

  private let parts = Mutex(Parts())
  private let startedAt = Clock.wall()

  func setStreams(_ streams: [StreamLog]) { parts.withLock { $0.streams = streams } }
  func setSubscribers(_ subscribers: [SubscriberInstance]) { parts.withLock { $0.subscribers = subscribers } }
  func setSources(_ sources: [any IngestSource]) { parts.withLock { $0.sources = sources } }
  func setStopping() { parts.withLock { $0.isStopping = true } }

  /// Healthy: every stream commits. A full stream is healthy; one whose device failed ends the process.
  func health() -> (ok: Bool, json: String) {
    let streams = parts.withLock { $0.streams }
    let stuck = streams.filter { $0.status.state == .failed }.map(\.streamName)
    return answer(ok: stuck.isEmpty, problems: stuck.map { "stream \($0) does not commit" })
  }

  /// Ready: every stream takes records and every subscriber is up.
  func ready() -> (ok: Bool, json: String) {
    let parts = parts.withLock { $0 }
    var problems: [String] = parts.isStopping ? ["stopping"] : []
    for stream in parts.streams {
      if let reason = stream.status.fullReason {
        problems.append("stream \(stream.streamName) is full (\(reason.rawValue))")
      }
    }
    for subscriber in parts.subscribers {
      if let why = subscriber.status.whyNotReady { problems.append("subscriber \(subscriber.name): \(why)") }
    }
    return answer(ok: problems.isEmpty, problems: problems)
  }

  private func answer(ok: Bool, problems: [String]) -> (ok: Bool, json: String) {
    let body: JSONValue = [
      "status": .string(ok ? "ok" : "unavailable"), "problems": .array(problems.map(JSONValue.string)),
    ]
    return (ok, body.canonicalText)
  }

  func metricFamilies() -> [MetricFamily] {
    let parts = parts.withLock { $0 }
    let own = [
      MetricFamily(
        "sluice_build_info", .gauge, help: "Constant 1, labelled with the version.",
        samples: [.init([("version", Version.text)], 1)]),
      MetricFamily(
        "sluice_start_time_seconds", .gauge, help: "When the daemon started, seconds since 1970.",
        samples: [.init([], Double(startedAt) / 1e9)]),
    ]
    let sources: [any MetricSource] = parts.streams + parts.subscribers + parts.sources
    return Self.merged(own + sources.flatMap { $0.metrics() })
  }

  /// Families of the same name from several owners are one family.
  private static func merged(_ families: [MetricFamily]) -> [MetricFamily] {
    var order: [String] = []
    var byName: [String: MetricFamily] = [:]
    for family in families {
      if byName[family.name] == nil {
        order.append(family.name)
        byName[family.name] = family
      } else {
        byName[family.name]?.samples += family.samples
      }
    }
    return order.compactMap { byName[$0] }
  }
}
