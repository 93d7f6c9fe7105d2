import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// Encrypted sources beside clients that mean no good, and clients that come back.
@Suite struct TLSLoadTests {
  @Test("Two hundred handshakes that never end keep nobody else from being served")
  func unfinishedHandshakes() throws {
    let rig = try TLSRig(http: ", header_timeout: 15s")
    let silent = (0..<200).compactMap { _ in HTTPConnection(port: rig.port("api")) }
    #expect(silent.count == 200)
    #expect(rig.client("post", ["--count", "50"]).text == "202:50")
    #expect(eventually(within: 240) { rig.handshakes("api", "timeout") == 200 })
    #expect(rig.handshakes("api", "ok") == 1)
    #expect(rig.daemon.stop() == 0)
  }

  @Test(
    "A client takes its session up again, its certificate included, until certificates change, in each version",
    arguments: ["tls1_2", "tls1_3"])
  func resumes(version: String) throws {
    let rig = try TLSRig(tls: ", client_ca: ca.pem")
    let module = try rig.authority.issue("module")
    let session = rig.folder.path + "/session"
    // A request first: in TLS 1.3 sessions come with the answer.
    let request = #"printf 'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'"#
    func connect(_ option: String) -> String {
      let client =
        "openssl s_client -connect localhost:\(rig.port("api")) -\(version) -CAfile ca.pem -cert \(module.certificate)"
        + " -key \(module.key) -ign_eof \(option) \(session)"
      return ChildProcess.run("/bin/sh", ["-c", "\(request) | \(client) 2>&1"], directory: rig.folder.path).text
    }
    let first = connect("-sess_out")
    #expect(first.contains("New, TLSv1") && first.contains("HTTP/1.1 200"), "\(first)")
    let second = connect("-sess_in")
    #expect(second.contains("Reused, TLSv1") && second.contains("HTTP/1.1 200"), "\(second)")
    // It does not outlive a change of the server's certificate, nor of whom clients must be signed by.
    _ = try rig.authority.issue("server")
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    let third = connect("-sess_in")
    #expect(third.contains("New, TLSv1") && third.contains("HTTP/1.1 200"), "\(third)")
    #expect(connect("-sess_out").contains("HTTP/1.1 200"))
    _ = try TestAuthority(in: rig.folder.path, name: "others")
    TLSRig.topology(rig.folder, tls: ", client_ca: others.pem")
    #expect(ChildProcess.run(Products.sluice, ["reload", "-c", rig.file]).status == 0)
    let fourth = connect("-sess_in")
    #expect(!fourth.contains("Reused, TLSv1") && !fourth.contains("HTTP/1.1 200"), "\(fourth)")
    #expect(rig.daemon.stop() == 0)
  }
}
