import DaemonTestSupport
import Foundation
import Testing

/// What a reload changes beside streams, sources and subscribers.
@Suite struct ReloadSettingsTests {
  private func lines(_ path: String) -> [String] {
    let text = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    return text.split(separator: "\n").map(String.init)
  }

  @Test("A reload changes where, how and how much the daemon logs, and lets go of a log file that was moved away")
  func log() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    sketch.daemon = ", log: { to: { file: ./sluice.log }, format: json, level: debug }"
    sketch.write(to: folder)
    let planned = reload(folder, "--dry-run")
    #expect(planned.text.contains("changed   daemon (log.level, log.format, log.to)"), "\(planned.text)")
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/sluice.log"))
    #expect(reload(folder).status == 0)
    let first = lines(folder.path + "/sluice.log")
    #expect(first.contains { $0.hasPrefix("{\"time\":") && $0.contains("\"message\":\"reloaded\"") }, "\(first)")
    // As logrotate does it.
    try FileManager.default.moveItem(atPath: folder.path + "/sluice.log", toPath: folder.path + "/sluice.log.1")
    daemon.process.send(SIGHUP)
    #expect(eventually { lines(folder.path + "/sluice.log").contains { $0.contains("reloaded") } })
    #expect(lines(folder.path + "/sluice.log.1").count >= first.count)
    // A level that lets only errors through, and a place that there is not.
    sketch.daemon = ", log: { to: { file: ./sluice.log }, level: error }"
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    let quiet = lines(folder.path + "/sluice.log").count
    sketch.daemon = ", log: { to: { file: ./no/such/folder/sluice.log } }"
    sketch.streams = "  more: {}"
    sketch.write(to: folder)
    let refused = reload(folder)
    #expect(refused.status != 0 && refused.text.contains("cannot open the log file"), "\(refused.text)")
    #expect(lines(folder.path + "/sluice.log").count > quiet, "the refusal is an error, told in the old place")
    let names = try (status(folder)["streams"] as? [[String: Any]] ?? []).compactMap { $0["name"] as? String }
    #expect(!names.contains("more"), "nothing of a generation that failed is left")
    #expect(daemon.stop() == 0)
  }

  @Test("The listening lines of the start and of a reload say what the topology made the kernel grant a socket")
  func socketOptions() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.api = "socket: { receive_buffer: 64KiB }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    func isListening(_ line: String, _ bytes: Int) -> Bool {
      line.contains("listening") && field("source", of: line) == "api"
        && field("receive_buffer", of: line) == "\(bytes)"
    }
    #expect(daemon.process.output.contains { isListening($0, 64 << 10) })
    sketch.api = "socket: { receive_buffer: 32KiB }"
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    #expect(daemon.process.line { isListening($0, 32 << 10) } != nil)
    #expect(daemon.stop() == 0)
  }

  @Test("A source has no more connections than `max_connections`, those among them that came before reloads")
  func connectionsOverReloads() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    func write(_ seconds: Int) {
      let settings = "max_connections: 1, idle_timeout: \(seconds)s"
      sketch.api = settings
      sketch.sources = """
          text: { type: tcp, framing: lines, listen: "127.0.0.1:0", stream: events, \(settings) }
        """
      sketch.write(to: folder)
    }
    write(300)
    let daemon = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    let first = try #require(HTTPConnection(port: daemon.port))
    let port = try #require(daemon.ports["text"])
    let held = try #require(HTTPConnection(port: port))
    func count(_ metric: String) -> Int? {
      let lines = first.get("/metrics", accept: "text/plain")?.body.split(separator: "\n") ?? []
      let line = lines.first { $0.hasPrefix(metric + #"{source="text""#) }
      return line?.split(separator: " ").last.flatMap { Int($0) }
    }
    #expect(eventually { count("sluice_source_connections") == 1 })
    for round in 1...2 {
      write(300 + round)
      #expect(reload(folder).status == 0)
      #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"2"}"#)?.status == 503)
      let another = HTTPConnection(port: port)
      #expect(eventually { count("sluice_source_refused_connections_total") == round })
      withExtendedLifetime(another) {}
    }
    #expect(first.post(#"{"message":"3"}"#)?.status == 202, "it goes on")
    withExtendedLifetime(held) {}
    #expect(daemon.stop() == 0)
  }

  @Test("A source lingers behind its last answer for as long as the topology says")
  func lingering() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.daemon = ", event_loops: 1"
    sketch.api = "header_timeout: 5s, socket: { linger: 60s }"
    sketch.sources = """
        modules: { type: tcp, listen: "127.0.0.1:0", stream: events, socket: { linger: 60s } }
      """
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let refused = try #require(HTTPConnection(port: daemon.port))
    #expect(refused.send("POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"))
    #expect(refused.response()?.status == 413 && refused.response() == nil, "the answer, and the end")
    let port = try #require(daemon.ports["modules"])
    let framed = try #require(HTTPConnection(port: port))
    #expect(framed.send(String(repeating: "no frame", count: 8)) && framed.response() == nil)
    // The default is over by the time that this one is told it was too slow.
    let slow = try #require(HTTPConnection(port: daemon.port))
    #expect(slow.send("POST /log HT") && slow.response()?.status == 408)
    let shown = try #require(HTTPConnection(port: daemon.port)).get("/metrics", accept: "text/plain")?.body ?? ""
    #expect(shown.contains("sluice_source_connections{source=\"api\"} 3\n"), "\(shown)")
    #expect(shown.contains("sluice_source_connections{source=\"modules\"} 1\n"))
    #expect(daemon.stop() == 0)
    withExtendedLifetime((refused, framed, slow)) {}
  }

  @Test(
    "A log file that is a pipe without a reader is refused, and one whose reader sleeps loses lines instead of time")
  func pipe() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let path = folder.path + "/log.pipe"
    try #require(mkfifo(path, 0o600) == 0)
    sketch.daemon = ", log: { to: { file: ./log.pipe }, level: debug }"
    sketch.write(to: folder)
    let refused = reload(folder)
    #expect(refused.status != 0 && refused.text.contains("cannot open the log file"), "\(refused.text)")
    let sleeper = open(path, O_RDONLY | O_NONBLOCK)
    defer { close(sleeper) }
    #expect(sleeper >= 0 && fcntl(sleeper, 1031, 4096) == 4096)  // F_SETPIPE_SZ
    for round in 0..<20 {
      sketch.streams = round.isMultiple(of: 2) ? "  more: {}" : ""
      sketch.write(to: folder)
      #expect(reload(folder).status == 0)
    }
    #expect(daemon.stop() == 0)
  }

  @Test("A stream's max_record changes under load, to what its ring can hold")
  func maxRecord() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.events = "max_record: 64KiB"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    func post(bytes: Int) -> Int? {
      connection.post("{\"message\":\"\(String(repeating: "x", count: bytes))\"}")?.status
    }
    #expect(post(bytes: 100_000) == 413 && post(bytes: 1000) == 202)
    sketch.events = "max_record: 512KiB"
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    #expect(post(bytes: 100_000) == 202)
    sketch.events = "max_record: 4KiB"
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    #expect(post(bytes: 100_000) == 413 && post(bytes: 1000) == 202)
    sketch.events = "max_record: 8MiB"
    sketch.write(to: folder)
    let refused = reload(folder)
    #expect(refused.status == 78 && refused.text.contains("streams.events.max_record can't change"), "\(refused.text)")
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out").count == 3)
  }
}
