import DaemonTestSupport
import Foundation
import Testing

@Suite struct PluginTests {
  @Test("The example in plain C, built from the header alone, receives every record beside the disk subscriber")
  func theExampleInC() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("examples/plugins/c/tally.c", kind: "tally", in: folder)
    let tally = """
        counted:
          plugin: \(plugin)
          isolation: thread
          streams: [ events ]
          config: { path: \(folder.path)/tally.txt }
      """
    let daemon = try #require(Daemon(topology: spine(folder, subscribers: tally)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<50 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out").count == 50)
    let counted = FileManager.default.contents(atPath: folder.path + "/tally.txt") ?? Data()
    #expect(String(decoding: counted, as: UTF8.self).contains("50"))
  }

  /// The processes that a daemon has started.
  private func children(of daemon: Daemon) -> [pid_t] {
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.process.pid)/task")) ?? []
    return tasks.flatMap { task -> [pid_t] in
      let list = FileManager.default.contents(atPath: "/proc/\(daemon.process.pid)/task/\(task)/children") ?? Data()
      return String(decoding: list, as: UTF8.self).split(separator: " ").compactMap { pid_t($0) }
    }
  }

  @Test(
    "A plugin from elsewhere runs in a process of its own, which ends with the daemon, also with one that is killed")
  func aStrangersPluginHasItsOwnProcess() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/recorder.c", kind: "recorder", in: folder)
    let topology = spine(folder, subscribers: "  far: { plugin: \(plugin), streams: [ events ], batch: { wait: 1ms } }")
    #expect(ChildProcess.run(Products.sluice, ["check", topology]).status == 0)
    var daemon = try #require(Daemon(topology: topology))
    var connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<100 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    func seen() -> Int {
      let lines = FileManager.default.contents(atPath: folder.path + "/data/plugins/far/seen") ?? Data()
      return String(decoding: lines, as: UTF8.self).split(separator: "\n").filter { $0.contains("message") }.count
    }
    #expect(eventually { seen() == 100 })
    let shown = try status(folder)["subscribers"] as? [[String: Any]] ?? []
    #expect(shown.map { $0["isolation"] as? String } == ["thread", "process"])
    let runners = children(of: daemon)
    #expect(runners.count == 1)
    daemon.crash()
    #expect(eventually { runners.allSatisfy { kill($0, 0) != 0 } }, "it ends with a daemon that is killed")
    daemon = try #require(Daemon(topology: topology))
    connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"more"}"#)?.status == 202)
    #expect(eventually { seen() >= 101 })
    #expect(children(of: daemon).count == 1)
    #expect(daemon.stop() == 0)
  }

  @Test(
    "A process with a user of its own has that user's rights, next to no environment, and its state directory",
    .enabled(if: geteuid() == 0, "only root can give a process another user"))
  func anotherUser() throws {
    let folder = TemporaryFolder()
    chmod(folder.path, 0o755)
    let plugin = try buildPlugin("Tests/FixturePlugins/recorder.c", kind: "recorder", in: folder)
    let far =
      "  far: { plugin: \(plugin), streams: [ events ], batch: { wait: 1ms }, isolation: { process: { user: nobody } } }"
    let process = Daemon.spawn(topology: spine(folder, subscribers: far), environment: ["SLUICE_SECRET": "hush"])
    let daemon = try #require(Daemon(awaiting: process))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<20 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    let seen = folder.path + "/data/plugins/far/seen"
    #expect(
      eventually {
        let text = String(decoding: FileManager.default.contents(atPath: seen) ?? Data(), as: UTF8.self)
        return text.split(separator: "\n").filter { $0.contains("message") }.count == 20
      })
    let runner = try #require(children(of: daemon).first)
    let status = String(
      decoding: FileManager.default.contents(atPath: "/proc/\(runner)/status") ?? Data(), as: UTF8.self)
    let nobody = try #require(getpwnam("nobody")).pointee
    func field(_ name: String) -> [String] {
      let line = status.split(separator: "\n").first { $0.hasPrefix("\(name):") } ?? ""
      return line.split(whereSeparator: { $0 == "\t" || $0 == " " }).dropFirst().map(String.init)
    }
    #expect(field("Uid") == Array(repeating: "\(nobody.pw_uid)", count: 4))
    #expect(field("Gid") == Array(repeating: "\(nobody.pw_gid)", count: 4) && field("Groups") == ["\(nobody.pw_gid)"])
    #expect(field("NoNewPrivs") == ["1"])
    let environment = FileManager.default.contents(atPath: "/proc/\(runner)/environ") ?? Data()
    #expect(!String(decoding: environment, as: UTF8.self).contains("SLUICE_SECRET"))
    #expect(daemon.stop() == 0)
    let unknown = spine(folder, subscribers: far.replacingOccurrences(of: "nobody", with: "no-such-user"))
    let checked = ChildProcess.run(Products.sluice, ["check", unknown])
    #expect(checked.status == 1 && checked.text.contains("there is no user 'no-such-user'"), "\(checked.text)")
  }

  @Test(
    "Where a plugin is to run as a user of its own, none of its code is run as the daemon's, not even to look at it",
    .enabled(if: geteuid() == 0, "only root can give a process another user"))
  func looksAsTheUser() throws {
    let folder = TemporaryFolder()
    chmod(folder.path, 0o755)
    let plugin = try buildPlugin("Tests/FixturePlugins/rootless.c", kind: "rootless", in: folder)
    func check(_ isolation: String) -> (status: Int32?, text: String) {
      let far = "  far: { plugin: \(plugin), streams: [ events ], batch: { wait: 1ms }, isolation: \(isolation) }"
      return ChildProcess.run(Products.sluice, ["check", spine(folder, subscribers: far)])
    }
    let asRoot = check("process")
    #expect(asRoot.status == 1 && asRoot.text.contains("refuses to work"), "\(asRoot.text)")
    let asNobody = check("{ process: { user: nobody } }")
    #expect(asNobody.status == 0, "\(asNobody.text)")
    let far =
      "  far: { plugin: \(plugin), streams: [ events ], batch: { wait: 1ms }, isolation: { process: { user: nobody } } }"
    let daemon = try #require(Daemon(topology: spine(folder, subscribers: far)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"m"}"#)?.status == 202)
    let seen = folder.path + "/data/plugins/far/seen"
    #expect(
      eventually { String(decoding: FileManager.default.contents(atPath: seen) ?? Data(), as: UTF8.self).contains("m") }
    )
    #expect(daemon.stop() == 0)
  }

  @Test(
    "A plugin that is only looked at gets placeholders for its secrets, and the secrets themselves when it is to work")
  func placeholders() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/telling.c", kind: "telling", in: folder)
    let key = folder.write("key", "hunter22")
    for isolation in ["thread", "process"] {
      let far =
        "  \(isolation): { plugin: \(plugin), streams: [ events ], isolation: \(isolation), "
        + "config: { key: \"${file:\(key)}\", name: n } }"
      let checked = ChildProcess.run(Products.sluice, ["check", spine(folder, subscribers: far)])
      #expect(checked.status == 0 && checked.text.contains(#"{"key":"***","name":"n"}"#), "\(checked.text)")
      #expect(!checked.text.contains("hunter22"))
      let daemon = try #require(Daemon(topology: spine(folder, subscribers: far)))
      let seen = FileManager.default.contents(atPath: "\(folder.path)/data/plugins/\(isolation)/seen") ?? Data()
      #expect(String(decoding: seen, as: UTF8.self) == #"{"key":"hunter22","name":"n"}"# + "\n")
      #expect(daemon.stop() == 0)
    }
  }

  @Test("A process of a plugin that is killed is started anew, its neighbours go on, and nothing is lost")
  func aKilledProcessComesAgain() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/recorder.c", kind: "recorder", in: folder)
    let far =
      "  far: { plugin: \(plugin), streams: [ events ], batch: { wait: 1ms }, retry: { first: 5ms, max: 20ms } }"
    let daemon = try #require(Daemon(topology: spine(folder, subscribers: far)))
    let far1 = folder.path + "/data/plugins/far/seen"
    func seen() -> Set<Int> {
      let lines = String(decoding: FileManager.default.contents(atPath: far1) ?? Data(), as: UTF8.self)
      return Set(lines.split(separator: "\n").compactMap { Int($0.split(separator: " ").first ?? "") })
    }
    let posting = Posting(port: daemon.port)
    for _ in 0..<10 {
      let runner = children(of: daemon)
      for pid in runner { kill(pid, SIGKILL) }
      #expect(eventually { !children(of: daemon).isEmpty && children(of: daemon) != runner })
      // A record that is in hand in two deaths in a row is taken for their cause.
      let before = seen().count
      #expect(eventually { seen().count > before })
    }
    let count = posting.stop()
    #expect(posting.faults == 0)
    #expect(eventually { seen().count == count && deliveredLines(folder.path + "/out").count == count })
    #expect(daemon.stop() == 0)
    #expect(seen() == Set(1...count))
    let letters = ChildProcess.run(Products.sluice, ["stream", "inspect", folder.path + "/data/streams/dead"])
    #expect(letters.status == 0)
  }

  @Test("A stuck plugin holds up neither its neighbours nor a reload that takes it out, nor the end")
  func aStuckPlugin() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/deaf.c", kind: "deaf", in: folder)
    let deaf =
      "  deaf: { plugin: \(plugin), isolation: thread, streams: [ events ], ack_deadline: 50ms, batch: { wait: 1ms } }"
    let file = spine(folder, subscribers: deaf)
    let daemon = try #require(Daemon(topology: file))
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"1"}"#)?.status == 202)
    #expect(
      eventually {
        let shown = (try? status(folder)["subscribers"] as? [[String: Any]]) ?? []
        return shown.first { $0["name"] as? String == "deaf" }?["state"] as? String == "stuck"
      })
    #expect(connection.get("/ready")?.status == 503 && connection.get("/health")?.status == 200)
    for i in 2...50 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    #expect(eventually { deliveredLines(folder.path + "/out").count == 50 })
    _ = spine(folder)
    #expect(reload(folder).status == 0)
    #expect(connection.post(#"{"message":"51"}"#)?.status == 202)
    #expect(eventually { deliveredLines(folder.path + "/out").count == 51 })
    #expect(daemon.stop() != nil, "it ends, whatever the thread that was left behind does")
  }

  @Test("A subscriber that takes nothing makes producers see 429 at the bound, and delays nobody else; then it drains")
  func aSlowSubscriberFillsTheStream() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/gate.c", kind: "gate", in: folder)
    let gate = """
        slow: { plugin: \(plugin), isolation: thread, streams: [ events ], retry: { first: 10ms, max: 10ms } }
      """
    let bounds = ", ring: 4MiB, segment: 2MiB, retain: { bytes: 8MiB }"
    let daemon = try #require(Daemon(topology: spine(folder, subscribers: gate, stream: bounds)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    let filler = String(repeating: "x", count: 50_000)
    var accepted = 0
    var refused: (status: Int, head: String, body: String)?
    for i in 0..<1000 where refused == nil {
      let answer = try #require(connection.post(#"{"message":"\#(i)","filler":"\#(filler)"}"#))
      if answer.status == 202 { accepted += 1 } else { refused = answer }
    }
    let answer = try #require(refused, "a thousand records of 50 kB fitted into 8 MiB")
    #expect(answer.status == 429 && answer.head.contains("Retry-After:"))
    #expect(accepted * 50_000 < 16 << 20, "\(accepted) records were accepted")
    let unready = try #require(connection.get("/ready"))
    #expect(unready.status == 503 && unready.head.contains("application/problem+json"))
    #expect(unready.body.contains(#""code":"not_ready","detail":"stream events is full"#), "\(unready.body)")
    #expect(connection.get("/health")?.status == 200)
    #expect(eventually { deliveredLines(folder.path + "/out").count == accepted }, "the disk subscriber was held up")
    _ = folder.write("data/plugins/slow/open", "")
    #expect(eventually { connection.post(#"{"message":"again"}"#)?.status == 202 })
    #expect(daemon.stop() == 0)
    let seen = FileManager.default.contents(atPath: folder.path + "/data/plugins/slow/seen") ?? Data()
    let lines = String(decoding: seen, as: UTF8.self).split(separator: "\n")
    #expect(Set(lines.compactMap { $0.split(separator: " ").first }).count == accepted + 1)
  }
}
