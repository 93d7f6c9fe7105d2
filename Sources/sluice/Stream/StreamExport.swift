import ArgumentParser
import Glibc
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology

/// `sluice stream export DIR`.
struct StreamExport: ParsableCommand {
  enum Format: String, ExpressibleByArgument, CaseIterable { case ndjson, raw }

  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a stream's records out, or what can be read of them; read-only.",
    discussion: """
      Goes through the segments from the oldest on and passes over what is damaged, which is told on the standard error with \
      its LSNs. Also gets records that no subscriber would be given any more: of a segment whose header is damaged; of a \
      group whose checksum is wrong while the record's own is right; and of a commit that a crash cut off. In NDJSON the \
      last two have a member "salvaged" that says which.

      ndjson  a JSON object a line, as `tap --json` prints it
      raw     of each record u32 length, u32 CRC-32C (both little-endian), and its producer part, as in a DATA frame

        sluice stream export data/streams/events > events.ndjson
        sluice stream export --from 1000 --until 1999 --output part.ndjson data/streams/events
        sluice stream export --from 2026-08-01T10:00:00Z --until 2026-08-01T11:00:00Z data/streams/events
        sluice stream export --topic 'audit.*' --match level=error data/streams/events

      Exit status: 0 everything that was asked for is there, 1 something could not be read, 2 nothing can be read, or the \
      output can't be written.
      """)

  @Argument(help: "The stream's directory: DATA/streams/NAME.", completion: .directory)
  var directory: String

  @Option(help: "ndjson or raw.")
  var format = Format.ndjson

  @Option(help: "Begin with this LSN, or with what came in at this time.")
  var from: String?

  @Option(help: "End with this LSN, or before what came in at this time.")
  var until: String?

  @OptionGroup var filter: RecordFilter

  @Option(
    name: .shortAndLong, help: "Write to this file, which appears when it is complete. Default: the standard output.",
    completion: .file())
  var output: String?

  func run() throws {
    signal(SIGPIPE, SIG_IGN)
    var range = LogRange()
    switch try from.map({ try StreamFiles.Position($0, option: "--from") }) {
    case .lsn(let lsn)?: range.firstLSN = max(lsn, 1)
    case .time(let time)?: range.notBefore = time
    case nil: break
    }
    switch try until.map({ try StreamFiles.Position($0, option: "--until") }) {
    case .lsn(let lsn)?: range.lastLSN = lsn
    case .time(let time)?: range.before = time
    case nil: break
    }
    let match = try filter.match()
    let source = try StreamFiles.orExit { () throws(JournalError) in try StreamDirectory(directory) }
    let export = RecordExport(range, format, match, RecordOutput(file: output))
    let report: StreamVerifier.Report?
    do throws(OutputFault) {
      try export.output.open()
      report = export.read(source)
      try export.output.finish()
    } catch {
      StandardError.print("\(error.message); \(export.count) records had been read")
      throw StreamExit.unreadable
    }
    StandardError.print(export.summary(report))
    guard let report else { throw StreamExit.unreadable }
    if !report.isSound { throw StreamExit.problems }
  }
}
