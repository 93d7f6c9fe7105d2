// `sluice plugin check`: what a plugin has to do, as a table of rules. Each is run in a process of its own, so that one that
// ends the process fails alone.
//
//   parent   ConformanceSuite    which rules, in which order; a rule whose needs did not pass is skipped
//            RuleProcess         starts the process, waits, kills what takes too long, says what became of it
//   child    RuleRunner          reads what is asked, runs one rule's body, writes the verdict down
//            RuleBench           what a body has at hand: the module, its config, instances in the hands of a
//                                ConformanceHost, batches in memory that can be taken away (BatchMemory)
//
// A body looks at one thing only and lets everything else pass: what breaks one rule fails that one.

import SluiceCore

/// How a rule went.
package enum RuleStatus: String, Sendable, CaseIterable {
  case passed = "ok"
  case failed = "FAIL"
  case skipped = "skip"
  case warned = "warn"
}

/// Ends a rule's body early; one that returns has passed.
struct RuleVerdict: Error, Equatable {
  var status: RuleStatus
  var reason: String

  static func fail(_ reason: String) -> RuleVerdict { RuleVerdict(status: .failed, reason: reason) }
  static func skip(_ reason: String) -> RuleVerdict { RuleVerdict(status: .skipped, reason: reason) }
  static func warn(_ reason: String) -> RuleVerdict { RuleVerdict(status: .warned, reason: reason) }
}

/// One thing that a plugin has to do.
package struct ConformanceRule: Sendable {
  package enum Group: String, Sendable, CaseIterable {
    case layout, validate, lifecycle, delivery, resources
  }

  /// Stable: what `--rule` takes.
  package let name: String
  package let group: Group
  /// One sentence.
  package let demand: String
  /// What to do when it fails.
  package let remedy: String
  /// Rules without which this one says nothing.
  package let needs: [String]
  package let seconds: Int
  /// It is about the module, not about one of its kinds.
  package let isOfModule: Bool
  let body: @Sendable (RuleBench) throws(RuleVerdict) -> Void

  init(
    _ name: String, _ group: Group, needs: [String] = [], seconds: Int = Limits.conformanceRuleSeconds,
    demand: String, remedy: String, body: @escaping @Sendable (RuleBench) throws(RuleVerdict) -> Void
  ) {
    self.name = name
    self.group = group
    self.demand = demand
    self.remedy = remedy
    self.needs = needs
    self.seconds = seconds
    isOfModule = group == .layout
    self.body = body
  }

  /// All of them, in the order in which they are run: what a rule needs stands before it.
  package static let all: [ConformanceRule] =
    layout + validation + lifecycle + delivery + messages + memory + settlement + resources

  package static func named(_ name: String) -> ConformanceRule? { all.first { $0.name == name } }

  /// What says nothing of an instance in a process of its own: its host there answers by itself, what it leaves behind ends with
  /// the process, the batch that it sees is a copy, or hundreds of processes would be started for what one shows.
  private static let inProcessOnly: Set<String> = [
    "validate-good-configs", "validate-broken-configs", "validate-consistent", "validate-deterministic",
    "validate-pure", "validate-in-call", "findings-readable", "create-idle", "create-bad-config", "reconfigure-bad",
    "extension-unknown", "survives-stale-settle", "survives-credit-refusal", "later-host", "reads-in-bounds",
    "no-late-reads", "survives-lease-refusal", "lease-calls", "no-threads-left", "no-descriptors-left", "process-kept",
    "no-children-left", "memory-stable",
  ]

  /// It is run there. Rules of the module are about the file, wherever its instances are.
  package func isRun(in place: PluginPlace) -> Bool {
    place == .thread || !ConformanceRule.inProcessOnly.contains(name)
  }

  /// Those of `names`, and what they need, in order; all that are run in `place` if there are no names.
  package static func selection(_ names: [String], in place: PluginPlace = .thread) -> [ConformanceRule] {
    var wanted = Set(names)
    for rule in all.reversed() where wanted.contains(rule.name) { wanted.formUnion(rule.needs) }
    return all.filter { (names.isEmpty || wanted.contains($0.name)) && $0.isRun(in: place) }
  }
}
