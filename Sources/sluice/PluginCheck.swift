import ArgumentParser
import Glibc
import SluiceCore
import SluiceHost
import SluiceTopology

extension PluginPlace: ExpressibleByArgument {}

/// `sluice plugin check FILE`: does a plugin keep to the ABI?
struct PluginCheck: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Test whether a plugin keeps to the ABI, rule by rule.",
    discussion: """
      Each rule is run in a process of its own, so that a crash or a hang fails that rule alone. The working directory is \
      then a fresh one, so relative paths in --config lead into it. docs/plugin-check.md tells what every rule demands.

      Rules that need a running instance are skipped when start says that the world is at fault (a server that is not \
      there): give a config that leads to one. Exit status: 0 when nothing failed, 1 when something did, 64 when the config \
      is not one that the plugin takes, 66 when there is no such file, 69 when it can't be loaded.

        sluice plugin check ./libsluice-mine.so
        sluice plugin check ./libsluice-mine.so --config '{"path":"out"}' --rule memory-stable
        sluice plugin check ./libsluice-mine.so --isolation process
      """)

  @Argument(help: "The .so.", completion: .file(extensions: ["so"]))
  var file: String?

  @Option(help: "The config: JSON, or a file that holds it. The schema's defaults are filled in.")
  var config: String?

  @Option(help: "Check this kind only.")
  var kind: String?

  @Option(name: .customLong("rule"), help: "Run this rule only, and what it needs; repeatable.")
  var rules: [String] = []

  @Option(help: "Where its instances run, as a topology says it: thread, or process for one each of their own.")
  var isolation: PluginPlace = .thread

  @Flag(help: "List the rules, and run none.")
  var listRules = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    if listRules { return list() }
    for name in rules where ConformanceRule.named(name) == nil {
      StandardError.print("there is no rule '\(name)'; `sluice plugin check --list-rules` shows all")
      if let near = nearestName(to: name, in: ConformanceRule.all.map(\.name)) {
        StandardError.print("  did you mean '\(near)'?")
      }
      throw ExitStatus.usage
    }
    if let name = rules.first(where: { ConformanceRule.named($0)?.isRun(in: isolation) == false }) {
      StandardError.print("rule '\(name)' says nothing of a plugin in a process of its own: leave --isolation out")
      throw ExitStatus.usage
    }
    guard let file else {
      StandardError.print("name the plugin's file: sluice plugin check ./libsluice-mine.so")
      throw ExitStatus.usage
    }
    let config = try config.map(Self.read) ?? .object([])
    let suite: ConformanceSuite
    do throws(ConformanceSuite.Failure) {
      suite = try ConformanceSuite(file: file, kind: kind, config: config, place: isolation)
    } catch {
      throw Self.explain(error, file)
    }
    let selected = ConformanceRule.selection(rules, in: isolation)
    var report = PluginCheckReport(json: json, kinds: suite.kinds.count, place: isolation, rules: selected)
    let outcomes = suite.run(selected) { report.tell($0, $1) }
    report.end(outcomes, file: file)
    if outcomes.contains(where: { $0.status == .failed }) { throw ExitCode(1) }
  }

  /// A config that begins like an object is one; anything else is the name of a file.
  private static func read(_ argument: String) throws -> JSONValue {
    var bytes = Array(argument.utf8)
    if argument.drop(while: \.isWhitespace).first != "{" {
      do throws(FileReadError) {
        bytes = try FileReading.bytes(of: argument, limit: Limits.maxPluginConfigBytes, regularOnly: false)
      } catch {
        StandardError.print("--config: \(argument) can't be read: \(error.message)")
        throw ExitStatus.noInput
      }
    }
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONValue(parsing: bytes)
    } catch {
      StandardError.print("--config is not JSON: \(error)")
      throw ExitStatus.usage
    }
    guard value.members != nil else {
      StandardError.print("--config: a config is a JSON object")
      throw ExitStatus.usage
    }
    return value
  }

  private static func explain(_ failure: ConformanceSuite.Failure, _ file: String) -> ExitCode {
    switch failure {
    case .noFile(let why):
      StandardError.print("\(file) can't be read: \(why)")
      return ExitStatus.noInput
    case .notLoadable(let error):
      StandardError.print(error.message)
      if !error.remedy.isEmpty { StandardError.print("  \(error.remedy)") }
      return ExitStatus.unavailable
    case .noKind(let kind, let kinds):
      StandardError.print("\(file) has no kind '\(kind)'; it has \(kinds.joined(separator: ", "))")
      return ExitStatus.usage
    case .badConfig(let kind, let errors):
      StandardError.print("the config is not one that the schema of \(kind) takes:")
      for error in errors { StandardError.print("  \(error)") }
      StandardError.print("  give one with --config; `sluice plugin describe \(file)` shows what it takes")
      return ExitStatus.usage
    case .noRunner:
      StandardError.print("there is no sluice to run the rules")
      return ExitStatus.software
    case .noDirectory(let why):
      StandardError.print("no directory can be made in \(why); set TMPDIR to one that can be written to")
      return ExitStatus.cannotCreate
    }
  }

  private func list() {
    let rules = ConformanceRule.selection([], in: isolation)
    if json {
      print(
        JSONValue.array(
          rules.map {
            [
              "name": .string($0.name), "group": .string($0.group.rawValue), "demand": .string($0.demand),
              "remedy": .string($0.remedy), "needs": .array($0.needs.map(JSONValue.string)),
            ]
          }
        ).canonicalText)
      return
    }
    let width = rules.map(\.name.count).max() ?? 0
    for group in ConformanceRule.Group.allCases {
      print(group.rawValue)
      for rule in rules where rule.group == group {
        print("  \(rule.name)\(String(repeating: " ", count: width - rule.name.count))  \(rule.demand)")
      }
    }
  }
}
