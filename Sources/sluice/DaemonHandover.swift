// The subscribers of a reload: which are started beside which, and when the cursors change hands.
//
//   change                                         made ready (nothing delivered)         handed over
//   added                                          created, started                       given its cursors
//   config alone, and the plugin takes it          goes on with it                        –
//   anything else                                  another created and started            the old ends behind its batch; the
//                                                  beside the one that runs               new is given its cursors
//   … and the plugin, old or new, is exclusive     –                                      the old ends; the new is created,
//                                                                                         started, given its cursors
//
// Started means that the plugin's `start` answered SLU_OK, or that it is to be asked again: then the reload goes on, and says
// so, since nobody knows when a server comes back. Any other answer fails the reload, and the old one goes on: where it had
// ended, at its cursor and with a new instance. One that does not end, because its plugin does not return, is followed by that
// new instance when it has. One of which none can be made is tried again, after pauses that grow.

import Logging
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology

extension Daemon {
  // MARK: Making ready

  func makeSubscribers(
    _ plan: ReloadPlan, _ next: LoadedTopology, _ making: inout Making
  ) async throws(DaemonError) {
    let letters = parts.streams.filter { $0.value.letters != nil }.map(\.key)
    let holding = parts.streams.filter { $0.value.log.cursorNames.contains { $0.name == DeadLetterLog.cursorName } }
      .map(\.key)
    making.undo.append { await $0.closeLetters(besides: Set(letters), holding: Set(holding)) }
    let isConfig = { (change: ReloadPlan.Change) in change.settings == ["config"] }
    let restarted = plan.subscribers.changed.filter { !isConfig($0) }.map(\.name)
    try await makeBeside(plan.subscribers.added + restarted, next, &making)
    // Behind those, since it is what touches one that runs.
    var needingNew: [String] = []
    for change in plan.subscribers.changed where isConfig(change) {
      if try await !reconfigure(change.name, next, &making) { needingNew.append(change.name) }
    }
    try await makeBeside(needingNew, next, &making)
  }

  /// Leaves out those of which two can't run at once.
  private func makeBeside(
    _ names: [String], _ next: LoadedTopology, _ making: inout Making
  ) async throws(DaemonError) {
    try await prepare(
      names.filter { name in
        guard let before = parts.subscribers[name] else { return true }
        return !before.plugin.isExclusive && !plugin(of: name, in: next).isExclusive
      }, next, &making)
  }

  /// Has them start, all at the same time, since each may take as long as `start` may. When one fails the others are given up.
  private func prepare(
    _ names: [String], _ next: LoadedTopology, _ making: inout Making
  ) async throws(DaemonError) {
    var made: [RunningSubscriber] = []
    for name in names {
      try await made.append(make(settings(name, in: next.topology.subscribers, \.name), plugin(of: name, in: next)))
    }
    try proceed()
    let patience = StartPatience()
    starting = patience
    let (outcomes, failure) = await prepare(made, patience)
    starting = nil
    let started = zip(made, outcomes).filter { $0.1 != nil }.map(\.0)
    making.undo.append { await $0.end(started) }
    try proceed()
    if let failure { throw failure }
    for (subscriber, outcome) in zip(made, outcomes) {
      let settings = subscriber.settings
      making.subscribers[settings.name] = subscriber
      guard case .retrying(let why) = outcome else { continue }
      making.warnings.append(
        next.topology.diagnostic(
          at: settings.position.value, .warning, "subscriber \(settings.name) has not started yet: \(why)",
          help: "it is tried again until it does; `sluice status` tells"))
    }
  }

  /// `outcomes`: of each, nil if it did not start. `failure`: what came first.
  private func prepare(
    _ made: [RunningSubscriber], _ patience: StartPatience
  ) async -> (outcomes: [FirstStart?], failure: DaemonError?) {
    await withTaskGroup(of: (Int, Result<FirstStart, DaemonError>).self) { group in
      for (place, subscriber) in made.enumerated() {
        group.addTask {
          do throws(DaemonError) {
            return (place, .success(try await self.prepare(subscriber, patience)))
          } catch {
            return (place, .failure(error))
          }
        }
      }
      var outcomes = [FirstStart?](repeating: nil, count: made.count)
      var failure: DaemonError?
      for await (place, result) in group {
        switch result {
        case .success(let outcome): outcomes[place] = outcome
        case .failure(let error):
          failure = failure ?? error
          patience.end()
        }
      }
      return (outcomes, failure)
    }
  }

  private func plugin(of name: String, in loaded: LoadedTopology) -> LoadedPlugin {
    guard let plugin = loaded.plugins[name] else { preconditionFailure("a checked subscriber has its plugin") }
    return plugin
  }

  /// Lets a subscriber of which nothing but its plugin's config is new go on with that. False: it takes another instance.
  private func reconfigure(
    _ name: String, _ next: LoadedTopology, _ making: inout Making
  ) async throws(DaemonError) -> Bool {
    try proceed()
    guard let before = parts.subscribers[name] else { preconditionFailure("what changes runs") }
    let settings = settings(name, in: next.topology.subscribers, \.name)
    switch await offer(settings.configJSON, to: before) {
    case .needsNew: return false
    case .failed(let why): throw DaemonError(message: "subscriber \(name): \(why)", status: ExitStatus.unavailable)
    case .unanswered:
      making.undo.append { await $0.restart(before) }
      throw DaemonError(message: "subscriber \(name): reconfigure has not returned", status: ExitStatus.unavailable)
    case .applied:
      parts.subscribers[name]?.settings = settings
      making.reconfigured.insert(name)
      making.undo.append { await $0.configureBack(before) }
      return true
    }
  }

  private func offer(_ configJSON: String, to subscriber: RunningSubscriber) async -> SubscriberInstance.ConfigOutcome {
    await Blocking.run("configure") { () throws(Never) in subscriber.instance.reconfigure(configJSON) }
  }

  // MARK: Handing over

  func handOver(_ plan: ReloadPlan, _ next: LoadedTopology, _ making: inout Making) async throws(DaemonError) {
    let replaced = plan.subscribers.changed.map(\.name).filter { !making.reconfigured.contains($0) }
    // First those that may fail yet.
    let alone = replaced.filter { making.subscribers[$0] == nil }
    for name in alone {
      try await end(name, &making)
      try await prepare([name], next, &making)
      guard let successor = making.subscribers[name] else { preconditionFailure("it was prepared") }
      try await take(over: name, with: successor, &making)
    }
    for name in replaced where !alone.contains(name) {
      guard let successor = making.subscribers[name] else { continue }
      try await end(name, &making)
      try await take(over: name, with: successor, &making)
    }
    for name in plan.subscribers.added {
      guard let made = making.subscribers[name] else { preconditionFailure("nothing is in the way of a new one") }
      makeForgettable(made, &making)
      making.undo.append { $0.parts.subscribers[name] = nil }
      try await admit(made)
      parts.subscribers[name] = made
    }
  }

  /// Ends the one that runs, behind its batch.
  private func end(_ name: String, _ making: inout Making) async throws(DaemonError) {
    try proceed()
    guard let before = parts.subscribers[name] else { preconditionFailure("what changes runs") }
    guard await end(before) else {
      making.undo.append { $0.bringBack(before, once: before) }
      throw DaemonError(
        message: "subscriber \(name): its plugin did not return in time, and was left behind with its cursor; "
          + "once it has, the subscriber is started again with the settings that it had",
        status: ExitStatus.unavailable)
    }
    making.undo.append { await $0.bringBack(before) }
  }

  private func take(
    over name: String, with successor: RunningSubscriber, _ making: inout Making
  ) async throws(DaemonError) {
    guard let before = parts.subscribers[name] else { preconditionFailure("what changes runs") }
    makeForgettable(successor, &making)
    try await admit(successor)
    parts.subscribers[name] = successor
    show(ended: [before.counts])
  }

  /// A cursor where the subscriber had none would, if the reload fails, hold the stream for nobody.
  private func makeForgettable(_ made: RunningSubscriber, _ making: inout Making) {
    let name = made.settings.name
    let logs = made.settings.streams.compactMap { parts.streams[$0]?.log }
    let fresh = logs.filter { log in !log.cursorNames.contains { $0.name == name } }
    making.undo.append { daemon in
      await daemon.end([made])
      let held = fresh.filter { !$0.forgetCursor(name) }
      if !held.isEmpty { daemon.unforgotten[name] = (made.instance, held) }
    }
  }

  // MARK: Taking back

  /// Undoes a reconfiguration: with another instance, if the plugin does not want the old config back.
  private func configureBack(_ before: RunningSubscriber) async {
    if await offer(before.settings.configJSON, to: before) == .applied {
      parts.subscribers[before.settings.name] = before
    } else {
      await restart(before)
    }
  }

  /// Another instance of the same, now or as soon as its plugin returns.
  private func restart(_ before: RunningSubscriber) async {
    if await end(before) { await bringBack(before) } else { bringBack(before, once: before) }
  }

  /// Undoes the end of one that was changed, and the start of its successor if it came to that.
  private func bringBack(_ before: RunningSubscriber, failures: UInt32 = 0) async {
    let name = before.settings.name
    var ended = before
    if let successor = parts.subscribers[name], successor.instance !== before.instance {
      // Also one that has ended is waited for: its thread closes its readers last, and with them lets go of the cursors.
      guard await end([successor]) else { return bringBack(before, once: successor) }
      if let made = unforgotten[name], made.holder === successor.instance {
        for log in made.logs { _ = log.forgetCursor(name) }
        unforgotten[name] = nil
      }
      ended = successor
    }
    do throws(DaemonError) {
      parts.subscribers[name] = try await start(
        before.settings, before.plugin, generation: before.instance.generation)
      show(ended: [ended.counts])
    } catch {
      // It stays among the parts, so that `/ready` and `status` show it; a reload may start it as well.
      parts.subscribers[name] = before
      tryAgain(before, failures: failures + 1, why: error.message)
    }
  }

  /// Starts it after a pause, unless it was removed by then, or a reload has started it.
  private func tryAgain(_ before: RunningSubscriber, failures: UInt32, why: String) {
    guard !isStopping else { return }
    let name = before.settings.name
    let pause = RetryPolicy(
      firstNanoseconds: Limits.comebackFirstNanoseconds, maxNanoseconds: Limits.comebackMaxNanoseconds
    ).ceiling(afterAttempt: failures)
    logger.critical("\(why); it does not run, and is started again", metadata: ["again_in_ms": "\(pause / 1_000_000)"])
    comebackTries[name]?.cancel()
    comebackTries[name] = Task {
      try? await Task.sleep(nanoseconds: UInt64(pause))
      guard !Task.isCancelled else { return }
      comebackTries[name] = nil
      let previous = lastChange
      lastChange = Task {
        await previous?.value
        guard !isStopping, parts.subscribers[name]?.instance === before.instance else { return }
        await bringBack(before, failures: failures)
      }
    }
  }

  /// The same, when its plugin, or that of its successor, has not returned yet: as soon as it has.
  private func bringBack(_ before: RunningSubscriber, once last: RunningSubscriber) {
    guard !leftBehind.contains(where: { $0.last.instance === last.instance }) else { return }
    last.instance.noteComeback()
    leftBehind.append(LeftBehind(before: before, last: last))
    last.instance.onEnd { Task { await self.hasReturned(last.instance) } }
  }

  /// One that was left behind has ended, and is started again when the changes that are under way are done.
  private func hasReturned(_ instance: SubscriberInstance) {
    guard !isStopping, let place = leftBehind.firstIndex(where: { $0.last.instance === instance }) else { return }
    let left = leftBehind.remove(at: place)
    let previous = lastChange
    lastChange = Task {
      await previous?.value
      await comeBack(left)
    }
  }

  private func comeBack(_ left: LeftBehind) async {
    let name = left.before.settings.name
    // One that was removed meanwhile, or started by a reload, is nobody's to wait for.
    guard !isStopping, parts.subscribers[name]?.instance === left.last.instance else { return }
    // Its thread is about to be over, and with it its hold of the cursors.
    _ = await end(left.last)
    logger.notice("the plugin has returned, and the subscriber starts again", metadata: ["subscriber": "\(name)"])
    await bringBack(left.before)
  }

  /// Streams that dead letters are no longer to go to, `besides` those that were open before, hold none for anybody.
  /// `holding`: streams that did.
  private func closeLetters(besides: Set<String>, holding: Set<String>) async {
    for (name, stream) in parts.streams where !besides.contains(name) {
      guard let letters = stream.letters else { continue }
      parts.streams[name]?.letters = nil
      await Blocking.run("close") { () throws(Never) in letters.close() }
      if !holding.contains(name) { _ = stream.log.forgetCursor(DeadLetterLog.cursorName) }
    }
  }
}
