import DaemonTestSupport
import Foundation
import Synchronization
import TestSupport
import Testing

/// Seconds that a test of endurance runs: a minute with `--full`.
private let enduranceSeconds = ProcessInfo.processInfo.environment["SLUICE_FULL"] == nil ? 8.0 : 60.0

/// A framed and an HTTP source into one stream, and the disk subscriber of this build.
private func bothEdges(_ folder: TemporaryFolder) -> String {
  folder.write(
    "sluice.yaml",
    """
    sluice: 1
    daemon: { data: ./data }
    streams:
      events: { durability: fsync }
    sources:
      modules: { type: tcp, listen: "127.0.0.1:0", stream: events, topic: press }
      api: { type: http, listen: "127.0.0.1:0", stream: events, auth: none, topic: web }
    subscribers:
      archive:
        plugin: disk
        streams: [ events ]
        batch: { wait: 5ms }
        config: { path: ./out }
    """)
}

private func record(_ producer: String, _ sequence: UInt64) -> String {
  #"{"message":"\#(sequence)","from":"\#(producer)"}"#
}

@Suite struct ProducerIdentityTests {
  @Test("A producer that reconnects at random points leaves no gap and no duplicate")
  func randomReconnects() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: bothEdges(folder)))
    let port = try #require(daemon.ports["modules"])
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    print("reconnects: seed \(random.seed)")
    let end = DispatchTime.now() + enduranceSeconds
    var sent: UInt64 = 0
    var connections = 0
    while DispatchTime.now() < end {
      let client = try #require(WireClient(port: port, producer: "press-7"))
      connections += 1
      // What a connection that broke had under way may or may not have arrived: the server knows.
      var next = client.lastSequence + 1
      #expect(client.lastSequence <= sent)
      for _ in 0..<Int.random(in: 0...20, using: &random) {
        let count = UInt64.random(in: 1...50, using: &random)
        guard client.awaitCredit(bytes: 8192, records: Int(count)) else { break }
        let payloads = (next..<(next + count)).map { record("press-7", $0) }
        sent = max(sent, next + count - 1)
        #expect(client.data(first: next, payloads: payloads))
        next += count
        if Bool.random(using: &random) { #expect(client.awaitAck(next - 1)) }
      }
      // Half of the connections end in the middle of a frame.
      if Bool.random(using: &random) {
        let bytes = [UInt8]((0..<Int.random(in: 1...40, using: &random)).map { _ in 8 })
        _ = client.sendRaw(bytes)
      }
    }
    let last = try #require(WireClient(port: port, producer: "press-7")).lastSequence
    print("reconnects: \(connections) connections, \(last) records")
    #expect(nothingWaits(folder, for: "archive"))
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out") == (0..<last).map { record("press-7", $0 + 1) })
  }

  @Test("A retry storm with the same sequences stores nothing twice, before and after a restart")
  func retryStorm() throws {
    let folder = TemporaryFolder()
    let topology = bothEdges(folder)
    let records: UInt64 = 200
    for round in 0..<2 {
      let daemon = try #require(Daemon(topology: topology))
      let port = try #require(daemon.ports["modules"])
      let api = try #require(daemon.ports["api"])
      let storm = DispatchGroup()
      let refused = Mutex<[String]>([])
      for worker in 0..<8 {
        storm.enter()
        Thread.detachNewThread {
          defer { storm.leave() }
          guard let connection = HTTPConnection(port: api) else { return refused.withLock { $0.append("connect") } }
          // All workers are the same producer and tell the same story, from the beginning and in batches of their own.
          let batch = UInt64(worker + 1)
          var next: UInt64 = 1
          while next <= records {
            let last = min(next + batch - 1, records)
            let body = (next...last).map { record("web-1", $0) }.joined(separator: "\n")
            let answer = connection.post(
              body, path: "/logs",
              headers: "Sluice-Producer: web-1\r\nSluice-Epoch: 1\r\nSluice-Sequence: \(next)\r\n")
            guard answer?.status == 202 else {
              return refused.withLock { $0.append("\(answer?.status ?? 0) \(answer?.body ?? "")") }
            }
            next = last + 1
          }
        }
      }
      for _ in 0..<5 {
        let client = try #require(WireClient(port: port, producer: "press-7"))
        #expect(client.lastSequence == 0 || client.lastSequence == records)
        #expect(client.data(first: 1, payloads: (1...records).map { record("press-7", $0) }))
        #expect(client.awaitAck(records))
      }
      storm.wait()
      #expect(refused.withLock { $0 } == [], "round \(round)")
      #expect(daemon.stop() == 0)
      let lines = deliveredLines(folder.path + "/out")
      for producer in ["press-7", "web-1"] {
        #expect(
          lines.filter { $0.contains(producer) } == (1...records).map { record(producer, $0) },
          "\(producer), round \(round)")
      }
    }
  }

  @Test("A higher epoch ends the older connection and goes on with its sequences; the older one can't come back")
  func epochsFence() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: bothEdges(folder)))
    let port = try #require(daemon.ports["modules"])
    let old = try #require(WireClient(port: port, producer: "press-7", epoch: 1))
    #expect(old.data(first: 1, payloads: (1...10).map { record("press-7", $0) }) && old.awaitAck(10))
    // Whether these are read before the newcomer's HELLO, on another loop, is open; that each is settled by then is not.
    #expect(old.data(first: 11, payloads: (11...20).map { record("press-7", $0) }))
    let new = try #require(WireClient(port: port, producer: "press-7", epoch: 2))
    let last = new.lastSequence
    #expect(last == 10 || last == 20, "what was under way is settled before the newcomer is answered")
    var ending: WireClient.Frame?
    while let frame = old.frame() { ending = frame }
    guard case .error(13, 2, _)? = ending else {
      Issue.record("the older connection ended with \(String(describing: ending))")
      return
    }
    #expect(WireClient(port: port, producer: "press-7", epoch: 1) == nil)
    let next = last + 1
    #expect(new.data(first: next, payloads: [record("press-7", next)]) && new.awaitAck(next))
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out") == (1...next).map { record("press-7", $0) })
  }

  @Test("After kill -9 the log knows each producer's last sequence, exactly what was acknowledged or more")
  func highWaterSurvivesKill() throws {
    let folder = TemporaryFolder()
    let topology = bothEdges(folder)
    var acknowledged: UInt64 = 0
    for _ in 0..<5 {
      let daemon = try #require(Daemon(topology: topology))
      let port = try #require(daemon.ports["modules"])
      let client = try #require(WireClient(port: port, producer: "press-7"))
      #expect(client.lastSequence >= acknowledged)
      let next = client.lastSequence + 1
      #expect(client.data(first: next, payloads: (next..<(next + 100)).map { record("press-7", $0) }))
      #expect(client.awaitAck(next + 49))
      acknowledged = client.acknowledged
      #expect(client.data(first: next + 100, payloads: (next..<(next + 900)).map { record("press-7", $0 + 100) }))
      daemon.crash()
    }
    let daemon = try #require(Daemon(topology: topology))
    let port = try #require(daemon.ports["modules"])
    let last = try #require(WireClient(port: port, producer: "press-7")).lastSequence
    #expect(daemon.stop() == 0)
    var seen = Set<String>()
    let first = deliveredLines(folder.path + "/out").filter { seen.insert($0).inserted }
    #expect(first == (0..<last).map { record("press-7", $0 + 1) })
  }
}
