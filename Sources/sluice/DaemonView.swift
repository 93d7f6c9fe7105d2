import SluiceCore
import SluiceHost
import SluiceIngest
import SluiceJournal
import SluiceTopology
import Synchronization

/// What `/health`, `/ready`, `/metrics` and `sluice status` show: the running parts, asked when somebody looks. Nothing
/// here blocks on a disk or a plugin.
final class DaemonView: ControlEndpoints {
  /// What runs, in the topology's order.
  struct State: Sendable {
    var topology = ""
    var generation: UInt64 = 0
    var streams: [RunningStream] = []
    var subscribers: [RunningSubscriber] = []
    var sources: [RunningSource] = []
    var retired: [RunningSource] = []
    var reloads: [ReloadOutcome.Kind: UInt64] = [:]
    var lastReload: ReloadOutcome?
    var isStopping = false
    /// Directories of streams that no stream of the topology owns, as of the start or the last reload.
    var orphans: [DataDirectory.Orphan] = []
    /// Streams that were found with another log than they had, since the start: what was said of it, and how often.
    var replacedLogs: [String: (what: String, count: UInt64)] = [:]
    /// What parts had counted whose successors count on, by the part's name.
    fileprivate var carried: [String: [MetricFamily]] = [:]
  }

  private let current = Mutex(State())
  private let library: PluginLibrary
  let startedAt = Clock.wall()

  init(_ library: PluginLibrary) { self.library = library }

  /// Plugins' files that are in the process, and those that processes are run from, with the subscribers that use them.
  var modules: [(module: LoadedModule, users: [String])] {
    let subscribers = state.subscribers
    return library.modules.map { module in
      (module, subscribers.filter { module.carries($0.plugin) }.map(\.settings.name))
    }.filter { $0.module.place == .thread || !$0.users.isEmpty }
  }

  var state: State { current.withLock { $0 } }

  /// The parts of `topology`, by name, as it orders them. What `ended` had counted stays in its successor's metrics.
  func show(
    _ parts: RunningParts, of topology: Topology, generation: UInt64, ended: [(name: String, part: any MetricSource)]
  ) {
    let counted = ended.map { ($0.name, MetricMerging.counts($0.part.metrics())) }
    current.withLock { state in
      state.topology = topology.file
      state.generation = generation
      state.streams = topology.streams.compactMap { parts.streams[$0.name] }
      state.subscribers = topology.subscribers.compactMap { parts.subscribers[$0.name] }
      state.sources = topology.sources.compactMap { parts.sources[$0.name] } + [parts.admin].compactMap(\.self)
      state.retired = parts.retired + parts.leaving
      for (name, families) in counted {
        var merging = MetricMerging()
        for family in state.carried[name, default: []] + families { merging.add(family) }
        state.carried[name] = merging.merged
      }
      let present = Set(state.subscribers.map(\.counts.name) + (state.sources + state.retired).map(\.counts.name))
      state.carried = state.carried.filter { present.contains($0.key) }
    }
  }

  func note(_ outcome: ReloadOutcome) {
    current.withLock { state in
      state.reloads[outcome.kind, default: 0] += 1
      state.lastReload = outcome
    }
  }

  func show(_ orphans: [DataDirectory.Orphan]) { current.withLock { $0.orphans = orphans } }

  /// The stream has another log than it had.
  func noteReplaced(_ stream: String, _ what: String) {
    current.withLock { $0.replacedLogs[stream] = (what, ($0.replacedLogs[stream]?.count ?? 0) + 1) }
  }

  func setStopping() { current.withLock { $0.isStopping = true } }

  // MARK: Endpoints

  /// Healthy: every stream commits. A full stream is healthy; one whose device failed ends the process.
  func health() -> [String] {
    state.streams.map(\.log).filter { $0.status.state == .failed }.map { "stream \($0.streamName) does not commit" }
  }

  /// Ready: every stream takes records and every subscriber is up.
  func readiness() -> [String] {
    let state = state
    var problems: [String] = state.isStopping ? ["stopping"] : []
    for stream in state.streams {
      if let reason = stream.log.status.fullReason {
        problems.append("stream \(stream.settings.name) is full (\(reason.rawValue))")
      }
    }
    for subscriber in state.subscribers {
      if let why = subscriber.instance.status.whyNotReady {
        problems.append("subscriber \(subscriber.settings.name): \(why)")
      }
    }
    return problems
  }

  // MARK: Metrics

  func metricFamilies() -> [MetricFamily] {
    let state = state
    var merging = MetricMerging()
    for family in own(state) + Leftovers(state).families { merging.add(family) }
    let parts: [any MetricSource] =
      state.streams.map(\.log) + state.subscribers.map(\.instance) + (state.sources + state.retired).map(\.source)
    for part in parts { for family in part.metrics() { merging.add(family) } }
    for family in state.carried.values.joined() { merging.add(family) }
    return merging.merged
  }

  private func own(_ state: State) -> [MetricFamily] {
    func gauge(_ name: String, _ help: String, _ value: Double, _ labels: [(String, String)] = []) -> MetricFamily {
      MetricFamily("sluice_\(name)", .gauge, help: help, samples: [.init(labels, value)])
    }
    let outcomes = ReloadOutcome.Kind.allCases.filter { $0 != .planned }
    return [
      gauge("build_info", "Constant 1, labelled with the version.", 1, [("version", Version.text)]),
      gauge("start_time_seconds", "When the daemon started, seconds since 1970.", Double(startedAt) / 1e9),
      gauge("generation", "The topology that runs, counted from 1 at the start.", Double(state.generation)),
      MetricFamily(
        "sluice_reloads_total", .counter, help: "Reloads by outcome.",
        samples: outcomes.map { .init([("outcome", $0.rawValue)], Double(state.reloads[$0, default: 0])) }),
      gauge(
        "last_reload_successful", "0 when the last reload was refused or failed.",
        state.lastReload.map { $0.kind == .applied } ?? true ? 1 : 0),
    ]
  }
}
