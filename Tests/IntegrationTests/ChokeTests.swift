import DaemonTestSupport
import Foundation
import PostgresTestSupport
import Synchronization
import Testing

@Suite struct ChokeTests {
  /// Resident memory of a process, in MiB.
  private func resident(_ pid: pid_t) -> Int {
    let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    return (line.flatMap { Int($0.split(separator: " ").dropFirst().first ?? "") } ?? 0) / 1024
  }

  /// Waits until the subscriber that needs no database has settled all there is: what it is at work on takes memory too.
  private func filesAreWritten(_ daemon: Daemon) -> Bool {
    eventually(within: 300) { metric("sluice_subscriber_lag_records", "disk", of: daemon, source: "http") == 0 }
  }

  @Test(
    "While PostgreSQL is down the built-in topology answers 429 at BUFFER_SIZE with memory flat, then drains everything"
  )
  func databaseDown() throws {
    let folder = TemporaryFolder()
    let server = try PostgresServer()
    let bound = 3000
    let daemon = try #require(
      Daemon(
        topology: nil,
        environment: [
          "ADDR": "127.0.0.1:0", "SLUICE_TCP": "127.0.0.1:0", "DATABASE_URL": server.url(), "BUFFER_SIZE": "\(bound)",
          "WORKER_COUNT": "2",
        ], directory: folder.path))
    let port = try #require(daemon.ports["http"])
    let connection = try #require(HTTPConnection(port: port))
    for i in 0..<100 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    #expect(eventually { (try? server.count("SELECT count(*) FROM logs")) == 100 })
    try server.stop()
    var accepted = 100
    var refused = 0
    var memory = 0
    for _ in 0..<(bound + 20_000) {
      let answer = try #require(connection.post(#"{"message":"\#(accepted)"}"#))
      switch answer.status {
      case 202: accepted += 1
      case 429:
        #expect(answer.head.lowercased().contains("retry-after: "))
        refused += 1
        if refused == 100 {
          #expect(filesAreWritten(daemon))
          memory = resident(daemon.process.pid)
        }
      default: Issue.record("\(answer.head)")
      }
    }
    print(
      "database down: \(accepted - 100) taken, \(refused) refused, \(memory) MiB then \(resident(daemon.process.pid))")
    #expect(accepted - 100 >= bound && accepted - 100 < bound + 500, "the bound is \(bound), to within one commit")
    #expect(filesAreWritten(daemon))
    #expect(resident(daemon.process.pid) <= memory + 8)
    try server.start()
    #expect(eventually(within: 300) { (try? server.count("SELECT count(DISTINCT message) FROM logs")) == accepted })
    #expect(eventually { connection.post(#"{"message":"after"}"#)?.status == 202 })
    #expect(daemon.stop() == 0)
  }
}
