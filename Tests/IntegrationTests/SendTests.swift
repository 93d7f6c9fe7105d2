import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// `sluice send` against the daemon of this build, over both edges.
@Suite struct SendTests {
  enum Edge: String, CaseIterable, CustomTestStringConvertible {
    case http, tcp
    var testDescription: String { rawValue }
    var source: String { self == .http ? "api" : "modules" }
  }

  /// An HTTP and a framed source into one stream, and the disk subscriber.
  func topology(_ folder: TemporaryFolder, ports: [String: HeldPort] = [:]) -> String {
    folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      streams:
        events: { durability: fsync }
      sources:
        api: { type: http, listen: "127.0.0.1:\(ports["api"]?.number ?? 0)", stream: events, auth: none }
        modules: { type: tcp, listen: "127.0.0.1:\(ports["modules"]?.number ?? 0)", stream: events, auth: none }
      subscribers:
        archive: { plugin: disk, streams: [ events ], batch: { wait: 5ms }, config: { path: ./out } }
      """)
  }

  func target(_ edge: Edge, _ ports: [String: Int]) -> [String] {
    ["--\(edge.rawValue)", "127.0.0.1:\(ports[edge.source] ?? 0)"]
  }

  func send(_ arguments: [String]) -> (status: Int32?, text: String) {
    ChildProcess.run(Products.sluice, ["send"] + arguments)
  }

  /// Lines as logs have them: empty ones, repeated ones, quotes, tabs, other scripts.
  private func lines(_ count: Int) -> [String] {
    (1...count).map { number in
      switch number % 7 {
      case 0: ""
      case 1: "the same again"
      case 2: #"\#(number) says "quote" \ and"# + "\t"
      case 3: "\(number) Zeile auf Deutsch: schön, 日本語"
      default: "\(number) " + String(repeating: "x", count: number % 300)
      }
    }
  }

  /// Records in the stream of a daemon that has stopped.
  private func records(_ folder: TemporaryFolder) throws -> Int {
    let inspected = ChildProcess.run(
      Products.sluice, ["stream", "inspect", "--json", folder.path + "/data/streams/events"])
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(inspected.text.utf8)) as? [String: Any], "\(inspected.text)")
    let segments = try #require(object["segments"] as? [[String: Any]])
    return segments.reduce(0) { $0 + ($1["records"] as? Int ?? 0) }
  }

  /// What stands in the subscriber's files, each record's text as it was in its line.
  func delivered(_ folder: TemporaryFolder) -> [String] {
    deliveredLines(folder.path + "/out").map { line in
      guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
        let message = Self.message(object)
      else { return line }
      return message
    }
  }

  private static func message(_ object: [String: Any]) -> String? {
    if let message = object["message"] as? String { return message }
    return (object["payload_base64"] as? String).flatMap { Data(base64Encoded: $0) }
      .map { String(decoding: $0, as: UTF8.self) }
  }

  @Test("each line of a file is in the output exactly once, over one connection or several", arguments: Edge.allCases)
  private func eachLineOnce(edge: Edge) throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: topology(folder)))
    let lines = lines(500)
    let file = folder.write("lines.txt", lines.joined(separator: "\n") + "\n")
    let one = send(target(edge, daemon.ports) + ["--file", file])
    #expect(one.status == 0, "\(one.text)")
    let more = edge == .http ? ["--connections", "3", "--batch", "50", "--in-flight", "4"] : ["--connections", "3"]
    let several = send(target(edge, daemon.ports) + ["--file", file] + more)
    #expect(several.status == 0, "\(several.text)")
    let expected = (lines + lines).sorted()
    #expect(eventually { delivered(folder).count >= expected.count })
    #expect(delivered(folder).sorted() == expected)
    #expect(daemon.stop() == 0)
    #expect(try records(folder) == expected.count)
  }

  @Test("the same command again stores nothing twice, and a longer file only what is new", arguments: Edge.allCases)
  private func resumes(edge: Edge) throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: topology(folder)))
    let lines = lines(200)
    let file = folder.write("lines.txt", lines[..<120].joined(separator: "\n") + "\n")
    let command = target(edge, daemon.ports) + ["--file", file, "--producer", "p", "--connections", "2"]
    for _ in 1...2 {
      let sent = send(command)
      #expect(sent.status == 0, "\(sent.text)")
    }
    _ = folder.write("lines.txt", lines.joined(separator: "\n") + "\n")
    let sent = send(command + ["--json"])
    #expect(sent.status == 0, "\(sent.text)")
    #expect(sent.text.contains(#""refused":0"#))
    if edge == .tcp { #expect(sent.text.contains(#""skipped":120"#), "\(sent.text)") }
    #expect(daemon.stop() == 0)
    #expect(try records(folder) == lines.count)
  }

  @Test("a daemon that is killed under it costs no line and doubles none", arguments: Edge.allCases)
  private func survivesAKill(edge: Edge) throws {
    let folder = TemporaryFolder()
    let ports = try ["api": HeldPort(), "modules": HeldPort()]
    let first = try #require(Daemon(topology: topology(folder, ports: ports)))
    let lines = lines(3000)
    let file = folder.write("lines.txt", lines.joined(separator: "\n") + "\n")
    let sender = ChildProcess(
      Products.sluice,
      ["send"] + target(edge, first.ports) + [
        "--file", file, "--rate", "2000", "--connections", "2", "--in-flight", "8",
      ])
    #expect(eventually { !deliveredLines(folder.path + "/out").isEmpty })
    first.crash()
    let second = try #require(Daemon(topology: topology(folder, ports: ports)))
    #expect(sender.exitStatus() == 0, "\(sender.output.joined(separator: "\n"))")
    #expect(eventually { Set(delivered(folder)) == Set(lines) })
    #expect(second.stop() == 0)
    #expect(try records(folder) == lines.count)
  }

  @Test("generated load says how much and how late, as text and as JSON", arguments: Edge.allCases)
  private func load(edge: Edge) throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: topology(folder)))
    let text = send(target(edge, daemon.ports) + ["--count", "300", "--connections", "3"])
    #expect(text.status == 0 && text.text.contains("300 of 300 records acknowledged"), "\(text.text)")
    let json = send(target(edge, daemon.ports) + ["--rate", "200", "--duration", "1s", "--size", "1KiB", "--json"])
    let object = try #require(try JSONSerialization.jsonObject(with: Data(json.text.utf8)) as? [String: Any])
    #expect(json.status == 0 && object["acknowledged"] as? Int == 200 && object["loop"] as? String == "open")
    let latency = try #require(object["latency_ms"] as? [String: Double])
    #expect(Set(latency.keys) == ["p50", "p90", "p99", "p99.9", "max"])
    #expect(daemon.stop() == 0)
    #expect(try records(folder) == 500)
  }

  @Test("what can't be sent is told, and the exit status says which kind it was")
  private func failures() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: topology(folder)))
    let http = target(.http, daemon.ports)
    let bad = folder.write("bad.ndjson", "{\"message\":\"a\"}\n\nno json\n{\"message\":\"b\"}\n")
    let refused = send(http + ["--file", bad, "--ndjson"])
    #expect(refused.status == 65 && refused.text.contains("line 3 was refused"), "\(refused.text)")
    #expect(refused.text.contains("2 of 3 records acknowledged"), "\(refused.text)")
    #expect(send(http + ["--file", folder.path + "/nowhere"]).status == 66)
    #expect(send(["--tcp", "127.0.0.1:\(daemon.port)", "--count", "1"]).status == 76)
    #expect(send(["--http", "nowhere.invalid", "--count", "1"]).status == 68)
    #expect(send(http).status == 64 && send(http + ["--count", "1", "--file", bad]).status == 64)
    #expect(daemon.stop() == 0)
    let port = try HeldPort()
    let nobody = send(["--http", "127.0.0.1:\(port.number)", "--count", "1"])
    #expect(nobody.status == 69 && nobody.text.contains("Connection refused"), "\(nobody.text)")
    withExtendedLifetime(port) {}
  }

  @Test(
    "closed standard descriptors are as good as empty ones: nothing else takes their numbers", arguments: Edge.allCases)
  private func closedDescriptors(edge: Edge) throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: topology(folder)))
    let command = ([Products.sluice, "send", "--file", "-", "--json"] + target(edge, daemon.ports)).joined(
      separator: " ")
    let sent = ChildProcess.run("/bin/sh", ["-c", "exec \(command) <&-"])
    #expect(sent.status == 0 && sent.text.contains("\"acknowledged\":0"), "\(sent.text)")
    let silent = ChildProcess.run("/bin/sh", ["-c", "exec \(command) <&- >&- 2>&-"])
    #expect(silent.status == 0 && silent.text.isEmpty, "\(silent.text)")
    #expect(daemon.stop() == 0)
    #expect(try records(folder) == 0)
  }
}

extension SendTests {
  /// A log of the packages that this machine was installed with; on one without it, what dpkg knows of them.
  private static let packageLog = ["/var/log/dpkg.log", "/var/lib/dpkg/status"].first {
    (try? FileManager.default.attributesOfItem(atPath: $0)[.size] as? Int).map { $0 > 100_000 } ?? false
  }

  @Test("the package log of this Debian is in the output line by line, each exactly once", arguments: Edge.allCases)
  private func packageLogOnce(edge: Edge) throws {
    let log = try #require(Self.packageLog)
    let folder = TemporaryFolder()
    // A copy: the package manager may add to it while it is sent.
    let text = try #require(FileManager.default.contents(atPath: log))
    let file = folder.write("package.log", String(decoding: text, as: UTF8.self))
    let daemon = try #require(Daemon(topology: topology(folder)))
    let sent = send(target(edge, daemon.ports) + ["--file", file])
    #expect(sent.status == 0, "\(sent.text)")
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    let expected = lines.last == "" ? lines.dropLast() : lines[...]
    print("package log: \(expected.count) lines of \(log)")
    #expect(eventually { delivered(folder).count >= expected.count })
    #expect(daemon.stop() == 0)
    #expect(delivered(folder) == expected.map(String.init))
  }
}
