// Changing what runs to what the file says now, as one transaction.
//
//   1. read and check the file, its plugins' own checks included; plan (`ReloadPlan`). Nothing is touched so far.
//   2. make ready, beside what runs: open new streams, tell changed ones, listen on new addresses, open the log, have new and
//      changed subscribers start without anything to deliver (`DaemonHandover.swift`).
//   3. hand over: each changed subscriber ends behind its batch, and its successor goes on at its cursor.
//   4. start new and changed sources; a changed one accepts on the socket of the one before, which still accepts too.
//      One of which only the certificates are new is given those in 5 instead, and goes on.
//   5. from here nothing can fail: the generation is the new one, and so are the identities: who is none of them any more is
//      sent away by whatever serves it. Sources that were replaced or removed stop accepting.
//      Connections of a replaced one go on under the settings that they came under, unless those must not any more;
//      other connections are answered and closed, within `Limits.drainNanoseconds`.
//   6. removed subscribers end, removed streams close.
//
// What fails in 2 to 4 is undone from the last step back: what was started ends, what was ended starts again with the
// settings that it had. What mostly fails (a port that is taken, a config that does not work) does so in 2, before any
// subscriber was ended. Three things of 2 are in force meanwhile and taken back afterwards: settings of streams, the log, and
// a config that a running plugin goes on with, which delivers by it until then. Whatever the outcome, what did not change is
// not touched.
//
// An old instance that does not return from its plugin can't be started again at once: it is as soon as it returns.
// A daemon that is told to stop goes no step further: what is under way is undone.

import Logging
import SluiceCore
import SluiceHost
import SluiceIdentity
import SluiceIngest
import SluiceJournal
import SluiceTopology

extension Daemon {
  typealias Undo = @Sendable (isolated Daemon) async -> Void

  /// What a reload has made so far, and how it is taken back.
  struct Making {
    /// By the source's name.
    var sockets: [String: ListeningSocket] = [:]
    var adminSocket: ListeningSocket?
    /// Started, and without cursors yet.
    var subscribers: [String: RunningSubscriber] = [:]
    /// Subscribers that go on with another config.
    var reconfigured: Set<String> = []
    var sources: [RunningSource] = []
    var admin: RunningSource?
    var warnings: [Diagnostic] = []
    var undo: [Undo] = []
  }

  /// SIGHUP: reloads when what goes before is done. Signals that come until then are answered by the same reload.
  func reloadSoon() {
    guard !isReloadDue else { return }
    isReloadDue = true
    Task { _ = await reload(dryRun: false) }
  }

  /// Reads the topology again and changes what runs to it; with `dryRun` it only says what would happen.
  func reload(dryRun: Bool) async -> ReloadOutcome {
    let previous = lastChange
    let task = Task {
      await previous?.value
      return await perform(dryRun: dryRun)
    }
    lastChange = Task { _ = await task.value }
    return await task.value
  }

  private func perform(dryRun: Bool) async -> ReloadOutcome {
    guard !isStopping else {
      return ReloadOutcome(kind: .refused, generation: generation, failure: Self.isStoppingText)
    }
    if !dryRun { isReloadDue = false }
    var outcome = ReloadOutcome(kind: .refused, generation: generation)
    do throws(LoadedTopology.Failure) {
      let origin = origin
      let next = try await Blocking.run("reload") { () throws(LoadedTopology.Failure) in try origin.reload() }
      tellCopies()
      let plan = ReloadPlan(from: topology, to: next.topology, restarts: restarts(for: next))
      outcome.plan = plan
      outcome.diagnostics = next.warnings + plan.refusals + stuck(in: plan, next.topology)
      if plan.refusals.isEmpty {
        outcome.kind = dryRun ? .planned : .applied
        if !dryRun {
          let (failure, warnings) = await carryOut(plan, next)
          outcome.failure = failure
          outcome.diagnostics += warnings
        }
        if outcome.failure != nil { outcome.kind = .failed }
      }
    } catch {
      switch error {
      case _ where isStopping: outcome.failure = Self.isStoppingText
      case .unreadable(let why): outcome.failure = why
      case .mistakes(let diagnostics): outcome.diagnostics = diagnostics
      }
    }
    outcome.generation = generation
    outcome.time = Clock.wall()
    if !dryRun { tell(outcome) }
    return outcome
  }

  /// Subscribers whose plugin's file is another than the one that runs, or that do not run.
  private func restarts(for next: LoadedTopology) -> [String: String] {
    parts.subscribers.compactMapValues { running in
      // One whose plugin has not returned can't be started anew: unless it is changed, it is let be.
      if running.instance.hasEnded { return "not running" }
      return next.plugins[running.settings.name].flatMap { $0.isOfSameFile(as: running.plugin) ? nil : "plugin file" }
    }
  }

  /// Subscribers that stay as they are because their plugins do not return, for the answer.
  private func stuck(in plan: ReloadPlan, _ next: Topology) -> [Diagnostic] {
    plan.subscribers.untouched.compactMap { name in
      guard let status = parts.subscribers[name]?.instance.status, status.state == .stuck else { return nil }
      return next.diagnostic(
        at: settings(name, in: next.subscribers, \.name).position.value, .warning,
        "subscriber \(name) is stuck in its plugin, and is left as it is: \(status.lastError)",
        help: status.isIsolated
          ? "its process is killed when its time is over, and another started"
          : "only a restart of the daemon ends what does not return; with `isolation: process` it is killed")
    }
  }

  private func tell(_ outcome: ReloadOutcome) {
    view.note(outcome)
    let generation: Logger.Metadata = ["generation": "\(outcome.generation)"]
    if outcome.kind == .applied {
      for line in outcome.plan?.lines ?? [] { logger.info("reload: \(line)") }
      logger.notice("reloaded", metadata: generation)
    } else {
      for reason in outcome.reasons { logger.error("reload: \(reason)") }
      logger.error("reload \(outcome.kind.rawValue); the old topology goes on", metadata: generation)
    }
    LoadedTopology.report(outcome.diagnostics)
  }

  // MARK: The transaction

  private static let isStoppingText = "the daemon is stopping"

  /// Between two steps of a change: a daemon that is to stop does not go on with it.
  func proceed() throws(DaemonError) {
    guard !isStopping else { throw DaemonError(message: Self.isStoppingText, status: ExitStatus.unavailable) }
  }

  /// `failure`: nil when `next` runs, else why it does not.
  private func carryOut(
    _ plan: ReloadPlan, _ next: LoadedTopology
  ) async -> (failure: String?, warnings: [Diagnostic]) {
    var making = Making(admin: parts.admin)
    do throws(DaemonError) {
      try proceed()
      try await makeStreams(plan, next, &making)
      try await listen(plan, next, &making)
      try changeLog(to: next.topology.daemon, &making.undo)
      try await makeSubscribers(plan, next, &making)
      try await handOver(plan, next, &making)
      try await startSources(plan, next, &making)
    } catch {
      for step in making.undo.reversed() { await step(self) }
      show()
      await lookForOrphans()
      return (error.message, [])
    }
    identities.replace(with: next.identities)
    renewTLS(plan, next)
    if next.topology.identities != nil { logger.info("reload: \(next.identities.count) identities") }
    await adopt(plan, next.topology, making.sources, making.admin)
    return (nil, making.warnings)
  }

  private func makeStreams(
    _ plan: ReloadPlan, _ next: LoadedTopology, _ making: inout Making
  ) async throws(DaemonError) {
    let names = Set(topology.streams.map(\.name) + next.topology.streams.map(\.name))
    if !plan.streams.added.isEmpty { try await lookAgain() }
    for name in plan.streams.added {
      let isFresh = try await open(settings(name, in: next.topology.streams, \.name), among: names)
      making.undo.append { await $0.takeBack(stream: name, fresh: isFresh) }
    }
    for change in plan.streams.changed {
      guard let before = parts.streams[change.name]?.settings else { preconditionFailure("what changes runs") }
      try reconfigure(settings(change.name, in: next.topology.streams, \.name))
      making.undo.append { $0.restore(before) }
    }
  }

  /// Undoes what an open stream was told.
  private func restore(_ before: StreamSettings) {
    do throws(DaemonError) {
      try reconfigure(before)
    } catch {
      logger.critical("\(error.message); the new settings are in force")
    }
  }

  /// New sources, and those that another takes the place of.
  private func sources(of plan: ReloadPlan, in next: LoadedTopology) -> [SourceSettings] {
    (plan.sources.added + plan.sources.changed.filter { $0.effect > .applied }.map(\.name)).map {
      settings($0, in: next.topology.sources, \.name)
    }
  }

  private func isAdminMoved(_ plan: ReloadPlan) -> Bool { plan.daemon?.settings.contains("admin") == true }

  /// Has every socket that sources are to accept on; nobody accepts on a new one yet.
  private func listen(
    _ plan: ReloadPlan, _ next: LoadedTopology, _ making: inout Making
  ) async throws(DaemonError) {
    for settings in sources(of: plan, in: next) {
      keepOptions(ofSocketOn: settings.listen, for: settings.name, &making.undo)
      making.sockets[settings.name] = try await socket(on: settings.listen, of: settings.name, settings.socket)
    }
    if isAdminMoved(plan) {
      keepOptions(ofSocketOn: next.topology.daemon.admin, for: nil, &making.undo)
      making.adminSocket = try await socket(on: next.topology.daemon.admin, of: nil)
    }
  }

  /// A socket that is there already, and is about to be told what another source or the admin listener wants of it.
  private func keepOptions(ofSocketOn address: ListenAddress?, for name: String?, _ undo: inout [Undo]) {
    guard let held = address.flatMap({ parts.socket(on: $0, of: name) }) else { return }
    let before = parts.sources.values.first { $0.socket === held }?.settings?.socket ?? SocketOptions()
    // What it was told before it was told at its start; at worst buffers of connections to come have another size.
    undo.append { _ in try? held.configure(before) }
  }

  private func startSources(
    _ plan: ReloadPlan, _ next: LoadedTopology, _ making: inout Making
  ) async throws(DaemonError) {
    for settings in sources(of: plan, in: next) {
      try proceed()
      let started = try await start(settings, on: making.sockets[settings.name], tls: next.tls[settings.name])
      making.sources.append(started)
      making.undo.append { await $0.drain([started]) }
    }
    if isAdminMoved(plan) { making.admin = try await startAdmin(next.topology.daemon.admin, on: making.adminSocket) }
  }

  /// Also when nothing of it is new: a file that was moved away is let go, as those expect that rotate logs.
  private func changeLog(to settings: DaemonSettings, _ undo: inout [Undo]) throws(DaemonError) {
    let before = topology.daemon
    try DaemonLog.change(to: settings)
    // What could be opened before can't fail but by the world's fault, and then lines are lost, not the daemon.
    undo.append { _ in try? DaemonLog.change(to: before) }
  }

  func settings<Settings>(_ name: String, in all: [Settings], _ key: KeyPath<Settings, String>) -> Settings {
    guard let found = all.first(where: { $0[keyPath: key] == name }) else {
      preconditionFailure("a plan names what its topology has")
    }
    return found
  }

  /// The new generation is what runs: everything of it is started.
  private func adopt(
    _ plan: ReloadPlan, _ next: Topology, _ sources: [RunningSource], _ admin: RunningSource?
  ) async {
    var leaving: [RunningSource] = []
    for started in sources {
      guard let settings = started.settings else { continue }
      let name = settings.name
      let effect = plan.sources.changed.first { $0.name == name }?.effect
      if let before = parts.sources[name] {
        if effect == .nextConnections {
          await retire(before)
        } else {
          leaving += [before] + takeRetired { $0.settings?.name == name }
        }
      }
      parts.sources[name] = started
    }
    for name in plan.sources.removed {
      leaving += [parts.sources.removeValue(forKey: name)].compactMap(\.self)
      leaving += takeRetired { $0.settings?.name == name }
    }
    leaving += takeRetired { plan.streams.removed.contains($0.settings?.stream ?? "") }
    if plan.daemon?.settings.contains("admin") == true {
      leaving += [parts.admin].compactMap(\.self)
      parts.admin = admin
    }
    let subscribers = plan.subscribers.removed.compactMap { parts.subscribers.removeValue(forKey: $0) }
    topology = next
    generation += 1
    await dismiss(leaving)
    await end(subscribers)
    for name in plan.streams.removed { await close(stream: name) }
    await lookForOrphans()
  }

  /// Sources of which nothing but their certificates is new go on, and can't fail in that.
  private func renewTLS(_ plan: ReloadPlan, _ next: LoadedTopology) {
    for change in plan.sources.changed where change.effect == .applied {
      guard let tls = next.tls[change.name] else { continue }
      parts.sources[change.name]?.source.renew(tls)
      parts.sources[change.name]?.settings = settings(change.name, in: next.topology.sources, \.name)
    }
  }

  // MARK: Connections that outlive their source

  /// Takes no connections any more; those that it has go on.
  private func retire(_ source: RunningSource) async {
    await source.source.stopAccepting()
    var source = source
    source.socket = nil
    parts.retired.append(source)
    if parts.retired.count > Limits.maxRetiredSources { await dismiss([parts.retired.removeFirst()]) }
    guard retirement == nil else { return }
    retirement = Task {
      while !Task.isCancelled, await endIdleRetired() {
        try? await Task.sleep(nanoseconds: UInt64(Limits.retiredPollNanoseconds))
      }
    }
  }

  /// Ends those that have no connections left. True while there are others.
  private func endIdleRetired() async -> Bool {
    await dismiss(takeRetired { $0.source.openConnections == 0 })
    if parts.retired.isEmpty { retirement = nil }
    return !parts.retired.isEmpty
  }

  private func takeRetired(_ isTaken: (RunningSource) -> Bool) -> [RunningSource] {
    let taken = parts.retired.filter(isTaken)
    parts.retired.removeAll(where: isTaken)
    return taken
  }

  /// Drains sources that nothing refers to any more. What they counted goes on with their successors.
  private func dismiss(_ sources: [RunningSource]) async {
    let sources = sources.map { source in
      var source = source
      source.socket = nil
      return source
    }
    parts.leaving += sources
    show()
    guard !sources.isEmpty else { return }
    await drain(sources)
    parts.leaving.removeAll { left in sources.contains { $0.name == left.name && $0.generation == left.generation } }
    show(ended: sources.map(\.counts))
  }
}
