import ArgumentParser
import SluiceTopology

/// `sluice status`.
struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show how a running daemon fares.",
    discussion: """
      Its generation and last reload, its streams with the cursors of their subscribers (absent ones too), its sources \
      and its subscribers, with the replays that go on; the plugins' files that are loaded, each with its generation (1 is \
      the first that was loaded from its path; a file that was replaced stays in memory until the daemon ends); and what is \
      left over: cursors that are of no subscriber of the topology, and directories of no stream.

        sluice status                     of the daemon whose data is in ./data
        sluice status -c sluice.yaml
        sluice status --data /var/lib/sluice --json

      Exit status: 0, 69 no daemon answers, 77 it is another user's.
      """)

  @OptionGroup var daemon: DaemonLocation

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var status: JSONValue = .null
    try daemon.ask(["verb": "status"]) { status = $0 }
    if json { print(status.canonicalText) } else { StatusText.lines(status).forEach { print($0) } }
  }
}

/// The report as a person reads it.
enum StatusText {
  static func lines(_ status: JSONValue) -> [String] {
    var lines = [
      "sluice \(text(status, "version"))  pid \(text(status, "pid"))  up \(text(status, "uptime_seconds")) s  "
        + (status["ready"] == .bool(true) ? "ready" : "not ready"),
      "generation \(text(status, "generation"))  \(text(status, "topology"))" + reload(status["last_reload"]),
    ]
    lines += (status["problems"]?.array ?? []).map { "  problem: \($0.string?.onOneLine ?? "")" }
    lines += (status["streams"]?.array ?? []).compactMap { stream in
      stream["replaced_log"]?.string.map { "  new log: stream \(text(stream, "name")): \($0.onOneLine)" }
    }
    lines += table(
      ["STREAM", "STATE", "RECORDS", "NEXT LSN", "RETAINED", "SEGMENTS"],
      (status["streams"]?.array ?? []).map { stream in
        [
          text(stream, "name"), stream["full"]?.string.map { "full: \($0)" } ?? text(stream, "state"),
          "\(number(stream, "next_lsn") - number(stream, "oldest_lsn"))", text(stream, "next_lsn"),
          DataSize.text(Int(number(stream, "retained_bytes"))), text(stream, "segments"),
        ]
      })
    lines += table(
      ["SOURCE", "TYPE", "STATE", "ADDRESS", "STREAM", "CONNECTIONS"],
      (status["sources"]?.array ?? []).map { source in
        ["name", "type", "state", "address", "stream", "connections"].map { text(source, $0) }
      })
    lines += table(
      ["SUBSCRIBER", "PLUGIN", "STATE", "ACKED", "RETRIED", "REJECTED", "LAG", "BEHIND"],
      (status["subscribers"]?.array ?? []).map(subscriber))
    lines += table(
      ["REPLAY TO", "STREAM", "FROM", "UNTIL", "AT", "DELIVERED", "REJECTED", "GONE", "STATE"],
      (status["subscribers"]?.array ?? []).compactMap { subscriber in
        subscriber["replay"].flatMap { $0 == .null ? nil : $0 }.map { replay in
          [text(subscriber, "name")]
            + ["stream", "first", "last", "next_lsn", "delivered", "rejected", "gone", "state"].map { text(replay, $0) }
        }
      })
    lines += table(
      ["MODULE", "VERSION", "GENERATION", "RUNS IN", "USED BY", "FILE"], (status["modules"]?.array ?? []).map(module))
    return lines + absentSubscribers(status) + orphanedStreams(status)
  }

  private static func module(_ module: JSONValue) -> [String] {
    let users = (module["used_by"]?.array ?? []).compactMap(\.string)
    return [
      text(module, "name"), text(module, "version"), text(module, "generation"),
      text(module, "isolation") == "thread" ? "the daemon" : "processes",
      users.isEmpty ? "nobody, resident" : users.joined(separator: ", "), text(module, "path"),
    ]
  }

  private static func absentSubscribers(_ status: JSONValue) -> [String] {
    let absent = (status["streams"]?.array ?? []).flatMap { stream in
      (stream["cursors"]?.array ?? []).filter { $0["connected"] == .bool(false) }.map { (text(stream, "name"), $0) }
    }
    let rows = absent.map { stream, cursor in
      [
        text(cursor, "subscriber"), stream, text(cursor, "next_lsn"), text(cursor["lag"] ?? .null, "records"),
        DataSize.text(Int(number(cursor, "holds_bytes"))), text(cursor, "last_seen"),
        cursor["orphaned"] == .bool(true) ? "orphaned" : "",
      ]
    }
    let lines = table(["ABSENT SUBSCRIBER", "STREAM", "NEXT LSN", "LAG", "HOLDS BACK", "LAST SEEN", ""], rows)
    guard absent.contains(where: { $1["orphaned"] == .bool(true) }) else { return lines }
    return lines + [
      "  orphaned: of no subscriber of the topology; `sluice stream forget STREAM --cursor NAME` lets go of it"
    ]
  }

  private static func orphanedStreams(_ status: JSONValue) -> [String] {
    let orphans = status["orphaned_streams"]?.array ?? []
    guard !orphans.isEmpty else { return [] }
    let rows = orphans.map { [text($0, "name"), DataSize.text(Int(number($0, "bytes"))), text($0, "log_uuid")] }
    return table(["ORPHANED STREAM", "BYTES", "LOG"], rows)
      + ["  of no stream of the topology: declare it, and it goes on where it was, or remove its directory"]
  }

  private static func subscriber(_ row: JSONValue) -> [String] {
    let lags = (row["streams"]?.array ?? []).compactMap { $0["lag"] }
    let records = lags.reduce(0) { $0 + number($1, "records") }
    let behind = lags.compactMap { if case .double(let seconds)? = $0["seconds"] { seconds } else { nil } }.max() ?? 0
    return [
      text(row, "name"), text(row, "plugin"), row["ready"] == .bool(true) ? "running" : text(row, "state"),
      text(row, "acked"), text(row, "retried"), text(row, "rejected"), "\(records)", "\(behind) s",
    ]
  }

  private static func reload(_ last: JSONValue?) -> String {
    guard let last, let outcome = last["outcome"]?.string else { return "" }
    let reasons = (last["reasons"]?.array ?? []).compactMap(\.string)
    return "  last reload \(outcome) at \(text(last, "time"))" + reasons.map { "\n  \($0)" }.joined()
  }

  private static func text(_ value: JSONValue, _ key: String) -> String {
    switch value[key] {
    case .string(let text)?: text.onOneLine
    case .null?, nil: "-"
    case let other?: other.canonicalText
    }
  }

  private static func number(_ value: JSONValue, _ key: String) -> Int64 {
    if case .integer(let number)? = value[key] { number } else { 0 }
  }

  /// Columns as wide as they have to be; nothing at all without rows.
  static func table(_ head: [String], _ rows: [[String]]) -> [String] {
    guard !rows.isEmpty else { return [] }
    let all = [head] + rows
    let widths = head.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return [""]
      + all.map { row in
        let cells = zip(row, widths).map { cell, width in cell + String(repeating: " ", count: width - cell.count) }
        var line = cells.joined(separator: "  ")
        while line.last == " " { line.removeLast() }
        return line
      }
  }
}
