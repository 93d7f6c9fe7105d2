import Glibc
import SluiceCore
import SluiceJournal
import SluiceTopology

/// `sluice stream inspect --records`: records as they lie in the files, notes of consumed sequences included.
final class RecordListing: GroupVisitor {
  private let directory: String
  private let range: LogRange
  private let json: Bool
  private let output = LogOutput(standard: STDOUT_FILENO)
  private var shown = 0

  init(_ directory: String, range: LogRange, json: Bool) {
    self.directory = directory
    self.range = range
    self.json = json
  }

  /// Throws the exit status.
  func run() throws {
    let report = try StreamFiles.orExit { () throws(JournalError) in
      try StreamVerifier.read(try StreamDirectory(directory), range, self)
    }
    if shown == 0 { StandardError.print("\(directory) has none of these records") }
    if shown == 0 || !report.isSound { throw StreamExit.problems }
  }

  func problem(_ problem: LogProblem) { StandardError.print(ProblemText.line(problem)) }

  func visit(_ group: FoundGroup, names: DefinitionTable) -> Bool {
    group.records { lsn, record in
      guard lsn >= range.firstLSN, lsn <= range.lastLSN else { return }
      shown += 1
      output.write((json ? object(group, lsn, record, names).canonicalText : text(lsn, record, names)) + "\n")
    }
    return group.header.nextLSN <= range.lastLSN
  }

  private func object(
    _ group: FoundGroup, _ lsn: UInt64, _ record: RecordView, _ names: DefinitionTable
  ) -> JSONValue {
    .object(
      [
        .init("lsn", .count(lsn)), .init("segment", .string(group.segment)),
        .init("group_offset", .count(group.offset)),
        .init("type", .string(record.type == RecordLayout.typeConsumed ? "consumed" : "data")),
        .init("bytes", .count(record.length)), .init("crc32c", .count(record.crc)),
      ]
        + RecordJSON.members(
          of: record, source: names.shownSource(record.source), producer: names.shownProducer(record.producer)))
  }

  private func text(_ lsn: UInt64, _ record: RecordView, _ names: DefinitionTable) -> String {
    var parts = [
      "\(lsn)", Timestamp.text(record.ingestTime), "event \(Timestamp.text(record.eventTime))",
      "source \(names.shownSource(record.source).onOneLine)",
    ]
    if record.producer != 0 {
      parts.append(
        "producer \(names.shownProducer(record.producer).onOneLine) epoch \(record.epoch) sequence \(record.sequence)")
    }
    if record.type == RecordLayout.typeConsumed { return (parts + ["consumed"]).joined(separator: "  ") }
    parts.append("topic \(Self.preview(record.topic))")
    if !record.key.isEmpty { parts.append("key \(Self.preview(record.key))") }
    if !record.headers.isEmpty { parts.append("headers \(record.headers.count) bytes") }
    parts.append("payload \(record.payload.count) bytes: \(Self.preview(record.payload))")
    return parts.joined(separator: "  ")
  }

  /// The first bytes, on one line.
  private static func preview(_ bytes: UnsafeRawBufferPointer) -> String {
    let text = String(decoding: bytes.prefix(Limits.recordPreviewBytes), as: UTF8.self).onOneLine
    return bytes.count > Limits.recordPreviewBytes ? text + "…" : text
  }
}

extension DefinitionTable {
  /// The name, or "#ID" where its definition is damaged.
  func shownSource(_ id: UInt16) -> String { sourceName(id) ?? "#\(id)" }
  func shownProducer(_ id: UInt32) -> String { producerName(id) ?? "#\(id)" }
}
