import Glibc
import SluiceCore
import SluiceTopology

/// How one rule went for one kind.
package struct RuleOutcome: Sendable {
  package var rule: ConformanceRule
  /// Empty for rules of the module.
  package var kind: String
  package var status: RuleStatus
  package var reason: String
  package var nanoseconds: Int64
  /// It was not run, since one that it needs did not pass.
  package var isBlocked = false
}

/// Runs rules over one plugin, one after the other, each in a process of its own.
package struct ConformanceSuite {
  /// Why there is nothing to run.
  package enum Failure: Error, Equatable {
    /// The file is not there, or can't be read.
    case noFile(String)
    /// The loader makes nothing of it.
    case notLoadable(PluginLoadError)
    case noKind(String, kinds: [String])
    /// The config is not one that the kind takes; each error in a sentence.
    case badConfig(kind: String, [String])
    case noRunner
    case noDirectory(String)
  }

  private let file: String
  private let name: String
  private let config: String
  private let runner: String
  private let scratch: String
  private let seconds: [String: Int]
  private let place: PluginPlace
  /// In the order in which they stand in the module; empty when its tables can't be read.
  package let kinds: [String]

  /// Looks at the file. `config`: JSON, an object; defaults are filled in. `kind`: only this one. `runner`: the program that is
  /// `sluice`. `seconds`: what rules of these names may take, instead of what they say. `place`: where the plugin's instances run.
  package init(
    file path: String, kind: String? = nil, config: JSONValue, place: PluginPlace = .thread,
    runner: String? = PluginLibrary.builtInRunner, seconds: [String: Int] = [:]
  ) throws(Failure) {
    guard let runner else { throw .noRunner }
    guard let resolved = realpath(path, nil) else { throw .noFile(String(cString: strerror(errno))) }
    defer { free(resolved) }
    file = String(cString: resolved)
    var about = stat()
    guard stat(file, &about) == 0, access(file, R_OK) == 0 else { throw .noFile(String(cString: strerror(errno))) }
    guard about.st_mode & S_IFMT == S_IFREG else { throw .noFile("not a regular file") }
    name = path
    self.config = config.canonicalText
    self.runner = runner
    self.seconds = seconds
    self.place = place
    guard let made = OwnDirectory.make("check") else {
      throw .noDirectory("\(OwnDirectory.base): \(String(cString: strerror(errno)))")
    }
    scratch = made
    let request = RuleRequest(
      rule: RuleRequest.look, file: file, name: path, kind: "", config: self.config, directory: scratch)
    let look = ModuleLook(
      RuleProcess(executable: runner, seconds: seconds[RuleRequest.look] ?? Limits.conformanceRuleSeconds).run(
        request.json.canonicalText
      )
      .verdict)
    if let fault = look.fault, fault.code == .notLoadable {
      Paths.remove(scratch)
      throw .notLoadable(fault)
    }
    let wanted = look.kinds.filter { kind == nil || $0.name == kind }
    kinds = wanted.map(\.name)
    if let kind, !look.kinds.isEmpty, wanted.isEmpty {
      Paths.remove(scratch)
      throw .noKind(kind, kinds: look.kinds.map(\.name))
    }
    if let wrong = wanted.first(where: { !$0.errors.isEmpty }) {
      Paths.remove(scratch)
      throw .badConfig(kind: wrong.name, wrong.errors)
    }
  }

  /// Runs `rules` (of `ConformanceRule.selection`) and tells of each before (with nil) and after it was run.
  package func run(
    _ rules: [ConformanceRule], telling tell: (ConformanceRule, RuleOutcome?) -> Void = { _, _ in }
  ) -> [RuleOutcome] {
    defer { Paths.remove(scratch) }
    var all: [RuleOutcome] = []
    func run(_ rule: ConformanceRule, _ kind: String) {
      tell(rule, nil)
      let outcome = outcome(of: rule, kind, after: all)
      all.append(outcome)
      tell(rule, outcome)
    }
    for rule in rules where rule.isOfModule { run(rule, "") }
    for kind in kinds.isEmpty ? [""] : kinds {
      for rule in rules where !rule.isOfModule { run(rule, kind) }
    }
    return all
  }

  private func outcome(of rule: ConformanceRule, _ kind: String, after before: [RuleOutcome]) -> RuleOutcome {
    for need in rule.needs {
      let found = before.last { $0.rule.name == need && ($0.kind.isEmpty || $0.kind == kind) }
      guard let found, found.status == .failed || found.status == .skipped else { continue }
      let why = found.status == .failed ? "\(need) failed" : found.reason
      return RuleOutcome(rule: rule, kind: kind, status: .skipped, reason: why, nanoseconds: 0, isBlocked: true)
    }
    let directory = "\(scratch)/\(rule.name)"
    guard Paths.makePrivate(directory) == 0 else {
      return RuleOutcome(
        rule: rule, kind: kind, status: .failed, reason: "\(directory) can't be made", nanoseconds: 0)
    }
    defer { Paths.remove(directory) }
    let request = RuleRequest(
      rule: rule.name, file: file, name: name, kind: kind, config: config, place: place, directory: directory)
    let end = RuleProcess(executable: runner, seconds: seconds[rule.name] ?? rule.seconds).run(
      request.json.canonicalText)
    return RuleOutcome(
      rule: rule, kind: kind, status: end.verdict.status, reason: end.verdict.reason, nanoseconds: end.nanoseconds)
  }
}
