import DaemonTestSupport
import Foundation
import Testing

/// A subscriber `it` of the fixture `starting`, which writes down its starts, records and stops.
private struct Rig {
  let folder = TemporaryFolder()
  let plugin: String
  let isolation: String

  init(isolation: String, _ options: [String] = []) throws {
    plugin = try buildPlugin("Tests/FixturePlugins/starting.c", kind: "starting", in: folder, options)
    self.isolation = isolation
  }

  func subscriber(_ name: String, n: Int, wait: Int = 1) -> String {
    "  \(name): { plugin: \(plugin), isolation: \(isolation), streams: [ events ], batch: { wait: \(wait)ms }, "
      + "retry: { first: 100ms, max: 100ms }, config: { n: \(n) } }\n"
  }

  @discardableResult
  func write(_ subscribers: String) -> String {
    var sketch = Sketch()
    sketch.subscribers = subscribers
    return sketch.write(to: folder)
  }

  func seen(_ name: String = "it") -> [String] {
    let text = try? String(contentsOfFile: "\(folder.path)/data/plugins/\(name)/seen", encoding: .utf8)
    return (text ?? "").split(separator: "\n").map(String.init)
  }

  /// Starts and stops alone.
  var life: [String] { seen().filter { $0 == "start" || $0 == "stop" } }

  var numbers: [Int] { seen().compactMap { $0.split(separator: " ").last.flatMap { numberOf(String($0)) } } }
}

@Suite struct HandoverTests {
  @Test(
    "A successor is started before the one that it follows is ended, unless its plugin is exclusive, and no record is lost, out of order or delivered twice",
    arguments: [
      ("thread", false), ("process", false), ("thread", true), ("process", true),
    ])
  func order(isolation: String, isExclusive: Bool) throws {
    let rig = try Rig(isolation: isolation, isExclusive ? ["-DFLAGS=SLU_F_EXCLUSIVE"] : [])
    let daemon = try #require(Daemon(topology: rig.write(rig.subscriber("it", n: 0))))
    let posted = Posting(port: daemon.port)
    for round in 2...4 {
      rig.write(rig.subscriber("it", n: 0, wait: round))
      let done = reload(rig.folder)
      #expect(done.status == 0 && done.text.contains("changed   subscriber it (batch)"), "\(done.text)")
    }
    let sent = posted.stop()
    #expect(posted.faults == 0 && sent > 0)
    #expect(daemon.stop() == 0)
    let change = isExclusive ? ["stop", "start"] : ["start", "stop"]
    #expect(rig.life == ["start"] + change + change + change + ["stop"])
    #expect(rig.numbers == Array(0..<sent))
  }

  @Test(
    "A subscriber whose plugin gives up its start fails the reload, whether it is added, replaced or begun anew, and what ran goes on",
    arguments: ["thread", "process"])
  func failures(isolation: String) throws {
    let rig = try Rig(isolation: isolation)
    let good = rig.subscriber("it", n: 0)
    let daemon = try #require(Daemon(topology: rig.write(good)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    func post(_ number: Int) { #expect(connection.post(#"{"message":"\#(number)"}"#)?.status == 202) }
    post(0)
    rig.write(good + rig.subscriber("more", n: -1))
    let added = reload(rig.folder)
    #expect(added.status == 69 && added.text.contains("subscriber more: start answered"), "\(added.text)")
    #expect(added.text.contains("no such table"))
    rig.write(rig.subscriber("it", n: -1))
    let replaced = reload(rig.folder)
    #expect(replaced.status == 69 && replaced.text.contains("no such table"), "\(replaced.text)")
    rig.write(good)
    _ = try buildPlugin("Tests/FixturePlugins/starting.c", kind: "starting", in: rig.folder, ["-DNEVER"])
    let restarted = reload(rig.folder)
    #expect(restarted.status == 69 && restarted.text.contains("this build never starts"), "\(restarted.text)")
    post(1)
    #expect(eventually { rig.numbers == [0, 1] }, "\(rig.seen())")
    let report = try status(rig.folder)
    #expect(report["generation"] as? Int == 1 && report["ready"] as? Bool == true)
    #expect(names(report, "subscribers") == ["archive", "it"])
    let cursors = (report["streams"] as? [[String: Any]])?.first?["cursors"] as? [[String: Any]]
    #expect(cursors?.compactMap { $0["subscriber"] as? String }.sorted() == ["archive", "it"])
    #expect(daemon.stop() == 0)
    // The first start and the last stop are those of the one that ran all the time.
    #expect(rig.life == ["start", "start", "stop", "start", "stop", "stop"])
    #expect(rig.numbers == [0, 1], "each once")
  }

  @Test("Where the old one had to end first, it is brought back when the new one does not start")
  func broughtBack() throws {
    let rig = try Rig(isolation: "thread", ["-DFLAGS=SLU_F_EXCLUSIVE"])
    let daemon = try #require(Daemon(topology: rig.write(rig.subscriber("it", n: 0))))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"0"}"#)?.status == 202)
    #expect(eventually { rig.numbers == [0] })
    rig.write(rig.subscriber("it", n: -1))
    let failed = reload(rig.folder)
    #expect(failed.status == 69 && failed.text.contains("no such table"), "\(failed.text)")
    #expect(connection.post(#"{"message":"1"}"#)?.status == 202)
    #expect(eventually { rig.numbers == [0, 1] })
    #expect(eventually { connection.get("/ready")?.status == 200 })
    #expect(daemon.stop() == 0)
    #expect(rig.life == ["start", "stop", "start", "stop", "start", "stop"])
  }

  @Test("A start that is put off until a server is back does not fail the reload, which says that it is")
  func putOff() throws {
    let rig = try Rig(isolation: "thread")
    let daemon = try #require(Daemon(topology: rig.write(rig.subscriber("it", n: 0))))
    rig.write(rig.subscriber("it", n: 1_000_000) + rig.subscriber("soon", n: 2))
    let done = reload(rig.folder)
    #expect(done.status == 0 && done.text.contains("generation 2 runs"), "\(done.text)")
    #expect(done.text.contains("warning: subscriber it has not started yet: start answered SLU_E_RETRYABLE"))
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"0"}"#)?.status == 202)
    #expect(eventually { rig.seen("soon").contains { $0.hasSuffix(#"{"message":"0"}"#) } })
    let problems = try status(rig.folder)["problems"] as? [String] ?? []
    #expect(problems.contains { $0.hasPrefix("subscriber it: ") && $0.contains("connection refused") }, "\(problems)")
    rig.write(rig.subscriber("it", n: 0))
    #expect(reload(rig.folder).status == 0)
    #expect(eventually { rig.numbers == [0] })
    #expect(daemon.stop() == 0)
  }

  @Test(
    "A daemon that is told to stop while successors start, which they do at the same time, gives the reload up and stops",
    arguments: ["thread", "process"])
  func stopMeanwhile(isolation: String) throws {
    let rig = try Rig(isolation: isolation)
    let names = ["one", "two", "three"]
    let daemon = try #require(Daemon(topology: rig.write(names.map { rig.subscriber($0, n: 0) }.joined())))
    rig.write(names.map { rig.subscriber($0, n: 1000) }.joined())
    let change = ChildProcess(Products.sluice, ["reload", "--data", rig.folder.path + "/data"])
    // None of the second ones comes to an end.
    let haveBegun = eventually { names.allSatisfy { rig.seen($0).filter { $0 == "start" }.count == 2 } }
    #expect(haveBegun, "\(names.map(rig.seen))")
    #expect(daemon.stop() == 0)
    #expect(change.exitStatus() != 0)
    let text = change.output.joined(separator: "\n")
    #expect(text.contains("the daemon is stopping"), "\(text)")
    #expect(daemon.process.output.contains { $0.hasSuffix(" stopped") })
  }

  @Test("A stream that a subscriber was to have besides knows nothing of it when the reload fails")
  func noCursorLeft() throws {
    let rig = try Rig(isolation: "thread", ["-DFLAGS=SLU_F_EXCLUSIVE"])
    func write(_ streams: String, n: Int) -> String {
      var sketch = Sketch()
      sketch.streams = "  more: {}"
      sketch.subscribers =
        rig.subscriber("it", n: 0).replacingOccurrences(of: "[ events ]", with: "[ \(streams) ]")
        + rig.subscriber("next", n: n)
      return sketch.write(to: rig.folder)
    }
    func cursors() throws -> [String] {
      let streams = try status(rig.folder)["streams"] as? [[String: Any]] ?? []
      return streams.flatMap { stream in
        (stream["cursors"] as? [[String: Any]] ?? []).map { "\(stream["name"] ?? "") \($0["subscriber"] ?? "")" }
      }.sorted()
    }
    let daemon = try #require(Daemon(topology: write("events", n: 0)))
    let before = try cursors()
    _ = write("events, more", n: -1)
    let failed = reload(rig.folder)
    #expect(failed.status == 69 && failed.text.contains("subscriber next: start answered"), "\(failed.text)")
    #expect(try cursors() == before)
    _ = write("events, more", n: 0)
    #expect(reload(rig.folder).status == 0)
    #expect(try cursors() == (before + ["more it"]).sorted())
    #expect(daemon.stop() == 0)
  }

  @Test("A subscriber that only moves into a process is told as that, and one that does with another file as both")
  func moved() throws {
    let rig = try Rig(isolation: "thread")
    let daemon = try #require(Daemon(topology: rig.write(rig.subscriber("it", n: 0))))
    func move(to place: String) -> String {
      rig.write(
        rig.subscriber("it", n: 0).replacingOccurrences(of: "isolation: thread", with: "isolation: \(place)"))
      return reload(rig.folder).text
    }
    #expect(move(to: "process").contains("changed   subscriber it (isolation)\n"))
    _ = try buildPlugin("Tests/FixturePlugins/starting.c", kind: "starting", in: rig.folder, ["-DMARK=\"new\""])
    #expect(move(to: "thread").contains("changed   subscriber it (isolation, plugin file)\n"))
    #expect(daemon.stop() == 0)
  }
}
