import Foundation
import TestSupport

/// Why a server could not be made, started or asked.
package struct PostgresServerError: Error, CustomStringConvertible {
  package let description: String
}

/// A real PostgreSQL server of a test's own: its data in a temporary directory, a Unix socket there, and a TCP port on
/// loopback. It keeps both over restarts. It ends with the object, or with the test's process, however that ends.
///
/// A server run by root would refuse to start: it then runs as the user `postgres`.
package final class PostgresServer: Sendable {
  /// The superuser, and the password that it has over TCP. Over the socket none is asked for.
  package static let user = "sluice"
  package static let password = "correct horse"

  package let directory: String
  package var port: Int { held.number }
  private let held: HeldPort
  private let settings: String
  private let guardian: Guardian

  /// Makes a database cluster and starts it. Not `durable`: without fsync, fast, and safe from anything but the
  /// machine's own crash, `kill` included.
  package init(durable: Bool = false, settings: [String] = []) throws {
    directory = try Self.makeDirectory()
    held = try HeldPort()
    let all = ["fsync=\(durable ? "on" : "off")", "shared_buffers=32MB", "listen_addresses=127.0.0.1"] + settings
    self.settings = "-p \(held.number) -k \(directory)" + all.map { " -c \($0)" }.joined()
    guardian = try Guardian(of: directory)
    let secret = "\(directory)/password"
    try Data("\(Self.password)\n".utf8).write(to: URL(fileURLWithPath: secret))
    try Self.giveAway(secret)
    try asServer([
      "initdb", "-D", data, "-U", Self.user, "--pwfile", secret, "-N", "-E", "UTF8", "--locale=C",
      "--auth-local=trust", "--auth-host=scram-sha-256",
    ])
    try start()
  }

  private var data: String { "\(directory)/data" }

  // MARK: Life

  /// Starts it and returns when it takes connections. On data that a `kill` has left it recovers first.
  package func start() throws {
    try asServer(["pg_ctl", "start", "-w", "-t", "60", "-s", "-D", data, "-l", "\(directory)/log", "-o", settings])
  }

  /// Stops it in good order: open transactions are rolled back, clients are told.
  package func stop() throws { try asServer(["pg_ctl", "stop", "-w", "-t", "60", "-s", "-m", "fast", "-D", data]) }

  /// Kills every process of it with SIGKILL, and returns when they are gone.
  package func kill() throws {
    guard let text = try? String(contentsOfFile: "\(data)/postmaster.pid", encoding: .utf8),
      let postmaster = text.split(separator: "\n").first.flatMap({ pid_t($0) })
    else { throw PostgresServerError(description: "no server runs on \(data)") }
    // Stopped first, so that it starts no more children while they are counted.
    _ = Glibc.kill(postmaster, SIGSTOP)
    let all = [postmaster] + Self.children(of: postmaster)
    for pid in all { _ = Glibc.kill(pid, SIGKILL) }
    let deadline = Date() + 30
    while all.contains(where: Self.isAlive) {
      guard Date() < deadline else { throw PostgresServerError(description: "the server survives SIGKILL") }
      _ = poll(nil, 0, 2)
    }
    // A killed postmaster that nobody has reaped yet would look alive to the next.
    for file in ["data/postmaster.pid", ".s.PGSQL.\(port).lock"] { unlink("\(directory)/\(file)") }
  }

  // MARK: Asking

  /// Over TCP, with a password.
  package func url(user: String = PostgresServer.user, password: String = PostgresServer.password) -> String {
    let quoted = password.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
    return "postgresql://\(user):\(quoted)@127.0.0.1:\(port)/postgres"
  }

  /// Over the Unix socket.
  package func socketURL(user: String = PostgresServer.user) -> String {
    "host=\(directory) port=\(port) dbname=postgres user=\(user)"
  }

  /// Runs SQL as the superuser. Rows are lines, columns have bars between them.
  @discardableResult
  package func sql(_ text: String) throws -> String {
    let answer = try Command.run(
      [Self.tool("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", socketURL(), "-c", text], in: directory,
      environment: Self.environment)
    guard answer.status == 0 else { throw PostgresServerError(description: "\(text): \(answer.output)") }
    return answer.output.trimmingCharacters(in: .newlines)
  }

  /// Runs SQL that answers with a number.
  package func count(_ text: String) throws -> Int {
    let answer = try sql(text)
    guard let number = Int(answer) else { throw PostgresServerError(description: "\(text) answered \(answer)") }
    return number
  }

  // MARK: Processes

  /// Without what libpq and the server look at.
  private static let environment = ProcessInfo.processInfo.environment.filter {
    !$0.key.hasPrefix("PG") && !$0.key.hasPrefix("LC_")
  }

  private func asServer(_ command: [String]) throws {
    let user = getuid() == 0 ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : []
    let answer = try Command.run(
      user + [Self.tool(command[0])] + command.dropFirst(), in: directory, environment: Self.environment)
    guard answer.status == 0 else {
      let log = (try? String(contentsOfFile: "\(directory)/log", encoding: .utf8)) ?? ""
      throw PostgresServerError(description: "\(command[0]): \(answer.output)\n\(log.suffix(2000))")
    }
  }

  /// Debian keeps the server's programs out of PATH.
  private static func tool(_ name: String) -> String {
    let debian = "/usr/lib/postgresql"
    let versions = (try? FileManager.default.contentsOfDirectory(atPath: debian)) ?? []
    let newest = versions.compactMap { Int($0) }.max()
    return newest.map { "\(debian)/\($0)/bin/\(name)" } ?? name
  }

  private static func makeDirectory() throws -> String {
    var template = Array("/tmp/sluice-pg-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw PostgresServerError(description: "mkdtemp: errno \(errno)") }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    chmod(path, 0o755)
    try giveAway(path)
    return path
  }

  /// To the user that the server runs as.
  private static func giveAway(_ path: String) throws {
    guard getuid() == 0 else { return }
    guard let user = getpwnam("postgres") else {
      throw PostgresServerError(description: "no user postgres: scripts/setup test installs PostgreSQL with it")
    }
    guard chown(path, user.pointee.pw_uid, user.pointee.pw_gid) == 0 else {
      throw PostgresServerError(description: "chown \(path): errno \(errno)")
    }
  }

  private static func children(of parent: pid_t) -> [pid_t] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { pid_t($0) }.filter { stat(of: $0)?.parent == parent }
  }

  /// A zombie counts as gone.
  private static func isAlive(_ pid: pid_t) -> Bool { stat(of: pid).map { $0.state != "Z" } ?? false }

  private static func stat(of pid: pid_t) -> (state: Substring, parent: pid_t)? {
    guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
      let end = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 1, let parent = pid_t(fields[1]) else { return nil }
    return (fields[0], parent)
  }
}

/// Ends a server and removes its directory when it goes, or when the process does, however that ends: then its input
/// ends, too.
private final class Guardian: Sendable {
  private let pid: pid_t
  private let leash: Int32

  init(of directory: String) throws {
    let script = """
      cat >/dev/null
      if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null; then
        for _ in $(seq 200); do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.05; done
      fi
      rm -rf "$1"
      """
    var ends: [Int32] = [0, 0]
    let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, flags, 0, &ends) == 0 else {
      throw PostgresServerError(description: "socketpair: errno \(errno)")
    }
    let null = open("/dev/null", O_WRONLY | O_CLOEXEC)
    defer {
      close(null)
      close(ends[1])
    }
    leash = ends[0]
    pid = try Command.spawn(["sh", "-c", script, "guardian", directory], input: ends[1], output: null)
  }

  deinit {
    close(leash)
    Command.wait(pid)
  }
}
