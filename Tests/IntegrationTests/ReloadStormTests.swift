import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// One topology after the other, right ones and wrong ones, while records come in.
private struct Storm {
  var random: SeededGenerator
  let folder: TemporaryFolder
  let orderly: String
  /// The same, and replaced now and then.
  let replaced: String
  let changeable: String
  let publishing: String
  /// Of the framed source.
  let port: HeldPort

  /// What is wrong with a topology; each is found at another stage.
  static let mistakes = [
    "syntax", "unknown key", "no such plugin", "no such stream", "refused", "circle", "refused config", "taken port",
    "no such output", "no log folder",
  ]

  private mutating func oneOf(_ choices: String...) -> String { choices.randomElement(using: &random) ?? "" }
  private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

  /// Always the same, so that what a storm has left behind can be told.
  func calm() -> String { text(streams: "", sources: "", subscribers: "", tuned: "batch: { wait: 5ms }", daemon: "") }

  private func text(
    streams: String, sources: String, subscribers: String, tuned: String, daemon: String, events: String = ""
  ) -> String {
    """
    sluice: 1
    daemon: { data: ./data\(daemon) }
    streams:
      events: { durability: fsync, ring: 16MiB, retain: { bytes: 1GiB }\(events) }
      posts: { durability: written, ring: 4MiB, segment: 4MiB, retain: { bytes: 1GiB } }
    \(streams)
    sources:
      modules: { type: tcp, listen: "127.0.0.1:\(port.number)", stream: events, auth: none }
      web: { type: http, listen: "127.0.0.1:0", stream: posts, auth: none }
    \(sources)
    subscribers:
      keeper: { plugin: \(orderly), isolation: thread, streams: [ events ], batch: { wait: 5ms } }
      tuned: { plugin: \(replaced), streams: [ events ], \(tuned) }
      archive: { plugin: disk, streams: [ posts ], batch: { wait: 5ms }, config: { path: ./posts } }
    \(subscribers)
    """
  }

  /// Puts a new file in the place of the plugin, as an installation does.
  func replace() throws {
    let new = replaced + ".new"
    try FileManager.default.copyItem(atPath: orderly, toPath: new)
    try #require(rename(new, replaced) == 0, "errno \(errno)")
  }

  mutating func next(mistake: String?) -> String {
    var (streams, sources, subscribers) = ("", "", "")
    let hasSide = chance(60) || mistake != nil
    let small = "ring: 4MiB, segment: 4MiB"
    if hasSide {
      streams += "  side: { \(small), when_full: \(oneOf("reject", "block", "drop_oldest")) }\n"
      streams += "  results: { \(small), retain: { age: \(oneOf("1h", "2h")) } }\n"
      let settings = "topic: \(oneOf("a", "b")), idle_timeout: \(oneOf("5s", "9s"))"
      sources += "  api: { type: http, listen: \"127.0.0.1:0\", stream: side, auth: none, \(settings) }\n"
      let output = mistake == "no such output" ? "reslts" : "results"
      let target = mistake == "circle" ? "side" : "results"
      subscribers +=
        "  enrich: { plugin: \(publishing), isolation: \(oneOf("thread", "process")), streams: [ side ], publish: { \(output): \(target) } }\n"
      let n = mistake == "refused config" ? "13" : oneOf("1", "2", "3", "200")
      subscribers += "  change: { plugin: \(changeable), isolation: thread, streams: [ side ], config: { n: \(n) } }\n"
    }
    if chance(40) {
      sources += "  lines: { type: tcp, framing: lines, listen: \"127.0.0.1:0\", stream: events, auth: none }\n"
    }
    if chance(40) {
      subscribers +=
        "  copy: { plugin: disk, streams: [ events ], match: { topic: \"none.\(oneOf("a", "b"))\" }, config: { path: ./copy } }\n"
    }
    switch mistake {
    case "syntax": subscribers += "  broken: { plugin: [ }\n"
    case "unknown key":
      subscribers += "  broken: { plugin: disk, streams: [ events ], bach: {}, config: { path: ./x } }\n"
    case "no such plugin": subscribers += "  broken: { plugin: nosuch, streams: [ events ] }\n"
    case "no such stream": subscribers += "  broken: { plugin: disk, streams: [ evnts ], config: { path: ./x } }\n"
    case "taken port":
      sources += "  broken: { type: http, listen: \"0.0.0.0:\(port.number)\", stream: events, auth: none }\n"
    default: break
    }
    let tuned = "batch: { wait: \(oneOf("1ms", "5ms", "9ms")) }, isolation: \(oneOf("thread", "process"))"
    let level = oneOf("info", "debug", "error")
    let log = mistake == "no log folder" ? "to: { file: ./no/where.log }" : "level: \(level)"
    return text(
      streams: streams, sources: sources, subscribers: subscribers, tuned: tuned, daemon: ", log: { \(log) }",
      events: mistake == "refused" ? ", segment: 8MiB" : chance(50) ? ", commit: { linger: 1ms }" : "")
  }
}

/// What a process has at hand.
private struct Holdings: CustomStringConvertible {
  var descriptors: Int
  var threads: Int
  var children: Int
  var residentKiB: Int
  var mappedKiB: Int

  init(of pid: pid_t) {
    func entries(_ name: String) -> [String] {
      (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/\(name)")) ?? []
    }
    let status = String(decoding: FileManager.default.contents(atPath: "/proc/\(pid)/status") ?? Data(), as: UTF8.self)
    func field(_ name: String) -> Int {
      let line = status.split(separator: "\n").first { $0.hasPrefix("\(name):") } ?? ""
      return Int(line.filter(\.isNumber)) ?? 0
    }
    descriptors = entries("fd").count
    threads = field("Threads")
    children = entries("task").reduce(0) { sum, task in
      let list = FileManager.default.contents(atPath: "/proc/\(pid)/task/\(task)/children") ?? Data()
      return sum + String(decoding: list, as: UTF8.self).split(separator: " ").count
    }
    residentKiB = field("VmRSS")
    mappedKiB = field("VmSize")
  }

  /// What the descriptors are, and how many of each.
  static func kinds(of pid: pid_t) -> [String: Int] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd")) ?? []
    let targets = names.compactMap {
      try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\($0)")
    }
    return Dictionary(targets.map { ($0.filter { !$0.isNumber }, 1) }) { $0 + $1 }
  }

  var description: String {
    "\(descriptors) descriptors, \(threads) threads, \(children) children, \(residentKiB) of \(mappedKiB) KiB"
  }
}

@Suite struct ReloadStormTests {
  /// Records a second of each of the four producers.
  private static let rate = 12500

  @Test(
    "Two hundred random topologies and replaced plugins under fifty thousand records a second: nothing drops, is lost or leaks"
  )
  func storm() throws {
    let folder = TemporaryFolder()
    let load = try buildLoad(in: folder)
    var storm = try begin(in: folder)
    try storm.replace()
    let file = folder.write("sluice.yaml", storm.calm())
    let daemon = try #require(Daemon(topology: file))
    let producers = (0..<4).map { number in
      ChildProcess(
        load, ["127.0.0.1", "\(storm.port.number)", "1700", "64", "8192", "press-\(number)", "\(Self.rate)"])
    }
    let posting = Posting(port: try #require(daemon.ports["web"]))
    var applied = 0
    var refused: [String: Int] = [:]
    func go(_ mistake: String?) {
      _ = folder.write("sluice.yaml", storm.next(mistake: mistake))
      let result = reload(folder)
      if let mistake {
        #expect(result.status != 0, "\(mistake): \(result.text)")
        refused[mistake, default: 0] += 1
      } else {
        #expect(result.status == 0, "\(result.text)")
        applied += 1
      }
    }
    func calm() -> Holdings {
      _ = folder.write("sluice.yaml", storm.calm())
      #expect(reload(folder).status == 0)
      var last = Holdings(of: daemon.process.pid)
      // Threads and sockets that were let go need a moment to be gone.
      _ = eventually {
        defer { last = Holdings(of: daemon.process.pid) }
        let now = Holdings(of: daemon.process.pid)
        return now.descriptors == last.descriptors && now.threads == last.threads && now.children == last.children
      }
      return last
    }
    // What is made once and kept is made by then.
    for round in 0..<20 { go(round % 2 == 0 ? nil : Storm.mistakes[round / 2]) }
    let before = calm()
    for round in 20..<200 {
      if round % 10 == 1 { try storm.replace() }
      go(round % 3 == 0 ? Storm.mistakes[(round / 3) % Storm.mistakes.count] : nil)
    }
    var after = calm()
    _ = eventually {
      after = Holdings(of: daemon.process.pid)
      return after.descriptors <= before.descriptors && after.threads <= before.threads
        && after.children == before.children
    }
    #expect(
      after.descriptors <= before.descriptors && after.threads <= before.threads,
      "\(before) → \(after): \(Holdings.kinds(of: daemon.process.pid))")
    #expect(after.children == before.children, "\(before) → \(after)")
    #expect(after.residentKiB < before.residentKiB + 32 << 10, "\(before) → \(after)")
    // Some hundred threads have come and gone, each with megabytes of stack.
    #expect(after.mappedKiB < before.mappedKiB + 512 << 10, "\(before) → \(after)")
    #expect(Set(refused.keys) == Set(Storm.mistakes))
    let posts = posting.stop()
    #expect(posting.faults == 0 && posts > 200, "\(posts) on one connection, each acknowledged")
    let records = try end(producers)
    #expect(nothingWaits(folder, for: "keeper", "tuned", "archive"))
    #expect(daemon.stop() == 0)
    judge(folder, records)
    #expect(deliveredLines(folder.path + "/posts").compactMap(numberOf) == Array(0..<posts))
    print("reload storm: \(applied) applied, \(refused.values.reduce(0, +)) refused; \(before) → \(after)")
  }

  /// With the seed of SLUICE_STORM_SEED, or one of its own, which is printed.
  private func begin(in folder: TemporaryFolder) throws -> Storm {
    let asked = ProcessInfo.processInfo.environment["SLUICE_STORM_SEED"].flatMap { UInt64($0) }
    let seed = asked ?? UInt64.random(in: 0...UInt64.max)
    print("reload storm: SLUICE_STORM_SEED=\(seed)")
    return Storm(
      random: SeededGenerator(seed: seed), folder: folder,
      orderly: try buildPlugin("Tests/FixturePlugins/orderly.c", kind: "orderly", in: folder),
      replaced: folder.path + "/libsluice-replaced.so",
      changeable: try buildPlugin("Tests/FixturePlugins/changeable.c", kind: "changeable", in: folder),
      publishing: try buildPlugin("Tests/FixturePlugins/publishing.c", kind: "publishing", in: folder),
      port: try HeldPort()
    )
  }

  /// What each producer was acknowledged: all that its rate makes in the time of the storm, however late on a busy machine.
  /// How late is judged in the long run only, which has the machine to itself: at the storm's end no producer is more than a
  /// second behind its time.
  private func end(_ producers: [ChildProcess]) throws -> [Int] {
    for producer in producers { producer.send(SIGTERM) }
    var records: [Int] = []
    for producer in producers {
      #expect(producer.exitStatus() == 0, "all is acknowledged, on one connection: \(producer.output)")
      let report = try JSONSerialization.jsonObject(with: Data((producer.output.last ?? "{}").utf8)) as? [String: Any]
      let (sent, due) = (report?["records"] as? Int ?? 0, report?["due"] as? Int ?? .max)
      let behind = report?["behind"] as? Int ?? .max
      #expect(sent == due, "\(sent) records of \(due) that were due")
      if ProcessInfo.processInfo.environment["SLUICE_FULL"] != nil {
        #expect(behind <= Self.rate, "\(behind) records were due and not sent when the storm ended")
      }
      records.append(sent)
      print("reload storm: \(sent) records of one producer, \(report?["records_per_second"] ?? 0)/s, \(behind) behind")
    }
    return records
  }

  private func judge(_ folder: TemporaryFolder, _ records: [Int]) {
    for subscriber in ["keeper", "tuned"] {
      let rows = lines(folder.path + "/data/plugins/\(subscriber)/last").map {
        $0.split(separator: " ").map(String.init)
      }
      #expect(rows.map { $0[0] }.sorted() == ["press-0", "press-1", "press-2", "press-3"])
      for row in rows {
        let wanted = records[Int(row[0].suffix(1)) ?? 0]
        #expect(Int(row[1]) == wanted && row[4] == "0", "\(subscriber): \(row), \(wanted) were acknowledged")
        if subscriber == "keeper" { #expect(Int(row[2]) == wanted, "untouched: each once") }
      }
    }
  }

  private func lines(_ path: String) -> [String] {
    let text = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    return text.split(separator: "\n").map(String.init)
  }

  private func buildLoad(in folder: TemporaryFolder) throws -> String {
    let tools = Products.repository + "/Tests/Benchmarks/"
    let program = folder.path + "/tcp_load"
    let built = ChildProcess.run(
      "/usr/bin/cc",
      ["-std=c11", "-D_GNU_SOURCE", "-O2", "-o", program] + ["tcp_load.c", "wire.c", "histogram.c"].map { tools + $0 })
    try #require(built.status == 0, "\(built.text)")
    return program
  }
}
