import ArgumentParser
import Glibc
import SluiceTopology

/// `sluice dead list|show|retry|export|purge`.
struct Dead: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Look at dead letters, deliver them again, or give them up.",
    discussion: """
      A record that its subscriber rejects, or that used up its attempts, is kept as a letter in a dead letter stream. It \
      stays open until it is delivered after all or purged; until then it takes room there.

        sluice dead list
        sluice dead show 17
        sluice dead retry --subscriber archive
        sluice dead export > letters.ndjson && sluice dead purge --all
      """,
    subcommands: [DeadList.self, DeadShow.self, DeadRetry.self, DeadExport.self, DeadPurge.self])
}

/// Which letters are meant: those that are all that is given.
struct DeadSelection: ParsableArguments {
  @OptionGroup var daemon: DaemonLocation

  @Option(name: .customLong("dead"), help: "The dead letter stream. Default: dead.")
  var deadStream: String?

  @Option(help: "Letters of this subscriber.")
  var subscriber: String?

  @Option(help: "Letters of records of this stream.")
  var stream: String?

  @Option(help: "plugin, attempts_exhausted or crash.")
  var cause: String?

  @Option(help: "The plugin's number for the reason.")
  var code: UInt32?

  @Argument(help: "The letter's LSN, or FIRST-LAST.")
  var lsns: String?

  func request(_ action: String, _ more: [JSONValue.Member] = []) throws -> JSONValue {
    var members: [JSONValue.Member] = [.init("verb", "dead"), .init("do", .string(action))]
    for (name, value) in [("dead", deadStream), ("subscriber", subscriber), ("stream", stream), ("cause", cause)] {
      if let value { members.append(.init(name, .string(value))) }
    }
    if let code { members.append(.init("code", .count(code))) }
    if let lsns {
      let parts = lsns.split(separator: "-", omittingEmptySubsequences: false).map { UInt64($0) }
      guard parts.count <= 2, let first = parts.first ?? nil, let last = parts.last ?? nil else {
        throw ValidationError("'\(lsns)' is not an LSN, or FIRST-LAST")
      }
      members += [.init("first", .count(first)), .init("last", .count(last))]
    }
    return .object(members + more)
  }
}

/// `sluice dead list`.
struct DeadList: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List open letters, oldest first.")

  @OptionGroup var selection: DeadSelection

  @Option(help: "At most so many. Default: 1000.")
  var limit: UInt32?

  @Flag(help: "Print JSON: an object a line.")
  var json = false

  func run() throws {
    let output = LogOutput(standard: STDOUT_FILENO)
    var rows: [[String]] = []
    let more = limit.map { [JSONValue.Member("limit", .count($0))] } ?? []
    try selection.daemon.ask(selection.request("list", more)) { letter in
      if json { return output.write(letter.canonicalText + "\n") }
      rows.append(
        ["lsn", "time", "subscriber", "stream", "record_lsn", "cause", "code", "attempts", "reason"].map { name in
          letter[name]?.string?.onOneLine ?? letter[name]?.canonicalText ?? ""
        })
    }
    guard !json else { return }
    if rows.isEmpty { return output.write("no open letters\n") }
    let head = ["LSN", "TIME", "SUBSCRIBER", "STREAM", "RECORD", "CAUSE", "CODE", "ATTEMPTS", "REASON"]
    for line in StatusText.table(head, rows).dropFirst() { output.write(line + "\n") }
  }
}

/// `sluice dead show`.
struct DeadShow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show letters with their records, as JSON, an object a line.")

  @OptionGroup var selection: DeadSelection

  func run() throws {
    let output = LogOutput(standard: STDOUT_FILENO)
    try selection.daemon.ask(selection.request("show")) { output.write($0.canonicalText + "\n") }
  }
}

/// `sluice dead export`.
struct DeadExport: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Print every open letter with its record, as JSON, an object a line.")

  @OptionGroup var selection: DeadSelection

  func run() throws {
    let output = LogOutput(standard: STDOUT_FILENO)
    try selection.daemon.ask(selection.request("export")) { output.write($0.canonicalText + "\n") }
  }
}

/// `sluice dead retry`.
struct DeadRetry: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retry", abstract: "Deliver letters' records again to the subscribers that rejected them.",
    discussion: """
      What is acknowledged is settled; the rest stays open. Exit status: 0 all were delivered, 75 some are still open.

        sluice dead retry 17
        sluice dead retry --all
      """)

  @OptionGroup var selection: DeadSelection

  @Flag(help: "Every open letter.")
  var all = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var result: JSONValue = .null
    try selection.daemon.ask(selection.request("retry", [.init("all", .bool(all))])) { result = $0 }
    let counts = (result.members ?? []).map { ($0.key, $0.value.canonicalText) }
    print(json ? result.canonicalText : counts.map { "\($0.0) \($0.1)" }.joined(separator: ", "))
    if counts.contains(where: { $0.0 != "delivered" && $0.1 != "0" }) { throw ExitStatus.temporary }
  }
}

/// `sluice dead purge`.
struct DeadPurge: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "purge", abstract: "Give letters up for good.",
    discussion: """
        sluice dead purge 17-20
        sluice dead purge --subscriber archive --code 3
        sluice dead purge --all
      """)

  @OptionGroup var selection: DeadSelection

  @Flag(help: "Every open letter.")
  var all = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    try selection.daemon.ask(selection.request("purge", [.init("all", .bool(all))])) { result in
      print(json ? result.canonicalText : "purged \(result["purged"]?.canonicalText ?? "0")")
    }
  }
}
