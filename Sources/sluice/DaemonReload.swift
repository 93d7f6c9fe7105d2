// Changing what runs to what the file says now, as one transaction.
//
//   1. read and check the file, its plugins' own checks included; plan (`ReloadPlan`). Nothing is touched so far.
//   2. beside what runs: open new streams, tell changed ones, start new subscribers.
//   3. each changed subscriber: end it behind its batch, start it anew on its cursor.
//   4. start new and changed sources; a changed one accepts on the socket of the one before, which still accepts too.
//   5. from here nothing can fail: the generation is the new one. Sources that were replaced or removed stop accepting.
//      Connections of a replaced one go on under the settings that they came under, unless those must not any more;
//      other connections are answered and closed, within `Limits.drainNanoseconds`.
//   6. removed subscribers end, removed streams close.
//
// What fails in 2 to 4 is undone from the last step back: what was started ends, what was ended starts again with the
// settings that it had. Whatever the outcome, what did not change is not touched.

import Logging
import SluiceCore
import SluiceHost
import SluiceIngest
import SluiceJournal
import SluiceTopology

extension Daemon {
  private typealias Undo = @Sendable (isolated Daemon) async -> Void

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
      return ReloadOutcome(kind: .refused, generation: generation, failure: "the daemon is stopping")
    }
    if !dryRun { isReloadDue = false }
    var outcome = ReloadOutcome(kind: .refused, generation: generation)
    do throws(LoadedTopology.Failure) {
      let origin = origin
      let next = try await Blocking.run("reload") { () throws(LoadedTopology.Failure) in try origin.reload() }
      let plan = ReloadPlan(from: topology, to: next.topology, restarts: restarts(for: next))
      outcome.plan = plan
      outcome.diagnostics = next.warnings + plan.refusals
      if plan.refusals.isEmpty {
        outcome.kind = dryRun ? .planned : .applied
        if !dryRun { outcome.failure = await carryOut(plan, next) }
        if outcome.failure != nil { outcome.kind = .failed }
      }
    } catch {
      switch error {
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
      let state = running.instance.status.state
      if state == .stopped || state == .stuck { return "not running" }
      return next.plugins[running.settings.name].map { $0 !== running.plugin } ?? false ? "plugin file" : nil
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

  /// Nil when `next` runs, else why it does not.
  private func carryOut(_ plan: ReloadPlan, _ next: LoadedTopology) async -> String? {
    var undo: [Undo] = []
    var sources: [RunningSource] = []
    var admin = parts.admin
    do throws(DaemonError) {
      let names = Set(topology.streams.map(\.name) + next.topology.streams.map(\.name))
      if !plan.streams.added.isEmpty { try await lookAgain() }
      for name in plan.streams.added {
        try await open(settings(name, in: next.topology.streams, \.name), among: names)
        undo.append { await $0.close(stream: name) }
      }
      for change in plan.streams.changed {
        guard let before = parts.streams[change.name]?.settings else { preconditionFailure("what changes runs") }
        try reconfigure(settings(change.name, in: next.topology.streams, \.name))
        undo.append { $0.restore(before) }
      }
      for name in plan.subscribers.added {
        let settings = settings(name, in: next.topology.subscribers, \.name)
        let logs = settings.streams.compactMap { parts.streams[$0]?.log }
        let fresh = logs.filter { log in !log.cursorNames.contains { $0.name == name } }
        // A cursor of one that never ran would hold the stream for nobody.
        undo.append { _ in for log in fresh { _ = log.forgetCursor(name) } }
        let started = try await start(settings, plugin(of: name, in: next))
        parts.subscribers[name] = started
        undo.append { await $0.takeBack(started) }
      }
      for change in plan.subscribers.changed {
        if try await reconfigure(change, from: next, &undo) { continue }
        try await replace(change.name, from: next, &undo)
      }
      for name in plan.sources.added + plan.sources.changed.map(\.name) {
        let started = try await start(settings(name, in: next.topology.sources, \.name))
        sources.append(started)
        undo.append { await $0.drain([started]) }
      }
      try changeLog(to: next.topology.daemon, &undo)
      if plan.daemon?.settings.contains("admin") == true { admin = try await startAdmin(next.topology.daemon.admin) }
    } catch {
      for step in undo.reversed() { await step(self) }
      show()
      await lookForOrphans()
      return error.message
    }
    await adopt(plan, next.topology, sources, admin)
    return nil
  }

  /// Also when nothing of it is new: a file that was moved away is let go, as those expect that rotate logs.
  private func changeLog(to settings: DaemonSettings, _ undo: inout [Undo]) throws(DaemonError) {
    let before = topology.daemon
    try DaemonLog.change(to: settings)
    // What could be opened before can't fail but by the world's fault, and then lines are lost, not the daemon.
    undo.append { _ in try? DaemonLog.change(to: before) }
  }

  private func settings<Settings>(_ name: String, in all: [Settings], _ key: KeyPath<Settings, String>) -> Settings {
    guard let found = all.first(where: { $0[keyPath: key] == name }) else {
      preconditionFailure("a plan names what its topology has")
    }
    return found
  }

  private func plugin(of name: String, in loaded: LoadedTopology) -> LoadedPlugin {
    guard let plugin = loaded.plugins[name] else { preconditionFailure("a checked subscriber has its plugin") }
    return plugin
  }

  /// Lets a subscriber of which nothing but its plugin's config is new go on with that. False: it takes another instance.
  private func reconfigure(
    _ change: ReloadPlan.Change, from next: LoadedTopology, _ undo: inout [Undo]
  ) async throws(DaemonError) -> Bool {
    let name = change.name
    guard change.settings == ["config"], let before = parts.subscribers[name] else { return false }
    let settings = settings(name, in: next.topology.subscribers, \.name)
    switch await offer(settings.configJSON, to: before) {
    case .needsNew: return false
    case .failed(let why): throw DaemonError(message: "subscriber \(name): \(why)", status: ExitStatus.unavailable)
    case .applied:
      parts.subscribers[name]?.settings = settings
      undo.append { await $0.configureBack(before) }
      return true
    }
  }

  private func offer(_ configJSON: String, to subscriber: RunningSubscriber) async -> SubscriberInstance.ConfigOutcome {
    await Blocking.run("configure") { () throws(Never) in subscriber.instance.reconfigure(configJSON) }
  }

  /// Undoes that: with another instance, if the plugin does not want the old config back.
  private func configureBack(_ before: RunningSubscriber) async {
    if await offer(before.settings.configJSON, to: before) == .applied {
      parts.subscribers[before.settings.name] = before
    } else {
      _ = await end(before)
      await bringBack(before)
    }
  }

  private func replace(_ name: String, from next: LoadedTopology, _ undo: inout [Undo]) async throws(DaemonError) {
    guard let before = parts.subscribers[name] else { preconditionFailure("what changes runs") }
    guard await end(before) else {
      throw DaemonError(
        message: "subscriber \(name): its plugin did not return in time, and was left behind with its cursor",
        status: ExitStatus.unavailable)
    }
    undo.append { await $0.bringBack(before) }
    let started = try await start(settings(name, in: next.topology.subscribers, \.name), plugin(of: name, in: next))
    parts.subscribers[name] = started
    show(ended: [before.counts])
  }

  /// Undoes what an open stream was told.
  private func restore(_ before: StreamSettings) {
    do throws(DaemonError) {
      try reconfigure(before)
    } catch {
      logger.critical("\(error.message); the new settings are in force")
    }
  }

  /// Undoes the start of a new subscriber.
  private func takeBack(_ started: RunningSubscriber) async {
    _ = await end(started)
    parts.subscribers[started.settings.name] = nil
  }

  /// Undoes the end of one that was changed, and the start of its successor if it came to that.
  private func bringBack(_ before: RunningSubscriber) async {
    let name = before.settings.name
    var ended = before
    if let successor = parts.subscribers[name], successor.instance !== before.instance {
      _ = await end(successor)
      ended = successor
    }
    do throws(DaemonError) {
      parts.subscribers[name] = try await start(before.settings, before.plugin)
      show(ended: [ended.counts])
    } catch {
      // It stays among the parts, so that `/ready` and `status` show it, and the next reload starts it.
      parts.subscribers[name] = before
      logger.critical("\(error.message); it does not run until a reload starts it")
    }
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
    for subscriber in subscribers {
      if await !end(subscriber) {
        logger.error("subscriber did not stop in time", metadata: ["subscriber": "\(subscriber.settings.name)"])
      }
    }
    for name in plan.streams.removed { await close(stream: name) }
    await lookForOrphans()
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
