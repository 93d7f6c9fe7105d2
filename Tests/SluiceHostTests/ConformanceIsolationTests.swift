import SluiceCore
import Testing

@testable import SluiceHost

/// `plugin check --isolation process`: the same fixtures, whose instances run in processes of their own.
@Suite struct ConformanceIsolationTests {
  private func isolated(_ what: String, _ rules: [String]) throws -> Findings {
    try Findings(Fixtures.breaking(what), rules: rules, place: .process)
  }

  @Test(
    "What breaks a rule fails it in a process of its own as well, and no other",
    arguments: [
      ("export", "one-export"), ("acceptance", "validate-takes-config"), ("destroy", "create-destroy"),
      ("start", "start-stop"), ("failed_start", "stop-after-failed-start"), ("idle", "idle-flush-drain"),
      ("same", "reconfigure-same"), ("deliver", "takes-batches"), ("many", "takes-batches"), ("gap", "gap-call"),
      ("publish", "survives-publish-refusal"), ("empty", "empty-payload"), ("large", "large-payload"),
      ("binary", "binary-payload"), ("bare", "bare-messages"), ("names", "odd-names"), ("headers", "odd-headers"),
      ("lsn", "lsn-gaps"), ("replay", "replay"), ("redelivery", "redelivery"),
      // The memory that is shared with it is read-only for every rule.
      ("writing", "takes-batches"),
      ("lease_left", "leases-released"), ("twice", "settles-once"), ("foreign", "settles-own-tokens"),
      ("late_settle", "settles-in-time"), ("verdict", "settles-well"), ("accepted", "accepted-settled"),
      ("settle_after_stop", "no-settle-after-stop"), ("call_after_stop", "no-call-after-stop"),
      ("before_start", "host-before-start"), ("arguments", "host-arguments"), ("code", "return-codes"),
      ("error", "errors-explained"), ("stop", "stop-in-flight"),
    ])
  func breaking(what: String, rule: String) throws {
    let findings = try isolated(what, [rule])
    #expect(findings.failed == [rule], "\(what):\n\(findings)")
  }

  @Test("A plugin that breaks nothing passes every rule that is run there, and none is skipped")
  func nothing() throws {
    let findings = try isolated("nothing", [])
    let rules = ConformanceRule.selection([], in: .process)
    #expect(findings.names(.passed) == rules.map(\.name), "\(findings)")
    #expect(rules.count >= 40)
  }

  @Test(
    "What ends the plugin's process is told with the call that it was in",
    arguments: [
      ("create", "create-destroy"), ("start", "start-stop"), ("stop", "start-stop"), ("destroy", "create-destroy"),
    ])
  func crashes(place: String, rule: String) throws {
    let misbehaviour = Misbehaviour(what: "crash", place: "in_" + place)
    let name = misbehaviour.kind
    let file = "\(Fixtures.directory(name, misbehaving: misbehaviour))/libsluice-\(name).so"
    let findings = try Findings(file, rules: [rule], place: .process)
    #expect(findings.failed == [rule], "\(findings)")
    #expect(findings.reason(rule).contains("was killed by SIGSEGV (a bad memory access) in \(place)"), "\(findings)")
  }

  @Test("docs/plugin-check.md names the rules that are not run there")
  func page() {
    let root = "/" + "\(#filePath)".split(separator: "/").dropLast(3).joined(separator: "/")
    let lines = Files.lines("\(root)/docs/plugin-check.md")
    let paragraph = lines.drop { !$0.hasPrefix("**Isolated.**") }.prefix { !$0.isEmpty }.joined(separator: " ")
    let named = paragraph.split(separator: "`", omittingEmptySubsequences: false).enumerated()
      .filter { $0.offset % 2 == 1 }.map { String($0.element) }.filter { ConformanceRule.named($0) != nil }
    #expect(named == ConformanceRule.all.filter { !$0.isRun(in: .process) }.map(\.name))
  }
}
