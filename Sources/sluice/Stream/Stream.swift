import ArgumentParser
import SluiceCore
import SluiceJournal
import SluiceTopology

/// `sluice stream …`.
struct Stream: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Look at, check, export and repair streams on disk; and have a running daemon replay them or let go of a cursor.",
    discussion: """
      A stream is a directory, DATA/streams/NAME. All that take one but `repair --apply` only read, and may run while a \
      daemon writes.

        sluice stream list                         those in ./data at a glance
        sluice stream inspect data/streams/events  segments, groups, records
        sluice stream verify data/streams/events   reads and checks every byte
        sluice stream export data/streams/events   its records, or what is left
        sluice stream repair data/streams/events   what could be put right
        sluice stream forget events --cursor old   asks the daemon to hold no records for it any more
        sluice stream replay events --to archive   has the daemon deliver them to one subscriber once more

      Exit status: 0 sound, 1 problems found, 2 it can't be read.
      """,
    subcommands: [
      StreamList.self, StreamInspect.self, StreamVerify.self, StreamExport.self, StreamRepair.self,
      StreamForget.self, ReplayCommand.self,
    ])
}

/// What the `stream` commands exit with.
enum StreamExit {
  static let problems = ExitCode(1)
  static let unreadable = ExitCode(2)
}

/// What several of them share.
enum StreamFiles {
  /// Throws the exit status, after it has said why.
  static func orExit<Value>(_ body: () throws(JournalError) -> Value) throws -> Value {
    do throws(JournalError) {
      return try body()
    } catch {
      StandardError.print("\(error)")
      throw StreamExit.unreadable
    }
  }

  /// An LSN, or a time such as 2026-08-01T10:00:00Z.
  enum Position: Equatable {
    case lsn(UInt64)
    case time(Int64)

    init(_ text: String, option: String) throws {
      if let lsn = UInt64(text) {
        self = .lsn(lsn)
      } else if let time = SluiceTopology.Timestamp.nanoseconds(text) {
        self = .time(time)
      } else {
        throw ValidationError("\(option) takes an LSN, or a time such as 2026-08-01T10:00:00Z")
      }
    }
  }
}

/// A problem as text and as JSON.
enum ProblemText {
  static func line(_ problem: LogProblem) -> String {
    var line = "\(problem.isKnown ? "known" : "problem") in \(problem.file) at \(problem.offset): \(problem.message)"
    if problem.lostRecords > 0 { line += "; records \(problem.firstLSN) to \(problem.lastLSN)" }
    return line + ": \(problem.consequence)"
  }

  static func json(_ problem: LogProblem) -> JSONValue {
    let isLoss = problem.lostRecords > 0
    return [
      "kind": .string(problem.kind.rawValue), "file": .string(problem.file), "offset": .count(problem.offset),
      "first_lsn": isLoss ? .count(problem.firstLSN) : .null, "last_lsn": isLoss ? .count(problem.lastLSN) : .null,
      "message": .string(problem.message), "consequence": .string(problem.consequence),
      "known": .bool(problem.isKnown),
    ]
  }
}
