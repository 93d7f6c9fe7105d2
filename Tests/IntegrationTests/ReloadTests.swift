import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// A topology whose parts a test changes one by one.
struct Sketch {
  var daemon = ""
  var events = "durability: fsync"
  var api = "topic: web"
  var listen = "127.0.0.1:0"
  var archive = "{ plugin: disk, streams: [ events ], batch: { wait: 5ms }, config: { path: ./out } }"
  var streams = ""
  var sources = ""
  var subscribers = ""

  @discardableResult
  func write(to folder: TemporaryFolder) -> String {
    // A connection may rest for as long as a busy machine needs for the commands between two of its requests.
    let idle = api.contains("idle_timeout") ? "" : "idle_timeout: 1h, "
    return folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data\(daemon) }
      streams:
        events: { \(events) }
      \(streams)
      sources:
        api: { type: http, listen: "\(listen)", stream: events, auth: none, \(idle)\(api) }
      \(sources)
      subscribers:
        archive: \(archive)
      \(subscribers)
      """)
  }
}

func reload(_ folder: TemporaryFolder, _ arguments: String...) -> (status: Int32?, text: String) {
  ChildProcess.run(Products.sluice, ["reload", "--data", folder.path + "/data"] + arguments)
}

func status(_ folder: TemporaryFolder) throws -> [String: Any] {
  let result = ChildProcess.run(Products.sluice, ["status", "--json", "--data", folder.path + "/data"])
  #expect(result.status == 0, "\(result.text)")
  return try #require(try JSONSerialization.jsonObject(with: Data(result.text.utf8)) as? [String: Any])
}

/// Waits until these subscribers have settled all there is: a stop waits for them only so long.
func nothingWaits(_ folder: TemporaryFolder, for subscribers: String...) -> Bool {
  eventually(within: 300) {
    let rows = (try? status(folder)["subscribers"] as? [[String: Any]]) ?? []
    return subscribers.allSatisfy { name in
      let streams = rows.first { $0["name"] as? String == name }?["streams"] as? [[String: Any]] ?? []
      return !streams.isEmpty && streams.allSatisfy { ($0["lag"] as? [String: Any])?["records"] as? Int == 0 }
    }
  }
}

func names(_ status: [String: Any], _ part: String, where key: String = "name") -> [String] {
  (status[part] as? [[String: Any]] ?? []).compactMap { $0[key] as? String }
}

@Suite struct ReloadTests {
  @Test("A reload adds, changes and removes parts while a connection of an untouched source stays open")
  func partsComeAndGo() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"1"}"#)?.status == 202)

    sketch.streams = "  audit: { durability: written }"
    let side = try HeldPort()
    sketch.sources = "  side: { type: http, listen: \"127.0.0.1:\(side.number)\", stream: audit, auth: none }"
    sketch.subscribers = "  copy: { plugin: disk, streams: [ events, audit ], config: { path: ./copy } }"
    sketch.archive = "{ plugin: disk, streams: [ events ], batch: { wait: 9ms }, config: { path: ./out } }"
    sketch.write(to: folder)
    let plan = reload(folder, "--dry-run")
    #expect(plan.status == 0, "\(plan.text)")
    for line in [
      "added     stream audit", "added     source side", "added     subscriber copy",
      "changed   subscriber archive (batch)", "untouched 2 streams, 1 sources, 0 subscribers", "nothing was changed",
    ] {
      #expect(plan.text.contains(line), "\(line) is not in:\n\(plan.text)")
    }
    #expect(try status(folder)["generation"] as? Int == 1)
    let done = reload(folder)
    #expect(done.status == 0 && done.text.contains("generation 2 runs"), "\(done.text)")
    let grown = try status(folder)
    #expect(names(grown, "streams") == ["events", "audit", "dead"])
    #expect(names(grown, "sources") == ["api", "side"] && names(grown, "subscribers") == ["archive", "copy"])
    #expect(daemon.process.line { $0.contains("listening") && $0.contains("source=side") } != nil)
    #expect(HTTPConnection(port: side.number)?.post(#"{"message":"side"}"#)?.status == 202)
    #expect(connection.post(#"{"message":"2"}"#)?.status == 202)
    #expect(eventually { deliveredLines(folder.path + "/copy").count == 3 })

    Sketch().write(to: folder)
    #expect(reload(folder).status == 0)
    #expect(connection.post(#"{"message":"3"}"#)?.status == 202)
    #expect(HTTPConnection(port: side.number) == nil)
    let shrunk = try status(folder)
    #expect(names(shrunk, "streams") == ["events", "dead"] && names(shrunk, "subscribers") == ["archive"])
    // The cursor of the one that is gone is listed until it expires.
    let events = (shrunk["streams"] as? [[String: Any]])?.first
    let cursors = events?["cursors"] as? [[String: Any]] ?? []
    #expect(cursors.contains { $0["subscriber"] as? String == "copy" && $0["connected"] as? Bool == false })
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out") == ["1", "2", "3"].map { #"{"message":"\#($0)"}"# })
  }

  @Test("SIGHUP reloads, and a file with a mistake changes nothing and is told as check tells it")
  func signal() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    sketch.archive = "{ plugin: disk, streams: [ event ], config: { path: ./out } }"
    sketch.write(to: folder)
    daemon.process.send(SIGHUP)
    #expect(daemon.process.line { $0.contains("reload refused; the old topology goes on") } != nil)
    #expect(daemon.process.line { $0.contains("did you mean 'events'?") } != nil)
    let refused = reload(folder)
    #expect(refused.status == 78)
    #expect(refused.text.contains("^~") && refused.text.contains("'event'"), "\(refused.text)")
    let report = try status(folder)
    #expect(report["generation"] as? Int == 1)
    #expect((report["last_reload"] as? [String: Any])?["outcome"] as? String == "refused")
    #expect((report["reloads"] as? [String: Any])?["refused"] as? Int == 2)
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"1"}"#)?.status == 202)
    sketch.archive = "{ plugin: disk, streams: [ events ], order: strict, config: { path: ./out } }"
    sketch.write(to: folder)
    daemon.process.send(SIGHUP)
    #expect(daemon.process.line { $0.contains("reloaded") && $0.contains("generation=2") } != nil)
    let metrics = HTTPConnection(port: daemon.port)?.get("/metrics", accept: "text/plain")?.body ?? ""
    #expect(metrics.contains("sluice_generation 2\n"))
    #expect(metrics.contains("sluice_reloads_total{outcome=\"applied\"} 1\n"))
    #expect(metrics.contains("sluice_reloads_total{outcome=\"refused\"} 2\n"))
    #expect(metrics.contains("sluice_last_reload_successful 1\n"))
    #expect(daemon.stop() == 0)
  }

  @Test("What only a restart can bring is refused by name before anything is touched")
  func refusals() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    sketch.events = "durability: written, ring: 128MiB"
    sketch.daemon = ", event_loops: 3"
    sketch.subscribers = "  copy: { plugin: disk, streams: [ events ], config: { path: ./copy } }"
    sketch.write(to: folder)
    let refused = reload(folder)
    #expect(refused.status == 78)
    for key in ["streams.events.durability", "streams.events.ring", "daemon.event_loops"] {
      #expect(refused.text.contains("\(key) can't change while the daemon runs"), "\(refused.text)")
    }
    #expect(names(try status(folder), "subscribers") == ["archive"])
    #expect(daemon.stop() == 0)
  }

  @Test("A changed source keeps its port and its open connections, which go on under the old settings")
  func changedSource() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.archive = "{ plugin: disk, streams: [ events ], batch: { wait: 5ms }, config: { path: ./out } }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let before = try #require(HTTPConnection(port: daemon.port))
    #expect(before.post(#"{"message":"1"}"#)?.status == 202)
    sketch.api = "topic: web, max_body: 1KiB"
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    let large = #"{"message":"\#(String(repeating: "x", count: 2000))"}"#
    #expect(before.post(large)?.status == 202)
    let after = try #require(HTTPConnection(port: daemon.port))
    #expect(after.post(large)?.status == 413)
    let third = try #require(HTTPConnection(port: daemon.port))
    #expect(third.post(#"{"message":"2"}"#)?.status == 202)
    let sources = try status(folder)["sources"] as? [[String: Any]] ?? []
    #expect(sources.compactMap { $0["state"] as? String } == ["accepting", "ending"])
    // Whoever looks sees one source that counts on.
    let metrics = third.get("/metrics", accept: "text/plain")?.body ?? ""
    let accepted = metrics.split(separator: "\n").filter {
      $0.hasPrefix("sluice_source_") && $0.contains("\"api\"") && $0.contains("accepted") && !$0.contains("rejected")
    }
    #expect(Set(accepted.map { $0.split(separator: " ")[0] }).count == accepted.count)
    #expect(accepted.contains { $0.hasSuffix(" 3") }, "\(accepted)")
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out").count == 3)
  }

  @Test("A source that goes to another stream answers what was asked, closes, and its port goes on into the new one")
  func anotherStream() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.streams = "  other: { durability: fsync }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let before = try #require(HTTPConnection(port: daemon.port))
    #expect(before.post(#"{"message":"1"}"#)?.status == 202)
    let text = try String(contentsOfFile: folder.path + "/sluice.yaml", encoding: .utf8)
    _ = folder.write(
      "sluice.yaml",
      text.replacingOccurrences(of: "stream: events, auth", with: "stream: other, auth")
        .replacingOccurrences(of: "streams: [ events ]", with: "streams: [ events, other ]"))
    #expect(reload(folder).status == 0)
    #expect(before.post(#"{"message":"lost"}"#) == nil)
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"2"}"#)?.status == 202)
    #expect(daemon.stop() == 0)
    #expect(Set(deliveredLines(folder.path + "/out")) == [#"{"message":"1"}"#, #"{"message":"2"}"#])
  }

  @Test("A subscriber that does not start is taken back with all else of the reload, and the old one goes on")
  func rollback() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"1"}"#)?.status == 202)
    // A port that is taken makes the last step fail, when everything before it was done.
    let taken = try #require(ListeningPort())
    sketch.streams = "  extra: {}"
    sketch.archive = "{ plugin: disk, streams: [ events ], batch: { wait: 7ms }, config: { path: ./out } }"
    sketch.subscribers = "  copy: { plugin: disk, streams: [ events ], config: { path: ./copy } }"
    sketch.sources = "  side: { type: http, listen: \"127.0.0.1:\(taken.port)\", stream: extra, auth: none }"
    sketch.write(to: folder)
    let failed = reload(folder)
    #expect(failed.status == 69 && failed.text.contains("side: cannot listen on"), "\(failed.text)")
    let report = try status(folder)
    #expect(report["generation"] as? Int == 1)
    #expect(names(report, "streams") == ["events", "dead"] && names(report, "subscribers") == ["archive"])
    #expect(names(report, "sources") == ["api"])
    let cursors = (report["streams"] as? [[String: Any]])?.first?["cursors"] as? [[String: Any]]
    #expect(cursors?.map { $0["subscriber"] as? String } == ["archive"], "nothing is held back for the other")
    #expect(connection.post(#"{"message":"2"}"#)?.status == 202)
    #expect(eventually { connection.get("/ready")?.status == 200 })
    withExtendedLifetime(taken) {}
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out") == ["1", "2"].map { #"{"message":"\#($0)"}"# })
  }

  @Test("A full stream takes records again when a reload lets it retain more")
  func moreRoom() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/gate.c", kind: "gate", in: folder)
    var sketch = Sketch()
    sketch.events = "ring: 4MiB, segment: 2MiB, retain: { bytes: 8MiB }"
    sketch.subscribers = "  slow: { plugin: \(plugin), isolation: thread, streams: [ events ] }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    let body = #"{"message":"\#(String(repeating: "x", count: 50_000))"}"#
    #expect((0..<1000).contains { _ in connection.post(body)?.status == 429 })
    sketch.events = "ring: 4MiB, segment: 2MiB, retain: { bytes: 64MiB }"
    sketch.write(to: folder)
    let done = reload(folder)
    #expect(done.status == 0 && done.text.contains("changed   stream events (retain.bytes)"), "\(done.text)")
    #expect(eventually { connection.post(body)?.status == 202 })
    _ = folder.write("data/plugins/slow/open", "")
    #expect(daemon.stop() == 0)
  }

  @Test("A source renamed on the same port takes the socket over")
  func renamedSource() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let port = try HeldPort()
    sketch.listen = "127.0.0.1:\(port.number)"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let text = try String(contentsOfFile: folder.path + "/sluice.yaml", encoding: .utf8)
    _ = folder.write("sluice.yaml", text.replacingOccurrences(of: "  api: {", with: "  web: {"))
    let done = reload(folder)
    #expect(done.status == 0, "\(done.text)")
    #expect(names(try status(folder), "sources") == ["web"])
    #expect(HTTPConnection(port: port.number)?.post(#"{"message":"1"}"#)?.status == 202)
    #expect(daemon.stop() == 0)
  }

  @Test("Reloads while records come refuse none of them and lose none")
  func reloadsUnderPosts() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let posted = Posting(port: daemon.port)
    for round in 1...10 {
      sketch.archive =
        "{ plugin: disk, streams: [ events ], batch: { wait: \(round)ms }, config: { path: ./out } }"
      sketch.api = "topic: t\(round)"
      sketch.write(to: folder)
      let done = reload(folder)
      #expect(done.status == 0, "\(done.text)")
    }
    let sent = posted.stop()
    #expect(posted.faults == 0 && sent > 0)
    #expect(daemon.stop() == 0)
    let lines = deliveredLines(folder.path + "/out").compactMap(numberOf)
    #expect(Set(lines) == Set(0..<sent))
    var seen = Set<Int>()
    let first = lines.filter { seen.insert($0).inserted }
    #expect(first == first.sorted())
  }
}

/// A port that is listened on.
final class ListeningPort {
  private let descriptor: Int32
  let port: Int

  init?() {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = descriptor
    let rc = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) + listen(descriptor, 1) + getsockname(descriptor, $0, &length)
      }
    }
    guard rc == 0 else { return nil }
    port = Int(UInt16(bigEndian: address.sin_port))
  }

  deinit { close(descriptor) }
}
