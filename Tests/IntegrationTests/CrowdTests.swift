import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// Many producers at once: 10,000 of them in the long run, as many as DESIGN promises.
@Suite(.serialized) struct CrowdTests {
  private static let isLong = ProcessInfo.processInfo.environment["SLUICE_FULL"] != nil
  private static let connections = isLong ? 10_000 : 1_000
  private static let slowConnections = isLong ? 5_000 : 500

  /// KiB of a connection: 100 MiB by 10,000 of them, and what docs/tls.md states with some room.
  private static let plain = 10
  private static let encrypted = 32
  /// KiB of what the first connections make the daemon touch, whatever their number.
  private static let once = 4096

  private func build(in folder: TemporaryFolder) throws -> String {
    let program = folder.path + "/crowd"
    let sources = ["crowd.c", "wire.c", "histogram.c"].map { Products.repository + "/Tests/Benchmarks/" + $0 }
    let built = ChildProcess.run(
      "/usr/bin/cc",
      ["-std=c11", "-D_GNU_SOURCE", "-O2", "-DCROWD_TLS", "-o", program] + sources + ["-lssl", "-lcrypto"])
    try #require(built.status == 0, "\(built.text)")
    return program
  }

  /// `more`: of each source.
  private func plain(_ folder: TemporaryFolder, _ more: String = "") -> String {
    folder.write(
      "crowd.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      streams:
        events: { durability: written }
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: events, idle_timeout: 1h\(more) }
        modules: { type: tcp, listen: "127.0.0.1:0", stream: events, idle_timeout: 1h }
      subscribers: {}
      """)
  }

  /// Resident KiB of a process that are its own, without its program's; of a stream's ring what was written.
  private func resident(_ process: ChildProcess) throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(process.pid)/status", encoding: .utf8)
    return try ["RssAnon:", "RssShmem:"].reduce(0) { sum, name in
      let line = try #require(status.split(separator: "\n").first { $0.hasPrefix(name) })
      return sum + (try #require(Int(line.filter(\.isNumber))))
    }
  }

  @Test(
    "Each of a crowd sends once a second, then all at once: all is acknowledged, in little memory that does not grow",
    arguments: ["post", "frames"], [false, true])
  func crowd(mode: String, isEncrypted: Bool) throws {
    let folder = TemporaryFolder()
    let program = try build(in: folder)
    let rig = isEncrypted ? try TLSRig(folder, http: ", header_timeout: 1h") : nil
    let daemon = try #require(rig?.daemon ?? Daemon(topology: plain(folder)))
    let port = try #require(daemon.ports[mode == "post" ? "api" : "modules"])
    let before = try resident(daemon.process)
    let go = folder.path + "/go"
    try #require(mkfifo(go, 0o600) == 0)
    let command = "exec \(program) \(mode) \(port) \(Self.connections) 2\(isEncrypted ? " tls" : "") < \(go)"
    let crowd = ChildProcess("/bin/sh", ["-c", command])
    // The daemon must not inherit it, nor another child.
    let descriptor = open(go, O_WRONLY | O_CLOEXEC)
    try #require(descriptor >= 0)
    let input = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    var grown: [Int] = []
    for station in ["connected", "steady", "burst"] {
      try #require(crowd.line(within: 600, where: { $0 == station }) != nil, "\(crowd.output)")
      grown.append(try resident(daemon.process) - before)
      try input.write(contentsOf: Data("go\n".utf8))
    }
    #expect(crowd.exitStatus() == 0, "\(crowd.output)")
    let result = try #require(crowd.output.last)
    #expect(result.contains("\"connected\":\(Self.connections),") && result.contains("\"lost\":0}"), "\(result)")
    let bound = Self.once + Self.connections * (isEncrypted ? Self.encrypted : Self.plain)
    #expect(grown.allSatisfy { $0 <= bound }, "\(grown) KiB, \(bound) are allowed")
    #expect(grown[2] <= grown[1] + Self.connections, "a kibibyte of each by its second record: \(grown)")
    #expect(daemon.stop() == 0)
  }

  @Test("A crowd whose heads never end is cut off, and who sends properly beside it is served all the while")
  func slow() throws {
    let folder = TemporaryFolder()
    let program = try build(in: folder)
    let daemon = try #require(Daemon(topology: plain(folder, ", header_timeout: 15s")))
    let crowd = ChildProcess(program, ["loris", "\(daemon.port)", "\(Self.slowConnections)", "240"])
    try #require(crowd.line { $0 == "connected" } != nil)
    let connection = try #require(HTTPConnection(port: daemon.port))
    var served = 0
    while crowd.line(within: 0, where: { $0.hasPrefix("{") }) == nil, served < 1_000_000 {
      #expect(connection.post(#"{"message":"in time"}"#)?.status == 202)
      served += 1
    }
    #expect(crowd.exitStatus() == 0, "\(crowd.output)")
    #expect(crowd.output.contains { $0.contains("\"cut\":\(Self.slowConnections),") }, "\(crowd.output)")
    #expect(served > 0)
    #expect(daemon.stop() == 0)
  }
}
