import Glibc
import SluiceCore
import SluiceTopology

/// What a rule's process is asked.
struct RuleRequest {
  /// The rule, or `look`.
  var rule: String
  /// The plugin's path, absolute, and what messages call it.
  var file: String
  var name: String
  var kind: String
  /// JSON, without the schema's defaults.
  var config: String
  /// Where the plugin's instances run: in the rule's process, or in one of their own below it.
  var place = PluginPlace.thread
  /// The rule's own; it is the working directory, so that relative paths in a config lead into it.
  var directory: String

  /// The module is looked at before there are rules to be run.
  static let look = "look"

  var json: JSONValue {
    let texts = [
      ("rule", rule), ("file", file), ("name", name), ("kind", kind), ("config", config), ("directory", directory),
      ("place", place.rawValue),
    ]
    return .object(texts.map { name, text in JSONValue.Member(name, .string(text)) })
  }

  init(
    rule: String, file: String, name: String, kind: String, config: String, place: PluginPlace = .thread,
    directory: String
  ) {
    (self.rule, self.file, self.name) = (rule, file, name)
    (self.kind, self.config, self.place, self.directory) = (kind, config, place, directory)
  }

  init?(_ text: String) {
    guard let json = try? JSONValue(parsing: text) else { return nil }
    func member(_ name: String) -> String? { if case .string(let text) = json[name] { text } else { nil } }
    guard let rule = member("rule"), let file = member("file"), let name = member("name"), let kind = member("kind"),
      let config = member("config"), let directory = member("directory"),
      let place = member("place").flatMap(PluginPlace.init)
    else { return nil }
    self.init(rule: rule, file: file, name: name, kind: kind, config: config, place: place, directory: directory)
  }
}

/// The body of a rule's process.
package enum RuleRunner {
  /// The command of `sluice` that calls `run`; nobody else's.
  package static let command = "plugin-rule"

  /// Runs one rule and ends the process.
  package static func run() -> Never {
    guard LinuxCalls.bindToParent() else { _exit(EX_OSERR) }
    for name in Paths.entries(of: "/proc/self/fd") {
      if let descriptor = Int32(name), descriptor > RuleProcess.notes { close(descriptor) }
    }
    limit()
    guard let notes = RuleNotes(descriptor: RuleProcess.notes), let request = RuleRequest(notes.request),
      chdir(request.directory) == 0
    else { _exit(EX_PROTOCOL) }
    let bench = RuleBench(request, notes)
    notes.verdict = verdict(bench)
    // Not `exit`: what the plugin does there is not this rule's.
    _exit(EXIT_SUCCESS)
  }

  private static func verdict(_ bench: RuleBench) -> RuleVerdict {
    do throws(RuleVerdict) {
      if bench.request.rule == RuleRequest.look { return try ModuleLook.take(bench) }
      guard let rule = ConformanceRule.named(bench.request.rule) else { return .fail("there is no such rule") }
      try rule.body(bench)
      if let death = bench.death { return .fail(death) }
      return RuleVerdict(status: .passed, reason: "")
    } catch {
      // Whatever a call answered then, the process's end is why.
      if error.status == .failed, let death = bench.death, !error.reason.contains(death) {
        return .fail("\(death): \(error.reason)")
      }
      return error
    }
  }

  private static func limit() {
    for (resource, value) in [(RLIMIT_CORE, 0), (RLIMIT_DATA, Limits.conformanceDataBytes)] {
      var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
      setrlimit(__rlimit_resource_t(resource.rawValue), &limit)
    }
  }
}
