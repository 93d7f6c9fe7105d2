import DaemonTestSupport
import Foundation
import SluiceCore
import Testing

/// `sluice identity rotate` and `revoke`, as a daemon that runs learns of them.
@Suite struct IdentityRotationTests {
  private static let body = #"{"message":"x"}"#

  /// A folder with a topology whose source wants to know who sends.
  private struct Site {
    let folder = TemporaryFolder()
    let topology: String

    init() {
      topology = folder.write(
        "sluice.yaml",
        """
        sluice: 1
        daemon: { data: ./data }
        identities: ./identities.yaml
        streams:
          events: { durability: memory }
        sources:
          api: { type: http, listen: "127.0.0.1:0", stream: events, auth: required }
        subscribers:
          archive: { plugin: disk, streams: [ events ], config: { path: ./out } }
        """)
    }

    func identity(_ arguments: String...) -> (status: Int32?, text: String) {
      ChildProcess.run(Products.sluice, ["identity"] + arguments + ["-c", topology])
    }

    /// Makes an identity, or another token for one, and gives the token back.
    func token(_ arguments: String...) throws -> String {
      let made = ChildProcess.run(Products.sluice, ["identity"] + arguments + ["-c", topology])
      #expect(made.status == 0, "\(made.text)")
      return try #require(made.text.split(separator: "\n").first { $0.hasPrefix("slu1_") }.map(String.init))
    }

    func reload() -> Int32? { ChildProcess.run(Products.sluice, ["reload", "-c", topology]).status }

    /// What `list` shows of the only identity's keys, oldest first.
    func keys() throws -> [[String: Any]] {
      let list = identity("list", "--json")
      let all = try #require(
        try JSONSerialization.jsonObject(with: Data(list.text.utf8)) as? [[String: Any]], "\(list.text)")
      return try #require(all.first?["keys"] as? [[String: Any]])
    }

    func file() -> Data? { FileManager.default.contents(atPath: folder.path + "/identities.yaml") }
  }

  private func post(_ connection: HTTPConnection, _ token: String) -> Int? {
    connection.post(Self.body, headers: "Authorization: Bearer \(token)\r\n")?.status
  }

  @Test("After a rotation with a grace period both tokens are good, and the old one no longer once that is over")
  func graceEnds() throws {
    let site = Site()
    let old = try site.token("add", "press-7", "--publish", "events")
    let daemon = try #require(Daemon(topology: site.topology))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(post(connection, old) == 202)
    let asked = Date()
    let new = try site.token("rotate", "press-7", "--grace", "8s")
    let text = try #require(try site.keys().first?["expires"] as? String)
    let format = ISO8601DateFormatter()
    let fraction = text.contains(".") ? [ISO8601DateFormatter.Options.withFractionalSeconds] : []
    format.formatOptions = fraction.reduce(.withInternetDateTime) { $0.union($1) }
    let end = try #require(format.date(from: text), "\(text)")
    // The file has whole seconds.
    #expect(end.timeIntervalSince(asked) >= 7 && end.timeIntervalSince(Date()) <= 8, "\(text)")
    #expect(site.reload() == 0)
    #expect(post(connection, new) == 202)
    // What was answered before the end was asked before it too.
    var early: [Int?] = []
    let isOver = eventually {
      let status = post(connection, old)
      let isOver = Date() >= end
      if !isOver, status != 202 { early.append(status) }
      return isOver && status == 401
    }
    #expect(early.isEmpty, "in its grace period the old token is good")
    #expect(post(connection, new) == 202)
    #expect(isOver)
    #expect(daemon.stop() == 0)
  }

  @Test("One key is revoked by its id, and its live connection refused; the identity's others stay")
  func oneKey() throws {
    let site = Site()
    let old = try site.token("add", "press-7", "--publish", "events")
    let new = try site.token("rotate", "press-7")
    let ids = try site.keys().compactMap { $0["id"] as? String }
    try #require(ids.count == 2)
    let daemon = try #require(Daemon(topology: site.topology))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(post(connection, old) == 202 && post(connection, new) == 202)
    let before = site.file()
    let unknown = site.identity("revoke", "press-7", "--key", "00000000")
    #expect(unknown.status == 66 && unknown.text.contains("identity list"), "\(unknown.text)")
    #expect(site.identity("revoke", "press-7", "--key", ids[0], "--remove").status == 64)
    #expect(site.file() == before, "neither changed anything")
    #expect(site.identity("revoke", "press-7", "--key", ids[0]).status == 0)
    #expect(try site.keys().compactMap { $0["id"] as? String } == [ids[1]])
    #expect(site.reload() == 0)
    #expect(post(connection, old) == 401 && post(connection, new) == 202)
    #expect(daemon.stop() == 0)
  }

  @Test("An identity that is removed is gone, and its token refused from the next reload on")
  func removed() throws {
    let site = Site()
    let token = try site.token("add", "press-7", "--publish", "events")
    let daemon = try #require(Daemon(topology: site.topology))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(post(connection, token) == 202)
    #expect(site.identity("revoke", "press-7", "--remove").status == 0)
    #expect(site.identity("list", "--json").text.split(separator: "\n").first == "[]")
    #expect(site.identity("revoke", "press-7").status == 66 && site.identity("rotate", "press-7").status == 66)
    #expect(site.reload() == 0)
    #expect(post(connection, token) == 401)
    let again = try site.token("add", "press-7", "--publish", "events")
    #expect(site.reload() == 0)
    #expect(post(connection, token) == 401 && post(connection, again) == 202)
    #expect(daemon.stop() == 0)
  }
}
