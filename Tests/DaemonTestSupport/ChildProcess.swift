import Foundation
import SluiceCore
import Synchronization
import TestSupport

/// A child process whose output is read by a thread of its own, so that a test can await a line.
package final class ChildProcess: Sendable {
  package let pid: pid_t
  private let state: Mutex<State>
  private let changed = DispatchSemaphore(value: 0)

  private struct State {
    var lines: [String] = []
    var ended = false
    var status: Int32?
  }

  /// The child's exit as the shell would put it: its code, or 128 + the signal.
  package var output: [String] { state.withLock { $0.lines } }

  package init(
    _ executable: String, _ arguments: [String], environment: [String: String] = [:], directory: String? = nil
  ) {
    guard let ends = LinuxCalls.pipe() else { fatalError("pipe: errno \(errno)") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends.write, 1)
    posix_spawn_file_actions_adddup2(&actions, ends.write, 2)
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    ChildDescriptors.closeOthers(&actions)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var merged = ProcessInfo.processInfo.environment
    for name in ["ADDR", "DATABASE_URL", "WORKER_COUNT", "BUFFER_SIZE"] { merged[name] = nil }
    merged["SWIFT_BACKTRACE"] = "enable=no"
    merged.merge(environment) { $1 }
    let changesDirectory = directory.map { ["/usr/bin/env", "-C", $0] } ?? []
    let command = changesDirectory + [executable] + arguments
    var argv: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = merged.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer {
      for pointer in argv + envp { free(pointer) }
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
      close(ends.write)
    }
    var child = pid_t()
    let rc = posix_spawn(&child, command[0], &actions, &attributes, &argv, &envp)
    guard rc == 0 else { fatalError("cannot run \(executable): errno \(rc)") }
    pid = child
    state = Mutex(State())
    let end = ends.read
    Thread.detachNewThread { self.collect(end) }
  }

  deinit {
    if state.withLock({ $0.status == nil }) { kill(pid, SIGKILL) }
  }

  private func collect(_ descriptor: Int32) {
    var partial: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let n = read(descriptor, &buffer, buffer.count)
      if n < 0 && errno == EINTR { continue }
      if n <= 0 { break }
      partial.append(contentsOf: buffer[..<n])
      while let newline = partial.firstIndex(of: 10) {
        let line = String(decoding: partial[..<newline], as: UTF8.self)
        partial.removeSubrange(...newline)
        state.withLock { $0.lines.append(line) }
        changed.signal()
      }
    }
    close(descriptor)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    let code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    state.withLock {
      if !partial.isEmpty { $0.lines.append(String(decoding: partial, as: UTF8.self)) }
      $0.status = code
      $0.ended = true
    }
    changed.signal()
  }

  /// The first line that `match` accepts, now or later; nil if the child ends or `seconds` pass first.
  package func line(within seconds: Double = 300, where match: (String) -> Bool) -> String? {
    let deadline = DispatchTime.now() + seconds
    var seen = 0
    while true {
      let (fresh, ended) = state.withLock { (Array($0.lines[seen...]), $0.ended) }
      if let found = fresh.first(where: match) { return found }
      seen += fresh.count
      if ended || changed.wait(timeout: deadline) == .timedOut { return nil }
    }
  }

  /// Waits for the end; nil after `seconds`.
  package func exitStatus(within seconds: Double = 300) -> Int32? {
    let deadline = DispatchTime.now() + seconds
    while true {
      let (status, ended) = state.withLock { ($0.status, $0.ended) }
      if ended {
        changed.signal()
        return status
      }
      if changed.wait(timeout: deadline) == .timedOut { return nil }
    }
  }

  package func send(_ signal: Int32) { kill(pid, signal) }

  /// Whether SIGSTOP has reached every thread.
  package var isStopped: Bool {
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
    return !tasks.isEmpty
      && tasks.allSatisfy { task in
        let line = FileManager.default.contents(atPath: "/proc/\(pid)/task/\(task)/stat") ?? Data()
        // The state stands behind the name, which ends with the last parenthesis.
        return String(decoding: line, as: UTF8.self).split(separator: ")").last?.hasPrefix(" T") == true
      }
  }

  /// Runs to the end and returns (exit status, all output).
  package static func run(
    _ executable: String, _ arguments: [String], environment: [String: String] = [:], directory: String? = nil,
    within seconds: Double = 300
  ) -> (status: Int32?, text: String) {
    let child = ChildProcess(executable, arguments, environment: environment, directory: directory)
    let status = child.exitStatus(within: seconds)
    return (status, child.output.joined(separator: "\n"))
  }
}
