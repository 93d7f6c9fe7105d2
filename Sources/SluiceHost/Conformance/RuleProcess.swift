import Glibc
import SluiceCore

/// A process that runs one rule, from the side that starts it.
///
///   descriptor  0  /dev/null        2  memory, shown when the process crashes
///               1  /dev/null        3  the memory of RuleNotes.swift
struct RuleProcess {
  static let notes: Int32 = 3

  /// What became of it, and how long that took.
  struct End {
    var verdict: RuleVerdict
    var nanoseconds: Int64
  }

  /// The program that is `sluice`.
  let executable: String
  let seconds: Int

  /// Runs what `request` asks for in a process group of its own, which is killed as a whole in the end.
  func run(_ request: String) -> End {
    let began = Clock.monotonic()
    func end(_ verdict: RuleVerdict) -> End { End(verdict: verdict, nanoseconds: Clock.monotonic() - began) }
    let output = LinuxCalls.memoryFile("output")
    defer { if output >= 0 { close(output) } }
    guard output >= 0, let notes = RuleNotes(request: request) else {
      return end(.fail("no memory for the rule's process: \(String(cString: strerror(errno)))"))
    }
    var child = pid_t()
    let code = spawn(&child, output: output, notes: notes.descriptor)
    guard code == 0 else {
      return end(.fail("the rule's process can't be started: \(String(cString: strerror(code)))"))
    }
    let isOver = wait(for: child, RunningTime(Int64(seconds) * 1_000_000_000, from: began))
    kill(-child, SIGKILL)
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    guard isOver else {
      return end(.fail("did not come to an end within \(seconds) s: \(notes.phase)\(Self.said(output))"))
    }
    if status == 0, let verdict = notes.verdict { return end(verdict) }
    return end(.fail("the process \(Self.describe(status)): \(notes.phase)\(Self.said(output))"))
  }

  private func spawn(_ child: inout pid_t, output: Int32, notes: Int32) -> Int32 {
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    guard null >= 0 else { return errno }
    // Copies that lie above all the places, so that none is written over before it is used.
    let copies = [null, null, output, notes].map { fcntl($0, F_DUPFD_CLOEXEC, 16) }
    defer { for descriptor in copies + [null] where descriptor >= 0 { close(descriptor) } }
    guard !copies.contains(where: { $0 < 0 }) else { return errno }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (place, copy) in copies.enumerated() { posix_spawn_file_actions_adddup2(&actions, copy, Int32(place)) }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sluice"), strdup(RuleRunner.command), nil]
    var variables = RuleProcess.environment().map { strdup($0) } + [nil]
    defer { for text in arguments + variables { free(text) } }
    return posix_spawn(&child, executable, &actions, &attributes, &arguments, &variables)
  }

  /// A backtrace of a crash takes longer than most rules, and what the plugin was doing is known. Arenas of the allocator come
  /// with threads, and would be taken for growth.
  private static let settings = ["SWIFT_BACKTRACE=enable=no", "MALLOC_ARENA_MAX=2"]

  private static func environment() -> [String] {
    var all = settings
    var entry = environ
    while let text = entry.pointee {
      let variable = String(cString: text)
      if !settings.contains(where: { variable.hasPrefix($0.prefix { $0 != "=" } + "=") }) { all.append(variable) }
      entry += 1
    }
    return all
  }

  /// Until it has ended; false when it has not in that time, of which a machine that stood still takes none away.
  private func wait(for child: pid_t, _ given: RunningTime) -> Bool {
    let pause = Doorbell()
    var time = given
    var info = siginfo_t()
    while true {
      info.si_signo = 0
      let result = waitid(P_PID, id_t(child), &info, WEXITED | WNOHANG | WNOWAIT)
      if result != 0 && errno != EINTR || info.si_signo != 0 { return true }
      guard !time.isOver else { return false }
      pause.wait(until: Clock.monotonic() + 1_000_000)
      time.look(at: Clock.monotonic())
    }
  }

  private static func describe(_ status: Int32) -> String {
    let signal = status & 0x7f
    if signal == 0 { return "ended with status \((status >> 8) & 0xff) in the middle of a call" }
    return "was killed by \(PluginProcess.name(of: signal))"
  }

  /// The end of what the process wrote to its standard error.
  private static func said(_ output: Int32) -> String {
    let length = Int(lseek(output, 0, SEEK_END))
    let count = min(length, Limits.conformanceOutputBytes)
    guard count > 0 else { return "" }
    var bytes = [UInt8](repeating: 0, count: count)
    let got = pread(output, &bytes, count, off_t(length - count))
    let text = String(decoding: bytes.prefix(max(0, got)), as: UTF8.self)
    let lines = text.split(whereSeparator: \.isNewline).suffix(4).joined(separator: " | ")
    return lines.isEmpty ? "" : "; it said: \(lines)"
  }
}
