import DaemonTestSupport
import Foundation
import Testing

@Suite("sluice stream list, inspect, verify, export and repair")
struct StreamToolTests {
  private let folder = TemporaryFolder()
  private var directory: String { folder.path + "/data/streams/events" }

  /// What a daemon leaves that took `count` records and was then killed or stopped.
  private func leave(_ count: Int, killed: Bool) throws -> String {
    let topology = spine(folder)
    let daemon = try #require(Daemon(topology: topology))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<count { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    #expect(eventually { deliveredLines(folder.path + "/out").count == count })
    if killed { daemon.crash() } else { #expect(daemon.stop() == 0) }
    return topology
  }

  private func stream(_ arguments: String...) -> (status: Int32?, text: String) {
    ChildProcess.run(Products.sluice, ["stream"] + arguments)
  }

  private func json(_ text: String) throws -> Any {
    try JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
  }

  /// The messages of exported lines, in order; what went to the standard error is left out.
  private func messages(_ text: String) throws -> [Int] {
    try text.split(separator: "\n").filter { $0.hasPrefix("{") }.map { line in
      let record = try #require(try json(String(line)) as? [String: Any])
      let payload = try #require(try json(record["payload"] as? String ?? "") as? [String: Any])
      return try #require((payload["message"] as? String).flatMap { Int($0) })
    }
  }

  private var segments: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).filter { $0.hasSuffix(".slog") }.sorted()
      .map { directory + "/" + $0 }
  }

  private func change(_ file: String, _ change: (inout Data) -> Void) throws {
    var bytes = try #require(FileManager.default.contents(atPath: file))
    change(&bytes)
    try bytes.write(to: URL(fileURLWithPath: file))
  }

  private func contents() -> [String: Data] {
    let names = FileManager.default.enumerator(atPath: directory)?.compactMap { $0 as? String } ?? []
    return Dictionary(
      uniqueKeysWithValues: names.map { ($0, FileManager.default.contents(atPath: directory + "/" + $0) ?? Data()) })
  }

  @Test("what a killed daemon left is listed, sound, and exported whole, and no tool changes a byte of it")
  func killed() throws {
    let topology = try leave(40, killed: true)
    let before = contents()
    let list = stream("list", folder.path + "/data")
    #expect(list.status == 0 && list.text.contains("not closed in order") && list.text.contains("archive"), "\(list)")
    let rows = try #require(try json(stream("list", "-c", topology, "--json").text) as? [[String: Any]])
    let row = try #require(rows.first { $0["stream"] as? String == "events" })
    #expect(row["orphan"] as? Bool == false && row["records"] as? Int == 40 && row["state"] as? String == "not_closed")
    let cursors = try #require(row["cursors"] as? [[String: Any]])
    #expect(cursors.first?["orphan"] as? Bool == false)

    let verify = stream("verify", directory)
    #expect(verify.status == 0 && verify.text.contains("sound") && verify.text.contains("40 records"), "\(verify)")
    #expect(!verify.text.contains("\u{1B}"), "no progress bar where nobody looks")
    let export = stream("export", directory)
    #expect(export.status == 0, "\(export)")
    #expect(try messages(export.text) == Array(0..<40))
    #expect(try messages(stream("export", "--from", "11", "--until", "12", directory).text) == [10, 11])
    #expect(try messages(stream("export", "--match", "message=7", "--topic", "w*", directory).text) == [7])
    #expect(try messages(stream("export", "--from", "2099-01-01T00:00:00Z", directory).text).isEmpty)
    #expect(stream("export", "--from", "yesterday", directory).status == 64)
    #expect(stream("repair", directory).status == 0)
    let records = stream("inspect", "--records", "3..4", directory)
    #expect(records.status == 0 && records.text.contains("source api") && records.text.contains("topic web"))
    #expect(records.text.split(separator: "\n").count == 2, "\(records)")
    let segment = stream("inspect", "--segment", "1", "--groups", directory)
    #expect(
      segment.status == 0 && segment.text.contains("header: made") && segment.text.contains("  at 4096  LSN 1 +1"))
    #expect(stream("inspect", "--segment", "2", directory).status == 2)
    #expect(contents() == before)
  }

  @Test("a damaged record is told with its place, costs that record only, and a start still delivers the others")
  func damagedRecord() throws {
    _ = try leave(20, killed: false)
    let file = try #require(segments.first)
    try change(file) { bytes in
      let place = bytes.range(of: Data(#"{"message":"13"}"#.utf8))
      bytes[place?.lowerBound ?? 0] ^= 1
    }
    let verify = stream("verify", "--json", directory)
    #expect(verify.status == 1)
    let report = try #require(try json(verify.text) as? [String: Any])
    let problems = try #require(report["problems"] as? [[String: Any]])
    #expect(problems.count == 1 && problems[0]["first_lsn"] as? Int == 14 && problems[0]["last_lsn"] as? Int == 14)
    #expect(problems[0]["kind"] as? String == "record" && report["lost_records"] as? Int == 1)
    let export = stream("export", directory)
    #expect(export.status == 1 && export.text.contains("records 14 to 14"), "\(export)")
    #expect(try messages(export.text) == (0..<20).filter { $0 != 13 })
  }

  @Test("a segment whose header is destroyed is planned, backed up, repaired, and then delivered from the beginning")
  func destroyedHeader() throws {
    let topology = try leave(20, killed: true)
    let file = try #require(segments.first)
    try change(file) { bytes in bytes.replaceSubrange(0..<4096, with: Data(count: 4096)) }
    #expect(stream("list", folder.path + "/data").status == 1)
    let damaged = contents()
    let plan = stream("repair", directory)
    #expect(plan.status == 1 && plan.text.contains("would: write") && contents() == damaged, "\(plan)")
    let repair = stream("repair", "--apply", "--cursor", "archive=oldest", directory)
    #expect(repair.status == 0 && repair.text.contains("done: write"), "\(repair)")
    let backup = contents().first { $0.key.hasPrefix("backup-") && $0.key.hasSuffix(".slog") }
    #expect(backup?.value == damaged[URL(fileURLWithPath: file).lastPathComponent])
    let again = stream("repair", "--apply", directory)
    #expect(again.status == 0 && again.text.contains("nothing to repair"), "\(again)")
    #expect(stream("verify", directory).status == 0)
    let daemon = try #require(Daemon(topology: topology))
    #expect(eventually { deliveredLines(folder.path + "/out").count == 40 }, "delivered from the oldest on again")
    #expect(daemon.stop() == 0)
  }

  @Test("while a daemon writes, verify finds it sound and names the process, and repair refuses to touch it")
  func inUse() throws {
    let daemon = try #require(Daemon(topology: spine(folder)))
    let posting = Posting(port: daemon.port)
    #expect(eventually { stream("list", folder.path + "/data").text.contains("in use by \(daemon.process.pid)") })
    for _ in 0..<5 {
      let verify = stream("verify", directory)
      #expect(verify.status == 0 && verify.text.contains("process \(daemon.process.pid) was writing"), "\(verify)")
      #expect(stream("export", "--output", folder.path + "/part.ndjson", directory).status == 0)
    }
    let repair = stream("repair", "--apply", "--forget-cursor", "archive", directory)
    #expect(repair.status == 2 && repair.text.contains("in use by process \(daemon.process.pid)"), "\(repair)")
    let count = posting.stop()
    #expect(posting.faults == 0 && count > 0 && daemon.stop() == 0)
    #expect(try messages(stream("export", directory).text) == Array(0..<count))
  }

  @Test("an export that can't be written is an error, and its file appears whole or not at all")
  func outputs() throws {
    _ = try leave(10, killed: false)
    func shell(_ script: String) -> (status: Int32?, text: String) {
      ChildProcess.run("/bin/bash", ["-c", script, Products.sluice, directory])
    }
    let full = shell("\"$0\" stream export \"$1\" > /dev/full")
    #expect(full.status == 2 && full.text.contains("No space left"), "\(full)")
    let closed = shell("exec 3> >(true); wait $!; \"$0\" stream export \"$1\" >&3")
    #expect(closed.status == 2 && closed.text.contains("Broken pipe"), "\(closed)")
    let nowhere = stream("export", "--output", folder.path + "/no/file", directory)
    #expect(nowhere.status == 2 && nowhere.text.contains("No such file"), "\(nowhere)")
    let raw = folder.path + "/records.raw"
    #expect(stream("export", "--format", "raw", "--output", raw, directory).status == 0)
    var bytes = try #require(FileManager.default.contents(atPath: raw))
    var parts = 0
    while !bytes.isEmpty {
      let length = bytes.prefix(4).enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
      #expect(bytes.count >= 8 + length)
      bytes = Data(bytes.dropFirst(8 + length))
      parts += 1
    }
    #expect(parts == 10)
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    #expect(!names.contains { $0.hasSuffix(".tmp") })
  }

  @Test("streams and cursors that a topology does not have are called orphans; lost cursors come back at the oldest")
  func orphans() throws {
    let topology = try leave(5, killed: false)
    try FileManager.default.copyItem(atPath: directory, toPath: folder.path + "/data/streams/old")
    try change(topology) { $0 = Data(String(decoding: $0, as: UTF8.self).replacing("archive:", with: "store:").utf8) }
    let list = stream("list", "-c", topology)
    #expect(list.status == 0 && list.text.contains("closed, orphan") && list.text.contains("no subscriber has it"))
    try FileManager.default.removeItem(atPath: directory + "/cursors.slot")
    #expect(stream("verify", directory).status == 1)
    let repair = stream("repair", "--apply", "-c", topology, directory)
    #expect(repair.status == 0 && repair.text.contains("store begins at 1"), "\(repair)")
    #expect(stream("verify", directory).status == 0)
    let empty = folder.path + "/empty"
    try FileManager.default.createDirectory(atPath: empty, withIntermediateDirectories: false)
    for verb in ["inspect", "verify", "export", "repair"] {
      let wrong = stream(verb, empty)
      #expect(wrong.status == 2 && wrong.text.contains("not a stream's directory"), "\(verb): \(wrong)")
    }
    #expect(stream("repair", "--apply", empty).status == 2)
    #expect(try FileManager.default.contentsOfDirectory(atPath: empty).isEmpty)
  }
}
