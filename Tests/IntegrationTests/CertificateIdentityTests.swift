import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// Identities that are tied to a client's certificate, over real TLS.
@Suite struct CertificateIdentityTests {
  private func topology(_ folder: TemporaryFolder) -> String {
    let tls = "auth: required, tls: { cert: server.pem, key: server.key, client_ca: ca.pem, client: optional }"
    return folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      identities: ./identities.yaml
      streams:
        events: { durability: written }
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: events, \(tls) }
        modules: { type: tcp, listen: "127.0.0.1:0", stream: events, \(tls) }
      subscribers: {}
      """)
  }

  @Test("A token that is tied to a certificate is taken with that one alone, over HTTP and framed TCP")
  func tied() throws {
    let folder = TemporaryFolder()
    let authority = try TestAuthority(in: folder.path)
    _ = try authority.issue("server")
    let (own, other) = (try authority.issue("press"), try authority.issue("thief"))
    let file = topology(folder)
    let made = ChildProcess.run(
      Products.sluice,
      ["identity", "add", "press", "--publish", "events", "--certificate", own.certificate, "-c", file])
    let token = try #require(made.text.split(separator: "\n").first { $0.hasPrefix("slu1_") }.map(String.init))
    let daemon = try #require(Daemon(topology: file))

    func post(_ pair: TestAuthority.Pair?) -> String {
      let shown = pair.map { ["--cert", $0.certificate, "--key", $0.key] } ?? []
      return ChildProcess.run(
        "/usr/bin/curl",
        ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", authority.certificate] + shown + [
          "-H", "Authorization: Bearer \(token)", "https://localhost:\(daemon.ports["api"] ?? 0)/log", "-d",
          #"{"message":"x"}"#,
        ]
      ).text
    }
    #expect(post(own) == "202")
    #expect(post(other) == "401", "signed by the same authority, and not the identity's")
    #expect(post(nil) == "401")

    func send(_ pair: TestAuthority.Pair?) -> Int32? {
      let shown = pair.map { ["--cert", $0.certificate, "--key", $0.key] } ?? []
      return ChildProcess.run(
        Products.sluice,
        ["send", "--tcp", "localhost:\(daemon.ports["modules"] ?? 0)", "--tls", "--ca", authority.certificate]
          + shown + ["--count", "10", "--token", token]
      ).status
    }
    #expect(send(own) == 0)
    #expect(send(other) == 77)
    #expect(send(nil) == 77)
    #expect(daemon.stop() == 0)
  }
}
