import DaemonTestSupport
import Foundation
import Testing

private func worker(_ folder: TemporaryFolder, _ arguments: String...) -> (status: Int32?, text: String) {
  ChildProcess.run(Products.sluice, ["worker"] + arguments, directory: folder.path)
}

/// A daemon whose subscriber takes nothing before there is a file `open`, or rejects what is bad until then.
private func start(_ folder: TemporaryFolder, _ fixture: String = "gate") throws -> Daemon {
  let plugin = try buildPlugin("Tests/FixturePlugins/\(fixture).c", kind: fixture, in: folder)
  var sketch = Sketch()
  sketch.subscribers =
    "  late: { plugin: \(plugin), isolation: thread, streams: [ events ], batch: { wait: 1ms }, retry: { first: 1ms, max: 20ms } }"
  return try #require(Daemon(topology: sketch.write(to: folder)))
}

private func open(_ folder: TemporaryFolder) { _ = folder.write("data/plugins/late/open", "") }

/// The LSNs of what the subscriber was given, in its order.
private func seen(_ folder: TemporaryFolder) -> [Int] {
  let text = (try? String(contentsOfFile: folder.path + "/data/plugins/late/seen", encoding: .utf8)) ?? ""
  return text.split(separator: "\n").compactMap { Int($0.split(separator: " ").first ?? "") }
}

private func post(_ range: ClosedRange<Int>, to daemon: Daemon, _ word: String = "m") throws {
  let connection = try #require(HTTPConnection(port: daemon.port))
  for number in range { #expect(connection.post(#"{"message":"\#(word) \#(number)"}"#)?.status == 202) }
}

@Suite struct WorkerTests {
  @Test("After kill -9 a worker delivers exactly what was acknowledged and not settled, and the next daemon none of it")
  func afterACrash() throws {
    let folder = TemporaryFolder()
    var daemon = try start(folder)
    try post(1...200, to: daemon)
    daemon.crash()
    #expect(seen(folder).isEmpty)
    open(folder)
    let result = worker(folder, "-c", "sluice.yaml", "--subscriber", "late")
    #expect(
      result.status == 0 && result.text.contains("200 records delivered to late from events LSN 1 to 200"),
      "\(result.text)")
    #expect(seen(folder) == Array(1...200))
    let again = worker(folder, "-c", "sluice.yaml", "--subscriber", "late")
    #expect(again.status == 0 && again.text.contains("nothing new"), "\(again.text)")
    daemon = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    try post(201...201, to: daemon)
    #expect(eventually { seen(folder).last == 201 })
    #expect(daemon.stop() == 0)
    #expect(seen(folder) == Array(1...201))
    #expect(deliveredLines(folder.path + "/out").count >= 201, "the other subscriber has lost nothing by it")
  }

  @Test("A worker that is stopped while its plugin takes nothing says what is left, and the next one delivers it")
  func stopped() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    try post(1...50, to: daemon)
    daemon.crash()
    let waiting = ChildProcess(
      Products.sluice, ["worker", "-c", "sluice.yaml", "--subscriber", "late", "--verbose"], directory: folder.path)
    #expect(waiting.line { $0.contains("recovered") } != nil)
    let busy = worker(folder, "-c", "sluice.yaml", "--subscriber", "late")
    #expect(busy.status == 75 && busy.text.contains("in use by process \(waiting.pid)"), "\(busy.text)")
    waiting.send(SIGTERM)
    #expect(waiting.exitStatus() == 75)
    #expect(waiting.output.last?.contains("50 left, since it was stopped") == true, "\(waiting.output)")
    open(folder)
    #expect(worker(folder, "-c", "sluice.yaml", "--subscriber", "late", "--json").status == 0)
    #expect(seen(folder) == Array(1...50))
  }

  @Test("Records that a worker's subscriber rejects are dead letters of the daemon that comes after it")
  func rejections() throws {
    let folder = TemporaryFolder()
    var daemon = try start(folder, "fussy")
    #expect(daemon.stop() == 0)
    // With the subscriber away, so that all is left to the worker.
    let file = folder.path + "/sluice.yaml"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    _ = folder.write(
      "sluice.yaml", text.split(separator: "\n").filter { !$0.contains("late:") }.joined(separator: "\n"))
    daemon = try #require(Daemon(topology: file))
    try post(1...3, to: daemon, "bad")
    try post(4...9, to: daemon, "good")
    #expect(daemon.stop() == 0)
    _ = folder.write("sluice.yaml", text)
    let result = worker(folder, "-c", "sluice.yaml", "--subscriber", "late")
    #expect(
      result.status == 1 && result.text.contains("6 records delivered") && result.text.contains("3 rejected"),
      "\(result.text)")
    daemon = try #require(Daemon(topology: file))
    let letters = ChildProcess.run(Products.sluice, ["dead", "list", "--json", "--data", folder.path + "/data"])
    #expect(letters.text.split(separator: "\n").count == 3, "\(letters.text)")
    #expect(daemon.stop() == 0)
  }

  @Test("Without a topology a worker keeps a cursor under its own name, and a replay moves none")
  func withoutATopology() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    try post(1...30, to: daemon)
    daemon.crash()
    let stream = "data/streams/events"
    let config = #"{"path":"rescued"}"#
    let first = worker(folder, stream, "--plugin", "disk", "--plugin-config", config)
    #expect(first.status == 0 && first.text.contains("30 records delivered to worker"), "\(first.text)")
    #expect(deliveredLines(folder.path + "/rescued").count == 30)
    #expect(worker(folder, stream, "--plugin", "disk", "--plugin-config", config).text.contains("nothing new"))
    let part = worker(
      folder, stream, "--plugin", "disk", "--plugin-config", config, "--as", "other", "--from", "11", "--until", "20",
      "--json")
    let summary = try #require(
      try JSONSerialization.jsonObject(with: Data((part.text.split(separator: "\n").last ?? "").utf8)) as? [String: Any]
    )
    #expect(part.status == 0 && summary["delivered"] as? Int == 10 && summary["total"] as? Int == 10, "\(part.text)")
    #expect(deliveredLines(folder.path + "/rescued").count == 40)
    let inspect = ChildProcess.run(Products.sluice, ["stream", "inspect", folder.path + "/" + stream])
    #expect(inspect.text.contains("worker") && !inspect.text.contains("other"), "\(inspect.text)")
    _ = folder.write("config.json", config)
    let all = worker(folder, stream, "--plugin", "disk", "--plugin-config", "@config.json", "--as", "third")
    #expect(all.status == 0 && deliveredLines(folder.path + "/rescued").count == 70, "\(all.text)")
    // A .so from elsewhere has a process of its own.
    _ = folder.write("data/plugins/late/open", "")
    let own = worker(folder, stream, "--plugin", folder.path + "/libsluice-gate.so", "--as", "late", "--from", "1")
    #expect(own.status == 0 && seen(folder) == Array(1...30), "\(own.text)")
  }

  @Test("What is not there, or does not go together, is refused with the remedy")
  func refusals() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    try post(1...3, to: daemon)
    let busy = worker(folder, "-c", "sluice.yaml", "--subscriber", "late")
    #expect(busy.status == 75 && busy.text.contains("in use by process \(daemon.process.pid)"), "\(busy.text)")
    daemon.crash()
    let disk = ["--plugin", "disk", "--plugin-config", #"{"path":"out"}"#]
    func refused(_ status: Int32, _ word: String, _ arguments: [String]) {
      let result = ChildProcess.run(Products.sluice, ["worker"] + arguments, directory: folder.path)
      #expect(result.status == status && result.text.contains(word), "\(arguments): \(result)")
    }
    refused(64, "--subscriber", ["-c", "sluice.yaml"])
    refused(64, "give -c FILE", [])
    refused(64, "--until goes with --from", ["data/streams/events"] + disk + ["--until", "3"])
    refused(64, "JSON object", ["data/streams/events", "--plugin", "disk", "--plugin-config", "path"])
    refused(66, "there are: archive, late", ["-c", "sluice.yaml", "--subscriber", "lat"])
    refused(66, "it reads: events", ["-c", "sluice.yaml", "--subscriber", "late", "--stream", "dead"])
    refused(66, "No such file", ["data/streams/none"] + disk)
    try FileManager.default.createDirectory(
      atPath: folder.path + "/data/streams/hollow", withIntermediateDirectories: true)
    refused(66, "holds no log", ["data/streams/hollow"] + disk)
    refused(66, "DATA/streams/NAME", ["data"] + disk)
    refused(66, "ends at LSN 3", ["data/streams/events"] + disk + ["--from", "4"])
    refused(78, "'path'", ["data/streams/events", "--plugin", "disk"])
    refused(64, "--isolation takes", ["data/streams/events"] + disk + ["--isolation", "cage"])
    refused(66, "No such file", ["-c", "none.yaml", "--subscriber", "late"])
  }
}
