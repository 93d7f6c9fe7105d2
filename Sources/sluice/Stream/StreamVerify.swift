import ArgumentParser
import SluiceCore
import SluiceJournal
import SluiceTopology

/// `sluice stream verify DIR`.
struct StreamVerify: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Read a stream from end to end and check everything; read-only.",
    discussion: """
      Checks every segment header, every group and record against its checksum, the padding, the chain of segments, the \
      names and the cursor slots. Each problem is told with its file and offset, the LSNs and what it costs. Works while a \
      daemon writes: what it is writing just then is looked at again before it is called torn.

      "known" are losses that an earlier recovery found and told: nothing is to be done, and they do not count.

        sluice stream verify data/streams/events
        sluice stream verify --json data/streams/events
        for stream in data/streams/*; do sluice stream verify $stream || echo "$stream: $?"; done

      Exit status: 0 sound, 1 problems found, 2 it can't be read.
      """)

  @Argument(help: "The stream's directory: DATA/streams/NAME.", completion: .directory)
  var directory: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var bar = ProgressBar("verify", unit: .bytes, isShown: !json)
    let began = Clock.monotonic()
    let report = try StreamFiles.orExit { () throws(JournalError) in
      defer { bar.clear() }
      return try StreamVerifier.verify(try StreamDirectory(directory)) { bar.update($0, of: $1) }
    }
    let seconds = Double(Clock.monotonic() - began) / 1e9
    if json {
      print(Self.json(report, seconds).canonicalText)
    } else {
      for problem in report.problems { print(ProblemText.line(problem)) }
      if report.untold > 0 { print("… and \(report.untold) more problems") }
      print(Self.summary(report, seconds))
    }
    if !report.isSound { throw StreamExit.problems }
  }

  private static func summary(_ report: StreamVerifier.Report, _ seconds: Double) -> String {
    let rate = Int(Double(report.bytes) / max(seconds, 0.001))
    let count = report.problems.count { !$0.isKnown } + report.untold
    let verdict =
      count == 0
      ? "sound"
      : "\(count) problem\(count == 1 ? "" : "s"), \(report.lostRecords) records can't be delivered"
    return "\(report.directory): \(verdict). LSN \(report.firstLSN) to \(report.lastLSN): \(report.records) records in "
      + "\(report.groups) groups and \(report.segments) segments, \(DataSize.text(report.bytes)) read in "
      + "\(SendReport.decimal(seconds, 2)) s (\(DataSize.text(rate))/s)"
      + (report.writer.map { "; process \($0) was writing" } ?? "")
  }

  private static func json(_ report: StreamVerifier.Report, _ seconds: Double) -> JSONValue {
    [
      "directory": .string(report.directory), "log_uuid": report.uuid.map { .string("\($0)") } ?? .null,
      "sound": .bool(report.isSound), "process": report.writer.map { .count($0) } ?? .null,
      "first_lsn": .count(report.firstLSN), "last_lsn": .count(report.lastLSN), "segments": .count(report.segments),
      "groups": .count(report.groups), "records": .count(report.records), "lost_records": .count(report.lostRecords),
      "bytes": .count(report.bytes), "seconds": .double(seconds),
      "problems": .array(report.problems.map(ProblemText.json)), "problems_not_listed": .count(report.untold),
    ]
  }
}
