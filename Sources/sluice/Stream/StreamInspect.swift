import ArgumentParser
import SluiceCore
import SluiceJournal
import SluiceTopology

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
        sluice stream inspect --producers data/streams/events
        sluice stream inspect --json data/streams/events

      With --records it shows records instead, one a line, and --json makes each a whole JSON object:

        sluice stream inspect --records 1000..1010 data/streams/events
        sluice stream inspect --records 1000 --json data/streams/events
        sluice stream inspect --segment 00000000000000000001.slog --groups data/streams/events
      """)

  @Argument(help: "The stream's directory: DATA/streams/NAME.", completion: .directory)
  var directory: String

  @Flag(help: "Show every group (one commit each), too.")
  var groups = false

  @Option(help: "Only this segment, with its header: its file's name, or its first LSN.")
  var segment: String?

  @Option(help: ArgumentHelp("Show these records: FROM, FROM..TO or FROM.. (LSNs).", valueName: "lsns"))
  var records: String?

  @Flag(help: "Show how far each numbered producer is, too.")
  var producers = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let only = try segmentName()
    if let records { return try RecordListing(directory, range: try range(records, only), json: json).run() }
    var listed: [StreamInspector.Group] = []
    var report = try StreamFiles.orExit { () throws(JournalError) in
      let sizes = Dictionary(
        uniqueKeysWithValues: try StreamDirectory(directory).segments.map { ($0.name, $0.bytes) })
      let total = sizes.values.reduce(0, +)
      var bar = ProgressBar("inspect", unit: .bytes, isShown: !json)
      defer { bar.clear() }
      var (done, current) = (0, "")
      return try StreamInspector.inspect(directory) { group in
        if groups { listed.append(group) }
        if group.segment != current {
          done += sizes[current] ?? 0
          current = group.segment
        }
        bar.update(done + group.offset, of: total)
      }
    }
    if let only {
      report.segments.removeAll { $0.name != only }
      report.problems.removeAll { $0.file != only }
      listed.removeAll { $0.segment != only }
      guard !report.segments.isEmpty else {
        StandardError.print("\(directory) has no segment \(only)")
        throw StreamExit.unreadable
      }
    }
    if json {
      print(Self.json(report, groups: groups ? listed : nil, producers: producers).canonicalText)
    } else {
      Self.show(report, groups: listed, producers: producers, headers: only != nil)
    }
    if !report.problems.isEmpty { throw StreamExit.problems }
  }

  private func segmentName() throws -> String? {
    guard let segment else { return nil }
    if let lsn = UInt64(segment), lsn > 0, lsn < Limits.maxLSN { return SegmentFile.name(lsn) }
    guard SegmentFile.baseLSN(ofName: segment) != nil else {
      throw ValidationError("--segment takes a file's name, such as \(SegmentFile.name(1)), or its first LSN")
    }
    return segment
  }

  private func range(_ text: String, _ segment: String?) throws -> LogRange {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    let wrong = ValidationError("--records takes FROM, FROM..TO or FROM.. with LSNs, such as 1000..1010")
    guard let first = UInt64(parts[0]), parts.count == 1 || parts.count == 3 && parts[1].isEmpty else { throw wrong }
    var range = LogRange(firstLSN: first, lastLSN: first, segment: segment)
    if parts.count == 3 {
      guard let last = parts[2].isEmpty ? .max : UInt64(parts[2]), last >= first else { throw wrong }
      range.lastLSN = last
    }
    return range
  }

  private static func lastLSN(_ report: StreamInspector.Report) -> UInt64 { report.segments.map(\.lastLSN).max() ?? 0 }

  // MARK: Text

  private static func show(
    _ report: StreamInspector.Report, groups: [StreamInspector.Group], producers: Bool, headers showsHeaders: Bool
  ) {
    print("log \(report.uuid.map { "\($0)" } ?? "unknown")  last LSN \(lastLSN(report))")
    print("sources: \(report.sources.filter { !$0.isEmpty }.joined(separator: ", "))")
    for segment in report.segments {
      print(
        "segment \(segment.name)  LSN \(segment.baseLSN)…\(segment.lastLSN)  \(segment.records) records in "
          + "\(segment.groups) groups  \(segment.usedBytes) of \(segment.fileBytes) bytes  \(segment.ending.rawValue)")
      if showsHeaders, let header = segment.header { for line in lines(header) { print("  " + line) } }
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
    if producers {
      for producer in report.producers {
        print("producer \(producer.name.onOneLine)  epoch \(producer.epoch)  last sequence \(producer.highWater)")
      }
    }
    for file in report.quarantined { print("quarantined \(file.name)  \(file.bytes) bytes") }
    for problem in report.problems { print("problem in \(problem.file) at \(problem.offset): \(problem.message)") }
  }

  private static func lines(_ header: SegmentHeader) -> [String] {
    let flags = [(SegmentHeader.Flags.early, "early"), (.lost, "lost")].filter { header.flags.contains($0.0) }
    var lines = [
      "header: made \(Timestamp.text(header.createdTime)) by \(header.writer.onOneLine)  log \(header.uuid)  flags "
        + (flags.isEmpty ? "none" : flags.map(\.1).joined(separator: ", "))
    ]
    if header.previousBaseLSN > 0 {
      lines.append(
        "follows \(SegmentFile.name(header.previousBaseLSN)), which "
          + (header.supersedesFrom == 0
            ? "was sealed behind LSN \(header.previousLastLSN)"
            : "a recovery ended behind LSN \(header.previousLastLSN)"))
    }
    return lines
  }

  // MARK: JSON

  private static func json(_ report: StreamInspector.Report, groups: [StreamInspector.Group]?, producers: Bool)
    -> JSONValue
  {
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
    if producers {
      members.append(
        .init(
          "producers",
          .array(
            report.producers.map {
              ["producer": .string($0.name), "epoch": .count($0.epoch), "last_sequence": .count($0.highWater)]
            })))
    }
    if let groups { members.append(.init("groups", .array(groups.map(json)))) }
    return .object(members)
  }

  private static func json(_ header: SegmentHeader) -> JSONValue {
    [
      "log_uuid": .string("\(header.uuid)"), "created": .string(Timestamp.text(header.createdTime)),
      "writer": .string(header.writer), "early": .bool(header.flags.contains(.early)),
      "lost": .bool(header.flags.contains(.lost)), "previous_first_lsn": .count(header.previousBaseLSN),
      "previous_last_lsn": .count(header.previousLastLSN), "supersedes_from": .count(header.supersedesFrom),
    ]
  }

  private static func json(_ segment: StreamInspector.Segment) -> JSONValue {
    [
      "file": .string(segment.name), "first_lsn": .count(segment.baseLSN), "last_lsn": .count(segment.lastLSN),
      "records": .count(segment.records), "groups": .count(segment.groups), "used_bytes": .count(segment.usedBytes),
      "file_bytes": .count(segment.fileBytes), "ending": .string(segment.ending.rawValue),
      "header": segment.header.map(json) ?? .null,
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
