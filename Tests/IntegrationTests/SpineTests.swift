import DaemonTestSupport
import Foundation
import Testing

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
      eventually { deliveredLines(folder.path + "/out") == [#"{"message": "Hello from Titan!"}"#] })
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
