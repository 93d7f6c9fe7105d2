import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// Encrypted sources of the daemon of this build, seen by clients that are none of its own.
@Suite struct TLSTests {
  @Test("curl posts over TLS, trusting the authority that signed, and no other")
  func curl() throws {
    let rig = try TLSRig()
    func post(_ more: [String]) -> (status: Int32?, text: String) {
      ChildProcess.run(
        "/usr/bin/env",
        ["curl", "-sS", "-d", #"{"message":"hello"}"#, "-o", "/dev/null", "-w", "%{http_code} %{ssl_verify_result}\\n"]
          + more + ["https://localhost:\(rig.port("api"))/log"])
    }
    let trusted = post(["--cacert", rig.authority.certificate])
    #expect(trusted.status == 0 && trusted.text == "202 0", "\(trusted.text)")
    #expect(post([]).status == 60, "curl's word for a certificate that nobody it knows has signed")
    let plain = ChildProcess.run("/usr/bin/env", ["curl", "-sS", "http://localhost:\(rig.port("api"))/health"])
    #expect(plain.status == 52 || plain.status == 56 || plain.status == 1, "\(plain.status ?? -1) \(plain.text)")
    #expect(eventually { rig.handshakes("api", "not_tls") == 1 })
    #expect(eventually { rig.handshakes("api", "ok") == 1 && rig.handshakes("api", "other") == 1 })
    #expect(rig.daemon.stop() == 0)
    #expect(deliveredLines(rig.folder.path + "/out").count == 1)
  }

  @Test("TLS 1.2 and 1.3 are spoken, 1.1 is not, and HTTP's name is agreed on")
  func versions() throws {
    let rig = try TLSRig()
    for version in ["1.2", "1.3"] {
      let peer = rig.client("peer", ["--version", version, "--alpn", "http/1.1"])
      #expect(peer.text.hasSuffix("TLSv\(version) http/1.1"), "\(peer.text)")
    }
    #expect(rig.client("peer", ["--version", "1.1"]).status == 1)
    #expect(eventually { rig.handshakes("api", "protocol") == 1 })
    #expect(rig.client("peer", at: "modules").text.hasSuffix("TLSv1.3 None"))
    #expect(rig.daemon.stop() == 0)
  }

  @Test("A source that asks for TLS 1.3 refuses 1.2")
  func newestOnly() throws {
    let rig = try TLSRig(tls: ", min_version: 1.3")
    #expect(rig.client("peer", ["--version", "1.2"]).status == 1)
    #expect(rig.client("peer", ["--version", "1.3"]).status == 0)
    #expect(rig.daemon.stop() == 0)
  }

  @Test("Pipelined, large, tiny and cut up requests are all answered over TLS")
  func shapes() throws {
    let rig = try TLSRig()
    #expect(rig.client("post", ["--count", "300"]).text == "202:300")
    #expect(rig.client("big", ["--count", "\(4 << 20)"]).text == "202:1")
    #expect(rig.client("small", ["--count", "3"]).text == "202:3")
    #expect(rig.client("dribble").text == "202")
    #expect(rig.client("truncate").text == "202")
    #expect(rig.client("lines", at: "lines", ["--count", "1000"]).text == "sent")
    #expect(eventually { deliveredLines(rig.folder.path + "/out").count == 1306 })
    #expect(rig.daemon.stop() == 0)
  }

  @Test("sluice send speaks TLS at both edges, and says what is wrong with a certificate")
  func send() throws {
    let rig = try TLSRig()
    let ca = ["--ca", rig.authority.certificate]
    let http = ["--http", "https://localhost:\(rig.port("api"))"]
    let tcp = ["--tcp", "127.0.0.1:\(rig.port("modules"))", "--tls"]
    for target in [http, tcp] {
      let sent = rig.send(target + ca + ["--count", "2000", "--connections", "4"])
      #expect(sent.status == 0, "\(sent.text)")
      let untrusted = rig.send(target + ["--count", "1"])
      #expect(untrusted.status == 76 && untrusted.text.contains("is not trusted: --ca FILE"), "\(untrusted.text)")
      #expect(rig.send(target + ["--count", "1", "--insecure"]).status == 0)
    }
    let plain = rig.send(["--http", "https://localhost:\(rig.port("admin"))", "--count", "1"] + ca)
    #expect(plain.status == 76 && plain.text.contains("does not speak TLS"), "\(plain.text)")
    let file = rig.folder.write("lines.txt", (0..<500).map { "line \($0)\n" }.joined())
    #expect(rig.send(tcp + ca + ["--file", file]).status == 0)
    #expect(rig.send(http + ca + ["--file", file, "--batch", "100"]).status == 0)
    #expect(rig.daemon.stop() == 0)
    #expect(deliveredLines(rig.folder.path + "/out").count == 5002)
  }

  @Test(
    "A client's certificate is asked for, required and verified as the topology says",
    arguments: ["", ", client: optional"])
  func clientCertificates(client: String) throws {
    let folder = TemporaryFolder()
    let clients = try TestAuthority(in: folder.path, name: "clients")
    let good = try clients.issue("module")
    let expired = try clients.issueExpired("old")
    let stranger = try TestAuthority(in: folder.path, name: "others").issue("stranger")
    let rig = try TLSRig(folder, tls: ", client_ca: clients.pem\(client)")
    let isRequired = client.isEmpty
    #expect(rig.serves(rig.arguments(good)))
    #expect(rig.serves(rig.arguments(good) + ["--version", "1.2"]))
    #expect(rig.serves([]) == !isRequired)
    #expect(!rig.serves(rig.arguments(stranger)))
    #expect(eventually { rig.handshakes("api", "unknown_ca") == 1 })
    #expect(!rig.serves(rig.arguments(expired)))
    #expect(eventually { rig.handshakes("api", "unknown_ca") == 2 }, "one whose time has passed counts as unknown")
    let tcp = ["--tcp", "localhost:\(rig.port("modules"))", "--tls", "--ca", rig.authority.certificate, "--count", "1"]
    #expect(rig.send(tcp + rig.arguments(good)).status == 0)
    let without = rig.send(tcp)
    #expect(without.status == (isRequired ? 77 : 0), "\(without.text)")
    #expect(eventually { rig.handshakes("api", "no_certificate") == (isRequired ? 1 : 0) })
    #expect(rig.daemon.stop() == 0)
  }

  @Test("A handshake that stops half way, and one that never begins, are cut")
  func halfOpen() throws {
    let rig = try TLSRig(http: ", header_timeout: 10s")
    #expect(rig.client("half").text.hasPrefix("closed"))
    #expect(eventually { rig.handshakes("api", "timeout") == 1 })
    #expect(rig.client("post").text == "202:1")
    #expect(rig.daemon.stop() == 0)
  }

  @Test("Draining ends an encrypted connection with close_notify")
  func drains() throws {
    let rig = try TLSRig()
    let idle = rig.start("drain")
    #expect(idle.line { $0 == "202" } != nil)
    #expect(rig.daemon.stop() == 0)
    #expect(idle.exitStatus() == 0 && idle.output.last == "close_notify", "\(idle.output)")
  }
}
