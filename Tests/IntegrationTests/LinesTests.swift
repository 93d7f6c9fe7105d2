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
