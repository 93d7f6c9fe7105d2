import ArgumentParser
import Glibc
import SluiceCore
import SluiceJournal
import SluiceTopology

/// `sluice stream repair DIR`.
struct StreamRepair: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair",
    abstract: "Put right what keeps a stream from opening or a segment from being read.",
    discussion: """
      Without --apply it only tells what it would do and what that costs. With --apply it takes the stream's lock (stop the \
      daemon first), copies every file that it will touch to DIR/backup-TIME, and does it. A second repair finds nothing \
      to do.

      It writes segments with damaged headers anew where the groups prove what the header was, sets segments and cursors of \
      another log aside, gives misnamed segments their names, and writes cursors. Of damage inside a segment nothing can be \
      brought back: subscribers are told a gap there, and `stream export` gets what is left.

        sluice stream repair data/streams/events
        sluice stream repair --apply data/streams/events
        sluice stream repair --apply --cursor archive=120000 data/streams/events
        sluice stream repair --apply --forget-cursor old data/streams/events

      When the cursors are lost, -c gives every subscriber of the file a cursor at the oldest record: delivered again, and \
      nothing left out.

        sluice stream repair --apply -c sluice.yaml data/streams/events

      Exit status: 0 nothing to do, or all of it is done; 1 there is something to do; 2 it can't be read, repaired or locked.
      """)

  @Argument(help: "The stream's directory: DATA/streams/NAME.", completion: .directory)
  var directory: String

  @Flag(help: "Do it.")
  var apply = false

  @Option(
    name: .customLong("cursor"),
    help: ArgumentHelp("Set a subscriber's cursor: an LSN, oldest or newest; repeatable.", valueName: "name=lsn"))
  var cursors: [String] = []

  @Option(
    name: .customLong("forget-cursor"),
    help: ArgumentHelp("Forget a cursor, which then holds nothing back; repeatable.", valueName: "name"))
  var forgotten: [String] = []

  @Option(
    name: [.short, .customLong("config")],
    help: "A topology: if the cursors are lost, its subscribers of this stream begin at the oldest record.",
    completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var options = try explicitOptions()
    try addLostCursors(to: &options)
    let plan: RepairPlan
    var bar = ProgressBar("repair", unit: .bytes, isShown: !json)
    var backup: String?
    if apply {
      let outcome = try StreamFiles.orExit { () throws(JournalError) in
        defer { bar.clear() }
        return try LogRepair.apply(to: directory, options, backup: "backup-" + Self.stamp(Clock.wall())) {
          bar.update($0, of: $1)
        }
      }
      plan = outcome.plan
      backup = outcome.backup
    } else {
      plan = try StreamFiles.orExit { () throws(JournalError) in
        defer { bar.clear() }
        return try RepairPlan(for: try StreamDirectory(directory), options) { bar.update($0, of: $1) }
      }
    }
    if json {
      print(json(plan, backup).canonicalText)
    } else {
      show(plan, backup)
    }
    if !apply, !plan.steps.isEmpty { throw StreamExit.problems }
  }

  private func explicitOptions() throws -> RepairOptions {
    var options = RepairOptions()
    options.forgotten = forgotten
    for text in cursors {
      guard let equals = text.lastIndex(of: "="), equals != text.startIndex else {
        throw ValidationError("--cursor takes NAME=LSN, NAME=oldest or NAME=newest")
      }
      let name = String(text[..<equals])
      let position: RepairOptions.Position
      switch text[text.index(after: equals)...] {
      case "oldest": position = .oldest
      case "newest": position = .newest
      case let digits:
        guard let lsn = UInt64(digits) else {
          throw ValidationError("--cursor takes NAME=LSN, NAME=oldest or NAME=newest")
        }
        position = .lsn(lsn)
      }
      options.cursors.append((name, position))
    }
    return options
  }

  private func addLostCursors(to options: inout RepairOptions) throws {
    guard let config else { return }
    guard let topology = TopologyLoader.outline(path: config, environment: Environment.current) else {
      StandardError.print("\(config) can't be read; `sluice check \(config)` says why")
      throw StreamExit.unreadable
    }
    let found = try StreamFiles.orExit { () throws(JournalError) in try StreamDirectory(directory) }
    if let slot = found.cursors?.newest, slot.uuid == found.uuid { return }
    let stream = directory.split(separator: "/").last.map(String.init) ?? directory
    for subscriber in topology.subscribers where subscriber.streams.contains(stream) {
      guard !options.cursors.contains(where: { $0.name == subscriber.name }) else { continue }
      options.cursors.append((subscriber.name, .oldest))
    }
  }

  // MARK: Showing

  private func show(_ plan: RepairPlan, _ backup: String?) {
    for step in plan.steps {
      let loss = step.lastLSN >= step.firstLSN ? " (records \(step.firstLSN) to \(step.lastLSN))" : ""
      print("\(apply ? "done" : "would"): \(step.what)\(loss): \(step.consequence)")
    }
    for remark in plan.remarks { print("not repaired: \(remark)") }
    if plan.steps.isEmpty {
      print("\(directory): nothing to repair; `sluice stream verify` reads all of it")
    } else if let backup {
      print("the files as they were are in \(directory)/\(backup)")
    } else {
      print("nothing was changed; --apply does it, and keeps the files as they are in a backup")
    }
  }

  private func json(_ plan: RepairPlan, _ backup: String?) -> JSONValue {
    let steps = plan.steps.map { step -> JSONValue in
      let isLoss = step.lastLSN >= step.firstLSN
      return [
        "what": .string(step.what), "consequence": .string(step.consequence),
        "first_lsn": isLoss ? .count(step.firstLSN) : .null, "last_lsn": isLoss ? .count(step.lastLSN) : .null,
      ]
    }
    return [
      "directory": .string(directory), "applied": .bool(apply), "steps": .array(steps),
      "not_repaired": .array(plan.remarks.map(JSONValue.string)),
      "backup": backup.map { .string("\(directory)/\($0)") } ?? .null,
    ]
  }

  /// "20261127T150400Z".
  private static func stamp(_ wall: Int64) -> String {
    String(Timestamp.text(wall).prefix(19).filter { $0 != "-" && $0 != ":" }) + "Z"
  }
}
