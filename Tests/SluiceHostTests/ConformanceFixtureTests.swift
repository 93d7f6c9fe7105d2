import Glibc
import SluiceCore
import SluiceTopology
import Testing

@testable import SluiceHost

/// The other fixtures, the repository's plugins, and files that are none.
@Suite struct ConformanceFixtureTests {
  private let directory = TemporaryDirectory()

  private static func file(_ name: String, table: Bool = false, _ misbehaviour: Misbehaviour? = nil) -> String {
    "\(Fixtures.directory(name, table: table, misbehaving: misbehaviour))/libsluice-\(name).so"
  }

  @Test(
    "Fixtures that do nothing wrong fail no rule",
    arguments: [
      "answering", "async", "busy", "changeable", "failing", "fussy", "late", "marking", "second-thoughts", "starting",
      "verdicts",
    ])
  func goodFixtures(name: String) throws {
    let findings = try Findings(Self.file(name))
    #expect(findings.failed.isEmpty && findings.blocked.isEmpty, "\(findings)")
  }

  @Test(
    "Fixtures that misbehave fail the rules that they break",
    arguments: [
      ("fatal", ["takes-batches"]), ("silent", ["accepted-settled"]),
      ("recorder", ["findings-readable", "create-bad-config"]),
      ("missettling", ["settles-once", "settles-own-tokens", "settles-in-time", "settles-well"]),
      ("services", ["lease-calls", "host-arguments"]),
    ])
  func badFixtures(name: String, rules: [String]) throws {
    let findings = try Findings(Self.file(name))
    #expect(findings.failed == rules, "\(findings)")
  }

  @Test(
    "A plugin whose deliver or stop never returns fails where it hangs, and the other rules go on",
    arguments: [("deaf", ["takes-batches"]), ("hanging", ["start-stop", "stop-after-failed-start"])])
  func hangs(name: String, rules: [String]) throws {
    let findings = try Findings(Self.file(name), seconds: Dictionary(uniqueKeysWithValues: rules.map { ($0, 10) }))
    #expect(findings.failed == rules, "\(findings)")
    #expect(findings.reason(rules[0]).hasPrefix("did not come to an end within 10 s: "))
    #expect(findings.names(.passed).contains("create-bad-config"))
  }

  @Test(
    "A plugin that takes nothing now is not blamed, and what was not tested is said", arguments: ["gate", "blocking"])
  func busy(name: String) throws {
    let findings = try Findings(Self.file(name))
    #expect(findings.failed.isEmpty, "\(findings)")
    #expect(findings.names(.skipped).contains("takes-batches") && findings.blocked.contains("memory-stable"))
    #expect(findings.reason("memory-stable").hasPrefix("deliver answered SLU_"))
  }

  @Test(
    "A plugin that ends the process fails where it does, with what it did and was doing",
    arguments: [
      ("crash", "in_create", "create-destroy", "SIGSEGV"), ("crash", "in_start", "start-stop", "SIGSEGV"),
      ("crash", "in_stop", "start-stop", "SIGSEGV"), ("crash", "in_destroy", "create-destroy", "SIGSEGV"),
      ("crash", "in_validate", "validate-takes-config", "SIGSEGV"),
      ("leave", "in_create", "create-destroy", "ended with status 3"),
      ("crash", "in_entry", "module-loads", "SIGSEGV"), ("crash", "at_load", "module-loads", "SIGSEGV"),
      ("spin", "in_entry", "module-loads", "did not come to an end"),
      ("crash", "in_drain", "idle-flush-drain", "SIGSEGV"),
    ])
  func ends(what: String, place: String, rule: String, how: String) throws {
    let misbehaviour = Misbehaviour(what: what, place: place)
    // Whoever looks at the file hangs, too.
    let seconds = how.hasPrefix("did not") ? [rule: 10, RuleRequest.look: 10] : [:]
    let findings = try Findings(Self.file(misbehaviour.kind, misbehaviour), rules: [rule], seconds: seconds)
    #expect(findings.failed == [rule] && findings.reason(rule).contains(how), "\(findings)")
  }

  @Test(
    "Tables that are wrong fail the rule that is about them, and no rule about kinds is run",
    arguments: [
      ("tiny", "table-sizes"), ("nodeliver", "required-functions"), ("badkind", "kind-names"),
      ("badtext", "texts-utf8"), ("hugeschema", "texts-utf8"), ("nosubscribers", "table-sizes"),
      ("nullkind", "table-sizes"), ("flags", "table-sizes"), ("outputs", "output-names"), ("minor", "abi-minor"),
      ("null", "module-loads"), ("v2", "module-loads"), ("nosymbol", "module-loads"),
    ])
  func tables(name: String, rule: String) throws {
    let findings = try Findings(Self.file(name, table: true))
    // What exports no entry of this version exports something else.
    #expect(findings.failed.filter { $0 != "one-export" } == [rule], "\(findings)")
    #expect(findings.blocked.contains("create-destroy") && !findings.names(.passed).contains("takes-batches"))
  }

  @Test("A plugin of another minor version, older or newer, passes", arguments: ["older", "newer"])
  func otherVersions(name: String) throws {
    let findings = try Findings(Self.file(name, table: true))
    #expect(findings.failed.isEmpty, "\(findings)")
  }

  @Test("A plugin that takes signals when it is loaded fails for that")
  func signals() throws {
    let findings = try Findings(Self.file("signals", table: true))
    #expect(findings.failed == ["entry-pure"] && findings.reason("entry-pure").contains("signal \(SIGHUP)"))
  }

  @Test("Each kind of a module is judged by itself, and one that is not there is told with those that are")
  func kinds() throws {
    let findings = try Findings(Self.file("pair"), rules: ["gap-call"])
    #expect(findings.failed == ["takes-batches"], "\(findings)")
    #expect(findings.outcomes.first { $0.status == .failed }?.kind == "right")
    #expect(findings.outcomes.filter { $0.rule.name == "create-destroy" }.map(\.kind) == ["left", "right"])
    #expect(findings.outcomes.count { $0.rule.name == "module-loads" } == 1)
    #expect(throws: ConformanceSuite.Failure.noKind("middle", kinds: ["left", "right"])) {
      try ConformanceSuite(file: Self.file("pair"), kind: "middle", config: .object([]))
    }
    let suite = try ConformanceSuite(file: Self.file("pair"), kind: "left", config: .object([]))
    let outcomes = suite.run(ConformanceRule.selection(["takes-batches"]))
    #expect(suite.kinds == ["left"] && !outcomes.contains { $0.status == .failed })
  }

  @Test("A file that others may write to is checked all the same, with a warning")
  func untrusted() throws {
    let path = "\(directory.folder("plugins"))/libsluice-verdicts.so"
    #expect(symlinkless(copy: Self.file("verdicts"), to: path))
    chmod(path, 0o666)
    let findings = try Findings(path, rules: ["trusted-place", "create-destroy"])
    #expect(findings.names(.warned) == ["trusted-place"] && findings.failed.isEmpty, "\(findings)")
    #expect(findings.names(.passed).contains("create-destroy"))
  }

  private func symlinkless(copy from: String, to: String) -> Bool {
    guard let input = fopen(from, "re"), let output = fopen(to, "we") else { return false }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, input)
    let written = fwrite(bytes, 1, count, output)
    return fclose(input) == 0 && fclose(output) == 0 && count > 0 && written == count
  }

  @Test(
    "The repository's own plugins pass, in process and isolated",
    arguments: [("stdout", "{}"), ("disk", #"{"path":"out"}"#)], PluginPlace.allCases)
  func ownPlugins(_ plugin: (kind: String, config: String), place: PluginPlace) throws {
    let (kind, config) = plugin
    let file = try #require(PluginLibrary.builtInSearchPaths.first) + "/libsluice-\(kind).so"
    let findings = try Findings(file, config: config, place: place)
    #expect(findings.failed.isEmpty && findings.blocked.isEmpty && findings.names(.warned).isEmpty, "\(findings)")
  }

  @Test("A config that the schema does not take is told before anything is run, and so is a file that is none")
  func refusals() throws {
    let disk = try #require(PluginLibrary.builtInSearchPaths.first) + "/libsluice-disk.so"
    #expect(
      throws: ConformanceSuite.Failure.badConfig(kind: "disk", ["config has no 'path': expected path: a string"])
    ) { try Findings(disk) }
    #expect(throws: ConformanceSuite.Failure.noFile("No such file or directory")) { try Findings("/nowhere.so") }
    let text = "\(directory.path)/text.so"
    Files.write("no plugin", to: text)
    let failure = #expect(throws: ConformanceSuite.Failure.self) { try Findings(text) }
    guard case .notLoadable(let error) = failure else {
      Issue.record("\(String(describing: failure)) is not .notLoadable")
      return
    }
    #expect(error.message.contains("file too short") && error.remedy.contains("-shared"))
  }

  @Test("No process and no folder is left when the rules are over")
  func nothingIsLeft() throws {
    let scratch = directory.folder("scratch")
    let file = Fixtures.breaking("child_left")
    let runner = try #require(PluginLibrary.builtInRunner)
    let request = RuleRequest(
      rule: "no-children-left", file: file, name: file, kind: "breaking", config: "{}", directory: scratch)
    let end = RuleProcess(executable: runner, seconds: 30).run(request.json.canonicalText)
    #expect(end.verdict == .fail("a child process still runs"))
    // Its child had the folder for its working directory, and needs a moment to die.
    #expect(eventually { Self.processes(in: scratch).isEmpty })
  }

  /// Those that have this working directory.
  private static func processes(in directory: String) -> [String] {
    Paths.entries(of: "/proc").filter { Int32($0) != nil }.filter { process in
      var target = [CChar](repeating: 0, count: Int(PATH_MAX))
      let count = readlink("/proc/\(process)/cwd", &target, target.count - 1)
      return String(decoding: target.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self) == directory
    }
  }

  @Test("docs/plugin-check.md lists every rule with what it demands and what to do, and no other")
  func page() throws {
    let root = "/" + "\(#filePath)".split(separator: "/").dropLast(3).joined(separator: "/")
    let rows = Files.lines("\(root)/docs/plugin-check.md").filter { $0.hasPrefix("| `") && !$0.hasPrefix("| `-") }
    let groups = ConformanceRule.Group.allCases.map { group in ConformanceRule.all.filter { $0.group == group } }
    let rules = groups.joined().map { "| `\($0.name)` | \($0.demand) | \($0.remedy) |" }
    #expect(rows.filter { !rules.contains($0) } == [], "rows of no rule")
    #expect(rules.filter { !rows.contains($0) } == [], "rules without a row")
    #expect(rows == rules, "rows in another order")
  }
}
