import DaemonTestSupport
import Foundation
import PostgresTestSupport
import Testing

/// `sluice plugin check`, as its user sees it.
@Suite struct PluginCheckTests {
  private func check(_ arguments: String...) -> (status: Int32?, text: String) {
    ChildProcess.run(Products.sluice, ["plugin", "check"] + arguments, within: 900)
  }

  private func product(_ kind: String) -> String { "\(Products.folder)/libsluice-\(kind).so" }

  @Test("A plugin that keeps to the rules has a line for each, a summary, and exits 0")
  func passes() {
    let result = check(product("stdout"), "--rule", "start-stop", "--rule", "two-instances")
    #expect(result.status == 0)
    #expect(result.text.contains(#/\n  ok    start-stop +\d+ ms\n/#), "\(result.text)")
    #expect(result.text.contains(#/\n  skip  two-instances +\d+ ms\n        the kind has SLU_F_EXCLUSIVE/#))
    #expect(result.text.contains(#/ \d+ ok, 0 failed, 1 skipped, 0 warned, in \d+ s/#))
    #expect(!result.text.contains("NOT TESTED"))
  }

  @Test("A failure shows why, what is demanded and what to do; what needs it is said not to be tested; exits 1")
  func fails() throws {
    let folder = TemporaryFolder()
    let plugin = folder.path + "/libsluice-breaking.so"
    try compile(
      "Tests/FixturePlugins/breaking.c", to: plugin,
      ["-DBREAKS=breaks_destroy", "-I\(Products.repository)/Sources/CSluice/include"])
    let result = check(plugin)
    #expect(result.status == 1)
    #expect(result.text.contains("FAIL  create-destroy"))
    #expect(result.text.contains("        the process was killed by SIGSEGV (a bad memory access): destroy\n"))
    #expect(result.text.contains("        Demanded: ") && result.text.contains("        Remedy: "))
    #expect(result.text.contains(" rules were NOT TESTED: create-destroy failed"), "\(result.text)")
  }

  @Test("JSON says the same for programs")
  func json() throws {
    let result = check(product("disk"), "--config", #"{"path":"out"}"#, "--rule", "takes-batches", "--json")
    #expect(result.status == 0)
    let report = try #require(try JSONSerialization.jsonObject(with: Data(result.text.utf8)) as? [String: Any])
    #expect(report["ok"] as? Bool == true && report["failed"] as? Int == 0)
    let rules = try #require(report["rules"] as? [[String: Any]])
    let last = try #require(rules.last)
    #expect(last["rule"] as? String == "takes-batches" && last["status"] as? String == "ok")
    #expect(last["kind"] as? String == "disk" && last["milliseconds"] is Int)
    #expect(report["passed"] as? Int == rules.count)
  }

  @Test("A config may be a file, and what is wrong with it is told with exit 64 before anything runs")
  func configs() {
    let folder = TemporaryFolder()
    let good = folder.write("good.json", #"{"path": "out"}"#)
    #expect(check(product("disk"), "--config", good, "--rule", "create-destroy").status == 0)
    let none = check(product("disk"))
    #expect(none.status == 64 && none.text.contains("config has no 'path'"), "\(none.text)")
    let wrong = check(product("disk"), "--config", #"{"path":1,"colour":"red"}"#)
    #expect(wrong.status == 64 && wrong.text.contains("colour") && wrong.text.contains("config.path"), "\(wrong.text)")
    let broken = check(product("disk"), "--config", #"{"path":"#)
    #expect(broken.status == 64 && broken.text.contains("--config is not JSON"))
    #expect(check(product("disk"), "--config", folder.path + "/nothing.json").status == 66)
  }

  @Test("Other mistakes have the exit codes of sysexits and say what to do")
  func mistakes() {
    let folder = TemporaryFolder()
    #expect(check(folder.path + "/libsluice-none.so").status == 66)
    let text = check(folder.write("libsluice-text.so", "no plugin"))
    #expect(text.status == 69 && text.text.contains("build it as a shared object"), "\(text.text)")
    let rule = check(product("disk"), "--rule", "take-batches")
    #expect(rule.status == 64 && rule.text.contains("did you mean 'takes-batches'?"))
    let kind = check(product("stdout"), "--kind", "stderr")
    #expect(kind.status == 64 && kind.text.contains("it has stdout"))
    #expect(check().status == 64)
  }

  @Test("The rules are listed by group, as text and as JSON")
  func list() throws {
    let text = check("--list-rules")
    #expect(text.status == 0)
    for group in ["layout", "validate", "lifecycle", "delivery", "resources"] {
      #expect(text.text.contains("\(group)\n  "))
    }
    let json = check("--list-rules", "--json")
    let rules = try #require(try JSONSerialization.jsonObject(with: Data(json.text.utf8)) as? [[String: Any]])
    #expect(rules.count >= 30)
    #expect(
      rules.allSatisfy { ($0["demand"] as? String)?.isEmpty == false && ($0["remedy"] as? String)?.isEmpty == false })
  }

  @Test("Without its server the postgres plugin is not blamed, and it is said loudly that nothing was delivered")
  func postgresAlone() {
    let result = check(product("postgres"), "--config", #"{"url":"postgresql://nobody@127.0.0.1:1/none"}"#)
    #expect(result.status == 0, "\(result.text)")
    #expect(result.text.contains("skip  start-stop"))
    #expect(result.text.contains(#/\n\d+ rules were NOT TESTED: start answered SLU_E_RETRYABLE: no connection/#))
  }

  @Test("With its server the postgres plugin passes, in process and isolated")
  func postgres() throws {
    let server = try PostgresServer()
    for place in ["thread", "process"] {
      let result = check(
        product("postgres"), "--config", #"{"url":"\#(server.url())"}"#, "--isolation", place)
      #expect(result.status == 0 && !result.text.contains("NOT TESTED"), "\(place): \(result.text)")
    }
  }

  @Test("With --isolation process its instances run in processes of their own, and the report says so")
  func isolated() throws {
    let config = ["--config", #"{"path":"out"}"#, "--isolation", "process"]
    let result = ChildProcess.run(
      Products.sluice, ["plugin", "check", product("disk"), "--rule", "takes-batches"] + config)
    #expect(result.status == 0 && result.text.contains("  ok    takes-batches"), "\(result.text)")
    #expect(result.text.contains(#/libsluice-disk\.so, isolated: \d+ ok, 0 failed, 0 skipped/#), "\(result.text)")
    let none = ChildProcess.run(
      Products.sluice, ["plugin", "check", product("disk"), "--rule", "memory-stable"] + config)
    #expect(none.status == 64 && none.text.contains("rule 'memory-stable' says nothing of a plugin in a process"))
    #expect(!check("--list-rules", "--isolation", "process").text.contains("memory-stable"))
  }
}
