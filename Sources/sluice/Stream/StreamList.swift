import ArgumentParser
import Glibc
import SluiceCore
import SluiceJournal
import SluiceTopology

/// `sluice stream list`.
struct StreamList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the streams in a data directory, with their cursors; read-only.",
    discussion: """
      Quick, whatever is retained: it looks at headers, cursors and the newest segment's groups. With -c it also says which \
      streams the topology does not have (orphans: nothing writes, reads or trims them), and which cursors belong to no \
      subscriber of it (they hold records back until they expire; `stream repair --forget-cursor NAME` forgets one).

        sluice stream list
        sluice stream list /var/lib/sluice
        sluice stream list -c sluice.yaml --json

      Exit status: 0 all are sound at a glance, 1 something is damaged, 2 the directory can't be read.
      """)

  @Argument(help: "The data directory. Default: ./data, or what the topology says.", completion: .directory)
  var data: String?

  @Option(
    name: [.short, .customLong("config")], help: "A topology file to compare with.",
    completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var topology: Topology?
    if let config {
      topology = TopologyLoader.outline(path: config, environment: Environment.current)
      guard topology != nil else {
        StandardError.print("\(config) can't be read; `sluice check \(config)` says why")
        throw StreamExit.unreadable
      }
    }
    let root = (data ?? topology?.daemon.data ?? "./data") + "/streams"
    let names = try Self.directories(in: root)
    let rows = names.map { Row(name: $0, directory: "\(root)/\($0)", topology) }
    if json {
      print(JSONValue.array(rows.map(\.json)).canonicalText)
    } else {
      Self.show(rows, root)
    }
    if rows.contains(where: \.isDamaged) { throw StreamExit.problems }
  }

  private static func directories(in root: String) throws -> [String] {
    guard let stream = opendir(root) else {
      StandardError.print("\(root): \(String(cString: strerror(errno))); say where the daemon's data is")
      throw StreamExit.unreadable
    }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      var info = stat()
      guard !name.hasPrefix("."), stat("\(root)/\(name)", &info) == 0, info.st_mode & S_IFMT == S_IFDIR else {
        continue
      }
      names.append(name)
    }
    return names.sorted()
  }

  private static func show(_ rows: [Row], _ root: String) {
    guard !rows.isEmpty else { return print("no streams in \(root)") }
    let head = ["STREAM", "STATE", "LSN", "RECORDS", "SIZE", "SEGMENTS", "LOG"]
    let streams = rows.map { row -> [String] in
      guard let survey = row.survey else { return [row.name, row.state, "-", "-", "-", "-", "-"] }
      return [
        row.name, row.state, "\(survey.firstLSN)…\(survey.lastLSN)", "\(survey.records)", DataSize.text(survey.bytes),
        "\(survey.segments)", survey.uuid.map { "\($0)" } ?? "-",
      ]
    }
    for line in StatusText.table(head, streams).dropFirst() { print(line) }
    let cursors = rows.flatMap { row in
      (row.survey?.cursors ?? []).map { cursor in
        [
          cursor.name.onOneLine, row.name, "\(cursor.lsn)", "\(cursor.lag)", Timestamp.text(cursor.updatedTime),
          row.isOrphan(cursor.name) == true ? "no subscriber has it" : "",
        ]
      }
    }
    for line in StatusText.table(["CURSOR", "STREAM", "NEXT LSN", "LAG", "LAST SEEN", ""], cursors) { print(line) }
    for row in rows { for problem in row.problems { print("problem in \(row.name): \(problem)") } }
  }

  /// A stream's directory beside what the topology says of it.
  private struct Row {
    let name: String
    let directory: String
    let survey: StreamSurvey?
    let failure: String?
    /// Nil without a topology.
    let isInTopology: Bool?
    private let subscribers: Set<String>?

    init(name: String, directory: String, _ topology: Topology?) {
      self.name = name
      self.directory = directory
      do throws(JournalError) {
        survey = try StreamSurvey(of: directory)
        failure = nil
      } catch {
        survey = nil
        failure = "\(error)"
      }
      isInTopology = topology.map { $0.stream(named: name) != nil }
      subscribers = topology.map { Set($0.subscribers.filter { $0.streams.contains(name) }.map(\.name)) }
    }

    /// Nil without a topology. Names with a dot in front are the daemon's own.
    func isOrphan(_ cursor: String) -> Bool? {
      subscribers.map { !cursor.hasPrefix(".") && !$0.contains(cursor) }
    }

    var problems: [String] {
      if let failure { return [failure] }
      switch survey?.state {
      case .damaged(let problems)?: return problems
      case .newer(let what)?: return [what + ": use the newer sluice that wrote it"]
      default: return []
      }
    }

    var isDamaged: Bool { !problems.isEmpty }

    var state: String {
      let state =
        switch survey?.state {
        case .inUse(let process)?: "in use by \(process)"
        case .closed?: "closed"
        case .notClosed?: "not closed in order"
        case .damaged?: "damaged"
        case .newer?: "newer format"
        case nil: "can't be read"
        }
      return isInTopology == false ? state + ", orphan" : state
    }

    var json: JSONValue {
      var members: [JSONValue.Member] = [
        .init("stream", .string(name)), .init("directory", .string(directory)),
        .init("state", .string(stateName)), .init("problems", .array(problems.map(JSONValue.string))),
      ]
      if let isInTopology { members.append(.init("orphan", .bool(!isInTopology))) }
      guard let survey else { return .object(members) }
      if case .inUse(let process) = survey.state { members.append(.init("process", .count(process))) }
      members += [
        .init("log_uuid", survey.uuid.map { .string("\($0)") } ?? .null), .init("first_lsn", .count(survey.firstLSN)),
        .init("last_lsn", .count(survey.lastLSN)), .init("records", .count(survey.records)),
        .init("bytes", .count(survey.bytes)), .init("segments", .count(survey.segments)),
        .init("cursors", .array(survey.cursors.map(json))),
      ]
      return .object(members)
    }

    private var stateName: String {
      switch survey?.state {
      case .inUse?: "in_use"
      case .closed?: "closed"
      case .notClosed?: "not_closed"
      case .damaged?: "damaged"
      case .newer?: "newer"
      case nil: "unreadable"
      }
    }

    private func json(_ cursor: StreamSurvey.Cursor) -> JSONValue {
      var members: [JSONValue.Member] = [
        .init("subscriber", .string(cursor.name)), .init("next_lsn", .count(cursor.lsn)),
        .init("lag_records", .count(cursor.lag)), .init("last_seen", .string(Timestamp.text(cursor.updatedTime))),
      ]
      if let isOrphan = isOrphan(cursor.name) { members.append(.init("orphan", .bool(isOrphan))) }
      return .object(members)
    }
  }
}
