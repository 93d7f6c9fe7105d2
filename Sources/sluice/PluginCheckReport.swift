import Glibc
import SluiceHost
import SluiceTopology

/// What `sluice plugin check` prints: a line for each rule as soon as it is over, below a failure why and what to do about it,
/// and at the end what came of it all.
struct PluginCheckReport {
  private let json: Bool
  private let showsKinds: Bool
  private let width: Int
  private let output = LogOutput(standard: STDOUT_FILENO)
  private let isTerminal = isatty(STDOUT_FILENO) == 1
  private var group: ConformanceRule.Group?
  /// Rules that are skipped for one reason show it once.
  private var reasons: Set<String> = []

  private let total: Int
  private var done = 0

  private let place: PluginPlace

  /// `kinds`: how many the module has. `place`: where its instances run.
  init(json: Bool, kinds: Int, place: PluginPlace, rules: [ConformanceRule]) {
    self.json = json
    self.place = place
    showsKinds = kinds > 1
    total = rules.reduce(0) { $0 + ($1.isOfModule ? 1 : max(1, kinds)) }
    width = rules.map(\.name.count).max() ?? 0
  }

  /// `outcome`: nil when the rule is about to be run.
  mutating func tell(_ rule: ConformanceRule, _ outcome: RuleOutcome?) {
    guard !json else { return }
    guard let outcome else {
      // Which one takes long is seen where somebody looks.
      if isTerminal { write("  …     \(rule.name)  (\(done + 1) of \(total))") }
      return
    }
    done += 1
    if isTerminal { write("\r\u{1B}[K") }
    if group != rule.group {
      group = rule.group
      print(rule.group.rawValue)
    }
    let name = rule.name + String(repeating: " ", count: width - rule.name.count)
    let kind = showsKinds && !outcome.kind.isEmpty ? "  (\(outcome.kind))" : ""
    print("  \(mark(outcome.status))  \(name)  \(Self.time(outcome.nanoseconds))\(kind)")
    switch outcome.status {
    case .passed: break
    case .skipped:
      if reasons.insert(outcome.reason).inserted { print("        \(outcome.reason)") }
    case .failed, .warned:
      print("        \(outcome.reason)")
      print("        Demanded: \(rule.demand)")
      print("        Remedy: \(rule.remedy)")
    }
  }

  // Unbuffered, so that whoever watches a pipe sees each line when it is there.
  private func write(_ text: String) { output.write(text) }
  private func print(_ line: String) { output.write(line + "\n") }

  private func mark(_ status: RuleStatus) -> String {
    let word = status.rawValue + String(repeating: " ", count: 4 - status.rawValue.count)
    guard isTerminal else { return word }
    let color =
      switch status {
      case .passed: "32"
      case .failed: "31"
      case .skipped, .warned: "33"
      }
    return "\u{1B}[\(color)m\(word)\u{1B}[0m"
  }

  /// "    12 ms".
  static func time(_ nanoseconds: Int64) -> String {
    let text = "\(nanoseconds / 1_000_000) ms"
    return String(repeating: " ", count: max(0, 9 - text.count)) + text
  }

  func end(_ outcomes: [RuleOutcome], file: String) {
    func count(_ status: RuleStatus) -> Int { outcomes.count { $0.status == status } }
    if json {
      print(json(outcomes, file: file).canonicalText)
      return
    }
    let blocked = outcomes.filter(\.isBlocked)
    if let first = blocked.first {
      print("")
      print("\(blocked.count) rules were NOT TESTED: \(first.reason)")
    }
    print("")
    print(
      "\(file)\(place == .process ? ", isolated" : ""): \(count(.passed)) ok, \(count(.failed)) failed, \(count(.skipped)) skipped, \(count(.warned)) warned, in "
        + "\(outcomes.reduce(0) { $0 + $1.nanoseconds } / 1_000_000_000) s")
  }

  private func json(_ outcomes: [RuleOutcome], file: String) -> JSONValue {
    func count(_ status: RuleStatus) -> JSONValue { .count(outcomes.count { $0.status == status }) }
    return [
      "file": .string(file), "isolation": .string(place.rawValue),
      "ok": .bool(!outcomes.contains { $0.status == .failed }),
      "passed": count(.passed), "failed": count(.failed), "skipped": count(.skipped), "warned": count(.warned),
      "rules": .array(
        outcomes.map {
          [
            "rule": .string($0.rule.name), "group": .string($0.rule.group.rawValue), "kind": .string($0.kind),
            "status": .string($0.status.rawValue.lowercased()), "blocked": .bool($0.isBlocked),
            "reason": .string($0.reason),
            "remedy": .string($0.status == .failed || $0.status == .warned ? $0.rule.remedy : ""),
            "milliseconds": .count($0.nanoseconds / 1_000_000),
          ]
        }),
    ]
  }
}
