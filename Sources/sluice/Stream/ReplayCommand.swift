import ArgumentParser
import Glibc
import SluiceCore
import SluiceTopology

/// `sluice stream replay`.
struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Deliver a part of a stream to one subscriber once more, on a running daemon.",
    discussion: """
      The records go to the subscriber's plugin in batches that are marked as a replay, with the stream, LSNs and times \
      that they have. Its live delivery goes on beside it and has precedence, its cursor stays where it is, and the other \
      subscribers see nothing of it. Ends with what was the last record when it began.

      Records that the subscriber rejects again are told, and make no dead letters. Records that are not kept any more, \
      or go while it lasts, are counted as gone. Ctrl-C cancels it; so does a reload that changes the subscriber.

        sluice stream replay events --to archive
        sluice stream replay events --to archive --from 1000 --until 1999
        sluice stream replay events --to archive --from 2026-08-01T10:00:00Z --until 2026-08-01T11:00:00Z --rate 5000/s

      Exit status: 0 all were delivered, 1 some were rejected or are gone, 66 no such stream, subscriber or part, 75 one is \
      under way already, 69 no daemon answers, or it was cut off.
      """)

  @OptionGroup var daemon: DaemonLocation

  @Argument(help: "The stream.")
  var stream: String

  @Option(help: "The subscriber. It must read the stream.")
  var to: String

  @Option(help: "Begin with this LSN, or with what came in at this time. Default: the oldest record.")
  var from: String?

  @Option(help: "End with this LSN, or before what came in at this time. Default: what is the last record now.")
  var until: String?

  @Option(help: "At most so many records per second, such as 5000/s. Default: as fast as the subscriber takes them.")
  var rate: String?

  @Flag(help: "Print JSON: an object a line, several times a second.")
  var json = false

  func run() throws {
    var bar = ProgressBar("replay", unit: .things("records"), isShown: !json)
    let output = LogOutput(standard: STDOUT_FILENO)
    var last: JSONValue = .null
    do {
      defer { bar.clear() }
      try daemon.ask(try request()) { item in
        last = item
        if json { return output.write(item.canonicalText + "\n") }
        bar.update(Int(Self.settled(item)), of: Int(Self.number(item, "total")))
      }
    } catch {
      if !json, last != .null { output.write(Self.summary(last) + "\n") }
      throw error
    }
    if !json {
      for rejection in last["rejections"]?.array ?? [] { output.write(Self.rejection(rejection) + "\n") }
      output.write(Self.summary(last) + "\n")
    }
    if Self.number(last, "rejected") + Self.number(last, "gone") > 0 { throw StreamExit.problems }
  }

  private func request() throws -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("verb", "replay"), .init("stream", .string(stream)), .init("to", .string(to)),
    ]
    switch try from.map({ try StreamFiles.Position($0, option: "--from") }) {
    case .lsn(let lsn)?: members.append(.init("from", .count(lsn)))
    case .time(let time)?: members.append(.init("since", .count(max(0, time))))
    case nil: break
    }
    switch try until.map({ try StreamFiles.Position($0, option: "--until") }) {
    case .lsn(let lsn)?: members.append(.init("until", .count(lsn)))
    case .time(let time)?: members.append(.init("before", .count(max(0, time))))
    case nil: break
    }
    if let rate { members.append(.init("rate", .count(try Self.perSecond(rate)))) }
    return .object(members)
  }

  /// "5000" or "5000/s".
  static func perSecond(_ text: String) throws -> Int {
    let figure = text.hasSuffix("/s") ? String(text.dropLast(2)) : text
    guard let rate = Int(figure), (1...Limits.maxReplayRate).contains(rate) else {
      throw ValidationError("--rate takes 1/s to \(Limits.maxReplayRate)/s")
    }
    return rate
  }

  // MARK: What is shown

  private static func number(_ item: JSONValue, _ name: String) -> Int64 {
    if case .integer(let number)? = item[name] { number } else { 0 }
  }

  private static func settled(_ item: JSONValue) -> Int64 {
    ["delivered", "rejected", "gone", "passed"].reduce(0) { $0 + number(item, $1) }
  }

  private static func rejection(_ item: JSONValue) -> String {
    let (first, last) = (number(item, "first"), number(item, "last"))
    let code = number(item, "code")
    return "rejected: LSN \(first)" + (last > first ? " to \(last)" : "") + (code == 0 ? "" : ", code \(code)")
      + ": \(item["reason"]?.string?.onOneLine ?? "")"
  }

  private static func summary(_ item: JSONValue) -> String {
    var parts = ["\(number(item, "delivered")) of \(number(item, "total")) records delivered"]
    for (name, what) in [
      ("rejected", "rejected"), ("gone", "not in the stream any more"), ("passed", "passed over, as `match` says"),
    ] where number(item, name) > 0 {
      parts.append("\(number(item, name)) \(what)")
    }
    return "replay of \(item["stream"]?.string ?? "") LSN \(number(item, "first")) to \(number(item, "last")): "
      + parts.joined(separator: ", ")
  }
}
