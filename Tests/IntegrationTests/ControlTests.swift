import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// A raw connection to a daemon's control socket.
final class ControlConnection {
  private let descriptor: Int32

  init?(_ folder: TemporaryFolder) {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: (folder.path + "/data/control.sock").utf8) }
    let descriptor = descriptor
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if rc != 0 { return nil }
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// Sends these bytes, says that there are no more, and gives back all that is answered.
  func ask(_ bytes: [UInt8]) -> String {
    begin(bytes)
    return rest()
  }

  /// Sends them and does not wait.
  func begin(_ bytes: [UInt8]) {
    _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    shutdown(descriptor, Int32(SHUT_WR))
  }

  /// Whether an answer, or the end, is there by now.
  var isAnswered: Bool {
    var one = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&one, 1, 0) == 1
  }

  func rest() -> String {
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
      answer += chunk[..<count]
    }
  }
}

@Suite struct ControlTests {
  @Test("status shows the daemon's parts as a table and as JSON, found by -c, --data or ./data")
  func statusForms() throws {
    let folder = TemporaryFolder()
    let topology = Sketch().write(to: folder)
    let daemon = try #require(Daemon(topology: topology))
    #expect(HTTPConnection(port: daemon.port)?.post(#"{"message":"1"}"#)?.status == 202)
    let text = ChildProcess.run(Products.sluice, ["status", "-c", topology])
    #expect(text.status == 0)
    for word in [
      "generation 1", "STREAM", "events", "SOURCE", "api", "SUBSCRIBER", "archive", "disk", ":\(daemon.port)",
    ] {
      #expect(text.text.contains(word), "\(word) is not in:\n\(text.text)")
    }
    let here = ChildProcess.run(Products.sluice, ["status", "--json"], directory: folder.path)
    #expect(here.status == 0)
    let report = try status(folder)
    #expect(report["pid"] as? Int == Int(daemon.process.pid))
    #expect(names(report, "streams") == ["events", "dead"])
    #expect(eventually { (try? status(folder)["ready"] as? Bool) == true })
    #expect(daemon.stop() == 0)
    let gone = ChildProcess.run(Products.sluice, ["status", "-c", topology])
    #expect(gone.status == 69 && gone.text.contains("no daemon answers"), "\(gone.text)")
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/data/control.sock"))
  }

  @Test("A socket that a killed daemon left behind is replaced, and no other user can open it")
  func staleSocket() throws {
    let folder = TemporaryFolder()
    let topology = Sketch().write(to: folder)
    try #require(Daemon(topology: topology)).crash()
    let path = folder.path + "/data/control.sock"
    #expect(FileManager.default.fileExists(atPath: path))
    let daemon = try #require(Daemon(topology: topology))
    #expect(try status(folder)["pid"] as? Int == Int(daemon.process.pid))
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
    #expect(daemon.stop() == 0)
  }

  @Test("A file of somebody's in the place of the socket is left alone, and the daemon says what is in its way")
  func aFileInTheWay() throws {
    let folder = TemporaryFolder()
    let topology = Sketch().write(to: folder)
    try FileManager.default.createDirectory(atPath: folder.path + "/data", withIntermediateDirectories: true)
    let path = folder.write("data/control.sock", "mine")
    let run = ChildProcess.run(Products.sluice, ["run", "-c", topology])
    #expect(run.status != 0 && run.text.contains("control.sock"), "\(run.text)")
    #expect(FileManager.default.contents(atPath: path) == Data("mine".utf8))
  }

  @Test("A data directory whose path is longer than a socket's address may be still has its socket")
  func longPath() throws {
    let folder = TemporaryFolder()
    let deep = String(repeating: "/a-rather-long-name-for-a-folder", count: 5)
    try FileManager.default.createDirectory(atPath: folder.path + deep, withIntermediateDirectories: true)
    let topology = folder.write(
      String(deep.dropFirst()) + "/sluice.yaml",
      """
      sluice: 1
      streams: { events: {} }
      sources: { api: { type: http, listen: "127.0.0.1:0", stream: events } }
      subscribers: { archive: { plugin: disk, streams: [ events ], config: { path: ./out } } }
      """)
    let daemon = try #require(Daemon(topology: topology))
    #expect(ChildProcess.run(Products.sluice, ["status", "-c", topology]).status == 0)
    #expect(daemon.stop() == 0)
  }

  @Test("Requests that are none are refused with a reason, whatever they hold, and the daemon goes on")
  func badRequests() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: Sketch().write(to: folder)))
    for (line, reason) in [
      ("status", "not JSON"), ("[]", "JSON object"), ("{}", "no verb"), (#"{"verb":"stop"}"#, "no verb 'stop'"),
      (#"{"verb":7}"#, "must be a string"), (#"{"verb":"status","x":1}"#, "'x' is not known"),
      (#"{"verb":"reload","dry_run":"yes"}"#, "true or false"), ("", "not JSON"),
    ] {
      let answer = try #require(ControlConnection(folder)).ask(Array((line + "\n").utf8))
      #expect(answer.contains(#""end":"error""#) && answer.contains(#""code":"bad_request""#), "\(line): \(answer)")
      #expect(answer.contains(reason), "\(line): \(answer)")
    }
    let long = try #require(ControlConnection(folder)).ask([UInt8](repeating: 0x20, count: 100_000))
    #expect(long.contains("bad_request") || long.isEmpty)
    #expect(try #require(ControlConnection(folder)).ask(Array(#"{"verb":"status"}"#.utf8)).contains("no request came"))

    var generator = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    let seed = generator.seed
    let good = Array(#"{"verb":"reload","dry_run":true}"#.utf8)
    for _ in 0..<200 {
      var bytes = Bool.random(using: &generator) ? good : generator.bytes(upTo: 100)
      for _ in 0..<Int.random(in: 1...3, using: &generator) where !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      let answer = try #require(ControlConnection(folder)).ask(bytes + [10])
      #expect(answer.hasSuffix("}\n") && answer.contains(#""end":"#), "seed \(seed): \(bytes)")
    }
    #expect(try status(folder)["generation"] as? Int == 1)
    #expect(daemon.stop() == 0)
  }

  @Test("More commands than may be answered at once are told so, and those that go make room")
  func tooManyCommands() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: Sketch().write(to: folder)))
    // Who is silent is cut before long, so each look has twenty anew.
    #expect(
      eventually {
        let silent = (0..<20).compactMap { _ in ControlConnection(folder) }
        let result = ChildProcess.run(Products.sluice, ["status", "--data", folder.path + "/data"])
        return silent.count == 20 && result.status == 75 && result.text.contains("try again")
      })
    #expect(
      eventually { ChildProcess.run(Products.sluice, ["status", "--data", folder.path + "/data"]).status == 0 })
    #expect(daemon.stop() == 0)
  }

  @Test("However many commands wait, status is answered; of those one too many is told so")
  func statusBesides() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/starting.c", kind: "starting", in: folder)
    func write(_ n: Int) -> String {
      var sketch = Sketch()
      sketch.subscribers =
        "  it: { plugin: \(plugin), isolation: thread, streams: [ events ], config: { n: \(n) } }\n"
      return sketch.write(to: folder)
    }
    let daemon = try #require(Daemon(topology: write(0)))
    // It never starts, and all that come after it wait for that.
    _ = write(1000)
    let reloads = (0..<17).compactMap { _ in ControlConnection(folder) }
    for reload in reloads { reload.begin(Array("{\"verb\":\"reload\"}\n".utf8)) }
    #expect(eventually { reloads.contains { $0.isAnswered } })
    let refused = try #require(reloads.first { $0.isAnswered }).rest()
    #expect(refused.contains(#""code":"busy""#) && refused.contains("try again"), "\(refused)")
    // Before the first one's time is over, which is half a minute.
    #expect(reloads.count == 17 && reloads.filter { !$0.isAnswered }.count == 16, "the others wait")
    let looked = ChildProcess.run(Products.sluice, ["status", "--data", folder.path + "/data"])
    #expect(looked.status == 0, "\(looked.text)")
    #expect(daemon.stop() == 0)
  }

  @Test("The dead stream is there as soon as a subscriber needs it, and is kept over a restart")
  func deadStream() throws {
    let folder = TemporaryFolder()
    let topology = Sketch().write(to: folder)
    for _ in 0..<2 {
      let daemon = try #require(Daemon(topology: topology))
      #expect(names(try status(folder), "streams").contains("dead"))
      #expect(daemon.stop() == 0)
    }
    #expect(FileManager.default.fileExists(atPath: folder.path + "/data/streams/dead"))
  }
}
