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

  @Option(help: "Only records of this source; repeatable.")
  var source: [String] = []

  @Option(help: "Only records whose topic this covers: * any run of characters, ? one; repeatable.")
  var topic: [String] = []

  @Option(
    name: .customLong("match"),
    help:
      "MEMBER=VALUE: only records whose JSON has it; dots lead into objects; the same member may have several values.")
  var matches: [String] = []

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
      .init("sources", .array(source.map(JSONValue.string))), .init("topics", .array(topic.map(JSONValue.string))),
      .init("json", .object(try self.members())),
    ]
    if let count { members.append(.init("count", .count(count))) }
    return .object(members)
  }

  private func members() throws -> [JSONValue.Member] {
    var members: [JSONValue.Member] = []
    for match in matches {
      guard let equals = match.firstIndex(of: "="), equals != match.startIndex else {
        throw ValidationError("--match takes MEMBER=VALUE, such as level=error")
      }
      let (path, text) = (String(match[..<equals]), String(match[match.index(after: equals)...]))
      // A value may be meant as the text or as what that says in JSON: both are right.
      var values: [JSONValue] = [.string(text)]
      if let value = try? JSONValue(parsing: Array(text.utf8)), value.array == nil, value.members == nil {
        values.append(value)
      }
      if let place = members.firstIndex(where: { $0.key == path }) {
        members[place].value = .array((members[place].value.array ?? []) + values)
      } else {
        members.append(.init(path, .array(values)))
      }
    }
    return members
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
