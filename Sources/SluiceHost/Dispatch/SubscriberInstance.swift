import CSluice
import Glibc
import Logging
import SluiceCore
import SluiceTopology
import Synchronization

/// One subscriber of a topology: a thread that delivers its streams to an instance of its plugin.
///
/// `@unchecked Sendable`: all properties are set in `init`. Of the readers, only what `StreamReader` allows from any
/// thread is asked for here; the rest is left to the worker's thread. `thread` is locked.
///
/// One that takes a running subscriber's place is made without readers, started beside it, and given them (`admit`) when
/// the other has let go of its cursors: `Handover.swift`.
package final class SubscriberInstance: MetricSource, @unchecked Sendable {
  package let name: String
  package let plugin: LoadedPlugin
  package let options: DeliveryOptions
  package let generation: UInt64
  let services: HostServices
  let shared = SubscriberShared()
  private let worker: SubscriberWorker
  private let replay = ReplayQueue()
  private let slot = ReplaySlot()
  let streams: [(name: String, logUUID: LogUUID)]
  private let stateDirectory: String
  private let deadLetterStream: String
  private let logger: Logger
  private let thread = Mutex<OSThread?>(nil)
  /// When the call began that was interrupted last.
  private let interrupted = Atomic<Int64>(0)
  /// `interrupt` is under way.
  private let isInterrupting = Atomic<Bool>(false)

  /// What `stop` came to.
  package enum StopOutcome: Equatable, Sendable {
    case stopped
    /// The plugin did not return in time. Its thread was left behind; the cursor is where its verdicts have put it.
    case stuck
  }

  /// `readers`: one for each of the subscriber's streams, used by this subscriber alone; without any it is given what is
  /// replayed and nothing else. `publishTargets`: where what the plugin publishes goes. `dataDirectory`: the daemon's, in
  /// which plugins have their state.
  package convenience init(
    settings: SubscriberSettings, plugin: LoadedPlugin, readers: [any StreamReader],
    publishTargets: [PublishTarget] = [], dataDirectory: String, deadLetters: any DeadLetterSink, hostVersion: String,
    generation: UInt64 = 1, logger: Logger
  ) {
    self.init(
      settings: settings, plugin: plugin, streams: readers.map { ($0.streamName, $0.logUUID) },
      publishTargets: publishTargets, dataDirectory: dataDirectory, deadLetters: deadLetters, hostVersion: hostVersion,
      generation: generation, logger: logger)
    admit(readers)
  }

  /// `streams`: what it will be given readers of with `admit`, in that order. Until then nothing is delivered.
  package init(
    settings: SubscriberSettings, plugin: LoadedPlugin, streams: [(name: String, logUUID: LogUUID)],
    publishTargets: [PublishTarget] = [], dataDirectory: String, deadLetters: any DeadLetterSink, hostVersion: String,
    generation: UInt64 = 1, logger: Logger
  ) {
    name = settings.name
    self.plugin = plugin
    self.streams = streams
    self.generation = generation
    deadLetterStream = deadLetters.name
    options = DeliveryOptions(settings, wants: plugin.wants)
    stateDirectory = "\(dataDirectory)/plugins/\(settings.name)"
    var logger = logger
    logger[metadataKey: "subscriber"] = "\(settings.name)"
    self.logger = logger
    let tracker = SettleTracker(
      fresh: streams.map { _ in 1 } + [replay.cursor, 1], policy: options.retry, order: options.order,
      replayStream: streams.count + 1, seed: UInt64.random(in: 0...UInt64.max))
    let bell = Doorbell()
    let publisher =
      publishTargets.isEmpty
      ? nil
      : Publisher(
        subscriber: settings.name, targets: publishTargets, pluginOutputs: plugin.outputs,
        logs: streams.map(\.logUUID), cursors: streams.map { _ in 1 } + [replay.cursor, 1], replay: replay,
        dataDirectory: dataDirectory, bell: bell)
    services = HostServices(
      subscriber: settings.name, hostVersion: hostVersion, stateDirectory: stateDirectory,
      isolation: plugin.isIsolated ? IsolationSettings(settings.isolation, options) : nil, publisher: publisher,
      tracker: tracker, bell: bell, logger: logger)
    worker = SubscriberWorker(
      settings: settings, plugin: plugin, options: options, streams: streams.count, replay: replay, slot: slot,
      services: services, shared: shared, deadLetters: deadLetters, logger: logger)
  }

  /// Makes the instance on its own thread and returns when the plugin's `create` has: a config that it refuses shows
  /// here. What `start` needs of the world may come later; see `status`. When `create` takes longer than `limit`, or than
  /// `patience` lasts, its thread is left behind, and the cursors are free for another. Called once.
  package func start(
    limit: Int64 = Limits.pluginStartNanoseconds, patience: StartPatience? = nil
  ) throws(HostError) {
    let failed = Paths.makePrivate(stateDirectory)
    guard failed == 0 else {
      throw HostError(subscriber: name, "can't make \(stateDirectory): \(String(cString: strerror(failed)))")
    }
    if !plugin.changedSignals.isEmpty {
      logger.warning(
        "the plugin changed signal handlers when it was loaded; they were put back",
        metadata: ["plugin": "\(plugin.path)", "signals": "\(plugin.changedSignals)"])
    }
    try startThread()
    let deadline = Clock.monotonic() + limit
    while true {
      switch shared.life.withLock({ $0.firstCreate }) {
      case .success: return
      case .failure(let error):
        _ = stop(deadline: deadline)
        throw error
      case nil:
        let look = min(deadline, Clock.monotonic() + Limits.watchdogNanoseconds)
        guard !shared.progress.wait(until: look) else { continue }
        if patience?.isOver == true {
          try leaveInCreate(deadline, "create of plugin \(plugin.kind) was given up")
        } else if look == deadline {
          try leaveInCreate(
            deadline, "create of plugin \(plugin.kind) did not return in \(limit / 1_000_000_000) s")
        }
      }
    }
  }

  private func startThread() throws(HostError) {
    let worker = worker
    do throws(OSThread.Failure) {
      let started = try OSThread(starting: "sub \(name)") { worker.run() }
      thread.withLock { thread in
        precondition(thread == nil, "a subscriber is started once")
        thread = started
      }
    } catch {
      throw HostError(subscriber: name, error.description)
    }
  }

  /// Throws, unless `create` has returned just now.
  private func leaveInCreate(_ deadline: Int64, _ why: String) throws(HostError) {
    let error = HostError(subscriber: name, why)
    let isLate = shared.life.withLock { life in
      guard life.firstCreate == nil else { return false }
      life.firstCreate = .failure(error)
      life.isLeft = true
      // One that has come to run is not asked to stop.
      shared.stopDeadline.store(deadline, ordering: .releasing)
      return true
    }
    guard isLate else { return }
    shared.enter(.stuck)
    // Before its first `create` has returned the thread touches no reader, and then it finds that it was left, and never does.
    for reader in shared.admitted ?? [] { reader.close() }
    throw error
  }

  /// Ends the subscriber: the batch in the plugin's hands is finished, then drain, stop, destroy, and the cursors are
  /// written. Near `deadline` (`Clock.monotonic`) the plugin is interrupted; past it, it is left behind, as far as this process has
  /// run until then. One caller.
  package func stop(deadline: Int64) -> StopOutcome {
    let time = max(0, deadline - Clock.monotonic())
    shared.stopDeadline.store(max(deadline, 1), ordering: .releasing)
    services.bell.ring()
    guard let thread = thread.withLock({ $0 }) else { return .stopped }
    // A process is killed some time after the interrupt, and is to be gone by the deadline.
    let reserve = plugin.isIsolated ? min(time / 2, 2 * Limits.isolationGraceNanoseconds) : 0
    let rest = max(time / 4, reserve)
    if !waitUntilDone(for: time - rest) {
      interrupt()
      guard waitUntilDone(for: rest) else {
        shared.enter(.stuck)
        slot.close()
        services.publisher?.close()
        logger.error("the plugin did not stop in time and is left behind", metadata: ["plugin": "\(plugin.path)"])
        return .stuck
      }
    }
    thread.join()
    return .stopped
  }

  // MARK: Replay

  /// Has the records delivered once more, flagged as a replay, beside what else is to come. Nil if the subscriber has
  /// ended or is busy with others. From any thread.
  package func replay(_ records: [ReplayRecord]) -> ReplayTicket? { replay.submit(records) }

  /// Gives up what is not in the plugin's hands.
  package func cancel(_ ticket: ReplayTicket) { replay.cancel(ticket) }

  /// Has a part of a stream delivered once more, beside what else is to come: one at a time. From any thread. A refused
  /// one is over.
  package func replay(_ range: StreamReplay) throws(ReplayRefusal) {
    do throws(ReplayRefusal) {
      try slot.submit(range)
    } catch {
      range.reader.close()
      throw error
    }
    services.bell.ring()
  }

  private func waitUntilDone(for nanoseconds: Int64) -> Bool {
    var time = RunningTime(nanoseconds, from: Clock.monotonic())
    while !shared.life.withLock({ $0.isDone }) {
      guard !time.isOver else { return false }
      _ = shared.progress.wait(&time)
    }
    return true
  }

  func submit(_ wanted: Reconfiguration) {
    shared.submit(wanted)
    services.bell.ring()
  }

  func withdraw(_ wanted: Reconfiguration) -> Bool { shared.withdraw(wanted) }

  // MARK: The watchdog

  /// A call that is over its deadline is interrupted, once, and told; the daemon and its other subscribers go on as
  /// before. From the watchdog's thread. A process of its own has its own way.
  package func watch(now: Int64) {
    guard !plugin.isIsolated, let overdue = shared.overdue(at: now) else { return }
    guard interrupted.exchange(overdue.since, ordering: .relaxed) != overdue.since else { return }
    guard interrupt() else {
      // The next look tries again.
      interrupted.store(0, ordering: .relaxed)
      return
    }
    logger.error(
      "the plugin does not return from a call, and is interrupted",
      metadata: [
        "plugin": "\(plugin.path)", "call": "\(overdue.call)", "for_ms": "\((now - overdue.since) / 1_000_000)",
        "over_by_ms": "\(overdue.by / 1_000_000)",
      ])
  }

  /// Returns at once: `interrupt` is the plugin's own, and may hang as well, so it gets a thread of its own. While one is under
  /// way there is no other. False: there is no thread to be had for it now.
  @discardableResult
  func interrupt() -> Bool {
    guard !plugin.isIsolated else {
      services.interruptProcess()
      return true
    }
    guard let interrupt = plugin.table.interrupt, !isInterrupting.exchange(true, ordering: .acquiring) else {
      return true
    }
    do throws(OSThread.Failure) {
      _ = try OSThread(starting: "interrupt \(name)") { [self] in
        CrashReport.noteThread(plugin.lastWords(of: name))
        // Under the lock, so that `destroy` can't come in between.
        shared.interruptible.withLock { address in
          if address != 0 { interrupt(UnsafeMutableRawPointer(bitPattern: address)) }
        }
        isInterrupting.store(false, ordering: .releasing)
      }
      return true
    } catch {
      isInterrupting.store(false, ordering: .releasing)
      return false
    }
  }

  // MARK: How it fares

  /// Another instance follows when this one, which was left behind in its plugin, has ended: for its status.
  package func noteComeback() { shared.life.withLock { $0.comesBack = true } }

  /// Has `body` called when its thread is over, by that thread; at once if it is already. It must not block.
  package func onEnd(_ body: @escaping @Sendable () -> Void) {
    let isDone = shared.life.withLock { life in
      if !life.isDone { life.awaitingEnd.append(body) }
      return life.isDone
    }
    if isDone { body() }
  }

  /// Its thread is over.
  package var hasEnded: Bool { shared.life.withLock { $0.isDone } }

  /// From any thread.
  package var status: SubscriberStatus { status(now: Clock.monotonic()) }

  func status(now: Int64) -> SubscriberStatus {
    var life = shared.life.withLock { $0 }
    // Its thread may not have seen yet that the process is gone.
    if life.state == .running, services.hasCrashed { life.state = .waiting }
    if let overdue = shared.overdue(at: now), overdue.by > Limits.overdueCallNanoseconds {
      life.state = .stuck
      let seconds = (now - overdue.since) / 1_000_000_000
      life.lastError = "the plugin has not returned from a call of \(overdue.call) for \(seconds) s"
    }
    if life.state == .stuck, life.comesBack {
      life.lastError += (life.lastError.isEmpty ? "" : "; ") + "it is started again once its plugin returns"
    }
    let (health, reason) = services.health.withLock { $0 }
    let (counts, open, cursors) = services.tracker.withLock { tracker in
      (tracker.counts, tracker.openRecords, streams.indices.map { tracker.cursor(of: $0) })
    }
    let readers = shared.admitted
    let last = shared.lastDelivery.load(ordering: .relaxed)
    return SubscriberStatus(
      name: name, plugin: plugin.kind, version: plugin.version, isIsolated: plugin.isIsolated, state: life.state,
      health: health,
      healthReason: reason, lastError: life.lastError, generation: generation, restarts: life.restarts,
      failedStarts: life.failedStarts, failedDeliveries: life.failedDeliveries, counts: counts,
      gapsByReason: zip(GapReason.allCases, life.gaps).map { ($0, $1) }, held: life.held,
      unreadable: life.unreadable.min { $0.key < $1.key }?.value, deadLetterStream: deadLetterStream,
      lostLetters: life.lostLetters, cutLetters: life.cutLetters, published: services.publisher?.counts ?? [],
      replayed: life.replayed, replay: slot.current,
      openRecords: open, isInCall: shared.isInCall,
      lastDelivery: last == 0 ? 0 : Clock.wall() - (Clock.monotonic() - last),
      streams: streams.indices.map { index in
        SubscriberStatus.Stream(
          name: streams[index].name, logUUID: streams[index].logUUID,
          // The tracker learns where the reader stands when the thread takes it up.
          cursor: max(cursors[index], readers?[index].cursor ?? 1),
          lag: life.isDone
            ? StreamLag(records: 0, bytes: 0, ageNanoseconds: 0)
            : readers?[index].lag ?? StreamLag(records: 0, bytes: 0, ageNanoseconds: 0))
      })
  }

  package func metrics() -> [MetricFamily] {
    let duration = MetricFamily(
      "sluice_subscriber_delivery_seconds", .histogram, help: "How long calls of deliver took.",
      samples: [shared.deliveryTimes.sample(labels: [("subscriber", name)])])
    let delay = MetricFamily(
      "sluice_subscriber_delay_seconds", .histogram,
      help: "From when the first record of a batch came in to when deliver returned, at its first delivery.",
      samples: [shared.delays.sample(labels: [("subscriber", name)])])
    return status.families + [duration, delay] + services.metrics.families(subscriber: name)
  }
}
