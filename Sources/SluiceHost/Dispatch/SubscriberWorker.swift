// One subscriber's thread. Everything that the ABI tags [inst] is called here, in this order:
//
//   ┌► create ──► start ──► gate ──► deliver, gap … ──► drain ──► stop ──► destroy ─► end
//   │    │          │ ▲                    │                        ▲
//   │    │ fails    │ └ retryable          │ fatal                  │
//   │    ▼          ▼                      ▼                        │
//   └─ pause ◄── stop, destroy ◄───────────┘        asked to end ───┘
//
// At the gate a successor waits until the cursors are its own (Handover.swift); the first of a name passes at once.
// The pauses grow with each failure in a row, as `retry` says. Between two deliveries the thread puts the books in
// order: what is overdue comes again, rejected records go to the dead letter sink, cursors move up to the lowest
// record that is not settled. It sleeps on one doorbell, rung by the log, by verdicts from other threads, by
// `set_credit` and by `stop`.

import CSluice
import Logging
import SluiceCore
import SluiceTopology
import Synchronization

/// `@unchecked Sendable`: made by `SubscriberInstance.start`, then touched by the subscriber's own thread alone.
final class SubscriberWorker: @unchecked Sendable {
  let name: String
  let plugin: LoadedPlugin
  let options: DeliveryOptions
  let services: HostServices
  let shared: SubscriberShared
  /// The streams, behind them the records that an operator wants delivered again, and while there is one the part of a
  /// stream. None before the readers are taken up.
  var feeds: [StreamFeed] = []
  let replay: ReplayQueue
  let slot: ReplaySlot
  /// The places of these two among the streams.
  let queueStream: Int
  let rangeStream: Int
  let match: SubscriberSettings.Match?
  /// What the books have counted of the replay.
  var replayed = ReplayedRecords()
  let desk: DeadLetterDesk
  let logger: Logger
  /// Changed by `reconfigure` alone.
  var configJSON: String

  var instance: UnsafeMutableRawPointer?
  let error: UnsafeMutablePointer<slu_error>
  let batch: RecordBatch
  let builder: MessageBuilder
  var offsets: [UInt32] = []
  /// What the first message of the next delivery gets: only this thread gives tokens out.
  var nextToken: UInt64 = 1
  var jitter = JitterSource(seed: UInt64.random(in: 0...UInt64.max))
  /// No delivery before this time.
  var pausedUntil: Int64 = 0
  /// `services.credit.epoch` when the plugin was last busy: a later one ends the pause. nil: it was not.
  var busySince: UInt64?
  /// Deliveries that failed, or were put off, in a row.
  var failures: UInt32 = 0
  /// When the books are to be looked at again although nothing rings.
  var booksDue = Int64.max
  /// Nothing is delivered: the dead letters do not get away.
  var isHeld = false
  /// Where each stream's cursor may stand, when the books were last looked at.
  var cursors: [UInt64] = []
  /// What of these the readers were told.
  var booked: [UInt64] = []
  /// Of the last round, if something was delivered in it: when the next begins. 0: nothing was.
  var deliveryEnd: Int64 = 0
  /// Whose batch the plugin has.
  var deliveredStream = 0
  /// The stream whose turn it is.
  var turn = 0
  /// What may have killed the plugin's process.
  var suspects = CrashSuspects()
  var isPublisherOpen = false
  /// Only with a plugin in a process of its own.
  var ahead: ReadAhead?
  /// Why the floors were last not written.
  var floorsFailure: String?

  enum Ending {
    case asked
    case broken(String)
  }

  init(
    settings: SubscriberSettings, plugin: LoadedPlugin, options: DeliveryOptions, streams: Int,
    replay: ReplayQueue, slot: ReplaySlot, services: HostServices, shared: SubscriberShared,
    deadLetters: any DeadLetterSink, logger: Logger
  ) {
    name = settings.name
    self.plugin = plugin
    self.options = options
    configJSON = settings.configJSON
    self.services = services
    self.shared = shared
    self.logger = logger
    self.replay = replay
    self.slot = slot
    match = settings.match
    queueStream = streams
    rangeStream = streams + 1
    desk = DeadLetterDesk(
      subscriber: settings.name, streams: streams, sink: deadLetters, bell: services.bell, logger: logger)
    let isSelective = settings.match != nil
    batch = RecordBatch(capacity: isSelective ? max(options.records, Limits.matchScanRecords) : options.records)
    builder = MessageBuilder(capacity: options.records)
    offsets.reserveCapacity(options.records)
    error = .allocate(capacity: 1)
    error.initialize(to: slu_error())
  }

  deinit { error.deallocate() }

  // MARK: The life

  /// The thread's body.
  func run() {
    services.adoptThread()
    if plugin.isIsolated { services.setWork { [unowned self] in readAhead(behind: deliveredStream) } }
    if !plugin.isIsolated { CrashReport.noteThread(plugin.lastWords(of: name)) }
    var broken: UInt32 = 0
    while !shared.isStopping {
      let delivered = services.tracker.withLock { $0.counts.acked }
      guard case .broken(let why) = live() else { break }
      if services.tracker.withLock({ $0.counts.acked }) != delivered { broken = 0 }
      if isGivenUp { break }
      broken = min(broken + 1, 64)
      shared.life.withLock { life in
        life.lastError = why
        life.restarts += 1
      }
      shared.enter(.waiting)
      // A search for the record that kills it is not to take for ever.
      let pause = options.retry.delay(afterAttempt: suspects.isEmpty ? broken : 1, random: jitter.next())
      logger.error("instance ended", metadata: ["why": "\(why)", "again_in_ms": "\(pause / 1_000_000)"])
      sleep(until: Clock.monotonic() + pause)
    }
    leave()
  }

  /// Nobody wants another instance: the first `create` failed, or the first `start` of one that has no readers yet.
  private var isGivenUp: Bool {
    let (create, start) = shared.life.withLock { ($0.firstCreate, $0.firstStart) }
    if case .failure = create { return true }
    if case .failure = start { return shared.admitted == nil }
    return false
  }

  /// One instance, from `create` to `destroy`.
  private func live() -> Ending {
    shared.enter(.starting)
    if let failure = create() { return .broken(failure) }
    let ending = start() ?? awaitReaders() ?? openPublisher() ?? deliverAndDrain()
    // What is of no more use does not show as running, however long its end takes.
    if case .broken(let why) = ending {
      note(why)
      shared.enter(.waiting)
    }
    stopInstance()
    return ending
  }

  /// Returns when the subscriber is to end or the instance is of no more use.
  private func deliverAndDrain() -> Ending {
    shared.enter(.running)
    shared.life.withLock { life in
      life.failedStarts = 0
      life.failedDeliveries = 0
    }
    let ending = deliverUntilAsked()
    if case .asked = ending { drain() }
    return ending
  }

  private func create() -> String? {
    var made: UnsafeMutableRawPointer?
    let now = Clock.monotonic()
    let rc = configJSON.withBytes { config in
      shared.call(.create, from: now, until: now + Limits.pluginStartNanoseconds) {
        plugin.table.create(plugin.original, services.table, config, &made, clearedError())
      }
    }
    // It may have put handlers of its own in place of those that tell of a crash.
    if !plugin.isIsolated { PluginCrashes.reportAgain() }
    let failure = rc == SLU_OK ? nil : "create answered " + error.pointee.description(of: rc)
    let isLeft = shared.life.withLock { life in
      if !life.isLeft, life.firstCreate == nil {
        life.firstCreate = failure.map { .failure(HostError(subscriber: name, $0)) } ?? .success(())
      }
      return life.isLeft
    }
    shared.progress.ring()
    if isLeft {
      if failure == nil { callEnding(.destroy) { plugin.table.destroy(made) } }
      return "create returned when nobody waited for it any more"
    }
    guard failure == nil else {
      // It is told with the failure: the next instance has not crashed.
      _ = services.takeCrash()
      return failure
    }
    takeUpReaders()
    instance = made
    shared.interruptible.withLock { $0 = UInt(bitPattern: made) }
    return nil
  }

  /// Calls `start` until it succeeds. Something else than nil: it never will, or the subscriber is to end.
  private func start() -> Ending? {
    guard let start = plugin.table.start else {
      noteStart(.success(.running))
      return nil
    }
    var attempt: UInt32 = 0
    while true {
      let now = Clock.monotonic()
      let deadline = now + Limits.pluginStartNanoseconds
      let rc = shared.call(.start, from: now, until: deadline) { start(instance, deadline, clearedError()) }
      if !plugin.isIsolated { PluginCrashes.reportAgain() }
      if rc == SLU_OK {
        noteStart(.success(.running))
        return nil
      }
      let why = "start answered " + error.pointee.description(of: rc)
      shared.life.withLock { life in
        life.lastError = why
        life.failedStarts += 1
      }
      if shared.isStopping { return .asked }
      guard ReturnCode(rc) == .retryable || ReturnCode(rc) == .timeout else {
        noteStart(.failure(HostError(subscriber: name, why)))
        return .broken(why)
      }
      noteStart(.success(.retrying(why)))
      attempt = min(attempt + 1, 64)
      let pause = options.retry.delay(afterAttempt: attempt, random: jitter.next())
      logger.warning("not started yet", metadata: ["why": "\(why)", "again_in_ms": "\(pause / 1_000_000)"])
      shared.enter(.waiting)
      sleep(until: Clock.monotonic() + pause)
      takeUpReaders()
      if shared.isStopping { return .asked }
      shared.enter(.starting)
    }
  }

  private func drain() {
    shared.enter(.draining)
    guard let drain = plugin.table.drain ?? plugin.table.flush else { return }
    let deadline = shared.stopDeadline.load(ordering: .acquiring)
    let rc = shared.call(.drain, from: Clock.monotonic(), until: deadline) {
      drain(instance, deadline, clearedError())
    }
    if rc != SLU_OK {
      logger.warning("drain did not end", metadata: ["why": "\(error.pointee.description(of: rc))"])
    }
  }

  /// `stop`, if `start` was ever called, and `destroy`. Every token dies.
  private func stopInstance() {
    dropAhead()
    if let stop = plugin.table.stop {
      let rc = callEnding(.stop) { stop(instance, clearedError()) }
      if rc != SLU_OK { logger.warning("stop failed", metadata: ["why": "\(error.pointee.description(of: rc))"]) }
    }
    callEnding(.destroy) {
      // Waits for an `interrupt` that is under way.
      shared.interruptible.withLock { $0 = 0 }
      plugin.table.destroy(instance)
    }
    instance = nil
    _ = services.takeCrash()
    // Verdicts that came until here count.
    keepBooks(now: Clock.monotonic())
    let forgotten = services.forgetInstance(now: Clock.monotonic())
    if forgotten > 0 { logger.warning("leases were not released", metadata: ["leases": "\(forgotten)"]) }
    pausedUntil = 0
    busySince = nil
    failures = 0
  }

  private func callEnding<Result>(_ call: PluginCall, _ body: () -> Result) -> Result {
    let now = Clock.monotonic()
    return shared.call(call, from: now, until: now + Limits.drainNanoseconds, body)
  }

  /// The subscriber ends: cursors are written, readers closed.
  private func leave() {
    guard !shared.life.withLock({ $0.isLeft }) else { return end() }
    takeUpReaders()
    guard !feeds.isEmpty else { return end() }
    keepBooks(now: Clock.monotonic())
    waitForDeadLetters()
    waitForPublished()
    desk.close()
    for feed in feeds {
      feed.reader.setDoorbell(nil)
      do throws(StreamReadError) {
        try feed.reader.flushCursor()
      } catch {
        logger.error("cursor not written", metadata: ["stream": "\(feed.reader.streamName)", "why": "\(error)"])
      }
    }
    end()
  }

  private func end() {
    closePublisher()
    services.setWork(nil)
    let awaitingEnd = shared.life.withLock { life in
      life.isDone = true
      if life.state != .stuck { life.state = .stopped }
      defer { life.awaitingEnd = [] }
      return life.awaitingEnd
    }
    // Who left the thread behind has closed the others.
    closeReplay()
    if feeds.isEmpty { replay.close() } else { for feed in feeds { feed.reader.close() } }
    shared.progress.ring()
    for body in awaitingEnd { body() }
  }

  // MARK: Small things

  /// The error that the plugin may fill, zeroed as the ABI wants it.
  func clearedError() -> UnsafeMutablePointer<slu_error> {
    UnsafeMutableRawPointer(error).initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<slu_error>.size)
    return error
  }

  /// Sleeps through rings, but not through `stop`.
  func sleep(until deadline: Int64) {
    while !shared.isStopping, services.bell.wait(until: deadline) {}
  }

  func note(_ why: String) { shared.life.withLock { $0.lastError = why } }
}
