import DaemonTestSupport
import DeliveryOracle
import Foundation
import Testing

/// Limits of the process that a running daemon comes to: they are no fault of the disk, and pass.
@Suite struct ResourceLimitTests {
  private func limit(_ daemon: Daemon, _ option: String) throws {
    let result = ChildProcess.run("/usr/bin/prlimit", ["--pid", "\(daemon.process.pid)", option])
    try #require(result.status == 0, "\(result.text)")
  }

  /// Posts as producer 2 on a thread of its own, which alone uses the connection from now on.
  private func keepPosting(_ rig: FaultRig, _ connection: HTTPConnection, until goal: Int) -> DispatchGroup {
    nonisolated(unsafe) let mine = connection
    let done = DispatchGroup()
    done.enter()
    Thread.detachNewThread {
      while rig.acknowledged < goal, let status = rig.post(mine, producer: 2) {
        if status != 202 { pause(0.02) }
      }
      done.leave()
    }
    return done
  }

  @Test(
    "Beyond RLIMIT_FSIZE producers are refused, with the reason in the log; delivery goes on, and so it does when raised"
  )
  func fileSize() throws {
    let rig = try FaultRig(payloadBytes: 60_000)
    let daemon = try #require(rig.start())
    let connection = try #require(HTTPConnection(port: daemon.port))
    for _ in 0..<3 { #expect(rig.post(connection) == 202) }
    try limit(daemon, "--fsize=500000:")
    // Each connection waits for the record that found no room.
    let waiting = keepPosting(rig, connection, until: 60)
    rig.awaitFull(daemon)
    let other = try #require(HTTPConnection(port: daemon.port))
    #expect(rig.post(other) == 503)
    #expect(daemon.process.line { $0.contains("File too large") && $0.contains("it will be tried again") } != nil)
    #expect(eventually { rig.deliveries >= rig.acknowledged })
    try limit(daemon, "--fsize=unlimited:")
    waiting.wait()
    #expect(rig.acknowledged >= 60)
    #expect(daemon.stop() == 0)
    rig.ended(.orderly, of: daemon.process)
    rig.judge()
  }

  @Test("Without a descriptor for the next segment producers are refused and reads wait; neither is taken for damage")
  func descriptors() throws {
    let rig = try FaultRig(payloadBytes: 100_000, retain: "64MiB")
    let daemon = try #require(rig.start())
    let connection = try #require(HTTPConnection(port: daemon.port))
    let other = try #require(HTTPConnection(port: daemon.port))
    #expect(rig.post(other) == 202)
    rig.closeGate()
    // Twice what the ring holds, so that the subscriber will read files.
    for _ in 0..<90 { #expect(rig.post(connection) == 202) }
    try limit(daemon, "--nofile=8:")
    rig.openGate()
    #expect(daemon.process.line { $0.contains("reading failed") && $0.contains("Too many open files") } != nil)
    let waiting = keepPosting(rig, connection, until: 140)
    rig.awaitFull(daemon)
    #expect(rig.post(other) == 503)
    try limit(daemon, "--nofile=1024:")
    waiting.wait()
    #expect(rig.acknowledged >= 140)
    #expect(eventually { rig.deliveries >= rig.acknowledged })
    #expect(daemon.stop() == 0)
    let text = daemon.process.output.joined(separator: "\n")
    #expect(!text.contains("damaged"), "\(text)")
    rig.ended(.orderly, of: daemon.process)
    rig.judge()
  }
}
