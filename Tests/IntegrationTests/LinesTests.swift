import DaemonTestSupport
import Foundation
import Testing

@Suite struct LinesTests {
  func topology(_ folder: TemporaryFolder, source: String) -> String {
    folder.write(
      "lines.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      streams: { events: {} }
      sources:
        lines: \(source)
      subscribers:
        archive: { plugin: disk, streams: [ events ], batch: { wait: 5ms }, config: { path: ./out, format: raw } }
      """)
  }

  func delivered(_ folder: TemporaryFolder) -> [String] {
    let out = folder.path + "/out"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: out)) ?? []
    return names.filter { $0.hasSuffix(".raw") }.sorted().flatMap { name in
      let text = FileManager.default.contents(atPath: out + "/" + name).map { String(decoding: $0, as: UTF8.self) }
      return (text ?? "").split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    }
  }

  /// Says where they differ, not all of them.
  func expectSame(_ delivered: [String], _ sent: [String]) {
    let place = zip(delivered, sent).enumerated().first { $0.element.0 != $0.element.1 }?.offset
    #expect(place == nil && delivered.count == sent.count, "\(delivered.count) of \(sent.count) lines")
  }

  @Test("A file piped in is delivered line by line, and the daemon stops cleanly at its end")
  func standardInput() throws {
    let folder = TemporaryFolder()
    let lines = (0..<20_000).map { $0 % 100 == 7 ? "" : "line \($0): grüße \"\\" }
    let file = folder.write("input.txt", lines.joined(separator: "\n"))
    let config = topology(folder, source: "{ type: stdin, stream: events }")
    let (status, text) = ChildProcess.run(
      "/bin/sh", ["-c", "exec \"$0\" run -c \"$1\" < \"$2\"", Products.sluice, config, file])
    #expect(status == 0, "\(text)")
    #expect(text.contains("all input has ended"))
    expectSame(delivered(folder), lines)
  }

  @Test("When its input has ended, a daemon waits for a subscriber that is at work before it stops")
  func unhurried() throws {
    let folder = TemporaryFolder()
    let module = try buildPlugin("Tests/FixturePlugins/witness.c", kind: "witness", in: folder)
    let (seen, control) = (folder.path + "/seen", ["--data", folder.path + "/data"])
    let input = folder.write("input.txt", "one\ntwo\n")
    let gate = folder.write("seen.gate", "")
    let config = folder.write(
      "unhurried.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      streams: { events: {} }
      sources: { lines: { type: stdin, stream: events } }
      subscribers:
        seen: { plugin: \(module), isolation: thread, streams: [ events ], batch: { records: 1 }, config: { path: \(seen) } }
      """)
    let daemon = Daemon.spawn(topology: config, wrapper: ["/bin/sh", "-c", "exec \"$@\" < '\(input)'", "sh"])
    #expect(daemon.line { $0.contains("all input has ended") } != nil)
    // It would be ended and gone if it stopped at once.
    for _ in 0..<5 { #expect(ChildProcess.run(Products.sluice, ["status", "--json"] + control).status == 0) }
    #expect(!daemon.output.contains { $0.contains(" stopping") })
    #expect(unlink(gate) == 0)
    #expect(daemon.exitStatus() == 0)
    let text = try String(contentsOfFile: seen, encoding: .utf8)
    #expect(text.split(separator: "\n").map { $0.split(separator: " ")[1] } == ["1", "2"], "\(text)")
  }

  @Test("What a subscriber makes of the last lines of the input is delivered too before the daemon stops")
  func publishedAtTheEnd() throws {
    let folder = TemporaryFolder()
    let module = try buildPlugin("Tests/FixturePlugins/publishing.c", kind: "publishing", in: folder)
    let input = folder.write("input.txt", (0..<500).map { "line \($0)\n" }.joined())
    let config = folder.write(
      "published.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      streams: { events: {}, results: {}, audit: {} }
      sources: { lines: { type: stdin, stream: events } }
      subscribers:
        enrich:
          plugin: \(module)
          isolation: thread
          streams: [ events ]
          batch: { records: 50 }
          publish: { results: results, audit: audit }
        archive: { plugin: disk, streams: [ results ], config: { path: ./out, format: raw } }
      """)
    let (status, text) = ChildProcess.run(
      "/bin/sh", ["-c", "exec \"$0\" run -c \"$1\" < \"$2\"", Products.sluice, config, input])
    #expect(status == 0, "\(text)")
    expectSame(delivered(folder), (0..<500).map { "child of line \($0)" })
  }

  @Test("Lines sent over TCP are delivered in their order, the last one without its line feed")
  func overTCP() throws {
    let folder = TemporaryFolder()
    let config = topology(
      folder, source: "{ type: tcp, framing: lines, listen: \"127.0.0.1:0\", stream: events }")
    let daemon = try #require(Daemon(topology: config))
    do {
      let connection = try #require(HTTPConnection(port: daemon.port))
      #expect(connection.send((0..<5000).map { "\($0)\r\n" }.joined() + "last"))
    }
    #expect(eventually { delivered(folder).count == 5001 })
    #expect(daemon.stop() == 0)
    expectSame(delivered(folder), (0..<5000).map { "\($0)" } + ["last"])
  }
}
