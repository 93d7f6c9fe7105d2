// One instance of a plugin in a process of its own, from the daemon's side. Its process is started by `create` and ends with
// `destroy`, or before:
//
//   what happens                                  the call that is under way answers       and
//   the process dies                              SLU_E_FATAL, with what ended it          what it held is suspected
//   a call is over its deadline                   – it is interrupted;                     (CrashSuspects.swift)
//     … and Limits.isolationGraceNanoseconds on   SLU_E_FATAL; the process is killed       the same, but a record that it
//                                                                                          had alone has failed only
//   it says what is no packet, or out of place    SLU_E_FATAL; the process is killed
//   it does not read what it is asked             the same as for a call that is over its deadline
//   its memory is over the limit                  SLU_E_FATAL; the process is killed
//   it dies while no call is under way            the next one does, and the worker is rung
//
// Threads: calls come on the subscriber's thread. "relay NAME" receives, does what events ask for, and hands replies over
// (IsolatedInstance+Events.swift); "output NAME" reads what the process prints, looks at its memory, and sees its end.

import CSluice
import Glibc
import SluiceCore
import SluiceTopology
import Synchronization

/// `@unchecked Sendable`: `arena` and `staged` belong to the subscriber's thread, but for the arena's descriptor and size, which
/// never change; `metrics` belongs to the relay thread; the rest is set in `init`, locked or atomic.
final class IsolatedInstance: @unchecked Sendable {
  struct Reply {
    var rc: slu_rc
    var code: UInt32 = 0
    var message = ""
    /// Of `stop`: leases that were not released.
    var leases: UInt32 = 0
  }

  struct State {
    /// The call that is under way; nil: none, or it has its reply.
    var call: PacketKind?
    var reply: Reply?
    var slots: SlotTable
    /// Where the process has mapped the memory; 0: it has not said.
    var base: UInt = 0
    /// What ended the process; nil while it lives.
    var death: String?
    var isExpected = false
  }

  /// What is in the slot that is staged.
  private struct Staged {
    var token: UInt64
    var count: UInt32
    var place: (messages: Int, used: Int)
  }

  let services: any IsolationHost
  private let module: IsolatedModule
  let process: PluginProcess
  let arena: SharedArena
  private var staged: Staged?
  private let memoryLimit: Int?
  let state: Mutex<State>
  let bell = Doorbell()
  private let interruptedAt = Atomic<Int64>(.max)
  /// It was killed since a call did not return.
  let wasLate = Atomic<Bool>(false)
  var metrics: [UInt64: UInt64] = [:]
  private let threads = Mutex<[OSThread]>([])
  /// Asked by the relay thread and by the output thread.
  private let allowance = Mutex(LineAllowance())

  /// Starts the process; the plugin's own `create` is asked by `create`.
  init(_ module: IsolatedModule, _ services: any IsolationHost, _ settings: IsolationSettings) throws(PluginProcess
    .Failure)
  {
    guard let arena = SharedArena(slotBytes: settings.slotBytes, slots: settings.slots) else {
      throw PluginProcess.Failure(message: "no memory to be shared with a process: \(String(cString: strerror(errno)))")
    }
    if let account = settings.user.flatMap(UserAccount.init(named:)) {
      Paths.give(services.stateDirectory, to: account.user, account.group)
    }
    let directories = settings.user == nil ? [] : [Paths.split(module.path).directory, services.stateDirectory]
    let opened = directories.map { open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    defer { for directory in opened where directory >= 0 { close(directory) } }
    process = try PluginProcess(
      executable: module.runner, memory: arena.descriptor, directories: opened,
      environment: IsolatedInstance.environment(hasUser: settings.user != nil))
    self.arena = arena
    self.module = module
    self.services = services
    memoryLimit = settings.memoryBytes
    state = Mutex(State(slots: SlotTable(count: settings.slots)))
    do throws(OSThread.Failure) {
      try startThreads(services.subscriber)
    } catch {
      // What has been started of them ends with the process.
      state.withLock { $0.isExpected = true }
      process.kill("was killed, since nobody could listen to it,")
      for thread in threads.withLock({ $0 }) { thread.join() }
      throw PluginProcess.Failure(message: "the plugin's process can't be listened to: \(error)")
    }
  }

  private func startThreads(_ name: String) throws(OSThread.Failure) {
    let relay = try OSThread(starting: "relay \(name)") { [self] in self.relay() }
    threads.withLock { $0.append(relay) }
    let output = try OSThread(starting: "output \(name)") { [self] in watchProcess() }
    threads.withLock { $0.append(output) }
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
      // The directories above this and the next are the daemon's own, which another user can't pass.
      packet.put(settings.user == nil ? module.path : PluginRunner.path(inModule: Paths.split(module.path).name))
      packet.put(module.name)
      packet.put(module.kind)
      packet.put(services.hostVersion)
      packet.put(services.subscriber)
      packet.put(settings.user == nil ? services.stateDirectory : PluginRunner.path(of: PluginRunner.stateDirectory))
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
    let taken = state.withLock { state -> (slot: Int, base: UInt)? in
      guard state.death == nil, let slot = state.slots.take() else { return nil }
      return (slot, state.base)
    }
    // A process that lives always leaves one.
    guard let (slot, base) = taken else { return Reply(rc: SLU_E_FATAL, message: "the plugin's process is gone") }
    arena.remoteBase = base
    assert(staged == nil || staged?.token == batch.pointee.lease && staged?.count == batch.pointee.count)
    let written = staged?.place
    staged = nil
    guard let place = written ?? arena.write(batch, to: slot) else {
      process.kill("was killed, since a batch did not fit the memory that is shared with it,")
      return Reply(
        rc: SLU_E_FATAL, message: "a batch of \(batch.pointee.count) records does not fit the shared memory")
    }
    let batch = batch.pointee
    let until = batch.ack_deadline_ns > 0 ? batch.ack_deadline_ns : Clock.monotonic() + Limits.isolationCallNanoseconds
    return call(.deliver, until: until, meanwhile: services.workMeanwhile) { packet in
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
  }

  /// Writes the batch that is delivered next, while the process has the one before. False if there is no room for it.
  func stage(_ batch: UnsafePointer<slu_batch>) -> Bool {
    guard let slot = state.withLock({ $0.death == nil ? $0.slots.stage() : nil }) else { return false }
    guard let place = arena.write(batch, to: slot) else {
      unstage()
      return false
    }
    staged = Staged(token: batch.pointee.messages.pointee.token, count: batch.pointee.count, place: place)
    return true
  }

  /// Another batch is delivered than the one that was staged.
  func unstage() {
    state.withLock { $0.slots.unstage() }
    staged = nil
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
    call(.reconfigure, until: Clock.monotonic() + Limits.pluginReconfigureNanoseconds) {
      $0.put(config.raw(limit: .max))
    }
  }

  /// What is dead has stopped.
  func stop() -> Reply {
    if state.withLock({ $0.death }) != nil { return Reply(rc: SLU_OK) }
    let reply = call(.stop, until: Clock.monotonic() + Limits.isolationStopNanoseconds) { _ in }
    if reply.leases > 0 { services.noteLeasesLeft(Int(reply.leases)) }
    return reply
  }

  /// Ends the process, whatever the plugin says to that. Returns what killed it if it was dead before.
  func destroy() -> String? {
    let before = state.withLock { state in
      state.isExpected = true
      return state.death
    }
    if before == nil {
      let reply = call(.destroy, until: Clock.monotonic() + Limits.isolationStopNanoseconds) { _ in }
      if reply.rc != SLU_OK { services.noteDeathInDestroy(reply.message) }
    }
    process.kill("it is not needed any more")
    for thread in threads.withLock({ $0 }) { thread.join() }
    return before
  }

  /// Sends a call and waits for what comes of it.
  private func call(
    _ kind: PacketKind, until deadline: Int64, meanwhile work: () -> Void = {}, _ body: (inout PacketWriter) -> Void
  ) -> Reply {
    interruptedAt.store(.max, ordering: .releasing)
    var packet = PacketWriter()
    packet.begin(kind)
    body(&packet)
    packet.end()
    state.withLock { state in
      assert(state.call == nil, "one call at a time")
      state.call = kind
    }
    // Who does not read for so long is killed: `deadline` is seen to here as well.
    process.channel.send(packet.bytes) { [self] in look(at: deadline) == .max }
    work()
    while true {
      let (reply, death) = state.withLock { state in
        defer { state.reply = nil }
        if state.reply == nil, state.death != nil { state.call = nil }
        return (state.reply, state.death)
      }
      if let reply { return reply }
      if let death { return Reply(rc: SLU_E_FATAL, message: "the plugin's process \(death) in \(kind)") }
      bell.wait(until: look(at: deadline))
    }
  }

  /// Interrupts the process when it is over its deadline, and kills it when it has not given in to that. Returns when to look
  /// again; `.max` behind a kill: then the relay rings.
  private func look(at deadline: Int64) -> Int64 {
    let now = Clock.monotonic()
    if now >= deadline, interruptedAt.load(ordering: .acquiring) == .max { interrupt() }
    let interrupted = interruptedAt.load(ordering: .acquiring)
    guard interrupted != .max else { return deadline }
    let limit = interrupted + Limits.isolationGraceNanoseconds
    guard now >= limit else { return limit }
    wasLate.store(true, ordering: .releasing)
    process.kill("was killed, since it did not return, nor when it was interrupted,")
    return .max
  }

  /// Makes a call that blocks return, or be given up. From any thread.
  func interrupt() {
    interruptedAt.store(Clock.monotonic(), ordering: .releasing)
    process.interrupt()
    bell.ring()
  }

  // MARK: What the process prints, on the output thread

  /// Each line goes to the daemon's log, as far as `LineAllowance` lets it. Ends with the process, whoever else has its output:
  /// of what is there then, a pipe's worth is read.
  private func watchProcess() {
    guard let output = process.output else { return }
    var text = OutputLines()
    // The process may close its output and live on.
    var isClosed = false
    var hasEnded = false
    var left = Limits.isolationLastOutputBytes
    while left > 0 {
      var polls = [
        pollfd(fd: isClosed ? -1 : output, events: Int16(POLLIN), revents: 0),
        pollfd(fd: process.ending, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&polls, hasEnded ? 1 : 2, hasEnded ? 0 : outputWait)
      if ready < 0 && errno == EINTR { continue }
      guard ready >= 0 else { return }
      watchMemory()
      tellLeftOut(at: Clock.monotonic())
      if polls[0].revents != 0 {
        let count = text.read(output, tell)
        if count == 0 { isClosed = true }
        if hasEnded { left -= count }
      } else if hasEnded {
        break
      }
      if polls[1].revents != 0, !hasEnded {
        hasEnded = true
        // What it has started may have its end of the socket: the relay is not to wait for that.
        process.channel.shut()
      }
    }
    text.end(tell)
    tellLeftOut(at: .max)
  }

  /// In milliseconds, as `poll` takes it.
  private var outputWait: Int32 {
    if memoryLimit != nil { return Int32(Limits.isolationMemoryLookMilliseconds) }
    return allowance.withLock { $0.leftOut } == 0 ? -1 : Int32(Limits.isolationLogPeriodNanoseconds / 1_000_000)
  }

  private func tell(_ line: String) {
    if mayLog(bytes: line.utf8.count) { services.notePrinted(line) }
  }

  /// Whether a line of so many bytes may go to the daemon's log. From the relay thread and from the output thread.
  func mayLog(bytes: Int) -> Bool {
    let now = Clock.monotonic()
    tellLeftOut(at: now)
    return allowance.withLock { $0.admits(bytes: bytes, at: now) }
  }

  private func tellLeftOut(at now: Int64) {
    let count = allowance.withLock { $0.takeLeftOut(at: now) }
    if count > 0 { services.noteLinesLeftOut(count) }
  }

  private func watchMemory() {
    guard let memoryLimit, let used = process.memoryBytes(sharing: arena.usedBytes), used > memoryLimit else { return }
    process.kill("used \(used >> 20) MiB, more than its limit of \(memoryLimit >> 20) MiB, and was killed")
  }
}

/// What comes out of a descriptor, cut into lines.
private struct OutputLines {
  private var line: [UInt8] = []
  private var chunk = [UInt8](repeating: 0, count: 16 << 10)

  /// Reads once, and returns how many bytes; 0 at the end.
  mutating func read(_ descriptor: Int32, _ tell: (String) -> Void) -> Int {
    var count = Glibc.read(descriptor, &chunk, chunk.count)
    while count < 0 && errno == EINTR { count = Glibc.read(descriptor, &chunk, chunk.count) }
    guard count > 0 else { return 0 }
    for byte in chunk[..<count] {
      if byte != UInt8(ascii: "\n") && line.count < Limits.maxIsolationLineBytes {
        line.append(byte)
      } else {
        end(tell)
        if byte != UInt8(ascii: "\n") { line.append(byte) }
      }
    }
    return count
  }

  mutating func end(_ tell: (String) -> Void) {
    if !line.isEmpty { tell(String(decoding: line, as: UTF8.self)) }
    line.removeAll(keepingCapacity: true)
  }
}
