import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// The client library in Python on one connection to the framed source, which sends when it is told to.
private struct FramedSender {
  let client: ChildProcess
  let input: FileHandle

  init(_ rig: TLSRig) throws {
    let pipe = rig.folder.path + "/framed"
    try #require(mkfifo(pipe, 0o600) == 0)
    let program = ClientTests.folder + "/python/send_lines.py"
    client = ChildProcess(
      "/bin/sh", ["-c", "exec python3 \(program) 127.0.0.1 \(rig.port("modules")) press-7 < \(pipe)"],
      environment: ["SLUICE_CA": rig.authority.certificate])
    // No child inherits it, or the client would never see its end.
    let descriptor = open(pipe, O_WRONLY | O_CLOEXEC)
    try #require(descriptor >= 0)
    input = FileHandle(fileDescriptor: descriptor, closeOnDealloc: false)
  }

  /// More than it gathers before it sends.
  func send(_ count: Int) throws {
    try input.write(contentsOf: Data((0..<count).map { "record \($0)\n" }.joined().utf8))
  }

  /// What it said of its connection, and how many records were acknowledged.
  func end() throws -> [String] {
    try input.close()
    #expect(client.exitStatus() == 0)
    return client.output
  }
}

/// Certificates that change while the daemon runs, and what a topology's check says of them.
@Suite struct TLSReloadTests {
  private func peer(_ rig: TLSRig, at source: String) -> String {
    String(rig.client("peer", at: source).text.prefix { $0 != " " })
  }

  @Test("Five changes of the certificate under load drop no connection, and the next handshake has the new one")
  func renewsUnderLoad() throws {
    let rig = try TLSRig()
    let stop = rig.folder.path + "/stop"
    let load = rig.start("load", ["--stop", stop])
    let lines = rig.start("hold", at: "lines", ["--stop", stop])
    for client in [load, lines] { #expect(client.line { $0 == "begun" } != nil) }
    let framed = try FramedSender(rig)
    var seen = Set([peer(rig, at: "api")])
    for round in 1...5 {
      // By turns the files are replaced where they are, and others are named.
      let name = round % 2 == 0 ? "server" : "server\(round)"
      _ = try rig.authority.issue(name)
      TLSRig.topology(rig.folder, certificate: name)
      let reload = ChildProcess.run(Products.sluice, ["reload", "-c", rig.file])
      #expect(reload.status == 0 && reload.text.contains("tls files"), "\(reload.text)")
      let before = rig.accepted("modules")
      try framed.send(3000)
      #expect(eventually { rig.accepted("modules") > before }, "the framed connection goes on")
      for source in ["api", "modules", "lines"] { seen.insert(peer(rig, at: source)) }
      #expect(seen.count == round + 1, "all sources have the same, and nobody had it before")
    }
    // A signal with nothing but other bytes in the same files.
    _ = try rig.authority.issue("server5")
    rig.daemon.process.send(SIGHUP)
    #expect(rig.daemon.process.line { $0.contains("reloaded") && field("generation", of: $0) == "7" } != nil)
    #expect(seen.insert(peer(rig, at: "api")).inserted)
    _ = rig.folder.write("stop", "")
    #expect(load.exitStatus() == 0)
    let result = try #require(load.output.last)
    #expect(result.hasPrefix("202:") && !result.contains(" "), "one connection, all answered: \(result)")
    #expect(lines.exitStatus() == 0)
    let sent = lines.output.last.flatMap { Int($0) }
    #expect(sent != nil && eventually { rig.accepted("lines") == sent }, "one connection, all taken: \(lines.output)")
    #expect(try framed.end() == ["connected 0 0 ", "15000"])
    #expect(rig.daemon.stop() == 0)
  }

  @Test("A reload with another authority for clients refuses those of the old one and takes those of the new one")
  func changesTheClientAuthority() throws {
    let folder = TemporaryFolder()
    let (old, new) = (try TestAuthority(in: folder.path, name: "old"), try TestAuthority(in: folder.path, name: "new"))
    let rig = try TLSRig(folder, tls: ", client_ca: old.pem")
    let known = rig.arguments(try old.issue("known"))
    let stranger = rig.arguments(try new.issue("stranger"))
    let stop = folder.path + "/stop"
    let load = rig.start("load", known + ["--stop", stop])
    #expect(load.line { $0 == "begun" } != nil)
    #expect(rig.serves(known) && !rig.serves(stranger))
    #expect(eventually { rig.handshakes("api", "unknown_ca") == 1 })
    TLSRig.topology(folder, tls: ", client_ca: new.pem")
    let reload = ChildProcess.run(Products.sluice, ["reload", "-c", rig.file])
    #expect(reload.status == 0 && reload.text.contains("tls files"), "\(reload.text)")
    #expect(rig.serves(stranger) && !rig.serves(known))
    #expect(eventually { rig.handshakes("api", "unknown_ca") == 2 })
    // The same name, and the authority in the file is another.
    try FileManager.default.removeItem(atPath: new.certificate)
    try FileManager.default.copyItem(atPath: old.certificate, toPath: new.certificate)
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    #expect(rig.serves(known) && !rig.serves(stranger))
    _ = folder.write("stop", "")
    #expect(load.exitStatus() == 0 && load.output.last?.hasPrefix("202:") == true, "who was let in stays")
    #expect(rig.daemon.stop() == 0)
  }

  @Test("A certificate is believed with the one between it and its authority behind it, and not without, on both sides")
  func chains() throws {
    let folder = TemporaryFolder()
    let clients = try TestAuthority(in: folder.path, name: "clients")
    let rig = try TLSRig(folder, tls: ", client_ca: clients.pem")
    let (below, belowClients) = (try rig.authority.authority("below"), try clients.authority("below-clients"))
    let client = try belowClients.issue("module")
    #expect(!rig.serves(rig.arguments(client)))
    #expect(eventually { rig.handshakes("api", "unknown_ca") == 1 })
    try belowClients.append(to: client)
    #expect(rig.serves(rig.arguments(client)))
    let server = try below.issue("server")
    TLSRig.topology(folder, tls: ", client_ca: clients.pem")
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    #expect(!rig.serves(rig.arguments(client)), "who trusts the authority can't know who signed")
    try below.append(to: server)
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    #expect(rig.serves(rig.arguments(client)))
    #expect(rig.daemon.stop() == 0)
  }

  @Test("A certificate that can't be used refuses the reload as a whole, and the old one goes on")
  func refusesBroken() throws {
    let rig = try TLSRig()
    let before = peer(rig, at: "api")
    _ = rig.folder.write("server.pem", "no certificate")
    let reload = ChildProcess.run(Products.sluice, ["reload", "-c", rig.file])
    #expect(reload.status != 0 && reload.text.contains("server.pem: no certificate can be read"), "\(reload.text)")
    #expect(peer(rig, at: "api") == before)
    _ = try rig.authority.issue("server")
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    #expect(peer(rig, at: "api") != before)
    #expect(rig.daemon.stop() == 0)
  }

  @Test("Whether connections are encrypted changes in a running daemon")
  func turnsOnAndOff() throws {
    let rig = try TLSRig()
    let text = try String(contentsOfFile: rig.file, encoding: .utf8)
    _ = rig.folder.write("tls.yaml", text.replacing(", tls: { cert: server.pem, key: server.key }", with: ""))
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    let plain = try #require(HTTPConnection(port: rig.port("api")))
    #expect(plain.post(#"{"message":"plain"}"#)?.status == 202)
    _ = rig.folder.write("tls.yaml", text)
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    #expect(rig.client("post").text == "202:1")
    #expect(rig.daemon.stop() == 0)
  }

  @Test("sluice check names the line of each file that is wrong, and what to do")
  func check() throws {
    let folder = TemporaryFolder()
    let authority = try TestAuthority(in: folder.path)
    let server = try authority.issue("server")
    _ = try authority.issue("other")
    _ = try authority.issueExpired("old")
    _ = folder.write("empty.pem", "")
    chmod(folder.write("junk.key", "no key"), 0o600)
    try authority.openssl(["pkey", "-in", server.key, "-aes256", "-passout", "pass:x", "-out", "locked.key"])
    func check(_ tls: String) -> (status: Int32?, text: String) {
      let file = folder.write(
        "tls.yaml",
        """
        sluice: 1
        streams: { events: {} }
        sources:
          api: { type: http, listen: "127.0.0.1:0", stream: events,
                 tls: { \(tls) } }
        """)
      return ChildProcess.run(Products.sluice, ["check", file])
    }
    func expect(_ tls: String, _ column: Int, _ words: String, sourceLocation: SourceLocation = #_sourceLocation) {
      let checked = check(tls)
      #expect(checked.status == 1, sourceLocation: sourceLocation)
      #expect(checked.text.contains("tls.yaml:5:\(column): "), "\(checked.text)", sourceLocation: sourceLocation)
      #expect(checked.text.contains(words), "\(checked.text)", sourceLocation: sourceLocation)
    }
    #expect(check("cert: server.pem, key: server.key").status == 0)
    expect("cert: none.pem, key: server.key", 23, "it can't be read: no such file or directory")
    expect("cert: empty.pem, key: server.key", 23, "no certificate can be read from it")
    expect("cert: server.key, key: server.key", 23, "no certificate can be read from it")
    expect("cert: server.pem, key: other.key", 40, "this key does not belong to the certificate")
    expect("cert: server.pem, key: junk.key", 40, "no private key can be read from it")
    expect("cert: server.pem, key: locked.key", 40, "the key is encrypted")
    expect("cert: server.pem, key: server.key, client_ca: empty.pem", 63, "no certificate can be read from it")
    expect("cert: server.pem, key: server.key, client: required", 60, "nobody is named who signs")
    chmod(server.key, 0o644)
    expect("cert: server.pem, key: server.key", 40, "chmod 600")
    let old = check("cert: old.pem, key: old.key")
    #expect(old.status == 0 && old.text.contains("warning"), "\(old.text)")
    #expect(old.text.contains("has expired: 2021-01-01T00:00:00Z"))
  }
}
