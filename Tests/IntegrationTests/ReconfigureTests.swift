import DaemonTestSupport
import Foundation
import Testing

/// A subscriber that can change its config while it runs, in the daemon's process or its own, and one that can't.
private func write(
  _ folder: TemporaryFolder, _ plugin: String, n: Int, isolation: String, _ more: String = "", path: String = "./out"
) -> String {
  var sketch = Sketch()
  sketch.archive = "{ plugin: disk, streams: [ events ], batch: { wait: 5ms }, config: { path: \(path) } }"
  sketch.subscribers =
    "  change: { plugin: \(plugin), isolation: \(isolation), streams: [ events ], batch: { wait: 1ms }, config: { n: \(n) } }\n"
    + more
  return sketch.write(to: folder)
}

/// LSN, n, and how often the instance was reconfigured.
private func seen(_ folder: TemporaryFolder) -> [[Int]] {
  let text = (try? String(contentsOfFile: folder.path + "/data/plugins/change/seen", encoding: .utf8)) ?? ""
  return text.split(separator: "\n").map { $0.split(separator: " ").compactMap { Int($0) } }
}

@Suite struct ReconfigureTests {
  @Test(
    "A config that alone is new is taken over by the instance that runs, or by a new one, or refused with all else",
    arguments: ["thread", "process"])
  func configs(isolation: String) throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/changeable.c", kind: "changeable", in: folder)
    let daemon = try #require(Daemon(topology: write(folder, plugin, n: 1, isolation: isolation)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    func post(_ number: Int) { #expect(connection.post(#"{"message":"\#(number)"}"#)?.status == 202) }
    func shows(_ row: [Int]) -> Bool { eventually { seen(folder).last == row } }
    post(1)
    #expect(shows([1, 1, 0]))
    _ = write(folder, plugin, n: 2, isolation: isolation)
    #expect(reload(folder).status == 0)
    post(2)
    #expect(shows([2, 2, 1]), "the same instance: \(seen(folder))")
    _ = write(folder, plugin, n: 200, isolation: isolation)
    #expect(reload(folder).status == 0)
    post(3)
    #expect(shows([3, 200, 0]), "a new instance: \(seen(folder))")
    _ = write(folder, plugin, n: 13, isolation: isolation)
    let refused = reload(folder)
    #expect(refused.status != 0 && refused.text.contains("thirteen is unlucky"), "\(refused)")
    post(4)
    #expect(shows([4, 200, 0]), "the old one goes on")
    // What was taken over is given back when something behind it fails.
    _ = write(folder, plugin, n: 3, isolation: isolation)
    #expect(reload(folder).status == 0)
    let bad =
      "  bad: { plugin: \(plugin), isolation: \(isolation), streams: [ events ], config: { n: 1 }, batch: { wait: 2ms } }"
    _ = write(folder, plugin, n: 3, isolation: isolation, bad)
    #expect(reload(folder).status == 0)
    _ = write(folder, plugin, n: 4, isolation: isolation, bad.replacingOccurrences(of: "n: 1", with: "n: 13"))
    #expect(reload(folder).status != 0)
    post(5)
    #expect(eventually { seen(folder).last.map { $0[0] == 5 && $0[1] == 3 } == true }, "\(seen(folder))")
    #expect(seen(folder).map { $0[0] } == [1, 2, 3, 4, 5], "each once")
    #expect(daemon.stop() == 0)
  }
}
