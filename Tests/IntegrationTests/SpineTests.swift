import Foundation
import Synchronization
import TestSupport
import Testing

/// One HTTP source, one stream, and the disk subscriber of this build.
func spine(_ folder: TemporaryFolder, durability: String = "fsync", subscribers: String = "", stream: String = "")
  -> String
{
  folder.write(
    "sluice.yaml",
    """
    sluice: 1
    daemon: { data: ./data }
    streams:
      events: { durability: \(durability)\(stream) }
    sources:
      api: { type: http, listen: "127.0.0.1:0", stream: events, auth: none, topic: web }
    subscribers:
      archive:
        plugin: disk
        streams: [ events ]
        batch: { wait: 5ms }
        config: { path: ./out }
    \(subscribers)
    """)
}

/// Every line of every file that the disk subscriber left, the current one included.
func deliveredLines(_ folder: String) -> [String] {
  let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
  return names.filter { $0.hasSuffix(".ndjson") }.sorted().flatMap { name in
    (FileManager.default.contents(atPath: folder + "/" + name)).map {
      String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init)
    } ?? []
  }
}

/// Looks again, yielding the processor, until `condition` holds; false after `seconds`. For state that a process
/// changes on disk, where nothing can be awaited.
func eventually(within seconds: Double = 30, _ condition: () -> Bool) -> Bool {
  let deadline = DispatchTime.now() + seconds
  let pause = DispatchSemaphore(value: 0)
  while DispatchTime.now() < deadline {
    if condition() { return true }
    _ = pause.wait(timeout: .now() + 0.005)
  }
  return condition()
}

/// Lets time pass: for a load's rate, or a pause that a protocol asks for; nothing is awaited with it.
func pause(_ seconds: Double) { _ = DispatchSemaphore(value: 0).wait(timeout: .now() + seconds) }

@Suite struct SpineTests {
  @Test("Titan's curl example is answered 202 with exactly its body, and stands in the file within a second")
  func titansExample() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: spine(folder)))
    let curl = ChildProcess.run(
      "/usr/bin/curl",
      [
        "-s", "-i", "-X", "POST", "http://127.0.0.1:\(daemon.port)/log", "-H", "Content-Type: application/json", "-d",
        #"{"message": "Hello from Titan!"}"#,
      ])
    #expect(curl.text.hasPrefix("HTTP/1.1 202 "))
    #expect(curl.text.hasSuffix(#"{"status":"queued"}"#))
    #expect(
      eventually(within: 1) { deliveredLines(folder.path + "/out") == [#"{"message": "Hello from Titan!"}"#] })
    #expect(daemon.stop() == 0)
  }

  @Test("SIGTERM delivers what was acknowledged, exits 0, and a restart delivers nothing twice")
  func cleanShutdown() throws {
    let folder = TemporaryFolder()
    let topology = spine(folder)
    for round in 0..<2 {
      let daemon = try #require(Daemon(topology: topology))
      let connection = try #require(HTTPConnection(port: daemon.port))
      for i in 0..<100 { #expect(connection.post(#"{"message":"\#(round * 100 + i)"}"#)?.status == 202) }
      #expect(daemon.stop() == 0)
      #expect(deliveredLines(folder.path + "/out") == (0..<(round + 1) * 100).map { #"{"message":"\#($0)"}"# })
    }
  }

  /// Twenty rounds, two hundred with `--full`.
  static let killRounds = ProcessInfo.processInfo.environment["SLUICE_FULL"] == nil ? 20 : 200

  @Test(
    "Rounds of kill -9 under sixteen connections: every 202 is in the file, in order per connection",
    .timeLimit(.minutes(60)), arguments: ["fsync", "written"])
  func everyAcknowledgedRecordSurvivesKill(durability: String) throws {
    let folder = TemporaryFolder()
    let topology = spine(folder, durability: durability)
    var generator = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    print("kill -9 seed \(generator.seed)")
    let acknowledged = Mutex<[[Int]]>(Array(repeating: [], count: 16))
    var next = 0
    var slowest = 0.0
    for _ in 0..<Self.killRounds {
      let daemon = try #require(Daemon(topology: topology))
      let recovery = try #require(daemon.process.output.first { $0.contains("recovered") })
      let milliseconds = try #require(field("recovery_ms", of: recovery).flatMap(Double.init))
      #expect(milliseconds < 1000, "\(recovery)")
      slowest = max(slowest, milliseconds)
      let base = next
      let enough = DispatchSemaphore(value: 0)
      let done = DispatchGroup()
      let killAfter = Int.random(in: 1...400, using: &generator)
      let count = Atomic<Int>(0)
      for worker in 0..<16 {
        done.enter()
        Thread.detachNewThread {
          defer {
            enough.signal()
            done.leave()
          }
          guard let connection = HTTPConnection(port: daemon.port) else { return }
          for i in 0..<1_000_000 {
            let number = base + i * 16 + worker
            guard connection.post(#"{"message":"\#(number)"}"#)?.status == 202 else { break }
            acknowledged.withLock { $0[worker].append(number) }
            if count.add(1, ordering: .relaxed).newValue == killAfter { enough.signal() }
          }
        }
      }
      enough.wait()
      daemon.crash()
      done.wait()
      next = base + 16_000_000
    }
    print("\(durability): slowest of \(Self.killRounds) recoveries \(slowest) ms")
    let last = try #require(Daemon(topology: topology))
    #expect(last.stop() == 0)
    let delivered = deliveredLines(folder.path + "/out").compactMap(numberOf)
    let present = Set(delivered)
    for worker in 0..<16 {
      let sent = acknowledged.withLock { $0[worker] }
      #expect(sent.allSatisfy(present.contains), "worker \(worker) lost acknowledged records")
      var seen = Set<Int>()
      let first = delivered.filter { $0 % 16 == worker && seen.insert($0).inserted }
      #expect(first == first.sorted(), "worker \(worker): first deliveries out of order")
    }
  }

  @Test("A subscriber added later reads the whole stream from its segment files while the first goes on")
  func aSecondSubscriberStartsFromTheOldest() throws {
    let folder = TemporaryFolder()
    let first = try #require(Daemon(topology: spine(folder, stream: ", segment: 2MiB")))
    let connection = try #require(HTTPConnection(port: first.port))
    let filler = String(repeating: "x", count: 20_000)
    for i in 0..<200 { #expect(connection.post(#"{"message":"\#(i)","filler":"\#(filler)"}"#)?.status == 202) }
    #expect(first.stop() == 0)
    let second = """
        copy:
          plugin: disk
          streams: [ events ]
          start: oldest
          config: { path: ./copy }
      """
    let again = try #require(Daemon(topology: spine(folder, subscribers: second, stream: ", segment: 2MiB")))
    #expect(eventually { deliveredLines(folder.path + "/copy").count == 200 })
    #expect(again.stop() == 0)
    #expect(deliveredLines(folder.path + "/copy") == deliveredLines(folder.path + "/out"))
  }

  @Test("Health, readiness and both forms of metrics answer, and count what went through")
  func observability() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: spine(folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<10 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    #expect(connection.post(#"{"message":5}"#)?.status == 400)
    #expect(connection.get("/health")?.status == 200)
    #expect(eventually { connection.get("/ready")?.status == 200 })
    #expect(
      eventually {
        let text = connection.get("/metrics", accept: "text/plain")?.body ?? ""
        return text.contains("sluice_stream_records_total{stream=\"events\"} 10\n")
          && text.contains("sluice_subscriber_acked_records_total{subscriber=\"archive\"} 10\n")
      })
    let json = try #require(connection.get("/metrics")?.body)
    #expect((try? JSONSerialization.jsonObject(with: Data(json.utf8))) != nil)
    #expect(daemon.stop() == 0)
  }

  @Test("A second daemon on the same data directory is refused, and says who holds it")
  func aSecondDaemonIsRefused() throws {
    let folder = TemporaryFolder()
    let topology = spine(folder)
    let daemon = try #require(Daemon(topology: topology))
    let second = ChildProcess.run(Products.sluice, ["run", "-c", topology])
    #expect(second.status != 0)
    #expect(second.text.contains("\(daemon.process.pid)"), "\(second.text)")
    #expect(daemon.stop() == 0)
  }
}

func numberOf(_ line: String) -> Int? {
  guard line.hasPrefix(#"{"message":""#), line.hasSuffix("\"}") else { return nil }
  return Int(line.dropFirst(12).dropLast(2))
}

func field(_ name: String, of line: String) -> String? {
  line.split(separator: " ").first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.count + 1)) }
}
