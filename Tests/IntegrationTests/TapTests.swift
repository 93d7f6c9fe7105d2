import DaemonTestSupport
import Foundation
import Testing

private func tap(_ folder: TemporaryFolder, _ arguments: String...) -> ChildProcess {
  ChildProcess(Products.sluice, ["tap", "--data", folder.path + "/data"] + arguments)
}

@Suite struct TapTests {
  @Test("tap shows what is there and what comes, as lines or JSON, and moves no cursor")
  func showsRecords() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: Sketch().write(to: folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 1...3 {
      #expect(connection.post(#"{"message":"\#(i)"}"#, headers: "Sluice-Key: k\(i)\r\n")?.status == 202)
    }
    let all = tap(folder, "events", "--from", "oldest", "--count", "3", "--json")
    #expect(all.exitStatus() == 0)
    let records = try all.output.map {
      try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
    }
    #expect(records.compactMap { $0["lsn"] as? Int } == [1, 2, 3])
    #expect(records.compactMap { $0["key"] as? String } == ["k1", "k2", "k3"])
    #expect(records.allSatisfy { $0["topic"] as? String == "web" && $0["source"] as? String == "api" })
    #expect(records.compactMap { $0["payload"] as? String } == (1...3).map { #"{"message":"\#($0)"}"# })
    let second = tap(folder, "events", "--from", "2", "--count", "1")
    #expect(second.exitStatus() == 0 && second.output.first?.hasSuffix(#"  2  web  {"message":"2"}"#) == true)

    let live = tap(folder, "events")
    #expect(
      eventually {
        _ = connection.post(#"{"message":"now"}"#)
        return live.output.contains { $0.hasSuffix(#"{"message":"now"}"#) }
      })
    #expect(!live.output.contains { $0.contains(#"{"message":"1"}"#) })
    let cursors = (try status(folder)["streams"] as? [[String: Any]])?.first?["cursors"] as? [[String: Any]]
    #expect(cursors?.compactMap { $0["subscriber"] as? String } == ["archive"])
    #expect(daemon.stop() == 0)
    #expect(live.exitStatus() == 0)
  }

  @Test("tap filters by topic, source and JSON members")
  func filters() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: Sketch().write(to: folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for (topic, body) in [
      ("audit.login", #"{"message":"a","user":{"role":"admin"},"status":500}"#),
      ("audit.logout", #"{"message":"b","user":{"role":"guest"},"status":"500"}"#),
      ("metrics", #"{"message":"c","user":{"role":"admin"}}"#),
    ] {
      #expect(connection.post(body, headers: "Sluice-Topic: \(topic)\r\n")?.status == 202)
    }
    #expect(connection.post(#"{"message":"end"}"#, headers: "Sluice-Topic: audit.login\r\n")?.status == 202)
    func shown(_ arguments: String..., count: Int) -> [String] {
      let child = ChildProcess(
        Products.sluice,
        ["tap", "--data", folder.path + "/data", "events", "--from", "oldest", "--count", "\(count)"] + arguments)
      #expect(child.exitStatus() == 0)
      return child.output.compactMap { $0.split(separator: "\"", omittingEmptySubsequences: false).dropFirst(3).first }
        .map(String.init)
    }
    #expect(shown("--topic", "audit.*", count: 3) == ["a", "b", "end"])
    #expect(shown("--match", "user.role=admin", count: 2) == ["a", "c"])
    #expect(shown("--match", "status=500", count: 2) == ["a", "b"])
    #expect(shown("--topic", "met*", "--source", "api", "--match", "user.role=admin", count: 1) == ["c"])
    #expect(daemon.stop() == 0)
  }

  @Test("tap of a stream that is not there names those that are; a bad position and too many taps are refused")
  func refusals() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: Sketch().write(to: folder)))
    let unknown = tap(folder, "event")
    #expect(unknown.exitStatus() == 66 && unknown.output.joined().contains("events, dead"))
    #expect(tap(folder, "events", "--from", "yesterday").exitStatus() == 64)
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"1"}"#)?.status == 202)
    let taps = (0..<8).map { _ in tap(folder, "events", "--from", "oldest") }
    // A tap that shows a record holds its place: one more before that could take the place of one of the eight.
    for tap in taps { #expect(eventually { !tap.output.isEmpty }) }
    #expect(tap(folder, "events", "--from", "oldest", "--count", "0").exitStatus() == 75)
    #expect(try status(folder)["generation"] as? Int == 1)
    #expect(daemon.stop() == 0)
    for tap in taps { #expect(tap.exitStatus() == 0) }
  }

  @Test("A stream that goes in a reload ends its taps")
  func streamGoes() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.streams = "  side: {}"
    sketch.sources = "  side: { type: http, listen: \"127.0.0.1:0\", stream: side, auth: none }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let port = try #require(daemon.ports["side"])
    let connection = try #require(HTTPConnection(port: port))
    let live = tap(folder, "side")
    #expect(
      eventually {
        _ = connection.post(#"{"message":"1"}"#)
        return !live.output.isEmpty
      })
    Sketch().write(to: folder)
    #expect(reload(folder).status == 0)
    #expect(live.exitStatus() == 0)
    #expect(daemon.stop() == 0)
  }
}
