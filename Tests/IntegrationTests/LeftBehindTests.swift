import DaemonTestSupport
import Foundation
import Testing

/// A subscriber `it` of the fixture `stubborn`, which returns from nothing before it is let.
private struct Rig {
  let folder = TemporaryFolder()
  let plugin: String

  init() throws { plugin = try buildPlugin("Tests/FixturePlugins/stubborn.c", kind: "stubborn", in: folder) }

  @discardableResult
  func write(wait: Int = 1, n: Int = 0) -> String {
    var sketch = Sketch()
    sketch.subscribers =
      "  it: { plugin: \(plugin), isolation: thread, streams: [ events ], batch: { wait: \(wait)ms }, config: { n: \(n) } }\n"
    return sketch.write(to: folder)
  }

  var seen: [String] {
    let text = try? String(contentsOfFile: "\(folder.path)/data/plugins/it/seen", encoding: .utf8)
    return (text ?? "").split(separator: "\n").map(String.init)
  }

  func subscriber() throws -> [String: Any] {
    let all = try status(folder)["subscribers"] as? [[String: Any]]
    return try #require(all?.first { $0["name"] as? String == "it" })
  }

  func open() { _ = folder.write("data/plugins/it/open", "") }

  /// Whether what did not return is told of, and then comes back as it was.
  func expectComeback() throws {
    let problems = try status(folder)["problems"] as? [String] ?? []
    #expect(problems.contains { $0.hasPrefix("subscriber it: stuck") && $0.contains("started again") }, "\(problems)")
    open()
    #expect(eventually { (try? subscriber()["state"] as? String) == "running" })
    #expect(try subscriber()["generation"] as? Int == 1)
  }
}

@Suite struct LeftBehindTests {
  @Test("One that a failed reload left behind in its plugin comes back with its settings when the plugin returns")
  func inDeliver() throws {
    let rig = try Rig()
    let daemon = try #require(Daemon(topology: rig.write()))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"0"}"#)?.status == 202)
    #expect(eventually { rig.seen == ["stubborn"] })
    rig.write(wait: 2)
    let failed = reload(rig.folder)
    #expect(failed.status == 69 && failed.text.contains("did not return in time"), "\(failed.text)")
    try rig.expectComeback()
    #expect(connection.post(#"{"message":"1"}"#)?.status == 202)
    let all = ["stubborn", #"1 1 {"message":"0"}"#, #"2 1 {"message":"1"}"#]
    #expect(eventually { rig.seen == all }, "\(rig.seen)")
    let done = reload(rig.folder)
    #expect(done.status == 0 && done.text.contains("changed   subscriber it (batch)"), "\(done.text)")
    #expect(daemon.stop() == 0)
    #expect(rig.seen == all, "each once")
  }

  @Test("One that does not return when it is offered another config does not go on with that behind a failed reload")
  func inReconfigure() throws {
    let rig = try Rig()
    let daemon = try #require(Daemon(topology: rig.write()))
    rig.write(n: 1)
    let failed = reload(rig.folder)
    #expect(failed.status == 69 && failed.text.contains("reconfigure has not returned"), "\(failed.text)")
    try rig.expectComeback()
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"0"}"#)?.status == 202)
    let all = ["stubborn", #"1 1 {"message":"0"}"#]
    #expect(eventually { rig.seen == all }, "\(rig.seen)")
    #expect(daemon.stop() == 0)
  }

  @Test("One that can't be made again when its successor has failed is tried again, in growing pauses, until it can")
  func triedAgain() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin(
      "Tests/FixturePlugins/starting.c", kind: "starting", in: folder, ["-DFLAGS=SLU_F_EXCLUSIVE"])
    func write(wait: Int) -> String {
      var sketch = Sketch()
      sketch.subscribers =
        "  it: { plugin: \(plugin), isolation: thread, streams: [ events ], batch: { wait: \(wait)ms } }\n"
      return sketch.write(to: folder)
    }
    func state() throws -> String? {
      let all = try status(folder)["subscribers"] as? [[String: Any]]
      return all?.first { $0["name"] as? String == "it" }?["state"] as? String
    }
    let daemon = try #require(Daemon(topology: write(wait: 1)))
    let seen = "\(folder.path)/data/plugins/it/seen"
    #expect(eventually { FileManager.default.fileExists(atPath: seen) })
    // While a directory is in its place, none of this plugin is made.
    try FileManager.default.removeItem(atPath: seen)
    try FileManager.default.createDirectory(atPath: seen, withIntermediateDirectories: false)
    _ = write(wait: 2)
    let failed = reload(folder)
    #expect(failed.status == 69 && failed.text.contains("no file in the state directory"), "\(failed.text)")
    #expect(try state() == "stopped")
    #expect(daemon.process.line { $0.contains("it does not run") && $0.contains("again_in_ms=2000") } != nil)
    try FileManager.default.removeItem(atPath: seen)
    #expect(eventually { (try? state()) == "running" })
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"0"}"#)?.status == 202)
    #expect(
      eventually { (try? String(contentsOfFile: seen, encoding: .utf8)) == "start\n1 1 {\"message\":\"0\"}\n" })
    #expect(reload(folder).status == 0)
    #expect(daemon.stop() == 0)
  }

  @Test("A daemon that is told to stop does not wait for looks at plugins that do not return")
  func looks() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin(
      "Tests/FixturePlugins/misbehaving.c", kind: "far", in: folder,
      ["-DKIND=\"far\"", "-D_GNU_SOURCE", "-DMISBEHAVE=sleep_for_ever", "-DWHERE=in_validate"])
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    // Each look is given 10 s, one after the other.
    sketch.subscribers = (0..<16).map {
      "  far\($0): { plugin: \(plugin), isolation: process, streams: [ events ] }\n"
    }.joined()
    sketch.write(to: folder)
    let change = ChildProcess(Products.sluice, ["reload", "--data", folder.path + "/data"])
    let tasks = "/proc/\(daemon.process.pid)/task"
    #expect(
      eventually {
        let threads = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
        return threads.contains { thread in
          FileManager.default.contents(atPath: "\(tasks)/\(thread)/children").map { !$0.isEmpty } == true
        }
      }, "a look is under way")
    daemon.process.send(SIGTERM)
    #expect(daemon.process.exitStatus(within: 90) == 0)
    #expect(change.exitStatus() != 0)
    let text = change.output.joined(separator: "\n")
    #expect(text.contains("the daemon is stopping"), "\(text)")
  }
}
