import DaemonTestSupport
import Foundation
import Testing

private struct Module: Equatable {
  var name: String
  var version: String
  var generation: Int
  var isResident: Bool
  var users: [String]
}

private func modules(_ status: [String: Any], at path: String) -> [Module] {
  (status["modules"] as? [[String: Any]] ?? []).filter { $0["path"] as? String == path }.map { module in
    Module(
      name: module["name"] as? String ?? "", version: module["version"] as? String ?? "",
      generation: module["generation"] as? Int ?? 0, isResident: module["resident"] as? Bool ?? false,
      users: module["used_by"] as? [String] ?? [])
  }
}

private func write(_ folder: TemporaryFolder, _ plugin: String, isolation: String) -> String {
  var sketch = Sketch()
  sketch.subscribers = "  it: { plugin: \(plugin), isolation: \(isolation), streams: [ events ], batch: { wait: 1ms } }"
  return sketch.write(to: folder)
}

private func seen(_ folder: TemporaryFolder) -> [String] {
  let text = try? String(contentsOfFile: folder.path + "/data/plugins/it/seen", encoding: .utf8)
  return (text ?? "").split(separator: "\n").map(String.init)
}

private func numbers(_ folder: TemporaryFolder) -> [Int] {
  seen(folder).compactMap { $0.split(separator: " ").last.flatMap { numberOf(String($0)) } }
}

@Suite struct ReplacedPluginTests {
  @Test(
    "A file that is renamed over a plugin's is taken by the next reload, without a record lost or out of order, and the old code stays resident and is shown",
    arguments: ["thread", "process"])
  func replaced(isolation: String) throws {
    let folder = TemporaryFolder()
    let source = "Tests/FixturePlugins/starting.c"
    let plugin = try buildPlugin(source, kind: "starting", in: folder)
    let daemon = try #require(Daemon(topology: write(folder, plugin, isolation: isolation)))
    let isHere = isolation == "thread"
    let first = Module(name: "starting", version: "1.0", generation: 1, isResident: isHere, users: ["it"])
    #expect(modules(try status(folder), at: plugin) == [first])
    let posted = Posting(port: daemon.port)
    #expect(eventually { numbers(folder).count > 10 })
    _ = try buildPlugin(source, kind: "starting", in: folder, [#"-DFIXTURE_VERSION="2.0""#, #"-DMARK="second""#])
    let planned = reload(folder, "--dry-run")
    #expect(planned.text.contains("changed   subscriber it (plugin file)"), "\(planned.text)")
    #expect(!seen(folder).contains("second"))
    let done = reload(folder)
    #expect(done.status == 0 && done.text.contains("changed   subscriber it (plugin file)"), "\(done.text)")
    let report = try status(folder)
    let subscribers = report["subscribers"] as? [[String: Any]] ?? []
    #expect(subscribers.first { $0["name"] as? String == "it" }?["version"] as? String == "2.0")
    let second = Module(name: "starting", version: "2.0", generation: 2, isResident: isHere, users: ["it"])
    var old = first
    old.users = []
    #expect(modules(report, at: plugin) == (isHere ? [old, second] : [second]))
    let text = ChildProcess.run(Products.sluice, ["status", "--data", folder.path + "/data"]).text
    #expect(text.contains("GENERATION") && text.contains("nobody, resident") == isHere, "\(text)")
    // Nothing is new now.
    #expect(reload(folder, "--dry-run").text.contains("2 subscribers"))
    let count = numbers(folder).count
    #expect(eventually { numbers(folder).count > count + 10 })
    let sent = posted.stop()
    #expect(posted.faults == 0)
    #expect(daemon.stop() == 0)
    #expect(numbers(folder) == Array(0..<sent), "each once, in order")
    #expect(seen(folder).filter { $0.first?.isNumber != true } == ["start", "start", "second", "stop", "stop"])
  }

  @Test("A Swift plugin with retroactive conformances is swapped into a process of its own, and the reload says so")
  func retroactive() throws {
    let folder = TemporaryFolder()
    let source = "Tests/FixturePlugins/swift-messages.swift"
    let plugin = try buildSwiftPlugin(source, kind: "swift-messages", in: folder)
    let daemon = try #require(Daemon(topology: write(folder, plugin, isolation: "thread")))
    let posted = Posting(port: daemon.port)
    #expect(eventually { numbers(folder).count > 10 })
    _ = try buildSwiftPlugin(
      source, kind: "swift-messages", in: folder,
      adding: """
        import CSluice
        extension slu_bytes: @retroactive Equatable {
          public static func == (left: slu_bytes, right: slu_bytes) -> Bool { left.len == right.len }
        }
        """)
    let done = reload(folder)
    #expect(done.status == 0 && done.text.contains("retroactive conformances"), "\(done.text)")
    #expect(done.text.contains("runs in a process of its own until the daemon is restarted"))
    let report = try status(folder)
    let subscribers = report["subscribers"] as? [[String: Any]] ?? []
    #expect(subscribers.first { $0["name"] as? String == "it" }?["isolation"] as? String == "process")
    let there = modules(report, at: plugin)
    #expect(there.map(\.generation) == [1, 2] && there.map(\.isResident) == [true, false])
    #expect(there.map(\.users) == [[], ["it"]])
    let count = numbers(folder).count
    #expect(eventually { numbers(folder).count > count + 10 })
    let sent = posted.stop()
    #expect(posted.faults == 0)
    #expect(daemon.stop() == 0)
    #expect(numbers(folder) == Array(0..<sent), "each once, in order")
  }
}
