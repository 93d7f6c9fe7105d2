import DaemonTestSupport
import Foundation
import SluiceCore
import Testing

extension TemporaryFolder {
  /// The files of a stream's directory with their bytes, but for the lock, which has a number for people.
  func contents(of stream: String) throws -> [String: Data] {
    let directory = "\(path)/data/streams/\(stream)"
    var contents: [String: Data] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: directory) where name != "LOCK" {
      contents[name] = FileManager.default.contents(atPath: "\(directory)/\(name)") ?? Data()
    }
    return contents
  }

  func segments(of stream: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: "\(path)/data/streams/\(stream)")
      .filter { $0.hasSuffix(".slog") }.sorted().map { "\(path)/data/streams/\(stream)/\($0)" }
  }

  func move(_ from: String, _ to: String) throws {
    try FileManager.default.moveItem(atPath: "\(path)/data/streams/\(from)", toPath: "\(path)/data/streams/\(to)")
  }

  func flip(_ file: String, at offset: UInt64) throws {
    let handle = try #require(FileHandle(forUpdatingAtPath: file))
    try handle.seek(toOffset: offset)
    var byte = try #require(try handle.read(upToCount: 1))
    byte[0] ^= 1
    try handle.seek(toOffset: offset)
    try handle.write(contentsOf: byte)
    try handle.close()
  }

  /// Damages the header of the group, of one record, that has `text` in it; where that group begins. Which number it has in its
  /// file depends on how often the log was idle before.
  func damageGroup(of text: String, in file: String) throws -> Int {
    let bytes = try #require(FileManager.default.contents(atPath: file))
    let place = try #require(bytes.range(of: Data(text.utf8))?.lowerBound)
    let start = place / Limits.groupAlignment * Limits.groupAlignment
    try flip(file, at: UInt64(start) + 20)
    return start
  }

  /// Lines that the `disk` subscriber has written below `name`.
  func lines(_ name: String) -> [String] {
    let text = FileManager.default.contents(atPath: "\(path)/\(name)/current.ndjson") ?? Data()
    return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
  }
}

/// Runs the daemon, posts so many records one by one, and stops it when they are delivered.
private func post(_ count: Int, to folder: TemporaryFolder, _ topology: String) throws {
  let before = folder.lines("out").count
  let daemon = try #require(Daemon(topology: topology))
  let connection = try #require(HTTPConnection(port: daemon.port))
  for number in 0..<count { #expect(connection.post(#"{"message":"\#(number)"}"#)?.status == 202) }
  #expect(eventually { folder.lines("out").count == before + count })
  #expect(daemon.stop() == 0)
}

private func stream(_ status: [String: Any], _ name: String) -> [String: Any] {
  (status["streams"] as? [[String: Any]] ?? []).first { $0["name"] as? String == name } ?? [:]
}

private func metric(_ daemon: Daemon, _ line: String) -> Bool {
  let text = HTTPConnection(port: daemon.port)?.get("/metrics", accept: "text/plain")?.body ?? ""
  return text.split(separator: "\n").contains { $0 == line }
}

@Suite struct IdentityTests {
  @Test("With on_corruption: halt a damaged log keeps the daemon from starting, untouched; with gap it goes on")
  func haltAtStart() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch(events: "on_corruption: halt")
    try post(3, to: folder, sketch.write(to: folder))
    let segment = try #require(try folder.segments(of: "events").last)
    let offset = try folder.damageGroup(of: #"{"message":"1"}"#, in: segment)
    let before = try folder.contents(of: "events")
    let refused = ChildProcess.run(Products.sluice, ["run", "-c", sketch.write(to: folder)])
    #expect(refused.status == 65)
    for words in ["stream events", "at offset \(offset)", "LSN 2...2", "Nothing was changed", "on_corruption: gap"] {
      #expect(refused.text.contains(words), "\(words) is not in:\n\(refused.text)")
    }
    #expect(try folder.contents(of: "events") == before)
    sketch.events = "on_corruption: gap"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    #expect(daemon.process.output.contains { $0.contains("damaged or missing") && $0.contains("lost_lsn=2...2") })
    #expect(daemon.stop() == 0)
  }

  @Test("With on_corruption: halt who meets damage stops and is not ready, other streams go on; a reload lets it go on")
  func haltWhileRunning() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch(events: "on_corruption: halt")
    sketch.streams = "  other: {}"
    sketch.sources = "  side: { type: http, listen: \"127.0.0.1:0\", stream: other, auth: none }"
    try post(3, to: folder, sketch.write(to: folder))
    // The next start begins a new segment, and only that one is scanned by the start after it.
    try post(1, to: folder, sketch.write(to: folder))
    _ = try folder.damageGroup(of: #"{"message":"1"}"#, in: folder.segments(of: "events")[0])
    sketch.subscribers = """
        late: { plugin: disk, streams: [ events ], retry: { first: 5ms, max: 20ms }, config: { path: ./late } }
        beside: { plugin: disk, streams: [ other ], config: { path: ./beside } }
      """
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    func late() throws -> [String: Any] {
      (try status(folder)["subscribers"] as? [[String: Any]] ?? []).first { $0["name"] as? String == "late" } ?? [:]
    }
    #expect(eventually { (try? late()["unreadable"] as? String)?.contains("LSN 2...2") == true })
    #expect(try late()["ready"] as? Bool == false && status(folder)["ready"] as? Bool == false)
    #expect(try late()["why_not_ready"] as? String == late()["unreadable"] as? String)
    #expect(try #require(HTTPConnection(port: daemon.port)).get("/ready")?.status == 503)
    let side = try #require(daemon.ports["side"])
    #expect(HTTPConnection(port: side)?.post(#"{"message":"1"}"#)?.status == 202)
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"9"}"#)?.status == 202)
    #expect(eventually { folder.lines("beside").count == 1 && folder.lines("out").count == 5 })
    #expect(folder.lines("late").count <= 1, "it went no further than the damage")
    sketch.events = "on_corruption: gap"
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    #expect(eventually { folder.lines("late").count == 4 })
    #expect(eventually { (try? late()["ready"] as? Bool) == true })
    #expect(try late()["lost_records"] as? Int == 1 && late()["unreadable"] is NSNull)
    #expect(daemon.stop() == 0)
  }

  @Test(
    "A wiped stream is told with both logs, counted and shown; halt refuses; a producer begins anew, by the log's UUID")
  func wiped() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.sources = "  wire: { type: tcp, listen: \"127.0.0.1:0\", stream: events, auth: none }"
    var daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    var port = try #require(daemon.ports["wire"])
    var client = try #require(WireClient(port: port, producer: "p"))
    #expect(client.data(first: 1, payloads: ["one", "two", "three"]) && client.awaitAck(3))
    let old = client.logUUID
    #expect(eventually { folder.lines("out").count == 3 })
    #expect(try stream(status(folder), "events")["log_uuid"] as? String == old)
    #expect(daemon.stop() == 0)

    try folder.move("events", "saved")
    sketch.events = "on_corruption: halt"
    let refused = ChildProcess.run(Products.sluice, ["run", "-c", sketch.write(to: folder)])
    #expect(refused.status == 65 && refused.text.contains(old) && refused.text.contains("streams/saved"))
    #expect(!FileManager.default.fileExists(atPath: "\(folder.path)/data/streams/events"))
    sketch.events = "on_corruption: gap"
    daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    port = try #require(daemon.ports["wire"])
    client = try #require(WireClient(port: port, producer: "p"))
    #expect(client.logUUID != old && client.lastSequence == 0, "the new log knows none of its records")
    let told = daemon.process.output.first { $0.contains("another log than it had") } ?? ""
    #expect(told.contains("was=\(old)") && told.contains("log=\(client.logUUID)") && told.contains("was_at_lsn=3"))
    #expect(client.data(first: 1, payloads: ["four"]) && client.awaitAck(1))
    #expect(eventually { folder.lines("out").count == 4 }, "what has its number in the old log is stored")
    #expect(try (stream(status(folder), "events")["replaced_log"] as? String)?.contains(old) == true)
    let text = ChildProcess.run(Products.sluice, ["status", "--data", folder.path + "/data"]).text
    #expect(text.contains("new log: stream events: it had log \(old)"), "\(text)")
    #expect(metric(daemon, #"sluice_stream_replaced_logs_total{stream="events"} 1"#))
    #expect(daemon.stop() == 0)
  }

  @Test("Swapped directories are refused with both names, and go on when they are put back")
  func swapped() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.streams = "  other: {}"
    let topology = sketch.write(to: folder)
    try post(2, to: folder, topology)
    let swap = {
      try folder.move("events", "t")
      try folder.move("other", "events")
      try folder.move("t", "other")
    }
    try swap()
    let before = try folder.contents(of: "events")
    let refused = ChildProcess.run(Products.sluice, ["run", "-c", topology])
    #expect(refused.status == 65 && refused.text.contains("streams/events holds log"), "\(refused.text)")
    #expect(refused.text.contains("that of stream other"))
    #expect(try folder.contents(of: "events") == before)
    try swap()
    try post(2, to: folder, topology)
  }

  @Test("A reload that adds a stream on a copy of another's directory, or on a wiped one with halt, changes nothing")
  func reloadRefused() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let bare = sketch
    sketch.streams = "  audit: {}"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    bare.write(to: folder)
    #expect(reload(folder).status == 0)
    let streams = folder.path + "/data/streams"
    try FileManager.default.copyItem(atPath: streams + "/events", toPath: streams + "/copy")
    sketch.streams = "  copy: {}"
    sketch.write(to: folder)
    let copied = reload(folder)
    #expect(copied.status == 69 && copied.text.contains("streams/copy holds log"), "\(copied.text)")
    #expect(copied.text.contains("that of stream events") && copied.text.contains("generation 2 goes on"))
    try FileManager.default.removeItem(atPath: streams + "/audit")
    sketch.streams = "  audit: { on_corruption: halt }"
    sketch.write(to: folder)
    let wiped = reload(folder)
    #expect(wiped.status == 69 && wiped.text.contains("streams/audit is empty"), "\(wiped.text)")
    sketch.streams = "  audit: {}"
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    #expect(metric(daemon, #"sluice_stream_replaced_logs_total{stream="audit"} 1"#))
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"1"}"#)?.status == 202)
    #expect(daemon.stop() == 0)
  }

  @Test("A stream that a reload removes is an orphan: listed, never touched, and taken up where it was when it is back")
  func orphanedStream() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let bare = sketch
    sketch.streams = "  audit: {}"
    sketch.sources = "  side: { type: http, listen: \"127.0.0.1:0\", stream: audit, auth: none }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let side = try #require(daemon.ports["side"])
    #expect(HTTPConnection(port: side)?.post(#"{"message":"1"}"#)?.status == 202)
    let uuid = try #require(try stream(status(folder), "audit")["log_uuid"] as? String)
    #expect(metric(daemon, "sluice_orphaned_streams 0"))
    bare.write(to: folder)
    #expect(reload(folder).status == 0)
    let left = try folder.contents(of: "audit")
    let orphans = try status(folder)["orphaned_streams"] as? [[String: Any]] ?? []
    #expect(orphans.map { $0["name"] as? String } == ["audit"] && orphans.first?["log_uuid"] as? String == uuid)
    #expect(try #require(orphans.first?["bytes"] as? Int) >= left.values.reduce(0) { $0 + $1.count })
    #expect(metric(daemon, "sluice_orphaned_streams 1"))
    #expect(
      ChildProcess.run(Products.sluice, ["status", "--data", folder.path + "/data"]).text.contains("ORPHANED STREAM"))
    #expect(reload(folder).status == 0 && reload(folder).status == 0)
    #expect(try folder.contents(of: "audit") == left)
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    let back = try status(folder)
    #expect(stream(back, "audit")["log_uuid"] as? String == uuid)
    #expect(stream(back, "audit")["next_lsn"] as? Int == 2 && (back["orphaned_streams"] as? [Any])?.isEmpty == true)
    #expect(daemon.stop() == 0)
    #expect(daemon.process.output.count { $0.contains("belongs to no stream") } == 1, "told once")
    bare.write(to: folder)
    let again = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    #expect(again.process.line { $0.contains("belongs to no stream") && $0.contains("streams/audit") } != nil)
    #expect(again.stop() == 0)
  }

  @Test(
    "A stream that is full for an absent subscriber refuses producers, or with drop_oldest drops, tells and counts what",
    arguments: ["reject", "drop_oldest"])
  func fullForAnAbsentOne(_ whenFull: String) throws {
    let folder = TemporaryFolder()
    var sketch = Sketch(
      events: "ring: 4MiB, segment: 1MiB, max_record: 256KiB, retain: { bytes: 2MiB }, when_full: \(whenFull)")
    let bare = sketch
    sketch.subscribers = "  copy: { plugin: disk, streams: [ events ], config: { path: ./copy } }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    bare.write(to: folder)
    #expect(reload(folder).status == 0)
    let connection = try #require(HTTPConnection(port: daemon.port))
    let filler = String(repeating: "x", count: 100_000)
    let answers = (0..<100).map { connection.post(#"{"message":"\#($0) \#(filler)"}"#)?.status }
    let taken = answers.count { $0 == 202 }
    #expect(whenFull == "reject" ? taken < 30 && answers.last == 429 : taken == 100, "\(answers)")
    // With drop_oldest a busy machine may leave the other behind too.
    #expect(whenFull == "drop_oldest" || eventually { folder.lines("out").count == taken })
    sketch.write(to: folder)
    #expect(reload(folder).status == 0)
    func copy() throws -> [String: Any] {
      (try status(folder)["subscribers"] as? [[String: Any]] ?? []).first { $0["name"] as? String == "copy" } ?? [:]
    }
    #expect(
      eventually {
        (try? copy()).map { ($0["acked"] as? Int ?? 0) + ($0["lost_records"] as? Int ?? 0) == taken } == true
      })
    let lost = try #require(try copy()["lost_records"] as? Int)
    #expect(whenFull == "reject" ? lost == 0 : lost > 25 && lost < 100, "\(lost)")
    #expect(folder.lines("copy").count == taken - lost)
    #expect(metric(daemon, #"sluice_subscriber_lost_records_total{subscriber="copy",reason="dropped"} \#(lost)"#))
    #expect(eventually { connection.post(#"{"message":"after"}"#)?.status == 202 })
    #expect(daemon.stop() == 0)
    let dropped = daemon.process.output.contains { $0.contains("unsettled records were dropped") }
    #expect(dropped == (whenFull == "drop_oldest"))
  }

  @Test("The cursor of a removed subscriber is listed with what it holds back, and forgotten on command, not before")
  func orphanedCursor() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    let bare = sketch
    sketch.subscribers = "  copy: { plugin: disk, streams: [ events ], config: { path: ./copy } }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let forget = { (stream: String, cursor: String) in
      ChildProcess.run(
        Products.sluice, ["stream", "forget", stream, "--cursor", cursor, "--data", folder.path + "/data"])
    }
    let connected = forget("events", "copy")
    #expect(connected.status == 75 && connected.text.contains("is connected"), "\(connected.text)")
    bare.write(to: folder)
    #expect(reload(folder).status == 0)
    let connection = try #require(HTTPConnection(port: daemon.port))
    for _ in 0..<20 {
      #expect(connection.post(#"{"message":"\#(String(repeating: "x", count: 10_000))"}"#)?.status == 202)
    }
    #expect(eventually { folder.lines("out").count == 20 })
    func cursor() throws -> [String: Any] {
      (stream(try status(folder), "events")["cursors"] as? [[String: Any]] ?? []).first {
        $0["subscriber"] as? String == "copy"
      } ?? [:]
    }
    #expect(eventually { (try? cursor()["holds_bytes"] as? Int).map { $0 >= 200_000 } == true })
    #expect(try cursor()["orphaned"] as? Bool == true && cursor()["connected"] as? Bool == false)
    #expect(daemon.process.line { $0.contains("belongs to no subscriber") && $0.contains("cursor=copy") } != nil)
    let text = ChildProcess.run(Products.sluice, ["status", "--data", folder.path + "/data"]).text
    #expect(text.contains("HOLDS BACK") && text.contains("KiB") && text.contains("sluice stream forget"), "\(text)")
    #expect(metric(daemon, #"sluice_orphaned_cursors{stream="events"} 1"#))
    #expect(forget("events", "nobody").status == 66 && forget("nothing", "copy").status == 66)
    let done = forget("events", "copy")
    #expect(done.status == 0 && done.text.contains("let go of copy of events: it was at LSN 1"), "\(done.text)")
    #expect(try cursor().isEmpty)
    daemon.crash()
    let again = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    #expect(try cursor().isEmpty, "no restart brings it back")
    #expect(again.stop() == 0)
  }
}
