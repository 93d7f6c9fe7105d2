import DaemonTestSupport
import Foundation
import Testing

/// Whatever a plugin in the daemon's process does, the daemon goes on, or says whose fault its end is; and whatever one in a
/// process of its own does, that ends with the daemon.
@Suite struct MisbehavingPluginTests {
  /// misbehaving.c, told what to do and where.
  private func build(_ what: String, _ place: String, in folder: TemporaryFolder, _ more: String...) throws -> String {
    let plugin = "\(folder.path)/libsluice-bad.so"
    let options = ["-DMISBEHAVE=\(what)", "-DWHERE=\(place)", #"-DKIND="bad""#] + more
    try compile(
      "Tests/FixturePlugins/misbehaving.c", to: plugin,
      ["-fvisibility=hidden", "-D_GNU_SOURCE", "-I\(Products.repository)/Sources/CSluice/include"] + options)
    return plugin
  }

  private func subscriber(_ plugin: String, _ more: String = "") -> String {
    "  far: { plugin: \(plugin), isolation: thread, streams: [ events ], batch: { wait: 1ms }\(more) }"
  }

  private func states(_ folder: TemporaryFolder) -> [String: String] {
    let shown = (try? status(folder)["subscribers"] as? [[String: Any]]) ?? []
    let pairs = shown.map { ($0["name"] as? String ?? "", $0["state"] as? String ?? "") }
    return Dictionary(pairs) { first, _ in first }
  }

  private func post(_ daemon: Daemon, _ message: String) {
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"\#(message)"}"#)?.status == 202)
  }

  // MARK: validate

  @Test(
    "What crashes or hangs in validate is refused with the reason, at the start and by a reload, and the daemon goes on",
    arguments: [
      ("crash", "SIGSEGV (a bad memory access) when validate was called"),
      ("sleep_for_ever", "did not come to an end in 10 s and was killed when validate was called"),
    ])
  func validates(what: String, said: String) throws {
    let folder = TemporaryFolder()
    let topology = spine(folder)
    let daemon = try #require(Daemon(topology: topology))
    let plugin = try build(what, "in_validate", in: folder)
    _ = spine(folder, subscribers: subscriber(plugin))
    let answer = reload(folder)
    #expect(answer.status != 0 && answer.text.contains(said), "\(answer)")
    post(daemon, "1")
    #expect(eventually { deliveredLines(folder.path + "/out").count == 1 })
    _ = spine(folder)
    #expect(reload(folder).status == 0, "nothing of it is left")
    #expect(daemon.stop() == 0)
    let start = ChildProcess.run(Products.sluice, ["run", "-c", spine(folder, subscribers: subscriber(plugin))])
    #expect(start.status == 78 && start.text.contains(said), "\(start)")
  }

  // MARK: Stuck ones

  @Test(
    "A plugin that hangs in interrupt as well is shown as stuck, and so is another after it; the daemon's end comes")
  func hangsInInterrupt() throws {
    let folder = TemporaryFolder()
    let deaf = try buildPlugin("Tests/FixturePlugins/deaf.c", kind: "deaf", in: folder)
    let bad = subscriber(try build("sleep_for_ever", "in_interrupt", in: folder), ", ack_deadline: 50ms")
    let next =
      "  next: { plugin: \(deaf), isolation: thread, streams: [ events ], match: { topic: next }, ack_deadline: 50ms }"
    var sketch = Sketch()
    sketch.subscribers = bad + "\n" + next
    sketch.sources = "  other: { type: http, listen: \"127.0.0.1:0\", stream: events, auth: none, topic: next }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    post(daemon, "bad")
    #expect(eventually { states(folder)["far"] == "stuck" })
    #expect(states(folder)["next"] == "running")
    let other = try #require(daemon.ports["other"])
    #expect(HTTPConnection(port: other)?.post(#"{"message":"good"}"#)?.status == 202)
    #expect(eventually { states(folder)["next"] == "stuck" }, "the watchdog goes on")
    #expect(eventually { deliveredLines(folder.path + "/out").count == 2 })
    #expect(daemon.stop() != nil, "it ends, whatever was left behind does")
  }

  @Test(
    "While a plugin is stuck a reload changes everything else, says what it leaves alone, and brings new subscribers")
  func reloadsBesideAStuckPlugin() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/deaf.c", kind: "deaf", in: folder)
    var sketch = Sketch()
    let deaf = subscriber(plugin, ", ack_deadline: 50ms")
    sketch.subscribers = deaf
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    post(daemon, "1")
    #expect(eventually { states(folder)["far"] == "stuck" })
    sketch.daemon = ", log: { level: debug }"
    sketch.subscribers = deaf + "\n  new: { plugin: disk, streams: [ events ], config: { path: ./new } }"
    sketch.write(to: folder)
    let answer = reload(folder)
    #expect(answer.status == 0 && answer.text.contains("subscriber far is stuck in its plugin"), "\(answer)")
    // It is started when the reload answers, and then is given its readers.
    #expect(eventually { states(folder) == ["archive": "running", "far": "stuck", "new": "running"] })
    // What is changed itself can't be had while its thread is in the plugin: that is said, and nothing is changed.
    sketch.subscribers = deaf.replacingOccurrences(of: "50ms", with: "60ms")
    sketch.write(to: folder)
    let refused = reload(folder)
    #expect(refused.status != 0 && refused.text.contains("far"), "\(refused)")
    #expect(states(folder)["new"] == "running")
    sketch.subscribers = deaf
    sketch.write(to: folder)
    let again = reload(folder)
    #expect(again.status == 0 && again.text.contains("is stuck in its plugin"), "one that was left behind: \(again)")
    #expect(daemon.stop() != nil)
  }

  // MARK: Last words

  private static let crashes: [(what: String, place: String, options: [String], isReloaded: Bool)] = [
    ("crash", "in_create", [], false), ("crash", "in_start", [], false), ("crash", "in_deliver", [], false),
    ("crash", "in_stop", [], false), ("crash", "in_destroy", [], false), ("crash", "on_thread", [], false),
    ("crash", "in_deliver", ["-DHANDLES"], false), ("crash", "on_thread", [], true), ("crash", "in_create", [], true),
    ("crash", "in_deliver", [], true), ("abort", "in_deliver", [], false), ("crash", "in_drain", [], false),
    ("crash", "in_flush", [], false), ("crash", "in_gap", [], false), ("crash", "in_reconfigure", [], false),
    ("crash", "in_interrupt", [], false), ("recurse", "in_create", [], false), ("recurse", "in_deliver", [], false),
    ("recurse", "in_destroy", [], false), ("recurse", "in_interrupt", [], false),
    ("recurse", "in_deliver", ["-DHANDLES"], false), ("overrun", "in_deliver", [], false),
  ]

  @Test(
    "When a plugin in the daemon's process crashes, the last words name it and the way to isolate it",
    arguments: crashes)
  func lastWords(what: String, place: String, options: [String], isReloaded: Bool) throws {
    let folder = TemporaryFolder()
    let plugin = "\(folder.path)/libsluice-bad.so"
    let arguments = ["-DMISBEHAVE=\(what)", "-DWHERE=\(place)", #"-DKIND="bad""#] + options
    try compile(
      "Tests/FixturePlugins/misbehaving.c", to: plugin,
      ["-fvisibility=hidden", "-D_GNU_SOURCE", "-I\(Products.repository)/Sources/CSluice/include"] + arguments)
    let isAsked = place == "in_flush" || place == "in_reconfigure"
    let settings = [
      "in_interrupt": ", ack_deadline: 50ms",
      "in_gap": ", retry: { first: 5ms, max: 50ms }, max_lag: { records: 1, then: gap }",
    ]
    try expectLastWords(
      of: plugin, in: folder, isReloaded: isReloaded, settings[place] ?? "", reconfigured: isAsked)
  }

  @Test("The last words of a daemon that a plugin's C++ exception ends name the plugin")
  func exception() throws {
    let folder = TemporaryFolder()
    let plugin = "\(folder.path)/libsluice-throwing.so"
    let built = ChildProcess.run(
      "/usr/bin/c++",
      [
        "-std=c++17", "-shared", "-fPIC", "-pthread", "-I\(Products.repository)/Sources/CSluice/include",
        "\(Products.repository)/Tests/FixturePlugins/throwing.cpp", "-o", plugin,
      ])
    try #require(built.status == 0, "\(built.text)")
    try expectLastWords(of: plugin, in: folder, isReloaded: false)
  }

  // MARK: Left behind

  @Test("After kill -9 of the daemon a process that hangs in its plugin ends, though that takes back who ends it")
  func endsWithTheDaemon() throws {
    let folder = TemporaryFolder()
    let plugin = try build("cling", "in_deliver", in: folder)
    let far = "  far: { plugin: \(plugin), isolation: process, streams: [ events ], batch: { wait: 1ms } }"
    let daemon = try #require(Daemon(topology: spine(folder, subscribers: far)))
    post(daemon, "bad")
    let held = "\(folder.path)/data/plugins/far/held"
    #expect(eventually { isLocked(held) })
    daemon.crash()
    #expect(eventually { !isLocked(held) })
  }

  /// Whether a process holds the lock on a file that is there.
  private func isLocked(_ path: String) -> Bool {
    let file = open(path, O_RDWR | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    return flock(file, LOCK_EX | LOCK_NB) != 0
  }

  /// Starts it, or brings it with a reload, gives it what makes it crash, and if need be another config, and ends it.
  private func expectLastWords(
    of plugin: String, in folder: TemporaryFolder, isReloaded: Bool, _ more: String = "", reconfigured: Bool = false
  ) throws {
    let topology = spine(folder, subscribers: isReloaded ? "" : subscriber(plugin, more))
    let process = Daemon.spawn(topology: topology)
    if let daemon = Daemon(awaiting: process, isExpected: false) {
      if isReloaded {
        _ = spine(folder, subscribers: subscriber(plugin, more))
        _ = reload(folder)
      }
      // More than one, since a gap takes some.
      if let connection = HTTPConnection(port: daemon.port) {
        _ = connection.post(#"[{"message":"bad"},{"message":"bad"},{"message":"bad"}]"#, path: "/logs")
      }
      if reconfigured {
        let seen = "\(folder.path)/data/plugins/far/seen"
        #expect(eventually { (try? String(contentsOfFile: seen, encoding: .utf8))?.contains("bad") == true })
        _ = spine(folder, subscribers: subscriber(plugin, more + ", config: { n: 1 }"))
        _ = reload(folder)
      }
      if !eventually(within: 3, { process.output.contains { $0.contains("sluice: a crash") } }) {
        // Those that crash at the end.
        process.send(SIGTERM)
      }
    }
    #expect(try #require(process.exitStatus()) != 0)
    let words = process.output.first { $0.contains("sluice: a crash") }
    #expect(
      words?.contains(plugin) == true && words?.contains("isolation: process") == true, "\(process.output.suffix(5))")
  }
}
