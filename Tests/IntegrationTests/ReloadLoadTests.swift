import DaemonTestSupport
import Foundation
import Synchronization
import Testing

/// A framed source that stays, and what changes from one generation to the next.
private func topology(_ folder: TemporaryFolder, generation: Int) {
  // Each of these comes and goes, or changes, while the rest is untouched.
  let extraSubscriber =
    generation % 2 == 1
    ? "  copy: { plugin: disk, streams: [ events ], start: newest, config: { path: ./copy } }\n" : ""
  let extraStream = generation % 3 == 1 ? "  extra: { durability: written }\n" : ""
  let extraSource =
    generation % 3 == 1 ? "  side: { type: http, listen: \"127.0.0.1:0\", stream: extra, auth: none }\n" : ""
  let wait = generation % 4 < 2 ? "5ms" : "9ms"
  _ = folder.write(
    "sluice.yaml",
    """
    sluice: 1
    daemon: { data: ./data }
    streams:
      events: { durability: fsync }
    \(extraStream)
    sources:
      modules: { type: tcp, listen: "127.0.0.1:0", stream: events, topic: press }
    \(extraSource)
    subscribers:
      archive:
        plugin: disk
        streams: [ events ]
        batch: { wait: 5ms }
        config: { path: ./out }
      tuned:
        plugin: disk
        streams: [ events ]
        batch: { wait: \(wait) }
        config: { path: ./tuned }
    \(extraSubscriber)
    """)
}

@Suite struct ReloadLoadTests {
  @Test("Twenty reloads under twenty thousand records a second drop no connection and lose nothing")
  func reloadsUnderLoad() throws {
    let folder = TemporaryFolder()
    topology(folder, generation: 0)
    let file = folder.path + "/sluice.yaml"
    let daemon = try #require(Daemon(topology: file))
    let port = try #require(daemon.ports["modules"])
    let producers = 4
    let isDone = Atomic<Bool>(false)
    let sent = Mutex<[UInt64]>(Array(repeating: 0, count: producers))
    let faults = Mutex<[String]>([])
    let running = DispatchGroup()
    for number in 0..<producers {
      running.enter()
      Thread.detachNewThread {
        defer { running.leave() }
        guard let client = WireClient(port: port, producer: "press-\(number)") else {
          return faults.withLock { $0.append("press-\(number) could not connect") }
        }
        var next: UInt64 = 1
        let begin = DispatchTime.now().uptimeNanoseconds
        while !isDone.load(ordering: .relaxed) {
          // Each producer has a quarter of the rate, in frames of fifty.
          let payloads = (next..<(next + 50)).map { #"{"message":"\#($0)","from":"press-\#(number)"}"# }
          guard client.awaitCredit(bytes: 8192, records: 50), client.data(first: next, payloads: payloads),
            client.awaitAck(next > 500 ? next - 500 : 0)
          else { return faults.withLock { $0.append("press-\(number) lost its connection at \(next)") } }
          next += 50
          let due = begin + (next - 1) * 200_000
          let now = DispatchTime.now().uptimeNanoseconds
          if due > now { pause(Double(due - now) / 1e9) }
        }
        guard client.awaitAck(next - 1) else {
          return faults.withLock { $0.append("press-\(number) was not answered at the end") }
        }
        sent.withLock { $0[number] = next - 1 }
      }
    }
    for generation in 1...20 {
      topology(folder, generation: generation)
      let reload = ChildProcess.run(Products.sluice, ["reload", "-c", file])
      #expect(reload.status == 0, "generation \(generation): \(reload.text)")
    }
    isDone.store(true, ordering: .relaxed)
    running.wait()
    #expect(faults.withLock { $0 } == [])
    #expect(nothingWaits(folder, for: "archive", "tuned"))
    #expect(daemon.stop() == 0)
    for subscriber in ["out", "tuned"] {
      let lines = deliveredLines(folder.path + "/" + subscriber)
      for number in 0..<producers {
        let own = lines.filter { $0.contains("\"press-\(number)\"") }.compactMap(sequence)
        let count = sent.withLock { $0[number] }
        #expect(count > 0)
        // The untouched one has each once; the changed one may have some again, but first in order.
        var seen = Set<UInt64>()
        let first = own.filter { seen.insert($0).inserted }
        #expect(first == Array(1...max(count, 1)), "\(subscriber), press-\(number)")
        if subscriber == "out" { #expect(own.count == first.count) }
      }
    }
    print("reloads under load: \(sent.withLock { $0 }) records")
  }

  private func sequence(_ line: String) -> UInt64? {
    guard line.hasPrefix(#"{"message":""#) else { return nil }
    return UInt64(line.dropFirst(12).prefix { $0.isNumber })
  }
}
