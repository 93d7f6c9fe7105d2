import DaemonTestSupport
import Foundation
import Testing

private func dead(_ folder: TemporaryFolder, _ arguments: String...) -> (status: Int32?, text: String) {
  ChildProcess.run(Products.sluice, ["dead"] + arguments + ["--data", folder.path + "/data"])
}

private func letters(_ folder: TemporaryFolder, _ verb: String, _ arguments: String...) throws -> [[String: Any]] {
  let json = verb == "list" ? ["--json"] : []
  let result = ChildProcess.run(
    Products.sluice, ["dead", verb, "--data", folder.path + "/data"] + json + arguments)
  #expect(result.status == 0, "\(result.text)")
  return try result.text.split(separator: "\n").map {
    try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
  }
}

/// A daemon with a subscriber that rejects what is bad.
private func start(_ folder: TemporaryFolder) throws -> Daemon {
  let plugin = try buildPlugin("Tests/FixturePlugins/fussy.c", kind: "fussy", in: folder)
  var sketch = Sketch()
  sketch.subscribers =
    "  fussy: { plugin: \(plugin), isolation: thread, streams: [ events ], batch: { wait: 1ms } }"
  return try #require(Daemon(topology: sketch.write(to: folder)))
}

private func seen(_ folder: TemporaryFolder) -> String {
  (try? String(contentsOfFile: folder.path + "/data/plugins/fussy/seen", encoding: .utf8)) ?? ""
}

@Suite struct DeadTests {
  @Test("Rejected records are listed, shown and exported whole, survive a restart, and are delivered when retried")
  func listShowRetry() throws {
    let folder = TemporaryFolder()
    var daemon = try start(folder)
    let connection = try #require(HTTPConnection(port: daemon.port))
    for word in ["good", "bad 1", "fine", "bad 2"] {
      #expect(connection.post(#"{"message":"\#(word)"}"#, headers: "Sluice-Key: k\r\n")?.status == 202)
    }
    #expect(eventually { (try? letters(folder, "list").count) == 2 })
    let table = dead(folder, "list")
    #expect(table.status == 0 && table.text.contains("bad row") && table.text.contains("fussy"), "\(table.text)")
    #expect(daemon.stop() == 0)
    daemon = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    let listed = try letters(folder, "list", "--subscriber", "fussy", "--code", "7")
    #expect(listed.compactMap { $0["record_lsn"] as? Int } == [2, 4])
    let first = try #require(listed.first?["lsn"] as? Int)
    let shown = try #require(try letters(folder, "show", "\(first)").first)
    #expect(shown["payload"] as? String == #"{"message":"bad 1"}"# && shown["key"] as? String == "k")
    #expect(shown["topic"] as? String == "web" && shown["source"] as? String == "api")
    #expect(try letters(folder, "export").compactMap { $0["payload"] as? String }.count == 2)
    #expect(dead(folder, "show", "999").status == 66)
    #expect(try letters(folder, "list", "--subscriber", "archive").isEmpty)

    let again = dead(folder, "retry", "--all")
    #expect(again.status == 75 && again.text.contains("rejected 2"), "\(again.text)")
    #expect(try letters(folder, "list").count == 2)
    _ = folder.write("data/plugins/fussy/open", "")
    let one = dead(folder, "retry", "\(first)")
    #expect(one.status == 0 && one.text.contains("delivered 1"), "\(one.text)")
    #expect(seen(folder).contains(#"{"message":"bad 1"}"#) && !seen(folder).contains("bad 2"))
    #expect(try letters(folder, "list").compactMap { $0["record_lsn"] as? Int } == [4])
    #expect(dead(folder, "retry", "--subscriber", "fussy").status == 0)
    #expect(seen(folder).contains("bad 2"))
    #expect(dead(folder, "list").text == "no open letters")
    #expect(daemon.stop() == 0)
  }

  @Test("Purged letters are gone for good, and neither retry nor purge means all unless it is said")
  func purge() throws {
    let folder = TemporaryFolder()
    var daemon = try start(folder)
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<10 { #expect(connection.post(#"{"message":"bad \#(i)"}"#)?.status == 202) }
    #expect(eventually { (try? letters(folder, "list").count) == 10 })
    for verb in ["retry", "purge"] { #expect(dead(folder, verb).status == 64) }
    #expect(dead(folder, "list", "--dead", "events").status == 66)
    let lsns = try letters(folder, "list").compactMap { $0["lsn"] as? Int }
    let some = dead(folder, "purge", "\(lsns[3])-\(lsns[5])")
    #expect(some.status == 0 && some.text == "purged 3", "\(some.text)")
    #expect(
      try letters(folder, "list", "--limit", "5").compactMap { $0["lsn"] as? Int } == [0, 1, 2, 6, 7].map { lsns[$0] })
    #expect(daemon.stop() == 0)
    daemon = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    #expect(try letters(folder, "list").count == 7)
    #expect(dead(folder, "purge", "--all").text == "purged 7")
    #expect(try letters(folder, "list").isEmpty)
    #expect(daemon.stop() == 0)
  }
}
