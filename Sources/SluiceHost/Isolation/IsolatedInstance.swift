// One instance of a plugin in a process of its own, from the daemon's side. Its process is started by `create` and ends with
// `destroy`, or before:
//
//   what happens                                  the call that is under way answers       and
//   the process dies                              SLU_E_FATAL, with what ended it          what it held is suspected
//   a call is over its deadline                   – it is interrupted;                     (CrashSuspects.swift)
//     … and Limits.isolationGraceNanoseconds on   SLU_E_FATAL; the process is killed
//   it says what is no packet                     SLU_E_FATAL; the process is killed
//   its memory is over the limit                  SLU_E_FATAL; the process is killed
//   it dies while no call is under way            the next one does, and the worker is rung
//
// Threads: calls come on the subscriber's thread. "relay NAME" receives, does what events ask for, and hands replies over;
// "output NAME" reads what the process prints, and looks at its memory.

import CSluice
import Glibc
import Logging
import SluiceCore
import SluiceTopology
import Synchronization

/// What the topology says of a subscriber's process, and what of the daemon it needs.
struct IsolationSettings: Sendable {
  /// Nil: the daemon's user.
  var user: String?
  var memoryBytes: Int?
  var slotBytes: Int
  var slots = Limits.isolationSlots

  init(_ isolation: SubscriberSettings.Isolation, _ options: DeliveryOptions) {
    if case .process(let user, let memoryBytes) = isolation {
      self.user = user
      self.memoryBytes = memoryBytes
    }
    slotBytes = SharedArena.slotBytes(batchBytes: options.bytes, records: options.records)
  }
}

/// `@unchecked Sendable`: `arena` and `retained` belong to the subscriber's thread but for `freeSlots`, which is locked; the
/// metric numbers belong to the relay thread.
final class IsolatedInstance: @unchecked Sendable {
  struct Reply {
    var rc: slu_rc
    var code: UInt32
    var message: String
    var more: PacketReader
  }

  private struct State {
    var reply: Reply?
    /// What ended the process; nil while it lives.
    var death: String?
    var isExpected = false
  }

  let services: HostServices
  private let module: IsolatedModule
  let process: PluginProcess
  private let arena: SharedArena
  private let memoryLimit: Int?
  private let state = Mutex(State())
  private let freeSlots: Mutex<[Int]>
  private let bell = Doorbell()
  private let base = Atomic<UInt>(0)
  private let interruptedAt = Atomic<Int64>(.max)
  private var metrics: [UInt64: UInt64] = [:]
  private let threads = Mutex<[OSThread]>([])

  /// Starts the process; the plugin's own `create` is asked by `create`.
  init(_ module: IsolatedModule, _ services: HostServices, _ settings: IsolationSettings) throws(PluginProcess.Failure)
  {
    guard let arena = SharedArena(slotBytes: settings.slotBytes, slots: settings.slots) else {
      throw PluginProcess.Failure(message: "no memory to be shared with a process: \(String(cString: strerror(errno)))")
    }
    if let user = settings.user.flatMap({ getpwnam($0) }) {
      Paths.give(services.stateDirectory, to: user.pointee.pw_uid, user.pointee.pw_gid)
    }
    let directory = settings.user == nil ? nil : open(services.stateDirectory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    defer { if let directory, directory >= 0 { close(directory) } }
    process = try PluginProcess(
      executable: module.runner, memory: arena.descriptor, directory: directory,
      environment: IsolatedInstance.environment(hasUser: settings.user != nil))
    self.arena = arena
    self.module = module
    self.services = services
    memoryLimit = settings.memoryBytes
    freeSlots = Mutex(Array((0..<settings.slots).reversed()))
    let name = services.subscriber
    threads.withLock { threads in
      threads = [
        OSThread(name: "relay \(name)") { [self] in relay() },
        OSThread(name: "output \(name)") { [self] in readOutput() },
      ]
    }
  }

  /// The daemon's own, or next to nothing for another user's process.
  private static func environment(hasUser: Bool) -> [String] {
    let kept = ["PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"]
    var variables: [String] = []
    var entry: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> = environ
    while let text = entry.pointee {
      let line = String(cString: text)
      entry += 1
      guard !hasUser || kept.contains(String(line.prefix { $0 != "=" })) else { continue }
      variables.append(line)
    }
    // Who asks for backtraces gets them.
    if !variables.contains(where: { $0.hasPrefix("SWIFT_BACKTRACE=") }) { variables.append(PluginProcess.quietCrashes) }
    return variables
  }

  // MARK: Calls, on the subscriber's thread

  func create(_ config: slu_bytes, _ settings: IsolationSettings) -> Reply {
    call(.create, until: Clock.monotonic() + Limits.isolationCallNanoseconds) { packet in
      packet.put(module.path)
      packet.put(module.name)
      packet.put(module.kind)
      packet.put(services.hostVersion)
      packet.put(services.subscriber)
      // The directories above are the daemon's own, which another user can't pass.
      packet.put(settings.user == nil ? services.stateDirectory : "/proc/self/fd/\(PluginRunner.stateDirectory)")
      packet.put(settings.user ?? "")
      packet.put(UInt64(settings.memoryBytes ?? 0))
      packet.put(UInt64(arena.slotBytes))
      packet.put(UInt32(arena.slots))
      packet.put(config.raw(limit: .max))
    }
  }

  func start(_ kind: PacketKind, deadline: Int64) -> Reply {
    let until = deadline > 0 ? deadline : Clock.monotonic() + Limits.isolationCallNanoseconds
    return call(kind, until: until) { $0.put(deadline) }
  }

  func deliver(_ batch: UnsafePointer<slu_batch>) -> Reply {
    guard let slot = freeSlots.withLock({ $0.popLast() }) else {
      preconditionFailure("the process retains fewer slots than there are")
    }
    arena.remoteBase = base.load(ordering: .acquiring)
    guard let place = arena.write(batch, to: slot) else {
      freeSlots.withLock { $0.append(slot) }
      return Reply(
        rc: SLU_E_FATAL, code: 0, message: "a batch of \(batch.pointee.count) records does not fit the shared memory",
        more: PacketReader([]))
    }
    let batch = batch.pointee
    let until = batch.ack_deadline_ns > 0 ? batch.ack_deadline_ns : Clock.monotonic() + Limits.isolationCallNanoseconds
    var reply = call(.deliver, until: until) { packet in
      packet.put(UInt32(slot))
      packet.put(batch.flags)
      packet.put(batch.count)
      packet.put(batch.lease)
      packet.put(UInt64((place.used + 4095) / 4096 * 4096))
      packet.put(batch.first_lsn)
      packet.put(batch.last_lsn)
      packet.put(batch.ack_deadline_ns)
      packet.put(UInt32(place.messages))
      packet.put(batch.stream.raw(limit: .max))
      withUnsafeBytes(of: batch.log_uuid) { packet.put(fixed: $0) }
    }
    if let isRetained = try? reply.more.number(UInt8.self), isRetained != 0 { return reply }
    freeSlots.withLock { $0.append(slot) }
    return reply
  }

  func gap(_ gap: slu_gap) -> Reply {
    call(.gap, until: Clock.monotonic() + Limits.isolationCallNanoseconds) { packet in
      packet.put(gap.reason)
      packet.put(gap.first_lsn)
      packet.put(gap.last_lsn)
      packet.put(gap.stream.raw(limit: .max))
      withUnsafeBytes(of: gap.log_uuid) { packet.put(fixed: $0) }
    }
  }

  func reconfigure(_ config: slu_bytes) -> Reply {
    call(.reconfigure, until: Clock.monotonic() + Limits.isolationCallNanoseconds) { $0.put(config.raw(limit: .max)) }
  }

  /// What is dead has stopped.
  func stop() -> Reply {
    if state.withLock({ $0.death }) != nil { return Reply(rc: SLU_OK, code: 0, message: "", more: PacketReader([])) }
    var reply = call(.stop, until: Clock.monotonic() + Limits.isolationStopNanoseconds) { _ in }
    if let leases = try? reply.more.number(UInt32.self), leases > 0 {
      services.logger.warning("leases were not released", metadata: ["leases": "\(leases)"])
    }
    return reply
  }

  /// Ends the process, whatever the plugin says to that. Returns what killed it if it was dead before.
  func destroy() -> String? {
    let before = state.withLock { state in
      state.isExpected = true
      return state.death
    }
    if before == nil { _ = call(.destroy, until: Clock.monotonic() + Limits.isolationStopNanoseconds) { _ in } }
    process.kill("it is not needed any more")
    for thread in threads.withLock({ $0 }) { thread.join() }
    return before
  }

  /// Sends a call and waits for what comes of it.
  private func call(_ kind: PacketKind, until deadline: Int64, _ body: (inout PacketWriter) -> Void) -> Reply {
    interruptedAt.store(.max, ordering: .releasing)
    var packet = PacketWriter()
    packet.begin(kind)
    body(&packet)
    packet.end()
    process.channel.send(packet.bytes)
    var isOverdue = false
    while true {
      let (reply, death) = state.withLock { state in
        defer { state.reply = nil }
        return (state.reply, state.death)
      }
      if let reply { return reply }
      if let death {
        return Reply(
          rc: SLU_E_FATAL, code: 0, message: "the plugin's process \(death) in \(kind)", more: PacketReader([]))
      }
      let now = Clock.monotonic()
      if !isOverdue, now >= deadline {
        isOverdue = true
        interrupt()
      }
      let interrupted = interruptedAt.load(ordering: .acquiring)
      let limit = interrupted == .max ? deadline : interrupted + Limits.isolationGraceNanoseconds
      if interrupted != .max, now >= limit {
        process.kill("was killed, since it did not return, nor when it was interrupted,")
      }
      // After a kill the relay rings when the process is gone.
      bell.wait(until: now >= limit ? .max : limit)
    }
  }

  /// Makes a call that blocks return, or be given up. From any thread.
  func interrupt() {
    interruptedAt.store(Clock.monotonic(), ordering: .releasing)
    process.interrupt()
    bell.ring()
  }

  // MARK: What the process says, on the relay thread

  private func relay() {
    do {
      while let packet = try process.channel.receive() {
        var payload = packet.payload
        try hear(packet.kind, &payload)
      }
    } catch {
      process.kill("was killed, since it said what makes no sense,")
    }
    let death = process.reap(afterClosing: true)
    let isExpected = state.withLock { state in
      state.death = death
      return state.isExpected
    }
    if !isExpected { services.noteCrash(death) }
    bell.ring()
  }

  private func hear(_ kind: PacketKind, _ payload: inout PacketReader) throws(PacketFault) {
    let table = services.table.pointee
    switch kind {
    case .base: base.store(UInt(try payload.number(UInt64.self)), ordering: .releasing)
    case .phase: _ = try payload.text()
    case .reply:
      let reply = Reply(
        rc: try payload.number(), code: try payload.number(), message: try payload.text(), more: payload)
      state.withLock { $0.reply = reply }
      bell.ring()
      return
    case .settle: try settle(&payload)
    case .log: try log(&payload)
    case .credit: _ = table.set_credit(table.context, try payload.number())
    case .health:
      let health = try payload.number(UInt32.self)
      try payload.text().withBytes { table.set_health(table.context, health, $0) }
    case .register: try register(&payload)
    case .add, .set:
      let number = metrics[try payload.number()] ?? 0
      let value = try payload.double()
      if kind == .add {
        table.metric_add(table.context, number, value)
      } else {
        table.metric_set(table.context, number, value)
      }
    case .publish: return try publish(&payload)
    case .release:
      let slot = Int(try payload.number(UInt32.self))
      try freeSlots.withLock { free throws(PacketFault) in
        guard slot < arena.slots, !free.contains(slot) else { throw PacketFault() }
        free.append(slot)
      }
    default: throw PacketFault()
    }
    try payload.end()
  }

  private func settle(_ payload: inout PacketReader) throws(PacketFault) {
    let table = services.table.pointee
    for _ in 0..<(try payload.count(least: 28)) {
      var item = slu_settlement()
      item.first_token = try payload.number()
      item.count = try payload.number()
      item.verdict = try payload.number()
      item.delay_ms = try payload.number()
      item.code = try payload.number()
      let reason = try payload.raw()
      reason.withUnsafeBytes { bytes in
        item.reason = slu_bytes(bytes)
        _ = table.settle(table.context, &item, 1)
      }
    }
  }

  private func log(_ payload: inout PacketReader) throws(PacketFault) {
    let level = try payload.number(UInt32.self)
    let message = try payload.text()
    var pairs: [(String, String)] = []
    for _ in 0..<(try payload.count(least: 8)) { pairs.append((try payload.text(), try payload.text())) }
    services.log(level, message, pairs)
  }

  private func register(_ payload: inout PacketReader) throws(PacketFault) {
    let number = try payload.number(UInt64.self)
    let kind = try payload.number(UInt32.self)
    let (name, unit, help) = (try payload.text(), try payload.text(), try payload.text())
    var labels: [(String, String)] = []
    for _ in 0..<(try payload.count(least: 8)) { labels.append((try payload.text(), try payload.text())) }
    var bounds: [Double] = []
    for _ in 0..<(try payload.count(least: 8)) { bounds.append(try payload.double()) }
    guard let kind = MetricRequest.Kind(kind), metrics.count < Limits.maxPluginMetrics * 16 else { return }
    metrics[number] = services.metrics.register(
      MetricRequest(kind: kind, name: name, unit: unit, help: help, labels: labels, bounds: bounds))
  }

  // MARK: What the process prints, on the output thread

  /// Each line goes to the daemon's log. Ends when the process has.
  private func readOutput() {
    guard let output = process.output else { return }
    var line: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while true {
      var poll = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
      let ready = Glibc.poll(&poll, 1, memoryLimit == nil ? -1 : Int32(Limits.isolationMemoryLookMilliseconds))
      if ready < 0 && errno != EINTR { return }
      watchMemory()
      guard ready > 0 else { continue }
      let count = read(output, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { break }
      for byte in chunk[..<count] {
        if byte != UInt8(ascii: "\n") && line.count < Limits.maxIsolationLineBytes {
          line.append(byte)
        } else {
          tell(&line)
          if byte != UInt8(ascii: "\n") { line.append(byte) }
        }
      }
    }
    tell(&line)
  }

  private func tell(_ line: inout [UInt8]) {
    if !line.isEmpty {
      services.logger.info("\(String(decoding: line, as: UTF8.self))", metadata: ["from": "its output"])
    }
    line.removeAll(keepingCapacity: true)
  }

  private func watchMemory() {
    guard let memoryLimit, let used = process.memoryBytes, used > memoryLimit else { return }
    process.kill("used \(used >> 20) MiB, more than its limit of \(memoryLimit >> 20) MiB, and was killed")
  }
}
