// The body of a plugin's process: it loads the one module that it is told to, and does what the daemon asks, one call at a
// time, on its main thread, which is the instance's. A second thread waits for the daemon's interrupts, and for its end.
//
//   descriptor  0  /dev/null          3  the socket of Packets.swift
//               1  the daemon's log   4  the shared memory of SharedArena.swift; in a first look /dev/null
//               2  the same           5  a pipe: each byte is an interrupt
//                                     6  a socket: answers to publications; not in a first look
//                                     7  the state directory, for a process with a user of its own
//                                     8  the directory with the copy of its module, for the same
//
// It ends when the socket does, and with the daemon's thread that started it: through the kernel, and, should the plugin have
// taken that back, through the second thread, whatever the plugin is doing.

import CSluice
import Glibc
import SluiceCore
import Synchronization

/// `@unchecked Sendable`: all but `interruptible`, which is locked, belongs to the main thread.
package final class PluginRunner: @unchecked Sendable {
  /// The command of `sluice` that calls `run`; nobody else's.
  package static let command = "plugin-runner"
  static let socket: Int32 = 3
  static let memory: Int32 = 4
  static let interrupts: Int32 = 5
  static let answers: Int32 = 6
  static let moduleDirectory: Int32 = 7
  static let stateDirectory: Int32 = 8

  /// Where the process finds a directory that it was given.
  static func path(of descriptor: Int32) -> String { "/proc/self/fd/\(descriptor)" }

  static func path(inModule name: String) -> String { "\(path(of: moduleDirectory))/\(name)" }

  private struct Interruptible {
    var instance: UInt
    var function: @convention(c) (UnsafeMutableRawPointer?) -> Void
  }

  private let channel = PacketChannel(PluginRunner.socket)
  private var kind: KindDescription?
  private var host: RunnerHost?
  private var instance: UnsafeMutableRawPointer?
  private var arena: (base: UnsafeMutableRawPointer, slotBytes: Int, slots: Int)?
  /// What `interrupt` is called on: from created until `destroy` is called.
  private let interruptible = Mutex<Interruptible?>(nil)
  private let error = UnsafeMutablePointer<slu_error>.allocate(capacity: 1)

  private init() {}

  /// Serves until the daemon is gone. The process's exit status.
  package static func run() -> Int32 {
    guard LinuxCalls.bindToParent() else { return EX_OSERR }
    // What the daemon's process has open without its knowing, through a plugin in it.
    for name in Paths.entries(of: "/proc/self/fd") {
      if let descriptor = Int32(name), descriptor > stateDirectory { close(descriptor) }
    }
    // Nothing that a plugin starts is to hold an end of what leads to the daemon.
    for descriptor in socket...stateDirectory { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    // A handler of the plugin's own may tell that its stack is used up; what ended the process, the daemon says.
    CrashReport.prepareThread()
    let runner = PluginRunner()
    runner.waitForInterrupts()
    return runner.serve()
  }

  private func serve() -> Int32 {
    do {
      while let packet = try channel.receive() {
        var payload = packet.payload
        try answer(packet.kind, &payload)
      }
      return EXIT_SUCCESS
    } catch {
      return EX_PROTOCOL
    }
  }

  private func answer(_ call: PacketKind, _ payload: inout PacketReader) throws(PacketFault) {
    switch call {
    case .describe: try describe(&payload)
    case .validate: try validate(&payload)
    case .create: try create(&payload)
    case .destroy: destroy()
    default: try answerInstance(call, &payload)
    }
  }

  // MARK: The module

  private func phase(_ text: String) {
    var packet = PacketWriter()
    packet.begin(.phase)
    packet.put(text)
    packet.end()
    channel.send(packet.bytes)
  }

  private func load(_ path: String, _ name: String) throws(PluginLoadError) -> (ModuleImage, ModuleDescription) {
    phase("it was loaded")
    PluginRunner.limitCPU(Limits.scanCPUMicroseconds)
    let image = try ModuleImage.load(path, calling: name) { [self] in
      phase("its entry was called")
      PluginRunner.limitCPU(Limits.scanCPUMicroseconds)
    }
    let description = try ModuleReader(path: name, major: image.major).read(image.module)
    PluginRunner.limitCPU(0)
    return (image, description)
  }

  /// SIGPROF ends the process when it has used so much of the processor; 0: never.
  private static func limitCPU(_ microseconds: Int) {
    var timer = itimerval()
    timer.it_value.tv_usec = microseconds
    setitimer(__itimer_which_t(ITIMER_PROF.rawValue), &timer, nil)
  }

  private func describe(_ payload: inout PacketReader) throws(PacketFault) {
    let (path, name, user) = (try payload.text(), try payload.text(), try payload.text())
    try payload.end()
    PluginRunner.limitFirstLook()
    do throws(PluginLoadError) {
      if let fault = PluginRunner.become(user) {
        throw PluginLoadError(
          .notLoadable, "\(name) can't be looked at: \(fault)", remedy: "isolation.process.user says as whom it is run")
      }
      let (image, module) = try load(path, name)
      reply(SLU_OK, 0, "") { RemoteDescription(module, image).write(to: &$0) }
    } catch {
      reply(SLU_E_CONFIG, 0, error.message) { packet in
        packet.put(error.code.rawValue)
        packet.put(error.remedy)
      }
    }
  }

  /// For what only looks: no files to be written, few descriptors, no core, little memory. Not RLIMIT_AS, since runtimes reserve
  /// addresses that they never use, and not RLIMIT_NPROC, which counts all of a user's processes, and a Go runtime starts threads
  /// when it is loaded.
  private static func limitFirstLook() {
    for (resource, value) in [
      (RLIMIT_FSIZE, 0), (RLIMIT_CORE, 0), (RLIMIT_NOFILE, Limits.scanDescriptors), (RLIMIT_DATA, Limits.scanDataBytes),
    ] {
      var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
      setrlimit(__rlimit_resource_t(resource.rawValue), &limit)
    }
  }

  /// The kind of that name, from the module that is loaded for it. A reply with the reason, and nil, if there is none.
  private func take(_ kindName: String, from path: String, _ name: String) -> KindDescription? {
    do throws(PluginLoadError) {
      let (_, module) = try load(path, name)
      if let found = module.kinds.first(where: { $0.kind == kindName }) { return found }
      reply(SLU_E_CONFIG, 0, "\(name) has no kind \(kindName) any more")
    } catch {
      reply(SLU_E_CONFIG, 0, error.description)
    }
    return nil
  }

  private func validate(_ payload: inout PacketReader) throws(PacketFault) {
    let (path, name, kindName) = (try payload.text(), try payload.text(), try payload.text())
    let (user, config) = (try payload.text(), try payload.text())
    try payload.end()
    PluginRunner.limitFirstLook()
    if let fault = PluginRunner.become(user) { return reply(SLU_E_CONFIG, 0, fault) }
    guard let kind = take(kindName, from: path, name) else { return }
    phase("validate was called")
    guard let validate = kind.table.validate else { return reply(SLU_OK, 0, "") }
    let rc = config.withBytes { config in
      validate(
        kind.original, config,
        { context, severity, pointer, text in
          let channel = Unmanaged<PacketChannel>.fromOpaque(context!).takeUnretainedValue()
          var packet = PacketWriter()
          packet.begin(.finding)
          packet.put(severity)
          packet.put(pointer.raw(limit: Limits.maxPluginTextBytes))
          packet.put(text.raw(limit: Limits.maxPluginTextBytes))
          packet.end()
          channel.send(packet.bytes)
        }, Unmanaged.passUnretained(channel).toOpaque())
    }
    reply(rc, 0, "")
  }

  // MARK: The instance

  private func create(_ payload: inout PacketReader) throws(PacketFault) {
    let (path, name, kindName) = (try payload.text(), try payload.text(), try payload.text())
    let (version, instanceName, directory) = (try payload.text(), try payload.text(), try payload.text())
    let user = try payload.text()
    let memory = try payload.number(UInt64.self)
    let (slotBytes, slots) = (Int(try payload.number(UInt64.self)), Int(try payload.number(UInt32.self)))
    let config = try payload.text()
    try payload.end()
    guard host == nil, map(slotBytes, slots) else {
      return reply(SLU_E_FATAL, 0, "no memory is shared with the daemon")
    }
    if memory > 0 {
      // Beyond the limit that the daemon watches: what grows faster than it looks ends here.
      var limit = rlimit(rlim_cur: rlim_t(memory * 2), rlim_max: rlim_t(memory * 2))
      setrlimit(__rlimit_resource_t(RLIMIT_DATA.rawValue), &limit)
    }
    if let fault = PluginRunner.become(user) { return reply(SLU_E_FATAL, 0, fault) }
    guard let kind = take(kindName, from: path, name), let create = kind.table.create else { return }
    self.kind = kind
    let host = RunnerHost(
      channel, hostVersion: version, instance: instanceName, stateDirectory: directory, slots: slots)
    self.host = host
    host.beginCall()
    var made: UnsafeMutableRawPointer?
    let rc = config.withBytes { create(kind.original, host.table, $0, &made, clearedError()) }
    if rc == SLU_OK {
      instance = made
      if let interrupt = kind.table.interrupt {
        interruptible.withLock { $0 = Interruptible(instance: UInt(bitPattern: made), function: interrupt) }
      }
    }
    finish(rc)
  }

  private func map(_ slotBytes: Int, _ slots: Int) -> Bool {
    guard slotBytes > 0, slots > 1,
      let base = mmap(nil, slotBytes * slots, PROT_READ, MAP_SHARED, PluginRunner.memory, 0),
      base != MAP_FAILED
    else { return false }
    close(PluginRunner.memory)
    arena = (base, slotBytes, slots)
    var packet = PacketWriter()
    packet.begin(.base)
    packet.put(UInt64(UInt(bitPattern: base)))
    packet.end()
    return channel.send(packet.bytes)
  }

  /// Gives up what the daemon may and this user may not, before any code of the plugin's is run; "": it stays who it is. Returns
  /// why it could not.
  private static func become(_ user: String) -> String? {
    guard !user.isEmpty else { return nil }
    guard let account = UserAccount(named: user) else { return "there is no user '\(user)' here" }
    if geteuid() == account.user, getegid() == account.group { return nil }
    var group = account.group
    guard setgroups(1, &group) == 0, setgid(group) == 0, setuid(account.user) == 0,
      // A change of user takes back what was asked of the kernel before.
      LinuxCalls.bindToParent()
    else { return "can't become user \(user): \(String(cString: strerror(errno)))" }
    return nil
  }

  private func waitForInterrupts() {
    _ = OSThread(name: "interrupt") { [self] in
      var byte: UInt8 = 0
      while true {
        let count = read(PluginRunner.interrupts, &byte, 1)
        if count < 0 && errno == EINTR { continue }
        // The daemon closes its end when this process is gone, and with its own.
        if count == 0 { PluginRunner.endGroup() }
        // The plugin has closed it: the socket is left.
        guard count == 1 else { return }
        // Under the lock, so that `destroy` can't come in between.
        interruptible.withLock { $0.map { $0.function(UnsafeMutableRawPointer(bitPattern: $0.instance)) } }
      }
    }
  }

  /// Ends this process, and what it has started, when the daemon leads it no more. Does not return.
  private static func endGroup() {
    if getpgrp() == getpid() { kill(0, SIGKILL) }
    kill(getpid(), SIGKILL)
  }

  private func answerInstance(_ call: PacketKind, _ payload: inout PacketReader) throws(PacketFault) {
    guard let kind, let host, instance != nil else { throw PacketFault.broken }
    let table = kind.table
    host.beginCall()
    switch call {
    case .start, .flush, .drain:
      let deadline = try payload.number(Int64.self)
      try payload.end()
      let function = call == .start ? table.start : call == .flush ? table.flush : table.drain
      finish(function?(instance, deadline, clearedError()) ?? SLU_OK)
    case .deliver: try deliver(&payload)
    case .gap: try tellGap(&payload)
    case .reconfigure:
      let config = try payload.text()
      try payload.end()
      finish(config.withBytes { table.reconfigure?(instance, $0, clearedError()) ?? SLU_E_UNSUPPORTED })
    case .stop:
      try payload.end()
      let rc = table.stop?(instance, clearedError()) ?? SLU_OK
      let leases = UInt32(host.forgetInstance())
      finish(rc) { $0.put(leases) }
    default: throw PacketFault.broken
    }
  }

  private func destroy() {
    interruptible.withLock { $0 = nil }
    if let instance { kind?.table.destroy(instance) }
    instance = nil
    reply(SLU_OK, 0, "")
  }

  private func deliver(_ payload: inout PacketReader) throws(PacketFault) {
    guard let kind, let host, let arena, let deliver = kind.table.deliver else { throw PacketFault.broken }
    let slot = try payload.number(UInt32.self)
    var batch = slu_batch()
    batch.struct_size = UInt32(MemoryLayout<slu_batch>.size)
    batch.message_stride = UInt32(MemoryLayout<slu_message>.stride)
    batch.flags = try payload.number()
    batch.count = try payload.number()
    batch.lease = try payload.number()
    batch.lease_bytes = try payload.number()
    batch.first_lsn = try payload.number()
    batch.last_lsn = try payload.number()
    batch.ack_deadline_ns = try payload.number()
    let messages = Int(try payload.number(UInt32.self))
    let stream = CText(try payload.text())
    let log = try payload.fixed(16)
    try payload.end()
    guard slot < arena.slots, batch.count > 0 else { throw PacketFault.broken }
    batch.messages = UnsafeRawPointer(arena.base + Int(slot) * arena.slotBytes + messages)
      .assumingMemoryBound(to: slu_message.self)
    batch.stream = keep(stream)
    withUnsafeMutableBytes(of: &batch.log_uuid) { $0.copyBytes(from: log) }
    let first = batch.messages.pointee.token
    host.beginDelivery(batch, slot: slot)
    let rc = deliver(instance, &batch, clearedError())
    let isRetained = host.endDelivery(firstToken: first, rc: rc)
    finish(rc) { $0.put(UInt8(isRetained ? 1 : 0)) }
  }

  private func tellGap(_ payload: inout PacketReader) throws(PacketFault) {
    var gap = slu_gap()
    gap.struct_size = UInt32(MemoryLayout<slu_gap>.size)
    gap.reason = try payload.number()
    gap.first_lsn = try payload.number()
    gap.last_lsn = try payload.number()
    let stream = CText(try payload.text())
    let log = try payload.fixed(16)
    try payload.end()
    gap.stream = keep(stream)
    withUnsafeMutableBytes(of: &gap.log_uuid) { $0.copyBytes(from: log) }
    finish(kind?.table.gap?(instance, &gap, clearedError()) ?? SLU_OK)
  }

  // MARK: Small things

  /// Names of streams are valid until `stop` returns, so they are kept.
  private var streams: [CText] = []

  private func keep(_ name: CText) -> slu_bytes {
    let wanted = name.bytes.raw(limit: .max)
    if let known = streams.first(where: { $0.bytes.raw(limit: .max).elementsEqual(wanted) }) { return known.bytes }
    streams.append(name)
    return name.bytes
  }

  private func clearedError() -> UnsafeMutablePointer<slu_error> {
    UnsafeMutableRawPointer(error).initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<slu_error>.size)
    return error
  }

  /// Replies with what the plugin left in `error`.
  private func finish(_ rc: slu_rc, _ more: (inout PacketWriter) -> Void = { _ in }) {
    reply(rc, error.pointee.code, error.pointee.said, more)
  }

  private func reply(_ rc: slu_rc, _ code: UInt32, _ message: String, _ more: (inout PacketWriter) -> Void = { _ in }) {
    func body(_ packet: inout PacketWriter) {
      packet.put(rc)
      packet.put(code)
      packet.put(message)
      more(&packet)
    }
    if let host { return host.reply(body) }
    var packet = PacketWriter()
    packet.begin(.reply)
    body(&packet)
    packet.end()
    channel.send(packet.bytes)
  }
}
