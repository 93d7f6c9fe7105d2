import DaemonTestSupport
import Foundation
import Testing

/// One way in which a plugin misbehaves, and what becomes of it.
struct Misdeed: Sendable, CustomTestStringConvertible {
  /// Where it shows.
  enum End: Sendable {
    /// The reload that brings it is refused, and says why.
    case refused
    /// `sluice status` says it of the subscriber, sooner or later.
    case shown
    /// It works; the metric counts what it does wrong.
    case counted
    /// A reload with another config for it says why it has a new instance, or `sluice status` does.
    case reconfigured
    /// Its end does: the daemon's log says it.
    case logged
  }

  var source = "misbehaving.c"
  var options: [String] = []
  var name: String
  var said: String
  var end: End

  var testDescription: String { name }

  static func misbehaving(
    _ what: String, _ place: String, _ end: End, _ said: String, _ more: String...
  ) -> Misdeed {
    Misdeed(
      options: ["-DMISBEHAVE=\(what)", "-DWHERE=\(place)"] + more, name: "\(what) \(place)", said: said, end: end)
  }

  static func table(_ name: String, _ end: End, _ said: String) -> Misdeed {
    Misdeed(source: "tables.c", options: ["-DCASE=case_\(name)"], name: "table \(name)", said: said, end: end)
  }

  static let beforeItRuns = [
    misbehaving("crash", "at_load", .refused, "was killed by SIGSEGV (a bad memory access) when it was loaded"),
    misbehaving("crash", "in_entry", .refused, "was killed by SIGSEGV (a bad memory access) when its entry was called"),
    misbehaving("spin", "at_load", .refused, "used more than 100 ms of the processor when it was loaded"),
    misbehaving("sleep_for_ever", "in_entry", .refused, "did not come to an end in 10 s"),
    misbehaving("leave", "at_load", .refused, "ended by itself with status 3"),
    misbehaving("hoard", "at_load", .refused, "when it was loaded"),
    table("v2", .refused, "speaks ABI 2"), table("minor", .refused, "needs ABI 1.9"),
    table("nosymbol", .refused, "does not export sluice_module_v1"),
    table("undefined", .refused, "undefined symbol: nobody_defines_this"),
    table("nodeliver", .refused, "slu_subscriber.deliver"),
    misbehaving("crash", "in_validate", .refused, "SIGSEGV (a bad memory access) when validate was called"),
    misbehaving("sleep_for_ever", "in_validate", .refused, "did not come to an end in 10 s"),
    misbehaving("crash", "in_create", .refused, "SIGSEGV (a bad memory access) in create"),
    misbehaving("sleep_for_ever", "in_create", .refused, "create"),
    misbehaving("crash", "in_start", .refused, "SIGSEGV (a bad memory access) in start"),
    misbehaving("sleep_for_ever", "in_start", .refused, "in start"),
  ]
  static let whileItRuns = [
    misbehaving("crash", "in_deliver", .shown, "SIGSEGV (a bad memory access)"),
    misbehaving("crash", "on_thread", .shown, "SIGSEGV (a bad memory access)"),
    misbehaving("recurse", "in_deliver", .shown, "SIGSEGV (a bad memory access)"),
    misbehaving("recurse", "in_deliver", .shown, "ended by itself with status 11", "-DHANDLES"),
    misbehaving("leave", "in_deliver", .shown, "ended by itself with status 3"),
    misbehaving("scribble", "in_deliver", .shown, "SIGSEGV (a bad memory access)"),
    misbehaving("overrun", "in_deliver", .shown, "SIGSEGV (a bad memory access)"),
    misbehaving("close_all", "in_deliver", .shown, "ended by itself with status 0"),
    misbehaving("leak", "in_deliver", .shown, "more than its limit of 64 MiB"),
    misbehaving("sleep_for_ever", "in_deliver", .shown, "nor when it was interrupted"),
    misbehaving("spin", "in_deliver", .shown, "nor when it was interrupted"),
    misbehaving("sleep_for_ever", "in_interrupt", .shown, "nor when it was interrupted"),
    misbehaving("babble", "in_deliver", .shown, "nor when it was interrupted"),
    misbehaving("rant", "in_deliver", .shown, "nor when it was interrupted"),
    misbehaving("prattle", "in_deliver", .shown, "nor when it was interrupted"),
    Misdeed(source: "throwing.cpp", name: "throwing", said: "SIGABRT (abort)", end: .shown),
    Misdeed(source: "missettling.c", name: "missettling", said: #"fault="double""#, end: .counted),
    Misdeed(source: "missettling.c", name: "foreign settling", said: #"fault="foreign""#, end: .counted),
    Misdeed(source: "missettling.c", name: "late settling", said: #"fault="late""#, end: .counted),
    Misdeed(source: "silent.c", name: "silent", said: "retried_records", end: .counted),
    table("signals", .counted, "acked"),
  ]
  static let atItsEnd = [
    misbehaving("crash", "in_reconfigure", .reconfigured, "SIGSEGV (a bad memory access)"),
    misbehaving("sleep_for_ever", "in_reconfigure", .reconfigured, "nor when it was interrupted, in reconfigure"),
    misbehaving("crash", "in_drain", .logged, "SIGSEGV (a bad memory access) in drain"),
    misbehaving("sleep_for_ever", "in_drain", .logged, "in drain"),
    misbehaving("crash", "in_stop", .logged, "SIGSEGV (a bad memory access) in stop"),
    misbehaving("sleep_for_ever", "in_stop", .logged, "in stop"),
    misbehaving("crash", "in_destroy", .logged, "SIGSEGV (a bad memory access) in destroy"),
    misbehaving("sleep_for_ever", "in_destroy", .logged, "in destroy"),
  ]
}

/// Every misbehaviour in a process of its own, in a real daemon: neither that nor its neighbours notice.
@Suite struct MisbehaviourTests {
  @Test(
    "What goes wrong before it runs is refused or shown with what it did; the daemon and its neighbours go on",
    arguments: Misdeed.beforeItRuns)
  func beforeItRuns(misdeed: Misdeed) throws { try Scene(misdeed).play() }

  @Test(
    "What goes wrong while it runs is shown by status or counted; the daemon and its neighbours go on",
    arguments: Misdeed.whileItRuns)
  func whileItRuns(misdeed: Misdeed) throws { try Scene(misdeed).play() }

  @Test(
    "What goes wrong in reconfigure or at its end holds up neither a reload nor anybody else, and is said",
    arguments: Misdeed.atItsEnd)
  func atItsEnd(misdeed: Misdeed) throws { try Scene(misdeed).play() }
}

/// A daemon with a neighbour, to which a reload brings the plugin, and which another frees of it.
private final class Scene {
  private let misdeed: Misdeed
  private let folder = TemporaryFolder()
  private let plugin: String
  private let daemon: Daemon
  private var posted = 0

  init(_ misdeed: Misdeed) throws {
    self.misdeed = misdeed
    plugin = folder.path + "/libsluice-far.so"
    let isC = misdeed.source.hasSuffix(".c")
    let built = ChildProcess.run(
      "/usr/bin/env",
      [isC ? "cc" : "c++", isC ? "-std=c11" : "-std=c++17", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-pthread"]
        + [#"-DKIND="far""#]
        + ["-I\(Products.repository)/Sources/CSluice/include"] + misdeed.options
        + ["\(Products.repository)/Tests/FixturePlugins/\(misdeed.source)", "-o", plugin])
    try #require(built.status == 0, "\(built.text)")
    daemon = try #require(Daemon(topology: spine(folder)))
  }

  /// On one connection, which is neither refused anything nor cut off.
  private func post(_ count: Int, bad: Bool = false) throws {
    let connection = try #require(HTTPConnection(port: daemon.port))
    for _ in 0..<count {
      let more = bad && posted % 10 == 5 ? #","word":"bad""# : ""
      #expect(connection.post(#"{"message":"\#(posted)"\#(more)}"#)?.status == 202)
      posted += 1
    }
  }

  private func bring(_ config: String) -> (status: Int32?, text: String) {
    let far = """
        far:
          plugin: \(plugin)
          isolation: { process: { memory: 64MiB } }
          streams: [ events ]
          ack_deadline: 100ms
          batch: { records: 4, wait: 1ms }
          retry: { first: 5ms, max: 50ms }
          config: \(config)
      """
    _ = spine(folder, subscribers: far)
    return reload(folder)
  }

  private func shown() -> String {
    let subscribers = (try? status(folder)["subscribers"] as? [[String: Any]]) ?? []
    guard let far = subscribers.first(where: { $0["name"] as? String == "far" }) else { return "" }
    return "\(far)"
  }

  private func metrics() -> [Substring] {
    let text = HTTPConnection(port: daemon.port)?.get("/metrics", accept: "text/plain")?.body ?? ""
    return text.split(separator: "\n").filter { $0.contains(#"subscriber="far""#) && !$0.hasSuffix(" 0") }
  }

  func play() throws {
    try post(10)
    let brought = bring("{}")
    #expect((brought.status == 0) == !isRefused, "\(brought.text)")
    try post(20, bad: true)
    try expectSaid(brought.text)
    // Whatever became of it, it goes, and all is as before.
    _ = spine(folder)
    let freed = reload(folder)
    #expect(freed.status == 0, "\(freed.text)")
    if case .logged = misdeed.end {
      #expect(eventually { daemon.process.output.contains { $0.contains(misdeed.said) } }, "\(daemon.process.output)")
    }
    #expect(eventually { HTTPConnection(port: daemon.port)?.get("/ready")?.status == 200 })
    try post(10)
    let expected = (0..<posted).map { "\"\($0)\"" }
    func archived() -> [String] {
      deliveredLines(folder.path + "/out").map { line in
        String(line.drop { $0 != ":" }.dropFirst().prefix { $0 != "," && $0 != "}" })
      }
    }
    #expect(eventually { archived().count >= posted } && archived() == expected, "\(archived())")
    #expect(daemon.stop() == 0, "\(daemon.process.output.suffix(5))")
  }

  private var isRefused: Bool { if case .refused = misdeed.end { true } else { false } }

  private func expectSaid(_ brought: String) throws {
    switch misdeed.end {
    case .refused: #expect(brought.contains(misdeed.said), "\(brought)")
    case .shown: #expect(eventually { shown().contains(misdeed.said) }, "\(shown())")
    case .counted:
      #expect(eventually { metrics().contains { $0.contains(misdeed.said) } }, "\(metrics())")
    case .reconfigured:
      let again = bring(#"{ other: true }"#)
      #expect(
        eventually { (again.text + shown()).contains(misdeed.said) }, "\(again.text)\n\(shown())")
    case .logged: #expect(eventually { metrics().contains { $0.contains("acked") } }, "\(metrics())")
    }
  }
}
