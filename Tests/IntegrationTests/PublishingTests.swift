import DaemonTestSupport
import Foundation
import Testing

@Suite struct PublishingTests {
  private func topology(_ folder: TemporaryFolder, _ plugin: String, isolation: String) -> String {
    var sketch = Sketch()
    sketch.streams += "\n  results: {}\n  audit: { durability: written }"
    sketch.subscribers = """
        enrich:
          plugin: \(plugin)
          isolation: \(isolation)
          streams: [ events ]
          batch: { wait: 1ms, records: 50 }
          publish: { results: results, audit: audit }
        kids: { plugin: disk, streams: [ results ], match: { source: enrich }, config: { path: ./kids } }
      """
    return sketch.write(to: folder)
  }

  /// The payloads of a stream that no daemon has open.
  private func payloads(_ stream: String, _ folder: TemporaryFolder) throws -> [String] {
    let result = ChildProcess.run(
      Products.sluice, ["stream", "export", "\(folder.path)/data/streams/\(stream)", "--format", "ndjson"])
    #expect(result.status == 0, "\(result.text.suffix(500))")
    return result.text.split(separator: "\n").compactMap { line in
      (try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])?["payload"] as? String
    }
  }

  @Test(
    "Through kills of the daemon under load, each record that was acknowledged has its children exactly once",
    arguments: ["thread", "process"])
  func exactlyOnce(isolation: String) throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/publishing.c", kind: "publishing", in: folder)
    let file = topology(folder, plugin, isolation: isolation)
    var acknowledged = 0
    for round in 0..<4 {
      let daemon = try #require(Daemon(topology: file))
      let connection = try #require(HTTPConnection(port: daemon.port))
      // Each round is another word, so that its records can be told apart.
      for number in 0..<300 {
        #expect(connection.post(#"{"message":"\#(round)-\#(number)"}"#)?.status == 202)
        acknowledged += 1
      }
      if round < 3 {
        daemon.crash()
      } else {
        #expect(
          eventually {
            let shown = (try? status(folder)["subscribers"] as? [[String: Any]]) ?? []
            let enrich = shown.first { $0["name"] as? String == "enrich" }
            let stream = (enrich?["streams"] as? [[String: Any]])?.first
            return (stream?["lag"] as? [String: Any])?["records"] as? Int == 0
          })
        #expect(daemon.stop() == 0)
      }
    }
    for (stream, word) in [("results", "child of "), ("audit", "seen ")] {
      let found = try payloads(stream, folder)
      let wanted = (0..<4).flatMap { round in (0..<300).map { "\(word){\"message\":\"\(round)-\($0)\"}" } }
      #expect(Set(found) == Set(wanted), "\(stream): every child is there")
      #expect(found.count == acknowledged, "\(stream): once")
    }
    #expect(!deliveredLines(folder.path + "/kids").isEmpty)
  }

  @Test("check says which outputs a plugin has, and refuses circles and names that could be mistaken")
  func mistakes() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/publishing.c", kind: "publishing", in: folder)
    func check(_ publish: String, name: String = "enrich") -> (status: Int32?, text: String) {
      var sketch = Sketch()
      sketch.streams += "\n  results: {}"
      sketch.subscribers = "  \(name): { plugin: \(plugin), streams: [ events ], publish: { \(publish) } }"
      return ChildProcess.run(Products.sluice, ["check", sketch.write(to: folder)])
    }
    #expect(check("results: results").status == 0)
    let unknown = check("result: results")
    #expect(
      unknown.status == 1 && unknown.text.contains("plugin publishing has no output 'result'")
        && unknown.text.contains("did you mean 'results'?"), "\(unknown.text)")
    let circle = check("results: events")
    #expect(
      circle.status == 1 && circle.text.contains("streams in a circle: events → enrich → events"), "\(circle.text)")
    let same = check("results: results", name: "api")
    #expect(same.status == 1 && same.text.contains("a source has the same name"), "\(same.text)")
    let missing = check("results: nowhere")
    #expect(missing.status == 1 && missing.text.contains("nowhere"), "\(missing.text)")
  }
}
