// What a plugin's instance may ask of the daemon: the `slu_host` table and what stands behind it.
//
// One per subscriber, for all the instances that it makes one after the other, and never freed: a plugin's thread that
// outlives `stop`, against the rules, still finds memory that answers it. What costs memory is emptied when the
// subscriber ends.
//
// Threads: every function of the table may come on any thread. What they share is behind `tracker` (verdicts),
// `leases`, `health`, the publisher's, or atomic. No two of these are ever held together, but that a publisher asks the
// tracker, nor is one while plugin code runs; under `leases` a pin may take a lock of its own.

import CSluice
import Glibc
import Logging
import SluiceCore
import Synchronization

/// `@unchecked Sendable`: `table` and the texts it points to are written in `init` and never again; `currentLease`,
/// `currentPin` and `work` are touched by the subscriber's thread alone (`retain` checks that); the rest is locked or atomic.
final class HostServices: IsolationHost, @unchecked Sendable {
  let tracker: Mutex<SettleTracker>
  let bell: Doorbell
  let metrics = PluginMetrics()
  let leases = Mutex(LeaseTable())
  let health = Mutex<(state: SubscriberStatus.Health, reason: String)>((.ok, ""))
  let credit = MessageCredit()
  private let ownThread = Atomic<UInt>(0)
  /// What ended the plugin's process, until the subscriber's thread has seen it.
  private let crash = Mutex<ProcessDeath?>(nil)
  /// There is one: so that looking costs an atomic load.
  private let isCrashed = Atomic<Bool>(false)
  private let isolated = Mutex<IsolatedInstance?>(nil)
  private var currentLease: UInt64 = 0
  private var currentPin: (any RecordPin)?
  private var work: (() -> Void)?

  let logger: Logger
  let table: UnsafeMutablePointer<slu_host>
  private let texts: [CText]
  let subscriber: String
  let hostVersion: String
  let stateDirectory: String
  /// For a plugin in a process of its own.
  let isolation: IsolationSettings?
  /// Nil: the topology maps none of the plugin's outputs.
  let publisher: Publisher?

  init(
    subscriber: String, hostVersion: String, stateDirectory: String, isolation: IsolationSettings? = nil,
    publisher: Publisher? = nil, tracker: consuming SettleTracker, bell: Doorbell = Doorbell(), logger: Logger
  ) {
    self.tracker = Mutex(tracker)
    self.logger = logger
    self.subscriber = subscriber
    self.hostVersion = hostVersion
    self.stateDirectory = stateDirectory
    self.isolation = isolation
    self.publisher = publisher
    self.bell = bell
    texts = [CText(hostVersion), CText(subscriber), CText(stateDirectory)]
    table = .allocate(capacity: 1)
    table.initialize(to: HostServices.functions)
    table.pointee.host_version = texts[0].bytes
    table.pointee.instance = texts[1].bytes
    table.pointee.state_dir = texts[2].bytes
    // Kept for ever, as said above.
    table.pointee.context = Unmanaged.passRetained(self).toOpaque()
  }

  // MARK: For the subscriber's thread

  /// The calling thread is the instance's own from now on.
  func adoptThread() { ownThread.store(HostServices.thread, ordering: .relaxed) }

  func beginDelivery(lease: UInt64, pin: (any RecordPin)?) {
    currentLease = lease
    currentPin = pin
  }

  func endDelivery() { currentPin = nil }

  /// An instance ended, all its functions have returned: nothing that it said holds for the next.
  func forgetInstance(now: Int64) -> Int {
    tracker.withLock { $0.abandon(now: now) }
    credit.forget()
    health.withLock { $0 = (.ok, "") }
    return leases.withLock { $0.releaseAll() }
  }

  // MARK: For a plugin in a process of its own

  /// The instance that has a process, from before its `create` until behind its `destroy`.
  func setProcess(_ instance: IsolatedInstance?) { isolated.withLock { $0 = instance } }

  /// What the subscriber's thread does while the process has a batch.
  func setWork(_ work: (() -> Void)?) { self.work = work }

  func workMeanwhile() { work?() }

  /// Copies a batch to where the process will look at it when it is delivered, which the next batch is. False: not now.
  func stage(_ batch: UnsafePointer<slu_batch>) -> Bool { isolated.withLock { $0 }?.stage(batch) ?? false }

  /// Another batch is delivered.
  func unstage() { isolated.withLock { $0 }?.unstage() }

  /// Makes whatever call is under way return, or end with the process.
  func interruptProcess() { isolated.withLock { $0 }?.interrupt() }

  func noteCrash(_ death: ProcessDeath) {
    crash.withLock { crash in
      crash = death
      isCrashed.store(true, ordering: .releasing)
    }
    bell.ring()
  }

  var hasCrashed: Bool { isCrashed.load(ordering: .acquiring) }

  func takeCrash() -> ProcessDeath? {
    crash.withLock { crash in
      defer { crash = nil }
      isCrashed.store(false, ordering: .relaxed)
      return crash
    }
  }

  func noteDeathInDestroy(_ why: String) { logger.warning("\(why)") }

  func noteLeasesLeft(_ count: Int) { logger.warning("leases were not released", metadata: ["leases": "\(count)"]) }

  func notePrinted(_ line: String) { logger.info("\(line)", metadata: ["from": "its output"]) }

  func noteLinesLeftOut(_ count: Int) {
    logger.warning("the plugin's process says more than is logged", metadata: ["lines_left_out": "\(count)"])
  }

  func register(_ metric: MetricRequest) -> UInt64 { metrics.register(metric) }

  func isLogged(_ level: UInt32) -> Bool { HostServices.level(level) >= logger.logLevel }

  func log(_ level: UInt32, _ message: String, _ pairs: [(String, String)]) {
    let level = HostServices.level(level)
    guard level >= logger.logLevel else { return }
    var metadata: Logger.Metadata = [:]
    for (name, value) in pairs.prefix(Limits.maxPluginLogPairs) { metadata[name] = "\(value)" }
    logger.log(level: level, "\(message)", metadata: metadata)
  }

  // MARK: The functions

  private static var thread: UInt { UInt(pthread_self()) }

  private func settle(_ items: UnsafePointer<slu_settlement>?, _ count: UInt32) -> slu_rc {
    guard count > 0 else { return SLU_OK }
    guard let items else { return SLU_E_INVALID }
    var faults: SettleFaults = []
    var next = 0
    while next < Int(count) {
      let end = min(next + Limits.settlementsPerHold, Int(count))
      tracker.withLock { tracker in
        for index in next..<end {
          faults.formUnion(tracker.settle(Settlement(items[index]), now: Clock.monotonic()))
        }
      }
      next = end
    }
    // The thread that delivers looks at the tracker anyway when `deliver` returns.
    if ownThread.load(ordering: .relaxed) != HostServices.thread { bell.ring() }
    return faults.contains(.invalid) ? SLU_E_INVALID : faults.contains(.stale) ? SLU_STALE : SLU_OK
  }

  private func retain(_ lease: UInt64) -> slu_rc {
    guard ownThread.load(ordering: .relaxed) == HostServices.thread, lease == currentLease else { return SLU_E_INVALID }
    guard let pin = currentPin else { return SLU_E_UNSUPPORTED }
    switch leases.withLock({ $0.retain(lease, pin: pin, budget: Limits.pluginLeaseBytes) }) {
    case .held: return SLU_OK
    case .overBudget: return SLU_BUSY
    }
  }

  private func publish(_ items: UnsafePointer<slu_publication>?, _ count: UInt32, _ stride: UInt32) -> slu_rc {
    guard count > 0 else { return SLU_OK }
    guard let items, stride.isMultiple(of: 8), count <= UInt32(Limits.maxPublicationsPerCall) else {
      return SLU_E_INVALID
    }
    guard let publisher else { return SLU_E_CONFIG }
    let rc = publisher.publish(UnsafeRawPointer(items), Int(count), Int(stride), tracker)
    // The thread that delivers looks at what is published anyway when `deliver` returns. It may have met a hold that was for
    // nothing, too.
    if ownThread.load(ordering: .relaxed) != HostServices.thread { bell.ring() }
    return rc
  }

  private func setCredit(_ messages: UInt32) {
    credit.set(messages)
    bell.ring()
  }

  private func log(_ level: UInt32, _ message: slu_bytes, _ pairs: UnsafePointer<slu_pair>?, _ count: UInt32) {
    let level = HostServices.level(level)
    guard level >= logger.logLevel else { return }
    var metadata: Logger.Metadata = [:]
    if let pairs {
      for index in 0..<min(Int(count), Limits.maxPluginLogPairs) {
        let name = pairs[index].name.text(limit: Limits.maxPluginLogPairBytes)
        metadata[name] = "\(pairs[index].value.text(limit: Limits.maxPluginLogPairBytes))"
      }
    }
    logger.log(level: level, "\(message.text(limit: Limits.maxPluginLogMessageBytes))", metadata: metadata)
  }

  private static func level(_ level: UInt32) -> Logger.Level {
    switch level {
    case UInt32(SLU_LOG_TRACE): .trace
    case UInt32(SLU_LOG_DEBUG): .debug
    case UInt32(SLU_LOG_INFO): .info
    case UInt32(SLU_LOG_NOTICE): .notice
    case UInt32(SLU_LOG_WARNING): .warning
    default: .error
    }
  }

  func setHealth(_ state: UInt32, _ why: slu_bytes, mayTell: (Int) -> Bool) {
    let reason = why.text(limit: Limits.maxPluginHealthBytes)
    let state: SubscriberStatus.Health =
      switch state {
      case UInt32(SLU_HEALTH_OK): .ok
      case UInt32(SLU_HEALTH_DOWN): .down
      default: .degraded
      }
    let changed = health.withLock { health in
      defer { health = (state, reason) }
      return health.state != state
    }
    if changed, mayTell(reason.utf8.count) {
      logger.notice("health is \(state.rawValue)", metadata: ["why": "\(reason)"])
    }
  }

  /// Every function that the table has in this minor version; what is not served says so.
  private static var functions: slu_host {
    slu_host(
      struct_size: UInt32(MemoryLayout<slu_host>.size), abi_minor: UInt32(SLU_ABI_MINOR), context: nil,
      host_version: slu_bytes(), instance: slu_bytes(), state_dir: slu_bytes(),
      log: { context, level, message, pairs, count in
        HostServices.with(context) { $0.log(level, message, pairs, count) }
      },
      settle: { context, items, count in HostServices.with(context) { $0.settle(items, count) } },
      retain: { context, lease in HostServices.with(context) { $0.retain(lease) } },
      release: { context, lease in
        HostServices.with(context) { services in services.leases.withLock { $0.release(lease) } }
      },
      set_credit: { context, messages in
        HostServices.with(context) { $0.setCredit(messages) }
        return SLU_OK
      },
      publish: { context, items, count, stride in
        HostServices.with(context) { $0.publish(items, count, stride) }
      },
      metric_register: { context, metric in
        guard let metric, let request = MetricRequest(metric) else { return 0 }
        return HostServices.with(context) { $0.metrics.register(request) }
      },
      metric_add: { context, id, value in HostServices.with(context) { $0.metrics.add(id, value) } },
      metric_set: { context, id, value in HostServices.with(context) { $0.metrics.set(id, value) } },
      clock_ns: { _, clock in
        switch clock {
        case UInt32(SLU_CLOCK_REALTIME): Clock.wall()
        case UInt32(SLU_CLOCK_MONOTONIC): Clock.monotonic()
        default: 0
        }
      },
      set_health: { context, state, why in HostServices.with(context) { $0.setHealth(state, why) { _ in true } } },
      get_extension: { _, _ in nil })
  }

  /// `context` is what `init` put into the table; the object behind it is never freed, so no reference is counted.
  @inline(__always)
  private static func with<Result>(_ context: UnsafeMutableRawPointer?, _ body: (HostServices) -> Result) -> Result {
    Unmanaged<HostServices>.fromOpaque(context!)._withUnsafeGuaranteedRef(body)
  }
}

extension Settlement {
  init(_ item: slu_settlement) {
    let verdict: Verdict =
      switch item.verdict {
      case UInt32(SLU_ACK): .ack
      case UInt32(SLU_RETRY): .retry
      case UInt32(SLU_REJECT): .reject
      default: .unknown
      }
    self.init(
      firstToken: item.first_token, count: item.count, verdict: verdict, delayMilliseconds: item.delay_ms,
      code: item.code, reason: item.reason.raw(limit: Limits.maxVerdictReasonBytes))
  }
}

extension MetricRequest {
  /// Copies what a plugin asks for; nil if it is no metric at all.
  init?(_ metric: UnsafePointer<slu_metric>) {
    let needed = MemoryLayout<slu_metric>.offset(of: \.bound_count)! + MemoryLayout<UInt32>.size
    guard Int(metric.pointee.struct_size) >= needed else { return nil }
    let metric = metric.pointee
    guard let kind = Kind(metric.kind) else { return nil }
    self.kind = kind
    guard metric.label_count <= UInt32(Limits.maxPluginMetricLabels), metric.label_count == 0 || metric.labels != nil,
      metric.bounds == nil || metric.bound_count <= UInt32(Limits.maxPluginMetricBounds)
    else { return nil }
    name = metric.name.text(limit: Limits.maxPluginTextBytes)
    unit = metric.unit.text(limit: Limits.maxPluginTextBytes)
    help = metric.help.text(limit: Limits.maxPluginTextBytes)
    labels = (0..<Int(metric.label_count)).map { index in
      (
        metric.labels[index].name.text(limit: Limits.maxPluginTextBytes),
        metric.labels[index].value.text(limit: Limits.maxPluginTextBytes)
      )
    }
    bounds = metric.bounds.map { bounds in (0..<Int(metric.bound_count)).map { bounds[$0] } } ?? []
  }
}

extension MetricRequest.Kind {
  /// As the ABI has it.
  init?(_ kind: UInt32) {
    switch kind {
    case UInt32(SLU_METRIC_COUNTER): self = .counter
    case UInt32(SLU_METRIC_GAUGE): self = .gauge
    case UInt32(SLU_METRIC_HISTOGRAM): self = .histogram
    default: return nil
    }
  }
}
