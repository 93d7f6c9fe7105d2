import Glibc
import SluiceCore
import Synchronization

/// A process that runs `PluginRunner`, from the daemon's side: started, interrupted, killed, and what became of it.
///
/// It is bound to the thread that starts it: the kernel kills it when that ends. It leads a process group of its own, which
/// is killed at its end: so what it has started ends with it, but for what has left the group (`setsid`, `setpgid`).
///
/// `@unchecked Sendable`: the descriptors are set in `init`; what changes is locked.
final class PluginProcess: @unchecked Sendable {
  let pid: pid_t
  let channel: PacketChannel
  /// Its standard output and error; nil in a first look, where they go nowhere.
  let output: Int32?
  /// Readable once it has ended; -1 if the kernel has no such thing.
  let ending: Int32
  private let interrupts: Int32
  /// Where its publications are answered; nil in a first look.
  private let answers: Int32?
  private let end = Mutex<(status: Int32?, why: String?)>((nil, nil))

  struct Failure: Error {
    var message: String
  }

  /// The program that is `sluice` itself, whatever has become of its file.
  static let executable = "/proc/self/exe"

  /// Swift's runtime would print a backtrace of each crash, which takes seconds, and a search for the record that kills a
  /// plugin is a row of crashes.
  static let quietCrashes = "SWIFT_BACKTRACE=enable=no"

  /// `memory`: to be shared with it; nil for a first look, which gets next to no environment and no output. `directories`:
  /// its descriptors from 7 on.
  init(
    executable: String, memory: Int32? = nil, directories: [Int32] = [], environment: [String]
  ) throws(Failure) {
    var pipes: [[Int32]] = []
    guard let sockets = PluginProcess.socketPair() else {
      throw Failure(message: PluginProcess.reason("a socket", errno))
    }
    var keep: [Int32] = []
    defer { for descriptor in keep { close(descriptor) } }
    // Interrupts to it, its output, answers to it.
    for place in 0..<(memory == nil ? 1 : 3) {
      // What a process that died does not read is no signal on a socket.
      guard let ends = place == 2 ? PluginProcess.socketPair() : LinuxCalls.pipe().map({ [$0.read, $0.write] }) else {
        let code = errno
        keep += sockets + pipes.flatMap(\.self)
        throw Failure(message: PluginProcess.reason("a pipe", code))
      }
      pipes.append(ends)
    }
    // The far ends are the child's alone.
    keep += [sockets[1], pipes[0][0]] + (memory == nil ? [] : [pipes[1][1], pipes[2][0]])
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    if null >= 0 { keep.append(null) }
    let spawned = PluginProcess.spawn(
      executable,
      [
        null, memory == nil ? null : pipes[1][1], memory == nil ? null : pipes[1][1], sockets[1], memory ?? null,
        pipes[0][0],
      ]
        + [memory == nil ? null : pipes[2][0]] + directories, environment)
    let ours = [sockets[0], pipes[0][1]] + (memory == nil ? [] : [pipes[1][0], pipes[2][1]])
    guard case .success(let child) = spawned else {
      keep += ours
      guard case .failure(let failure) = spawned else { preconditionFailure("one of the two") }
      throw failure
    }
    let ending = LinuxCalls.processEnd(child)
    // That no descriptor is left is not that the kernel has none of this kind.
    if ending < 0, errno == EMFILE || errno == ENFILE {
      let code = errno
      keep += ours
      _ = Glibc.kill(child, SIGKILL)
      while waitpid(child, nil, 0) < 0 && errno == EINTR {}
      throw Failure(message: PluginProcess.reason("descriptor of its end", code))
    }
    pid = child
    channel = PacketChannel(sockets[0])
    self.ending = ending
    interrupts = pipes[0][1]
    output = memory == nil ? nil : pipes[1][0]
    answers = memory == nil ? nil : pipes[2][1]
    // A full pipe has interrupts enough.
    _ = fcntl(interrupts, F_SETFL, O_NONBLOCK)
  }

  deinit {
    kill("not needed any more")
    _ = reap()
    close(interrupts)
    if ending >= 0 { close(ending) }
    if let output { close(output) }
    if let answers { close(answers) }
  }

  private static func socketPair() -> [Int32]? {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    return socketpair(AF_UNIX, type, 0, &ends) == 0 ? ends : nil
  }

  private static func reason(_ what: String, _ code: Int32) -> String {
    "the plugin's process can't be started: no \(what): \(String(cString: strerror(code)))"
  }

  /// `descriptors`: what are to be 0, 1, 2 … there.
  private static func spawn(
    _ executable: String, _ descriptors: [Int32], _ environment: [String]
  ) -> Result<pid_t, Failure> {
    // Copies that lie above all the places, so that none is written over before it is used.
    let copies = descriptors.map { fcntl($0, F_DUPFD_CLOEXEC, 16) }
    defer { for copy in copies where copy >= 0 { close(copy) } }
    guard !copies.contains(where: { $0 < 0 }) else { return .failure(Failure(message: reason("descriptor", errno))) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (place, copy) in copies.enumerated() {
      posix_spawn_file_actions_adddup2(&actions, copy, Int32(place))
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // The daemon blocks signals and ignores some; a plugin's process begins as any other.
    var none = sigset_t()
    sigemptyset(&none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sluice"), strdup(PluginRunner.command), nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var child = pid_t()
    let code = posix_spawn(&child, executable, &actions, &attributes, &arguments, &variables)
    return code == 0 ? .success(child) : .failure(Failure(message: reason("process", code)))
  }

  // MARK: From any thread

  /// Answers a publication. False when the process does not take answers.
  func answer(_ rc: Int32) -> Bool {
    guard let answers else { return false }
    var rc = rc.littleEndian
    let sent = send(answers, &rc, MemoryLayout<Int32>.size, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    // A process that is gone is found out by its other socket.
    return sent == MemoryLayout<Int32>.size || errno == EPIPE
  }

  func interrupt() {
    var byte: UInt8 = 1
    _ = write(interrupts, &byte, 1)
  }

  /// Kills it and its group; `why` is what `reap` will say of it.
  func kill(_ why: String) {
    end.withLock { end in
      guard end.status == nil else { return }
      if end.why == nil { end.why = why }
      killGroup()
    }
    // What it has started may have its end of the socket, too.
    channel.shut()
  }

  /// Under the lock, before the process is waited for: until then both numbers are its own, alive or a zombie.
  private func killGroup() {
    // Itself as well, should it have gone to another group.
    _ = Glibc.kill(pid, SIGKILL)
    _ = Glibc.kill(-pid, SIGKILL)
  }

  /// Waits for its end, and says what ended it: "was killed by SIGSEGV", or why the daemon killed it. One that has closed its
  /// socket is about to end by itself, or else is killed for that.
  func reap(afterClosing: Bool = false) -> String {
    var status: Int32 = 0
    let known = end.withLock { $0.status }
    if afterClosing, known == nil { waitForEnd() }
    if let known {
      status = known
    } else {
      // Not under the lock: it may take until the process is killed. Nobody else waits for this process.
      var info = siginfo_t()
      while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR {}
      status = end.withLock { end in
        killGroup()
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        end.status = status
        return status
      }
    }
    if let why = end.withLock({ $0.why }) { return why }
    let signal = status & 0x7f
    if signal == 0 { return "ended by itself with status \((status >> 8) & 0xff)" }
    return signal == SIGPROF
      ? "used more than \(Limits.scanCPUMicroseconds / 1000) ms of the processor"
      : "was killed by \(Self.name(of: signal))"
  }

  /// Until it is a zombie, or for as long as a process may need to end.
  private func waitForEnd() {
    let pause = Doorbell()
    let deadline = Clock.monotonic() + Limits.isolationGraceNanoseconds
    var info = siginfo_t()
    while Clock.monotonic() < deadline {
      info.si_signo = 0
      let result = waitid(P_PID, id_t(pid), &info, WEXITED | WNOHANG | WNOWAIT)
      if result != 0 && errno != EINTR || info.si_signo != 0 { return }
      pause.wait(until: Clock.monotonic() + 1_000_000)
    }
    kill("closed its socket and was killed")
  }

  static func name(of signal: Int32) -> String {
    let names: [Int32: String] = [
      SIGSEGV: "SIGSEGV (a bad memory access)", SIGABRT: "SIGABRT (abort)",
      SIGILL: "SIGILL (a trap, or a bad instruction)",
      SIGBUS: "SIGBUS (a bad memory access)", SIGFPE: "SIGFPE (a division by zero)", SIGKILL: "SIGKILL",
      SIGTERM: "SIGTERM", SIGTRAP: "SIGTRAP (a trap)", SIGPIPE: "SIGPIPE", SIGXFSZ: "SIGXFSZ", SIGXCPU: "SIGXCPU",
    ]
    return names[signal] ?? "signal \(signal)"
  }

  /// Bytes of its memory: its own, and what it shares with whomever but for `shared`, the daemon's. Without what its children
  /// have. Nil when it is gone.
  func memoryBytes(sharing shared: Int) -> Int? {
    guard let file = fopen("/proc/\(pid)/status", "re") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    var sizes: [String: Int] = [:]
    while fgets(&line, Int32(line.count), file) != nil {
      let text = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
      guard text.hasPrefix("RssAnon:") || text.hasPrefix("RssShmem:") else { continue }
      let parts = text.split { $0.isWhitespace }
      if parts.count > 1, let kilobytes = Int(parts[1]) { sizes[String(parts[0])] = kilobytes << 10 }
    }
    guard let own = sizes["RssAnon:"] else { return nil }
    return own + max(0, (sizes["RssShmem:"] ?? 0) - shared)
  }
}
