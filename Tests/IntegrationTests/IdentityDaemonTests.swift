import DaemonTestSupport
import Foundation
import SluiceCore
import SluiceIdentity
import SluiceIngest
import Testing

/// Identities against the daemon of this build: made by `sluice identity`, asked for over real sockets.
@Suite struct IdentityDaemonTests {
  private static let body = #"{"message":"x"}"#

  private func topology(_ folder: TemporaryFolder) -> String {
    folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      identities: ./identities.yaml
      streams:
        events: { durability: fsync }
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: events, auth: required, topic: web, idle_timeout: 1h }
        modules: { type: tcp, listen: "127.0.0.1:0", stream: events, auth: required }
      subscribers:
        archive: { plugin: disk, streams: [ events ], batch: { wait: 5ms }, config: { path: ./out } }
      """)
  }

  private func identity(_ arguments: String..., topology: String) -> (status: Int32?, text: String) {
    ChildProcess.run(Products.sluice, ["identity"] + arguments + ["-c", topology])
  }

  /// Makes an identity, or another token for one, and gives the token back.
  private func token(_ arguments: [String], topology: String) throws -> String {
    let made = ChildProcess.run(Products.sluice, ["identity"] + arguments + ["-c", topology])
    #expect(made.status == 0, "\(made.text)")
    return try #require(made.text.split(separator: "\n").first { $0.hasPrefix("slu1_") }.map(String.init))
  }

  private func post(_ connection: HTTPConnection, _ token: String?) -> Int? {
    connection.post(Self.body, headers: token.map { "Authorization: Bearer \($0)\r\n" } ?? "")?.status
  }

  @Test("A token that the command makes is taken, and what rotate, revoke and reload change holds on live connections")
  func fromMintToRevocation() throws {
    let folder = TemporaryFolder()
    let topology = topology(folder)
    let old = try token(["add", "press-7", "--publish", "events"], topology: topology)
    #expect(identity("add", "press-7", topology: topology).status == 64, "a name is taken once")
    let daemon = try #require(Daemon(topology: topology))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(post(connection, nil) == 401)
    #expect(post(connection, nil) == 401)
    #expect(daemon.process.line { $0.contains("refused") && $0.contains("reason=unauthorized") } != nil)
    #expect(post(connection, old) == 202)
    let port = try #require(daemon.ports["modules"])
    for host in ["127.0.0.1", "0.0.0.0"] {
      // The second is none of this machine's names to the client, which so proves itself by challenge–response.
      let sent = ChildProcess.run(
        Products.sluice, ["send", "--tcp", "\(host):\(port)", "--count", "100", "--token", old])
      #expect(sent.status == 0, "\(host): \(sent.text)")
      let refused = ChildProcess.run(Products.sluice, ["send", "--tcp", "\(host):\(port)", "--count", "1"])
      #expect(refused.status == 77 && refused.text.contains("auth_required"), "\(refused.text)")
    }
    let lines = folder.write("lines", "one\ntwo\nthree\n")
    for target in [["--tcp", "127.0.0.1:\(port)"], ["--http", "127.0.0.1:\(daemon.port)"]] {
      let send = ["send", "--file", lines, "--token", old] + target
      let own = ChildProcess.run(Products.sluice, send + ["--connections", "2"])
      #expect(own.status == 0, "a name that is made up is one of the identity's own: \(own.text)")
      let other = ChildProcess.run(Products.sluice, send + ["--producer", "press-8"])
      #expect(other.status != 0 && other.text.contains("forbidden"), "\(other.text)")
    }
    let file = folder.write("token", old + "\n")
    let sent = ChildProcess.run(
      Products.sluice, ["send", "--http", "127.0.0.1:\(daemon.port)", "--count", "10", "--token-file", file])
    #expect(sent.status == 0, "\(sent.text)")

    let new = try token(["rotate", "press-7", "--grace", "0"], topology: topology)
    #expect(post(connection, old) == 202, "nothing counts before the reload")
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", topology]).status == 0)
    #expect(post(connection, old) == 401)
    #expect(post(connection, new) == 202)

    let path = folder.path + "/identities.yaml"
    #expect(chmod(path, 0o644) == 0)
    let careless = ChildProcess.run(Products.sluice, ["reload", "-c", topology])
    #expect(careless.status == 78 && careless.text.contains("chmod 600"), "\(careless.text)")
    #expect(post(connection, new) == 202, "the old identities go on")
    #expect(chmod(path, 0o600) == 0)

    #expect(identity("revoke", "press-7", topology: topology).status == 0)
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", topology]).status == 0)
    #expect(post(connection, new) == 401)
    let list = identity("list", "--json", topology: topology)
    #expect(list.text.contains(#""keys":[]"#), "\(list.text)")
    #expect(list.text.contains(#""producers":["press-7","press-7/*"]"#), "\(list.text)")
    _ = try token(["add", "relay", "--publish", "events", "--producer", "press-*"], topology: topology)
    #expect(identity("list", topology: topology).text.contains("  producers press-*"))
    #expect(daemon.stop() == 0)
  }

  @Test("A daemon does not start with a file of identities that others may read, and says the chmod")
  func carelessFile() throws {
    let folder = TemporaryFolder()
    let topology = topology(folder)
    _ = try token(["add", "press-7", "--publish", "events"], topology: topology)
    #expect(chmod(folder.path + "/identities.yaml", 0o640) == 0)
    for command in [["run", "-c", topology], ["check", topology]] {
      let result = ChildProcess.run(Products.sluice, command)
      #expect(result.status == (command[0] == "run" ? 78 : 1) && result.text.contains("chmod 600"), "\(result.text)")
    }
  }

  @Test("What was captured before kill -9 is of no use after it, and what was stored is not stored again")
  func replayAfterACrash() throws {
    let folder = TemporaryFolder()
    let topology = topology(folder)
    let text = try token(["add", "press-7", "--publish", "events"], topology: topology)
    let identity = try #require(IdentityToken(parsing: text.utf8))
    let daemon = try #require(Daemon(topology: topology))
    let modules = try #require(daemon.ports["modules"])
    let first = try #require(ProvingSocket(port: modules, identity))
    #expect(try first.greet() == 0)
    try first.send(first.record("once", sequence: 1))
    #expect(try first.awaitAck() == 1)
    daemon.crash()

    let again = try #require(Daemon(topology: topology))
    let port = try #require(again.ports["modules"])
    let attacker = try #require(ProvingSocket(port: port, identity))
    for frame in first.sent { try? attacker.send(frame) }
    #expect(try attacker.awaitError() == WireErrorCode.authFailed.rawValue)
    let owner = try #require(ProvingSocket(port: port, identity))
    #expect(try owner.greet() == 1, "the high-water mark survives")
    try owner.send(owner.record("once", sequence: 1))
    #expect(try owner.awaitAck() == 1)
    #expect(again.stop() == 0)
    // Delivery may repeat after a crash; what counts here is what the stream holds.
    let inspected = ChildProcess.run(
      Products.sluice, ["stream", "inspect", "--json", folder.path + "/data/streams/events"])
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(inspected.text.utf8)) as? [String: Any], "\(inspected.text)")
    let segments = try #require(object["segments"] as? [[String: Any]])
    #expect(segments.reduce(0) { $0 + ($1["records"] as? Int ?? 0) } == 1, "\(inspected.text)")
  }
}
