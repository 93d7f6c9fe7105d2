import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// A topology with every kind of part, and another in which every kind of part is added, changed or removed; one of its steps
/// can be made to fail by what makes it fail in the world.
private struct Change {
  var stream = "extra: {}"
  var freshListen = "127.0.0.1:0"
  var admin = "127.0.0.2:0"
  var log = "{ file: ./other.log }"
  var added = 0
  var beside = 0
  var config = 2
  var alone = 0
}

/// A step at which the change fails, in the order of the steps.
private enum Fault: String, CaseIterable {
  case identities, stream, port, admin, log, addedCreate, addedStart, besideStart, config, aloneStart

  /// What the reload says of it.
  var told: String {
    switch self {
    case .identities: "identities.yaml"
    case .stream: "stream extra:"
    case .port: "source fresh: cannot listen on"
    case .admin: "source admin: cannot listen on"
    case .log: "cannot open the log file"
    case .addedCreate: "no file in the state directory"
    case .addedStart: "subscriber added: start answered SLU_E_CONFIG"
    case .besideStart: "subscriber beside: start answered SLU_E_CONFIG"
    case .config: "thirteen is unlucky"
    case .aloneStart: "subscriber alone: start answered SLU_E_CONFIG"
    }
  }
}

private struct Scene {
  let folder = TemporaryFolder()
  let taken: ListeningPort
  let oldIdentities: Data
  let newIdentities: Data
  let oldToken: String
  let newToken: String

  init() throws {
    let source = "Tests/FixturePlugins/starting.c"
    let exclusive = try buildPlugin(source, kind: "starting", in: folder, ["-DFLAGS=SLU_F_EXCLUSIVE"])
    try FileManager.default.moveItem(atPath: exclusive, toPath: folder.path + "/libsluice-alone.so")
    _ = try buildPlugin(source, kind: "starting", in: folder)
    _ = try buildPlugin("Tests/FixturePlugins/changeable.c", kind: "changeable", in: folder)
    taken = try #require(ListeningPort())
    func identity(_ name: String, in folder: TemporaryFolder) throws -> (Data, String) {
      let file = folder.path + "/\(name).yaml"
      let made = ChildProcess.run(
        Products.sluice, ["identity", "add", name, "--publish", "events", "--file", file])
      #expect(made.status == 0, "\(made.text)")
      let token = made.text.split(separator: "\n").first { $0.hasPrefix("slu1_") }.map(String.init)
      return (try #require(FileManager.default.contents(atPath: file)), try #require(token))
    }
    (oldIdentities, oldToken) = try identity("old", in: folder)
    (newIdentities, newToken) = try identity("new", in: folder)
  }

  private func identities(_ data: Data, mode: Int = 0o600) {
    let made = FileManager.default.createFile(
      atPath: folder.path + "/identities.yaml", contents: data, attributes: [.posixPermissions: mode])
    #expect(made)
  }

  private func subscriber(
    _ name: String, _ kind: String, _ streams: String, n: Int, wait: Int = 1, _ more: String = ""
  ) -> String {
    "  \(name): { plugin: ./libsluice-\(kind).so, isolation: thread, streams: [ \(streams) ], batch: { wait: \(wait)ms }, config: { n: \(n) }\(more) }\n"
  }

  /// `fillers`: subscribers that there are besides, each with a cursor in `events`.
  @discardableResult
  func before(fillers: Range<Int> = 0..<0) -> String {
    let more = fillers.map { subscriber("filler\($0)", "starting", "events", n: 0) }.joined()
    identities(oldIdentities)
    return folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data, admin: "127.0.0.1:0", log: { to: { file: ./sluice.log } } }
      identities: ./identities.yaml
      streams:
        events: { retain: { bytes: 1GiB } }
        gone: {}
        letters: {}
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: events, auth: required, topic: a, idle_timeout: 1h }
        side: { type: http, listen: "127.0.0.1:0", stream: gone, auth: none, idle_timeout: 1h }
      subscribers:
      \(subscriber("alone", "alone", "events", n: 0))\(subscriber("beside", "starting", "events", n: 0))\
      \(subscriber("config", "changeable", "events", n: 1))\(subscriber("leaving", "starting", "gone", n: 0))\(more)
      """)
  }

  func after(_ change: Change, identityMode: Int = 0o600) {
    identities(newIdentities, mode: identityMode)
    _ = folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data, admin: "\(change.admin)", log: { to: \(change.log), level: debug } }
      identities: ./identities.yaml
      streams:
        events: { retain: { bytes: 2GiB } }
        \(change.stream)
        letters: {}
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: events, auth: required, topic: b, idle_timeout: 1h }
        fresh: { type: http, listen: "\(change.freshListen)", stream: extra, auth: none }
      subscribers:
      \(subscriber("alone", "alone", "events", n: change.alone, wait: 2))\
      \(subscriber("beside", "starting", "events", n: change.beside, wait: 2))\
      \(subscriber("config", "changeable", "events", n: change.config))\
      \(subscriber("added", "starting", "events, extra", n: change.added, ", dead_letter: letters"))
      """)
  }

  /// Has the change fail there, and gives back how the world is mended.
  func arrange(_ fault: Fault) -> () -> Void {
    var change = Change()
    var mend = {}
    switch fault {
    case .identities:
      after(change, identityMode: 0o644)
      return mend
    case .stream:
      let file = folder.write("data/streams/extra", "")
      mend = { try? FileManager.default.removeItem(atPath: file) }
    case .port: change.freshListen = "127.0.0.1:\(taken.port)"
    case .admin: change.admin = "127.0.0.1:\(taken.port)"
    case .log: change.log = "{ file: ./no/such/folder/sluice.log }"
    case .addedCreate:
      let own = folder.path + "/data/plugins/added"
      try? FileManager.default.createDirectory(atPath: own + "/seen", withIntermediateDirectories: true)
      mend = { try? FileManager.default.removeItem(atPath: own) }
    case .addedStart: change.added = -1
    case .besideStart: change.beside = -1
    case .config: change.config = 13
    case .aloneStart: change.alone = -1
    }
    after(change)
    return mend
  }

  /// What runs, without what counts.
  func state() throws -> String {
    let report = try status(folder)
    func rows(_ part: String, _ keys: String...) -> [String] {
      (report[part] as? [[String: Any]] ?? []).map { row in
        keys.map { "\($0)=\(row[$0].map { "\($0)" } ?? "")" }.joined(separator: " ")
      }
    }
    let cursors = (report["streams"] as? [[String: Any]] ?? []).flatMap { stream in
      (stream["cursors"] as? [[String: Any]] ?? []).map {
        "\(stream["name"] ?? "") \($0["subscriber"] ?? "") connected=\($0["connected"] ?? "")"
      }
    }
    let top = ["generation", "ready", "problems"].map { "\($0)=\(report[$0] ?? "")" }
    return
      (top + rows("streams", "name", "state", "log_uuid", "retain_bytes") + cursors.sorted()
      + rows("orphaned_streams", "name") + rows("sources", "name", "state", "address", "stream", "generation")
      + rows("subscribers", "name", "state", "version", "generation") + rows("modules", "path", "generation", "used_by"))
      .joined(separator: "\n")
  }

  /// The daemon, when all of it is up.
  func start() -> ChildProcess {
    let child = Daemon.spawn(topology: before())
    #expect(eventually { log("sluice.log").contains(" running") }, "\(child.output)")
    #expect(eventually { (try? state().contains("ready=1")) == true })
    return child
  }

  func port(_ name: String) throws -> Int {
    let sources = try status(folder)["sources"] as? [[String: Any]] ?? []
    let address = sources.first { $0["name"] as? String == name }?["address"] as? String
    return try #require(address?.split(separator: ":").last.flatMap { Int($0) })
  }

  func log(_ name: String) -> String {
    String(decoding: FileManager.default.contents(atPath: "\(folder.path)/\(name)") ?? Data(), as: UTF8.self)
  }

  /// The lines of records that a subscriber has written down.
  func records(_ name: String) -> [String] {
    log("data/plugins/\(name)/seen").split(separator: "\n").map(String.init).filter { $0.first?.isNumber == true }
  }
}

@Suite struct RollbackTests {
  private func post(_ connection: HTTPConnection?, _ number: Int, _ token: String?) -> Int? {
    let header = token.map { "Authorization: Bearer \($0)\r\n" } ?? ""
    return connection?.post(#"{"message":"\#(number)"}"#, headers: header)?.status
  }

  @Test(
    "A reload that changes every kind of part and fails at any step leaves everything as it was, and works once nothing fails"
  )
  func everyStep() throws {
    let scene = try Scene()
    let child = scene.start()
    let before = try scene.state()
    let (api, side) = (try scene.port("api"), try scene.port("side"))
    let (kept, other) = (try #require(HTTPConnection(port: api)), try #require(HTTPConnection(port: side)))
    for (number, fault) in Fault.allCases.enumerated() {
      let mend = scene.arrange(fault)
      let failed = reload(scene.folder)
      #expect(
        failed.status == (fault == .identities ? 78 : 69) && failed.text.contains(fault.told),
        "\(fault): \(failed.text)")
      mend()
      let isSame = eventually { (try? scene.state()) == before }
      guard isSame else {
        Issue.record("\(fault): it is\n\(try scene.state())\nand was\n\(before)")
        return
      }
      #expect(post(kept, number, scene.oldToken) == 202, "\(fault): the connection is open, and its token good")
      // More wrong guesses in a row would lock the right one out.
      if [.identities, .addedStart, .aloneStart].contains(fault) {
        #expect(post(HTTPConnection(port: api), number, scene.newToken) == 401, "\(fault)")
      }
      #expect(post(other, number, nil) == 202, "\(fault)")
      for (name, count) in [
        ("alone", number + 1), ("beside", number + 1), ("config", number + 1), ("leaving", number + 1),
      ] {
        #expect(eventually { scene.records(name).count == count }, "\(fault): \(name) has \(scene.records(name))")
      }
      #expect(scene.records("config").last?.split(separator: " ")[1] == "1", "\(fault): it has its old config")
      #expect(
        scene.log("sluice.log").components(separatedBy: "the old topology goes on").count == number + 2,
        "\(fault): it is told where the log was")
      #expect(scene.records("added").isEmpty, "\(fault)")
    }
    for name in ["alone", "beside", "config", "leaving"] {
      let lsns = scene.records(name).compactMap { $0.split(separator: " ").first.flatMap { Int($0) } }
      #expect(lsns == Array(1...Fault.allCases.count), "\(name) got each once, in order")
    }
    scene.after(Change())
    let done = reload(scene.folder)
    #expect(done.status == 0 && done.text.contains("generation 2 runs"), "\(done.text)")
    #expect(post(HTTPConnection(port: api), 100, scene.newToken) == 202)
    #expect(post(HTTPConnection(port: api), 100, scene.oldToken) == 401)
    #expect(post(HTTPConnection(port: try scene.port("fresh")), 100, nil) == 202)
    #expect(eventually { scene.records("added").count == Fault.allCases.count + 2 })
    #expect(eventually { scene.records("config").last?.split(separator: " ")[1] == "2" })
    #expect(names(try status(scene.folder), "subscribers") == ["alone", "beside", "config", "added"])
    #expect(scene.log("other.log").contains("reloaded"))
    child.send(SIGTERM)
    #expect(child.exitStatus() == 0)
  }

  @Test("Cursors that changed hands already are handed back when the last subscriber can't have its own")
  func handedBack() throws {
    let scene = try Scene()
    let child = scene.start()
    // As many as a log keeps, three of which are of those that stay.
    for first in stride(from: 0, to: 253, by: 32) {
      scene.before(fillers: first..<min(first + 32, 253))
      let filled = reload(scene.folder)
      #expect(filled.status == 0, "\(filled.text)")
    }
    scene.before()
    #expect(reload(scene.folder).status == 0)
    let before = try scene.state()
    let connection = try #require(HTTPConnection(port: try scene.port("api")))
    #expect(post(connection, 0, scene.oldToken) == 202)
    scene.after(Change())
    let failed = reload(scene.folder)
    #expect(
      failed.status == 69 && failed.text.contains("subscriber added: the stream has 256 cursors"), "\(failed.text)")
    let isSame = eventually { (try? scene.state()) == before }
    if !isSame { Issue.record("it is\n\(try scene.state())\nand was\n\(before)") }
    #expect(post(connection, 1, scene.oldToken) == 202)
    for name in ["alone", "beside", "config"] {
      #expect(eventually { scene.records(name).count == 2 }, "\(name) has \(scene.records(name))")
    }
    #expect(scene.records("config").last == "2 1 2", "the same instance, which took its old config back")
    child.send(SIGTERM)
    #expect(child.exitStatus() == 0)
  }

  @Test(
    "A source's socket has its own options again when the admin listener was to have its address and did not get it")
  func socketOptions() throws {
    let folder = TemporaryFolder()
    let held = try HeldPort()
    var sketch = Sketch()
    sketch.listen = "127.0.0.1:\(held.number)"
    sketch.api = "socket: { keepalive: false }"
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    /// What the kernel will do next for the connections to it: 2 is a probe whether the other end is still there.
    func timers() -> [Int] {
      // Foundation takes the first part of this file for all of it.
      let text = ChildProcess.run("/bin/cat", ["/proc/net/tcp"]).text
      return text.split(separator: "\n").dropFirst().compactMap { line in
        let fields = line.split(separator: " ")
        let port = fields[1].split(separator: ":").last.flatMap { Int($0, radix: 16) }
        return port == daemon.port && fields[3] == "01" ? Int(fields[5].prefix(2)) : nil
      }
    }
    sketch.listen = "127.0.0.1:0"
    sketch.daemon = ", admin: \"127.0.0.1:\(held.number)\", log: { to: { file: ./no/such/folder/sluice.log } }"
    sketch.write(to: folder)
    let failed = reload(folder)
    #expect(failed.status == 69 && failed.text.contains("cannot open the log file"), "\(failed.text)")
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"0"}"#)?.status == 202)
    // Until the kernel has an acknowledgement of the answer, its timer is that.
    #expect(eventually { timers() == [0] }, "\(timers())")
    withExtendedLifetime((connection, held)) {}
    #expect(daemon.stop() == 0)
  }
}
