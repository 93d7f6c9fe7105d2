import DaemonTestSupport
import Foundation
import SluiceIdentity
import TestSupport
import Testing

/// The client libraries of examples/clients, against the daemon.
@Suite struct ClientTests {
  static let folder = Products.repository + "/examples/clients"

  /// Builds a program with the one in C as its reader would, with the sanitizers. `includes`: what the source has in it.
  private static func buildC(
    _ source: String, includes: Bool = false, in folder: TemporaryFolder
  ) -> String {
    let program = folder.path + "/program"
    let built = ChildProcess.run(
      "/usr/bin/env",
      ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1", "-fsanitize=address,undefined"]
        + ["-fno-sanitize-recover=all", "-o", program]
        + ["\(Self.folder)/\(source)"] + (includes ? [] : ["\(Self.folder)/c/sluice_client.c"]))
    #expect(built.status == 0, "\(built.text)")
    return program
  }

  private static func command(_ language: String, _ folder: TemporaryFolder) -> [String] {
    language == "c" ? [buildC("c/send_lines.c", in: folder)] : ["python3", "\(Self.folder)/python/send_lines.py"]
  }

  private func check(_ script: String, _ language: String, _ command: [String]) {
    let result = ChildProcess.run("/usr/bin/env", ["python3", "\(Self.folder)/\(script)"] + command)
    #expect(result.status == 0, "\(language), \(script): \(result.text)")
  }

  /// What the source asks of a client.
  enum Demand: Sendable {
    case nothing, proof, proofOverTLS

    var members: String {
      switch self {
      case .nothing: ""
      case .proof: ", auth: required"
      case .proofOverTLS: ", auth: required, tls: { cert: server.pem, key: server.key }"
      }
    }
  }

  private func topology(_ folder: TemporaryFolder, _ demand: Demand, port: Int) -> String {
    folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      \(demand == .nothing ? "" : "identities: ./identities.yaml")
      streams: { events: { durability: written } }
      sources: { modules: { type: tcp, listen: "127.0.0.1:\(port)", stream: events\(demand.members) } }
      """)
  }

  /// What tells the client who it is, and whom to trust.
  private func environment(_ folder: TemporaryFolder, _ demand: Demand) throws -> [String: String] {
    guard demand != .nothing else { return [:] }
    let made = ChildProcess.run(
      Products.sluice, ["identity", "add", "press-7", "--publish", "events", "-c", topology(folder, demand, port: 0)])
    let line = try #require(made.text.split(separator: "\n").first { $0.hasPrefix("slu1_") }, "\(made.text)")
    let token = try #require(IdentityToken(parsing: line.utf8))
    let digits = token.secret.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    var environment = ["SLUICE_IDENTITY": "press-7", "SLUICE_SECRET": digits]
    if demand == .proofOverTLS {
      let authority = try TestAuthority(in: folder.path)
      _ = try authority.issue("server")
      environment["SLUICE_CA"] = authority.certificate
    }
    return environment
  }

  /// What is stored, by the numbers that the records carry.
  private func stored(_ folder: TemporaryFolder) throws -> [String] {
    let file = folder.path + "/stored.ndjson"
    let exported = ChildProcess.run(
      Products.sluice, ["stream", "export", folder.path + "/data/streams/events", "--output", file])
    #expect(exported.status == 0, "\(exported.text)")
    let text = String(decoding: try #require(FileManager.default.contents(atPath: file)), as: UTF8.self)
    return try text.split(separator: "\n").map { line in
      let record = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      return "\(record?["sequence"] ?? "?") \(record?["payload"] ?? "?")"
    }
  }

  @Test(
    "A client sends through a daemon that is killed again and again, and every record is stored once and in order",
    arguments: [
      ("c", Demand.nothing), ("c", .proof), ("python", .nothing), ("python", .proof), ("python", .proofOverTLS),
    ])
  func throughCrashes(language: String, demand: Demand) throws {
    let folder = TemporaryFolder()
    let count = 100_000
    let pipe = folder.path + "/lines"
    try #require(mkfifo(pipe, 0o600) == 0)
    let environment = try environment(folder, demand)
    let port = try HeldPort()
    let config = topology(folder, demand, port: port.number)
    var daemon = try #require(Daemon(topology: config))
    let script = "exec \"$@\" 127.0.0.1 \(port.number) press-7 press < \(pipe)"
    let client = ChildProcess(
      "/bin/sh", ["-c", script, "sh"] + Self.command(language, folder), environment: environment)
    // No daemon inherits it, or the client would never see its end.
    let descriptor = open(pipe, O_WRONLY | O_CLOEXEC)
    try #require(descriptor >= 0)
    let input = FileHandle(fileDescriptor: descriptor, closeOnDealloc: false)
    let rounds = 8
    for round in 0..<rounds {
      // More than the pipe holds, so that the client is at work on them, and no more than its window.
      let numbers = count / rounds * round + 1...count / rounds * (round + 1)
      try input.write(contentsOf: Data(numbers.map { "\($0)\n" }.joined().utf8))
      guard round < rounds - 1 else { break }
      daemon.crash()
      daemon = try #require(Daemon(topology: config))
    }
    try input.close()
    #expect(client.exitStatus() == 0, "\(client.output.suffix(5))")
    #expect(client.output.last == "\(count)")
    #expect(daemon.stop() == 0)
    let found = try stored(folder)
    let place = zip(found, 1...count).first { $0 != "\($1) \($1)" }
    #expect(place == nil && found.count == count, "\(found.count), \(place.map { "\($0)" } ?? "")")
  }

  @Test("Both clients send the golden bytes of Tests/Golden/wire: hello, proof and records, with and without tags")
  func golden() {
    let folder = TemporaryFolder()
    check("check_golden.py", "c", [Self.buildC("golden.c", in: folder)])
    check("check_golden.py", "python", ["python3", "\(Self.folder)/golden.py"])
  }

  @Test("No server keeps either client away for more than five minutes, whatever it asks for")
  func mostWait() {
    let folder = TemporaryFolder()
    check("check_waits.py", "c", [Self.buildC("waits.c", includes: true, in: folder)])
    check("check_waits.py", "python", ["python3", "\(Self.folder)/waits.py"])
  }

  @Test("The client in Python comes back at its time from a server that is silent and from one that sends without end")
  func inTime() {
    let result = ChildProcess.run("/usr/bin/env", ["python3", "\(Self.folder)/check_pump.py"])
    #expect(result.status == 0, "\(result.text)")
  }

  @Test("Both clients prove who they are, tag and check frames, resume, and refuse a server without the secret")
  func againstTheModel() {
    let folder = TemporaryFolder()
    for language in ["c", "python"] {
      let command = Self.command(language, folder)
      check("check_auth.py", language, command)
      check("check_resume.py", language, command)
    }
  }
}
