import Foundation
import Synchronization

/// A folder of the test's own, removed at the end.
final class TemporaryFolder: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/sluice-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { fatalError("mkdtemp failed: errno \(errno)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) -> String {
    let file = path + "/" + name
    guard FileManager.default.createFile(atPath: file, contents: Data(text.utf8)) else {
      fatalError("cannot write \(file)")
    }
    return file
  }
}

enum Products {
  /// Where `swift test` put the executable, the plugins and this test bundle.
  static let folder: String = {
    var path = CommandLine.arguments[0]
    // Swift Testing runs the bundle through a helper elsewhere on some platforms; on Linux argv[0] is the bundle.
    if let index = CommandLine.arguments.firstIndex(of: "--test-bundle-path") {
      path = CommandLine.arguments[index + 1]
    }
    return (path as NSString).deletingLastPathComponent
  }()
  static let sluice = folder + "/sluice"
  static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path
}

/// A child process whose output is read by a thread of its own, so that a test can await a line.
final class ChildProcess: Sendable {
  let pid: pid_t
  private let state: Mutex<State>
  private let changed = DispatchSemaphore(value: 0)

  private struct State {
    var lines: [String] = []
    var ended = false
    var status: Int32?
  }

  /// The child's exit as the shell would put it: its code, or 128 + the signal.
  var output: [String] { state.withLock { $0.lines } }

  init(_ executable: String, _ arguments: [String], environment: [String: String] = [:], directory: String? = nil) {
    let ends = Self.spawning.withLock { _ in Self.pipe() }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends.write, 1)
    posix_spawn_file_actions_adddup2(&actions, ends.write, 2)
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
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
    let rc = Self.spawning.withLock { _ in posix_spawn(&child, command[0], &actions, &attributes, &argv, &envp) }
    guard rc == 0 else { fatalError("cannot run \(executable): errno \(rc)") }
    pid = child
    state = Mutex(State())
    let end = ends.read
    Thread.detachNewThread { self.collect(end) }
  }

  /// Held while a pipe is made and while a child is spawned, so that no child inherits another's pipe.
  private static let spawning = Mutex<Void>(())

  private static func pipe() -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    guard Glibc.pipe(&ends) == 0 else { fatalError("pipe: errno \(errno)") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
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
  func line(within seconds: Double = 60, where match: (String) -> Bool) -> String? {
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
  func exitStatus(within seconds: Double = 60) -> Int32? {
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

  func send(_ signal: Int32) { kill(pid, signal) }

  /// Runs to the end and returns (exit status, all output).
  static func run(
    _ executable: String, _ arguments: [String], environment: [String: String] = [:], directory: String? = nil
  ) -> (status: Int32?, text: String) {
    let child = ChildProcess(executable, arguments, environment: environment, directory: directory)
    let status = child.exitStatus()
    return (status, child.output.joined(separator: "\n"))
  }
}

/// `sluice run` with a topology of the test's, or the built-in one.
final class Daemon: Sendable {
  let process: ChildProcess
  /// Of the source that listened first.
  let port: Int
  /// By the source's name.
  let ports: [String: Int]

  /// Starts it and waits until it runs; nil (with the output in the failure) if it doesn't.
  init?(topology: String?, environment: [String: String] = [:], directory: String? = nil) {
    process = ChildProcess(
      Products.sluice, ["run"] + (topology.map { ["-c", $0] } ?? []), environment: environment, directory: directory)
    guard process.line(where: { $0.contains(" running") && $0.contains("subscribers=") }) != nil else {
      print(process.output.joined(separator: "\n"))
      return nil
    }
    let listening = process.output.filter { $0.contains("listening") }.compactMap { line in
      field("source", of: line).flatMap { source in
        field("address", of: line)?.split(separator: ":").last.flatMap { Int($0) }.map { (source, $0) }
      }
    }
    guard let first = listening.first else { return nil }
    port = first.1
    ports = Dictionary(listening) { first, _ in first }
  }

  func stop() -> Int32? {
    process.send(SIGTERM)
    return process.exitStatus()
  }

  func crash() {
    process.send(SIGKILL)
    _ = process.exitStatus()
  }
}

/// A blocking HTTP client over one loopback connection, just enough to see exact bytes.
final class HTTPConnection {
  private let descriptor: Int32
  private var received: [UInt8] = []

  init?(port: Int) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard rc == 0 else { return nil }
    var limit = timeval(tv_sec: 30, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  func send(_ text: String) -> Bool {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let n = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else { return false }
      bytes = bytes.dropFirst(n)
    }
    return true
  }

  /// One response: status, head, body. Nil when the connection ends first.
  func response() -> (status: Int, head: String, body: String)? {
    while true {
      if let end = headEnd() {
        let head = String(decoding: received[..<end], as: UTF8.self)
        let length =
          head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
          .flatMap { Int($0.split(separator: ":")[1].trimmingCharacters(in: .whitespaces)) } ?? 0
        if received.count >= end + 4 + length {
          let body = String(decoding: received[(end + 4)..<(end + 4 + length)], as: UTF8.self)
          received.removeSubrange(..<(end + 4 + length))
          return (Int(head.split(separator: " ")[1]) ?? 0, head, body)
        }
      }
      var buffer = [UInt8](repeating: 0, count: 16384)
      let n = recv(descriptor, &buffer, buffer.count, 0)
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else { return nil }
      received.append(contentsOf: buffer[..<n])
    }
  }

  private func headEnd() -> Int? {
    guard received.count >= 4 else { return nil }
    for i in 0...(received.count - 4)
    where received[i] == 13 && received[i + 1] == 10 && received[i + 2] == 13 && received[i + 3] == 10 {
      return i
    }
    return nil
  }

  func post(_ body: String, path: String = "/log", headers: String = "") -> (status: Int, head: String, body: String)? {
    guard
      send(
        "POST \(path) HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\(headers)"
          + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    else { return nil }
    return response()
  }

  func get(_ path: String, accept: String? = nil) -> (status: Int, head: String, body: String)? {
    guard send("GET \(path) HTTP/1.1\r\nHost: test\r\n\(accept.map { "Accept: \($0)\r\n" } ?? "")\r\n") else {
      return nil
    }
    return response()
  }
}
