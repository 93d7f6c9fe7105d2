import DaemonTestSupport
import Foundation
import TestSupport

/// A daemon with an encrypted source of each kind, its authority, and clients of it.
struct TLSRig {
  let folder: TemporaryFolder
  let authority: TestAuthority
  let daemon: Daemon
  let file: String

  /// `tls`: more members of each source's `tls`; `http`: more of the HTTP source.
  init(_ folder: TemporaryFolder = TemporaryFolder(), tls: String = "", http: String = "") throws {
    self.folder = folder
    authority = try TestAuthority(in: folder.path)
    _ = try authority.issue("server")
    file = Self.topology(folder, tls: tls, http: http)
    guard let daemon = Daemon(topology: file) else { throw TestAuthority.Failure(text: "the daemon did not start") }
    self.daemon = daemon
  }

  @discardableResult
  static func topology(_ folder: TemporaryFolder, certificate: String = "server", tls: String = "", http: String = "")
    -> String
  {
    let tls = "tls: { cert: \(certificate).pem, key: \(certificate).key\(tls) }"
    return folder.write(
      "tls.yaml",
      """
      sluice: 1
      daemon: { data: ./data, admin: "127.0.0.1:0" }
      streams:
        events: { durability: written, max_record: 8MiB, ring: 64MiB }
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: events, auth: none, max_body: 8MiB, idle_timeout: 1h, \(tls)\(http) }
        modules: { type: tcp, listen: "127.0.0.1:0", stream: events, auth: none, idle_timeout: 1h, \(tls) }
        lines: { type: tcp, framing: lines, listen: "127.0.0.1:0", stream: events, auth: none, \(tls) }
      subscribers:
        archive: { plugin: disk, streams: [ events ], batch: { wait: 5ms }, config: { path: ./out } }
      """)
  }

  func port(_ source: String) -> Int { daemon.ports[source] ?? 0 }

  static let program = Products.repository + "/Tests/Fixtures/tls_client.py"

  /// A client that Python makes, and the last line that it printed.
  func client(_ verb: String, at source: String = "api", _ arguments: [String] = []) -> (status: Int32?, text: String) {
    let run = ChildProcess.run("/usr/bin/env", self.arguments(verb, source, arguments))
    return (run.status, run.text.split(separator: "\n").last.map(String.init) ?? "")
  }

  /// One that goes on until it is told to stop.
  func start(_ verb: String, at source: String = "api", _ arguments: [String] = []) -> ChildProcess {
    ChildProcess("/usr/bin/env", self.arguments(verb, source, arguments))
  }

  private func arguments(_ verb: String, _ source: String, _ more: [String]) -> [String] {
    let authority = more.contains("--ca") ? [] : ["--ca", authority.certificate]
    return ["python3", "-u", Self.program, "\(port(source))", verb] + authority + more
  }

  func send(_ arguments: [String]) -> (status: Int32?, text: String) {
    ChildProcess.run(Products.sluice, ["send"] + arguments)
  }

  /// Handshakes of a source that went so.
  func handshakes(_ source: String, _ result: String) -> Int {
    metric("sluice_source_tls_handshakes_total{source=\"\(source)\",result=\"\(result)\"} ")
  }

  /// Records of a source that the stream has.
  func accepted(_ source: String) -> Int { metric("sluice_source_accepted_records_total{source=\"\(source)\"} ") }

  private func metric(_ name: String) -> Int {
    guard let text = HTTPConnection(port: port("admin"))?.get("/metrics", accept: "text/plain")?.body else { return -1 }
    return text.split(separator: "\n").first { $0.hasPrefix(name) }.flatMap { Int($0.dropFirst(name.count)) } ?? -1
  }

  /// Whether a client with these arguments gets through to an answer.
  func serves(_ arguments: [String]) -> Bool { client("post", at: "api", arguments).text == "202:1" }

  func arguments(_ pair: TestAuthority.Pair) -> [String] { ["--cert", pair.certificate, "--key", pair.key] }
}
