import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology

/// What `sluice stream export` does with each group on its way through the segments.
final class RecordExport: GroupVisitor {
  let output: RecordOutput
  private let range: LogRange
  private let format: StreamExport.Format
  private let match: SubscriberSettings.Match
  private var bar = ProgressBar("export", unit: .bytes)
  private(set) var count = 0
  private(set) var salvaged = 0
  /// Those of the group that is being looked at.
  private var names = DefinitionTable()
  private lazy var matcher = RecordMatcher(match) { [unowned self] in names.shownSource($0) }

  init(_ range: LogRange, _ format: StreamExport.Format, _ match: SubscriberSettings.Match, _ output: RecordOutput) {
    self.range = range
    self.format = format
    self.match = match
    self.output = output
  }

  /// Nil, when it has said why, if nothing can be read.
  func read(_ directory: StreamDirectory) -> StreamVerifier.Report? {
    defer { bar.clear() }
    do throws(JournalError) {
      return try StreamVerifier.read(directory, range, self) { [self] in bar.update($0, of: $1) }
    } catch {
      bar.clear()
      StandardError.print("\(error)")
      return nil
    }
  }

  func summary(_ report: StreamVerifier.Report?) -> String {
    var text = "\(count) records exported"
    if salvaged > 0 { text += ", \(salvaged) of them salvaged" }
    let problems = report.map { $0.problems.count { !$0.isKnown } + $0.untold } ?? 0
    return problems > 0 ? text + "; \(problems) problem\(problems == 1 ? "" : "s")" : text
  }

  func problem(_ problem: LogProblem) {
    bar.clear()
    StandardError.print(ProblemText.line(problem))
  }

  func visit(_ group: FoundGroup, names: DefinitionTable) -> Bool {
    self.names = names
    // Let go of before the names grow: they would be copied.
    defer { self.names = DefinitionTable() }
    let reason = group.isCutOff ? "cut_off" : group.flaws.unproven != nil ? "unproven" : nil
    var isPast = false
    group.records { lsn, record in
      guard !isPast, lsn >= range.firstLSN, record.type == RecordLayout.typeData else { return }
      // Ingest times rise; what is not proven ends nothing.
      if lsn > range.lastLSN || (record.ingestTime >= range.before && reason == nil) { return isPast = true }
      guard record.ingestTime >= range.notBefore, record.ingestTime < range.before, matcher?.matches(record) ?? true
      else { return }
      count += 1
      if reason != nil { salvaged += 1 }
      write(lsn, record, reason)
    }
    return !isPast && !output.hasFailed
  }

  private func write(_ lsn: UInt64, _ record: RecordView, _ reason: String?) {
    switch format {
    case .raw: output.write(record.producerPart, length: record.length - RecordLayout.producerPart, crc: record.crc)
    case .ndjson:
      var members: [JSONValue.Member] = [.init("lsn", .count(lsn))]
      members += RecordJSON.members(
        of: record, source: names.shownSource(record.source), producer: names.shownProducer(record.producer))
      if let reason { members.append(.init("salvaged", .string(reason))) }
      output.write(JSONValue.object(members).canonicalText + "\n")
    }
  }
}
