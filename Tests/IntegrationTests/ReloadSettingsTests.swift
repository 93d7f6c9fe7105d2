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
