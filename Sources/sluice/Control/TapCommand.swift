import ArgumentParser
import Glibc
import SluiceTopology

/// `sluice tap`.
struct Tap: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the records of a stream as they come.",
    discussion: """
      Reads beside the subscribers and moves no cursor. What comes faster than it is read is told as a gap, and holds \
      nobody up. Filters are those of a subscriber's `match`; all kinds that are given have to fit.

        sluice tap events
        sluice tap events --from oldest --count 10 --json
        sluice tap events --topic 'audit.*' --match user.role=admin --match level=error
        sluice tap dead --from oldest

      Without --json a line is: time, LSN, topic, payload.
      """)

  @OptionGroup var daemon: DaemonLocation

  @Argument(help: "The stream.")
  var stream: String

  @Option(help: "oldest, newest, or an LSN. Default: newest, which shows what comes from now on.")
  var from = "newest"

  @Option(help: "Stop after so many records.")
  var count: UInt64?

  @OptionGroup var filter: RecordFilter

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let output = LogOutput(standard: STDOUT_FILENO)
    try daemon.ask(try request()) { item in
      output.write((json ? item.canonicalText : Self.text(item)) + "\n")
    }
  }

  private func request() throws -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("verb", "tap"), .init("stream", .string(stream)),
      .init("from", Int64(from).map(JSONValue.integer) ?? .string(from)),
      .init("sources", .array(filter.source.map(JSONValue.string))),
      .init("topics", .array(filter.topic.map(JSONValue.string))), .init("json", .object(try filter.members())),
    ]
    if let count { members.append(.init("count", .count(count))) }
    return .object(members)
  }

  private static func text(_ item: JSONValue) -> String {
    if let gap = item["gap"] {
      let lsns = [gap["first"], gap["last"]].map { $0?.canonicalText ?? "?" }.joined(separator: "...")
      return "gap: \(lsns) (\(gap["reason"]?.string ?? "unknown"))"
    }
    func shown(_ name: String) -> String {
      item[name]?.string?.onOneLine ?? item["\(name)_base64"]?.string.map { "base64:\($0)" } ?? ""
    }
    return "\(shown("time"))  \(item["lsn"]?.canonicalText ?? "?")  \(shown("topic"))  \(shown("payload"))"
  }
}
