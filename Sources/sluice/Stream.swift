import ArgumentParser
import SluiceCore
import SluiceJournal
import SluiceTopology

/// `sluice stream`.
struct Stream: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Look at a stream's directory, without the daemon; let go of a cursor, with it.",
    subcommands: [StreamInspect.self, StreamForget.self])
}

/// `sluice stream inspect DIR`.
struct StreamInspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show a stream's segments, cursors and problems; read-only.",
    discussion: """
      Reads and checks everything in the directory and changes nothing. While a daemon writes to it, the newest group \
      may look torn: it is being written.

      Exit status: 0 sound, 1 problems found, 2 it can't be read.

        sluice stream inspect data/streams/events
        sluice stream inspect --groups data/streams/events
        sluice stream inspect --json data/streams/events
      """)

  @Argument(help: "The stream's directory: DATA/streams/NAME.", completion: .directory)
  var directory: String

  @Flag(help: "Show every group (one commit each), too.")
  var groups = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var listed: [StreamInspector.Group] = []
    let report: StreamInspector.Report
    do {
      report = try StreamInspector.inspect(directory) { if groups { listed.append($0) } }
    } catch {
      StandardError.print("\(error)")
      throw ExitCode(2)
    }
    guard !report.segments.isEmpty || report.cursors != nil else {
      StandardError.print("\(directory) is not a stream's directory: no segments (*.slog), no cursors")
      throw ExitCode(2)
    }
    if json {
      print(Self.json(report, groups: groups ? listed : nil).canonicalText)
    } else {
      Self.show(report, groups: listed)
    }
    if !report.problems.isEmpty { throw ExitCode(1) }
  }

  private static func lastLSN(_ report: StreamInspector.Report) -> UInt64 { report.segments.map(\.lastLSN).max() ?? 0 }

  // MARK: Text

  private static func show(_ report: StreamInspector.Report, groups: [StreamInspector.Group]) {
    print("log \(report.uuid.map { "\($0)" } ?? "unknown")  last LSN \(lastLSN(report))")
    print("sources: \(report.sources.filter { !$0.isEmpty }.joined(separator: ", "))")
    for segment in report.segments {
      print(
        "segment \(segment.name)  LSN \(segment.baseLSN)…\(segment.lastLSN)  \(segment.records) records in "
          + "\(segment.groups) groups  \(segment.usedBytes) of \(segment.fileBytes) bytes  \(segment.ending.rawValue)")
      for group in groups where group.segment == segment.name {
        let kind = group.isSeal ? "  seal" : group.isIdleMarker ? "  idle marker" : ""
        print(
          "  at \(group.offset)  LSN \(group.firstLSN) +\(group.count)  \(group.bytes) bytes  "
            + "durable \(group.durableLSN)  \(Timestamp.text(group.wallTime))\(kind)")
      }
    }
    for cursor in report.cursors?.entries ?? [] {
      print("cursor \(cursor.name)  next LSN \(cursor.lsn)  \(Timestamp.text(cursor.updatedTime))")
    }
    for file in report.quarantined { print("quarantined \(file.name)  \(file.bytes) bytes") }
    for problem in report.problems { print("problem in \(problem.file) at \(problem.offset): \(problem.message)") }
  }

  // MARK: JSON

  private static func json(_ report: StreamInspector.Report, groups: [StreamInspector.Group]?) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("directory", .string(report.directory)),
      .init("log_uuid", report.uuid.map { .string("\($0)") } ?? .null),
      .init("last_lsn", .count(lastLSN(report))),
      .init("sources", .array(report.sources.filter { !$0.isEmpty }.map(JSONValue.string))),
      .init("segments", .array(report.segments.map(json))),
      .init("cursors", .array((report.cursors?.entries ?? []).map(json))),
      .init("quarantined", .array(report.quarantined.map { ["file": .string($0.name), "bytes": .count($0.bytes)] })),
      .init(
        "problems",
        .array(
          report.problems.map {
            ["file": .string($0.file), "offset": .count($0.offset), "message": .string($0.message)]
          })),
    ]
    if let groups { members.append(.init("groups", .array(groups.map(json)))) }
    return .object(members)
  }

  private static func json(_ segment: StreamInspector.Segment) -> JSONValue {
    [
      "file": .string(segment.name), "first_lsn": .count(segment.baseLSN), "last_lsn": .count(segment.lastLSN),
      "records": .count(segment.records), "groups": .count(segment.groups), "used_bytes": .count(segment.usedBytes),
      "file_bytes": .count(segment.fileBytes), "ending": .string(segment.ending.rawValue),
    ]
  }

  private static func json(_ group: StreamInspector.Group) -> JSONValue {
    [
      "file": .string(group.segment), "offset": .count(group.offset), "bytes": .count(group.bytes),
      "first_lsn": .count(group.firstLSN), "count": .count(group.count), "durable_lsn": .count(group.durableLSN),
      "time": .string(Timestamp.text(group.wallTime)), "seal": .bool(group.isSeal),
      "idle_marker": .bool(group.isIdleMarker),
    ]
  }

  private static func json(_ cursor: CursorEntry) -> JSONValue {
    [
      "subscriber": .string(cursor.name), "next_lsn": .count(cursor.lsn),
      "updated": .string(Timestamp.text(cursor.updatedTime)),
    ]
  }
}
