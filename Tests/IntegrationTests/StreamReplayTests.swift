import DaemonTestSupport
import Foundation
import Testing

private func replay(_ folder: TemporaryFolder, _ arguments: String...) -> (status: Int32?, text: String) {
  ChildProcess.run(Products.sluice, ["stream", "replay", "events", "--data", folder.path + "/data"] + arguments)
}

/// A daemon with a subscriber that writes down what came live and what as a replay. It takes no replay before there is a
/// file `open` when `n` is 1.
private func start(
  _ folder: TemporaryFolder, n: Int = 0, events: String = "durability: fsync", batch: String = "wait: 1ms"
) throws -> Daemon {
  let plugin = try buildPlugin("Tests/FixturePlugins/marking.c", kind: "marking", in: folder)
  var sketch = Sketch()
  sketch.events = events
  sketch.subscribers =
    "  mark: { plugin: \(plugin), isolation: thread, streams: [ events ], batch: { \(batch) }, config: { n: \(n) } }"
  return try #require(Daemon(topology: sketch.write(to: folder)))
}

/// The LSNs of what the plugin wrote down of one kind, in its order.
private func seen(_ kind: String, _ folder: TemporaryFolder) -> [Int] {
  let text = (try? String(contentsOfFile: folder.path + "/data/plugins/mark/seen", encoding: .utf8)) ?? ""
  return text.split(separator: "\n").compactMap { line in
    let parts = line.split(separator: " ")
    guard parts.count >= 4, parts[0] == kind, parts[1] == "events" else { return nil }
    return Int(parts[2])
  }
}

/// Posts so many records, in bodies of at most a thousand. Of a body that the stream has no room for nothing is stored, so it is
/// posted again.
private func post(_ count: Int, from first: Int = 1, to daemon: Daemon, filler: String = "") throws {
  let connection = try #require(HTTPConnection(port: daemon.port))
  for start in stride(from: first, to: first + count, by: 1000) {
    let lines = (start..<min(start + 1000, first + count)).map { #"{"message":"\#($0)\#(filler)"}"# }
    var answer: (status: Int, head: String, body: String)?
    _ = eventually {
      answer = connection.post(
        lines.joined(separator: "\n"), path: "/logs", headers: "Content-Type: application/x-ndjson\r\n")
      return answer?.status != 429
    }
    #expect(answer?.status == 202, "\(answer?.body ?? "no answer")")
  }
}

@Suite struct StreamReplayTests {
  @Test(
    "A part of a stream is replayed to one subscriber while records come in, and neither it nor the others miss any")
  func underLoad() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    try post(2000, to: daemon)
    let posting = Posting(port: daemon.port)
    let result = replay(folder, "--to", "mark", "--from", "501", "--until", "1500")
    #expect(result.status == 0 && result.text.contains("1000 of 1000 records delivered"), "\(result.text)")
    let count = 2000 + posting.stop()
    #expect(posting.faults == 0)
    #expect(eventually { seen("live", folder).count >= count && deliveredLines(folder.path + "/out").count >= count })
    #expect(daemon.stop() == 0)
    #expect(seen("replay", folder) == Array(501...1500))
    #expect(seen("live", folder) == Array(1...count))
    #expect(deliveredLines(folder.path + "/out").count == count, "the others see nothing of it")
  }

  @Test("Times say what came in from when until when")
  func byTime() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    for number in 1...30 { try post(1, from: number, to: daemon) }
    let export = ChildProcess.run(
      Products.sluice, ["stream", "export", folder.path + "/data/streams/events", "--from", "11", "--until", "21"])
    let times = export.text.split(separator: "\n").compactMap { line -> String? in
      ((try? JSONSerialization.jsonObject(with: Data(line.utf8))) as? [String: Any])?["time"] as? String
    }
    #expect(times.count == 11, "\(export.text)")
    let result = replay(folder, "--to", "mark", "--from", times[0], "--until", times[10], "--json")
    let last = try #require(result.text.split(separator: "\n").last)
    let item = try #require(try JSONSerialization.jsonObject(with: Data(last.utf8)) as? [String: Any])
    #expect(result.status == 0 && item["first"] as? Int == 11 && item["last"] as? Int == 20, "\(result.text)")
    #expect(item["delivered"] as? Int == 10 && item["state"] as? String == "completed")
    #expect(seen("replay", folder) == Array(11...20))
    #expect(daemon.stop() == 0)
  }

  @Test("What can't be replayed is refused with the reason")
  func refusals() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    #expect(replay(folder, "--to", "mark").status == 66, "an empty stream")
    try post(10, to: daemon)
    let unknown = replay(folder, "--to", "marc")
    #expect(unknown.status == 66 && unknown.text.contains("did you mean 'mark'?"), "\(unknown.text)")
    let stream = ChildProcess.run(
      Products.sluice, ["stream", "replay", "dead", "--to", "mark", "--data", folder.path + "/data"])
    #expect(stream.status == 64 && stream.text.contains("it reads: events"), "\(stream.text)")
    let late = replay(folder, "--to", "mark", "--from", "11")
    #expect(late.status == 66 && late.text.contains("ends at LSN 10"), "\(late.text)")
    #expect(replay(folder, "--to", "mark", "--from", "2200-01-01").status == 66)
    #expect(replay(folder, "--to", "mark", "--until", "0").status == 66)
    for wrong in [["--rate", "0"], ["--rate", "fast"], ["--from", "noon"]] {
      #expect(
        ChildProcess.run(Products.sluice, ["stream", "replay", "events", "--to", "mark"] + wrong).status == 64,
        "\(wrong)")
    }
    #expect(daemon.stop() == 0)
  }

  @Test("A command that is interrupted cancels its replay, status shows one that goes on, and a second is refused")
  func cancelled() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    try post(5000, to: daemon)
    let slow = ChildProcess(
      Products.sluice,
      ["stream", "replay", "events", "--to", "mark", "--rate", "10/s", "--json", "--data", folder.path + "/data"])
    #expect(slow.line { $0.contains(#""state":"running""#) } != nil)
    let shown = (try status(folder)["subscribers"] as? [[String: Any]])?.first { $0["name"] as? String == "mark" }
    #expect((shown?["replay"] as? [String: Any])?["last"] as? Int == 5000)
    let second = replay(folder, "--to", "mark")
    #expect(second.status == 75 && second.text.contains("one replay at a time"), "\(second.text)")
    #expect(replay(folder, "--to", "archive", "--from", "4991").status == 0, "to another subscriber it may")
    slow.send(SIGINT)
    #expect(daemon.process.line { $0.contains("replay cancelled") } != nil)
    _ = slow.exitStatus()
    let count = seen("replay", folder).count
    #expect(count < 5000 && seen("replay", folder) == Array(1...max(count, 1)))
    #expect(replay(folder, "--to", "mark", "--from", "4901").status == 0)
    #expect(seen("replay", folder).count == count + 100, "nothing of the cancelled one came after it")
    #expect(daemon.stop() == 0)
  }

  @Test("When the daemon stops, a replay ends with what was delivered and where to go on, and is no success")
  func stopped() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder)
    try post(1000, to: daemon)
    let slow = ChildProcess(
      Products.sluice,
      ["stream", "replay", "events", "--to", "mark", "--rate", "5/s", "--json", "--data", folder.path + "/data"])
    #expect(slow.line { $0.contains(#""state":"running""#) } != nil)
    #expect(daemon.stop() == 0)
    #expect(slow.exitStatus() == 69)
    #expect(slow.output.contains { $0.contains("go on with --from ") }, "\(slow.output.suffix(3))")
  }

  @Test("A reload that changes the subscriber ends its replay and says where to go on; one of another does not")
  func reloads() throws {
    let folder = TemporaryFolder()
    let daemon = try start(folder, n: 1)
    try post(100, to: daemon)
    let held = ChildProcess(
      Products.sluice, ["stream", "replay", "events", "--to", "mark", "--json", "--data", folder.path + "/data"])
    #expect(held.line { $0.contains(#""state":"running""#) } != nil)
    let file = folder.path + "/sluice.yaml"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    _ = folder.write("sluice.yaml", text.replacingOccurrences(of: "wait: 5ms", with: "wait: 6ms"))
    #expect(reload(folder).status == 0)
    #expect(held.exitStatus(within: 0.3) == nil, "the other subscriber's change does not end it")
    _ = folder.write("sluice.yaml", text.replacingOccurrences(of: "wait: 1ms", with: "wait: 2ms"))
    #expect(reload(folder).status == 0)
    #expect(held.exitStatus() == 69)
    #expect(held.output.last?.contains("go on with --from 1") == true, "\(held.output.suffix(2))")
    _ = folder.write("data/plugins/mark/open", "")
    #expect(replay(folder, "--to", "mark").status == 0)
    #expect(seen("replay", folder) == Array(1...100) && seen("live", folder) == Array(1...100))
    #expect(daemon.stop() == 0)
  }

  @Test("Records that retention takes while they are replayed are counted as gone, and the rest is delivered")
  func retention() throws {
    let folder = TemporaryFolder()
    let daemon = try start(
      folder, events: "durability: fsync, max_record: 64KiB, ring: 4MiB, segment: 1MiB, retain: { bytes: 3MiB }")
    let filler = String(repeating: "x", count: 900)
    try post(2000, to: daemon, filler: filler)
    let slow = ChildProcess(
      Products.sluice,
      ["stream", "replay", "events", "--to", "mark", "--rate", "10/s", "--data", folder.path + "/data"])
    #expect(daemon.process.line { $0.contains("replay begins") } != nil)
    try post(12000, from: 2001, to: daemon, filler: filler)
    #expect(slow.exitStatus() == 1)
    let summary = slow.output.last ?? ""
    #expect(summary.contains("not in the stream any more"), "\(slow.output)")
    let count = seen("replay", folder).count
    #expect(summary.contains("\(count) of 2000 records delivered"), "\(slow.output)")
    #expect(eventually { seen("live", folder).count == 14000 })
    #expect(daemon.stop() == 0)
  }

  @Test("After kill -9 in a replay the live cursor is where live delivery was, and nothing is left of the replay")
  func killed() throws {
    let folder = TemporaryFolder()
    var daemon = try start(folder)
    try post(1000, to: daemon)
    #expect(eventually { seen("live", folder).count == 1000 })
    // An orderly end writes the cursor.
    #expect(daemon.stop() == 0)
    daemon = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    let slow = ChildProcess(
      Products.sluice,
      ["stream", "replay", "events", "--to", "mark", "--rate", "5/s", "--json", "--data", folder.path + "/data"])
    #expect(slow.line { $0.contains(#""delivered":"#) && !$0.contains(#""delivered":0,"#) } != nil)
    daemon.crash()
    #expect(slow.exitStatus() == 69)
    daemon = try #require(Daemon(topology: folder.path + "/sluice.yaml"))
    try post(1, from: 1001, to: daemon)
    #expect(eventually { seen("live", folder).last == 1001 })
    #expect(daemon.stop() == 0)
    #expect(seen("live", folder) == Array(1...1001))
    let replayed = seen("replay", folder)
    #expect(replayed.count < 1000 && replayed == Array(1...max(replayed.count, 1)))
  }
}
