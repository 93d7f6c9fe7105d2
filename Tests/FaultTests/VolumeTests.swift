import DaemonTestSupport
import DeliveryOracle
import Foundation
import SluiceJournal
import TestSupport
import Testing

@Suite(.enabled(if: LoopVolume.isAvailable, "needs root and loop devices"))
struct VolumeTests {
  private static let rounds = FaultFixtures.isFull ? 30 : 3

  /// The process is held for the cut, somewhere between two calls. A sync that is under way when FS_IOC_SHUTDOWN comes
  /// may be answered with success although its bytes are gone (ext4, Linux 6.18: a bare loop of pwrite and fdatasync lost
  /// its last write in 5 of 150 cuts). When the power really goes nobody gets that answer.
  private func cutPower(_ volume: LoopVolume, _ process: ChildProcess) {
    process.send(SIGSTOP)
    #expect(eventually { process.isStopped })
    do { try volume.shutDown() } catch { Issue.record("\(error)") }
    process.send(SIGCONT)
  }

  @Test(
    "A loss of power loses nothing that was acknowledged, and the process says why it ends",
    arguments: LoopVolume.Kind.allCases)
  func powerLoss(kind: LoopVolume.Kind) throws {
    var generator = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    print("power loss on \(kind.rawValue), seed \(generator.seed)")
    let volume = try LoopVolume(kind, megabytes: kind == .ext4 ? 64 : 320)
    let rig = try FaultRig(data: volume.path + "/data", payloadBytes: 20_000)
    for round in 0..<Self.rounds {
      let daemon = try #require(rig.start(), "round \(round)")
      let goal = rig.acknowledged + Int.random(in: 1...80, using: &generator)
      let cut = DispatchGroup()
      cut.enter()
      Thread.detachNewThread {
        _ = eventually { rig.acknowledged >= goal }
        cutPower(volume, daemon.process)
        cut.leave()
      }
      rig.load(daemon, producers: 4, enough: .max / 2)
      cut.wait()
      #expect(daemon.process.exitStatus() == 74)
      #expect(daemon.process.output.contains { $0.contains("the daemon ends now") }, "\(daemon.process.output)")
      try volume.unmount()
      try volume.mount()
      rig.ended(.powerLost, of: daemon.process)
    }
    rig.judge("seed \(generator.seed)")
  }

  @Test("A full disk refuses producers; delivery, cursors, a crash and a start go on; with room it goes on by itself")
  func fullDisk() throws {
    let volume = try LoopVolume(.ext4, megabytes: 64)
    let rig = try FaultRig(data: volume.path + "/data", payloadBytes: 60_000, retain: "32MiB")
    var daemon = try #require(rig.start())
    var connection = try #require(HTTPConnection(port: daemon.port))
    rig.closeGate()
    for _ in 0..<100 { #expect(rig.post(connection) == 202) }
    volume.fill()
    #expect(volume.freeBytes < 4096)
    rig.awaitFull(daemon)
    #expect(rig.post(connection) == 503)
    // What is settled at 0 bytes free is written down, in place.
    let before = rig.cursors()["seen"] ?? 0
    let acknowledged = rig.acknowledged
    rig.openGate()
    #expect(eventually { (rig.cursors()["seen"] ?? 0) >= UInt64(acknowledged) })
    #expect(before < UInt64(acknowledged))
    #expect(rig.post(connection) == 503)

    daemon.crash()
    rig.ended(.killed, of: daemon.process)
    volume.fill()
    daemon = try #require(rig.start())
    #expect(daemon.process.output.contains { $0.contains("no copy of a plugin could be put into the data directory") })
    // What the one before has left there was removed.
    volume.fill()
    connection = try #require(HTTPConnection(port: daemon.port))
    rig.awaitFull(daemon)
    #expect(rig.post(connection) == 503)
    volume.empty()
    #expect(eventually { rig.post(connection) == 202 })
    for _ in 0..<50 { #expect(rig.post(connection) == 202) }
    #expect(daemon.process.line { $0.contains("takes records again") } != nil)
    #expect(daemon.stop() == 0)
    rig.ended(.orderly, of: daemon.process)
    rig.judge()
  }

  @Test("A crash at each point that only a full disk comes to loses nothing", arguments: CrashCases.fullDisk)
  func crashesOnAFullDisk(point: StoragePoint) throws {
    for place in CrashCases.places(of: point) {
      let crash = CrashPoint(point, place)
      let volume = try LoopVolume(.ext4, megabytes: 64)
      let rig = try FaultRig(data: volume.path + "/data", payloadBytes: 100_000)
      // A torn tail, so that there is something to put into quarantine.
      let first = try #require(rig.start(environment: [CrashPoint.variable: "group.write:5:half"]))
      rig.load(first, producers: 1, enough: 100)
      #expect(first.process.exitStatus() == 128 + SIGKILL)
      rig.ended(.killed, of: first.process)
      volume.fill()
      let second = rig.spawn(environment: [CrashPoint.variable: crash.text])
      #expect(second.exitStatus() == 128 + SIGKILL, "\(crash.text) is not reached: \(second.output)")
      rig.ended(.killed, of: second)
      volume.empty()
      rig.judge(crash.text, daemons: 1)
    }
  }

  @Test("A file system that turns read-only ends the process with that reason, refuses a start, and loses nothing")
  func readOnly() throws {
    let volume = try LoopVolume(.ext4, megabytes: 64)
    let rig = try FaultRig(data: volume.path + "/data", payloadBytes: 1000)
    let daemon = try #require(rig.start())
    let connection = try #require(HTTPConnection(port: daemon.port))
    for _ in 0..<20 { #expect(rig.post(connection) == 202) }
    try volume.becomeReadOnly()
    for _ in 0..<20 where rig.post(connection) == nil { break }
    #expect(daemon.process.exitStatus() == 74)
    let lines = daemon.process.output
    #expect(lines.contains { $0.contains("Read-only file system") || $0.contains("Input/output error") }, "\(lines)")
    try volume.unmount()
    try volume.repair()
    try volume.mount(readOnly: true)
    let refused = rig.spawn()
    #expect(refused.exitStatus() == 73)
    #expect(refused.output.contains { $0.contains("Read-only file system") }, "\(refused.output)")
    try volume.unmount()
    try volume.mount()
    rig.ended(.powerLost, of: daemon.process)
    rig.judge()
  }
}
