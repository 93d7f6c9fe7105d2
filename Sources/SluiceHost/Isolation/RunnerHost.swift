// The `slu_host` that a plugin in a process of its own is given: it answers what it can by itself and sends the rest to the
// daemon.
//
// What the instance's own thread says during a call is gathered and sent with the reply, or before when it is much; what
// other threads say is sent at once, with all that was gathered before it. Whoever sends takes what was gathered when it is its
// turn to send: so the daemon hears everything in the order in which it was said, whichever thread carries it.
//
// Tokens: the daemon's books are the ones that count. A copy of what is open is kept here, since `settle` answers at once.

import CSluice
import Glibc
import SluiceCore
import Synchronization

/// Which tokens the instance may settle yet.
struct OpenTokens {
  private struct Batch {
    var first: UInt64
    var isOpen: [Bool]
    var left: Int
    /// `Clock.monotonic`; 0: none.
    var deadline: Int64
  }

  private var batches: [Batch] = []
  private var next: UInt64 = 0

  mutating func open(first: UInt64, count: Int, deadline: Int64, now: Int64) {
    batches.removeAll { $0.left == 0 || ($0.deadline > 0 && $0.deadline <= now) }
    batches.append(Batch(first: first, isOpen: Array(repeating: true, count: count), left: count, deadline: deadline))
  }

  /// The batch that begins with `first` is over: its tokens are dead.
  mutating func close(first: UInt64) { batches.removeAll { $0.first == first } }

  mutating func removeAll() { batches.removeAll() }

  /// What `settle` answers for `count` tokens from `first` on.
  mutating func settle(first: UInt64, count: UInt32, now: Int64) -> slu_rc {
    guard count > 0 else { return SLU_E_INVALID }
    guard let place = batches.firstIndex(where: { first >= $0.first && first - $0.first < UInt64($0.isOpen.count) }),
      batches[place].deadline == 0 || batches[place].deadline > now
    else { return SLU_STALE }
    let start = Int(first - batches[place].first)
    let end = min(start + Int(count), batches[place].isOpen.count)
    var stale = false
    for index in start..<end {
      if batches[place].isOpen[index] { batches[place].left -= 1 } else { stale = true }
      batches[place].isOpen[index] = false
    }
    return start + Int(count) > end ? SLU_E_INVALID : stale ? SLU_STALE : SLU_OK
  }
}

/// `@unchecked Sendable`: `table`, and the texts it points to, are written before the instance is made; `delivering` belongs
/// to the instance's thread; the rest is locked.
final class RunnerHost: @unchecked Sendable {
  private struct Lease {
    var slot: UInt32
    var holds: Int
    var bytes: Int
    /// The daemon was told that it is retained.
    var isTold = false
  }

  private struct State {
    var outbox = PacketWriter()
    var tokens = OpenTokens()
    var leases: [UInt64: Lease] = [:]
    var leasedBytes = 0

    mutating func put(_ kind: PacketKind, _ body: (inout PacketWriter) -> Void) {
      outbox.begin(kind)
      body(&outbox)
      outbox.end()
    }

    mutating func take() -> [UInt8] {
      defer { outbox.removeAll() }
      return outbox.bytes
    }
  }

  let table: UnsafeMutablePointer<slu_host>
  private let texts: [CText]
  private let channel: PacketChannel
  private let slots: Int
  /// What was registered, since `metric_register` answers at once; the values are the daemon's.
  private let metrics = PluginMetrics()
  private let state = Mutex(State())
  /// Held by the thread that waits for the answer to a publication.
  let publishing = Mutex<Void>(())
  private let ownThread = pthread_self()
  /// A call of the daemon's is under way. Of the instance's thread.
  private var isCalled = false
  private var delivering: (lease: UInt64, slot: UInt32, bytes: Int)?

  /// On the instance's thread, for the process's life.
  init(_ channel: PacketChannel, hostVersion: String, instance: String, stateDirectory: String, slots: Int) {
    self.channel = channel
    self.slots = slots
    texts = [CText(hostVersion), CText(instance), CText(stateDirectory)]
    table = .allocate(capacity: 1)
    table.initialize(to: RunnerHost.functions)
    table.pointee.host_version = texts[0].bytes
    table.pointee.instance = texts[1].bytes
    table.pointee.state_dir = texts[2].bytes
    table.pointee.context = Unmanaged.passRetained(self).toOpaque()
  }

  // MARK: For the runner

  func beginCall() { isCalled = true }

  /// Sends what was gathered, and the reply behind it.
  func reply(_ body: (inout PacketWriter) -> Void) {
    isCalled = false
    _ = sayNow(.reply, body)
  }

  func beginDelivery(_ batch: slu_batch, slot: UInt32) {
    delivering = (batch.lease, slot, Int(batch.lease_bytes))
    state.withLock {
      $0.tokens.open(
        first: batch.messages.pointee.token, count: Int(batch.count), deadline: batch.ack_deadline_ns,
        now: Clock.monotonic())
    }
  }

  /// Returns whether the slot is retained.
  func endDelivery(firstToken: UInt64, rc: slu_rc) -> Bool {
    defer { delivering = nil }
    return state.withLock { state in
      if rc != SLU_ACCEPTED { state.tokens.close(first: firstToken) }
      guard let lease = delivering?.lease, state.leases[lease] != nil else { return false }
      state.leases[lease]?.isTold = true
      return true
    }
  }

  /// After `stop`. Returns how many leases were not released.
  func forgetInstance() -> Int {
    state.withLock { state in
      defer {
        state.leases.removeAll()
        state.leasedBytes = 0
        state.tokens.removeAll()
      }
      return state.leases.count
    }
  }

  // MARK: The functions

  /// Puts one packet together, and sends it unless the call's reply will.
  private func say(_ kind: PacketKind, _ body: (inout PacketWriter) -> Void) {
    let gathered = state.withLock { state in
      state.put(kind, body)
      return state.outbox.bytes.count
    }
    sendUnlessGathering(gathered)
  }

  /// Sends what was gathered, so many bytes, unless the call's reply will.
  private func sendUnlessGathering(_ bytes: Int) {
    let gathers = pthread_equal(pthread_self(), ownThread) != 0 && isCalled
    if !gathers || bytes >= Limits.isolationOutboxBytes { _ = send() }
  }

  /// Sends one packet at once, with all that was gathered before it. False when the daemon is gone.
  func sayNow(_ kind: PacketKind, _ body: (inout PacketWriter) -> Void) -> Bool {
    state.withLock { $0.put(kind, body) }
    return send()
  }

  /// Sends what was gathered and that nobody else has sent by then. Not under `state`: it would hold up all of the plugin's
  /// threads for as long as the daemon does not read.
  private func send() -> Bool { channel.send { state.withLock { $0.take() } } }

  private func settle(_ items: UnsafePointer<slu_settlement>?, _ count: UInt32) -> slu_rc {
    guard count > 0 else { return SLU_OK }
    guard let items else { return SLU_E_INVALID }
    var answer = SLU_OK
    var rest = UnsafeBufferPointer(start: items, count: Int(count))[...]
    while !rest.isEmpty {
      let portion = RunnerHost.portion(of: rest)
      say(.settle) { packet in
        packet.put(UInt32(portion.count))
        for item in portion {
          packet.put(item.first_token)
          for number in [item.count, item.verdict, item.delay_ms, item.code] { packet.put(number) }
          packet.put(item.reason.raw(limit: Limits.maxVerdictReasonBytes))
        }
      }
      rest = rest[portion.endIndex...]
    }
    let now = Clock.monotonic()
    state.withLock { state in
      for index in 0..<Int(count) {
        let rc = state.tokens.settle(first: items[index].first_token, count: items[index].count, now: now)
        if rc == SLU_E_INVALID || answer == SLU_OK { answer = rc }
      }
    }
    return answer
  }

  /// As many of them as go into one packet: at least one.
  private static func portion(
    of items: Slice<UnsafeBufferPointer<slu_settlement>>
  ) -> Slice<UnsafeBufferPointer<slu_settlement>> {
    var bytes = 0
    return items.prefix { item in
      bytes += Limits.isolationSettlementBytes + item.reason.raw(limit: Limits.maxVerdictReasonBytes).count
      return bytes <= Limits.isolationOutboxBytes
    }
  }

  private func retain(_ lease: UInt64) -> slu_rc {
    guard pthread_equal(pthread_self(), ownThread) != 0, let delivering, delivering.lease == lease else {
      return SLU_E_INVALID
    }
    return state.withLock { state in
      if state.leases[lease] != nil {
        state.leases[lease]?.holds += 1
        return SLU_OK
      }
      guard state.leasedBytes + delivering.bytes <= Limits.pluginLeaseBytes, state.leases.count < slots - 1 else {
        return SLU_BUSY
      }
      state.leases[lease] = Lease(slot: delivering.slot, holds: 1, bytes: delivering.bytes)
      state.leasedBytes += delivering.bytes
      return SLU_OK
    }
  }

  private func release(_ lease: UInt64) {
    let gathered = state.withLock { state -> Int? in
      guard var found = state.leases[lease] else { return nil }
      found.holds -= 1
      state.leases[lease] = found.holds > 0 ? found : nil
      guard found.holds == 0 else { return nil }
      state.leasedBytes -= found.bytes
      // Before the delivery's end the daemon does not know of it.
      guard found.isTold else { return nil }
      // At once: when another batch is retained in its place, the daemon is to have heard of this one first.
      state.put(.release) { $0.put(found.slot) }
      return state.outbox.bytes.count
    }
    if let gathered { sendUnlessGathering(gathered) }
  }

  private func log(_ level: UInt32, _ message: slu_bytes, _ pairs: UnsafePointer<slu_pair>?, _ count: UInt32) {
    let shown = pairs == nil ? 0 : min(Int(count), Limits.maxPluginLogPairs)
    say(.log) { packet in
      packet.put(level)
      packet.put(message.raw(limit: Limits.maxPluginLogMessageBytes))
      packet.put(UInt32(shown))
      for index in 0..<shown {
        packet.put(pairs![index].name.raw(limit: Limits.maxPluginLogPairBytes))
        packet.put(pairs![index].value.raw(limit: Limits.maxPluginLogPairBytes))
      }
    }
  }

  private func register(_ metric: UnsafePointer<slu_metric>?) -> UInt64 {
    guard let metric, let request = MetricRequest(metric) else { return 0 }
    let number = metrics.register(request)
    guard number > 0 else { return 0 }
    say(.register) { packet in
      packet.put(number)
      packet.put(metric.pointee.kind)
      for text in [request.name, request.unit, request.help] { packet.put(text) }
      packet.put(UInt32(request.labels.count))
      for label in request.labels {
        packet.put(label.0)
        packet.put(label.1)
      }
      packet.put(UInt32(request.bounds.count))
      for bound in request.bounds { packet.put(bound) }
    }
    return number
  }

  private func change(_ kind: PacketKind, _ metric: UInt64, _ value: Double) {
    guard metric > 0 else { return }
    say(kind) { packet in
      packet.put(metric)
      packet.put(value)
    }
  }

  private func setHealth(_ health: UInt32, _ why: slu_bytes) {
    say(.health) { packet in
      packet.put(health)
      packet.put(why.raw(limit: Limits.maxPluginHealthBytes))
    }
  }

  private static var functions: slu_host {
    slu_host(
      struct_size: UInt32(MemoryLayout<slu_host>.size), abi_minor: UInt32(SLU_ABI_MINOR), context: nil,
      host_version: slu_bytes(), instance: slu_bytes(), state_dir: slu_bytes(),
      log: { context, level, message, pairs, count in RunnerHost.with(context) { $0.log(level, message, pairs, count) }
      },
      settle: { context, items, count in RunnerHost.with(context) { $0.settle(items, count) } },
      retain: { context, lease in RunnerHost.with(context) { $0.retain(lease) } },
      release: { context, lease in RunnerHost.with(context) { $0.release(lease) } },
      set_credit: { context, messages in
        RunnerHost.with(context) { $0.say(.credit) { $0.put(messages) } }
        return SLU_OK
      },
      publish: { context, items, count, stride in
        RunnerHost.with(context) { $0.publish(items, count, stride) }
      },
      metric_register: { context, metric in RunnerHost.with(context) { $0.register(metric) } },
      metric_add: { context, metric, value in RunnerHost.with(context) { $0.change(.add, metric, value) } },
      metric_set: { context, metric, value in RunnerHost.with(context) { $0.change(.set, metric, value) } },
      clock_ns: { _, clock in
        switch clock {
        case UInt32(SLU_CLOCK_REALTIME): Clock.wall()
        case UInt32(SLU_CLOCK_MONOTONIC): Clock.monotonic()
        default: 0
        }
      },
      set_health: { context, health, why in RunnerHost.with(context) { $0.setHealth(health, why) } },
      get_extension: { _, _ in nil })
  }

  /// `context` is what `init` put into the table, which is never freed.
  private static func with<Result>(_ context: UnsafeMutableRawPointer?, _ body: (RunnerHost) -> Result) -> Result {
    Unmanaged<RunnerHost>.fromOpaque(context!)._withUnsafeGuaranteedRef(body)
  }
}
