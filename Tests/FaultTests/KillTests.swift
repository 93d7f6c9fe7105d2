import DaemonTestSupport
import DeliveryOracle
import Foundation
import TestSupport
import Testing

@Suite struct KillTests {
  /// Two hundred, a thousand with `--full`, in two halves.
  static let rounds = FaultFixtures.isFull ? 500 : 100

  @Test(
    "Rounds of kill -9, also during recovery: what was acknowledged comes, in order, and no LSN names two records",
    arguments: ["fsync", "written"])
  func everyAcknowledgedRecordSurvivesKill(durability: String) throws {
    var generator = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    print("kill -9 seed \(generator.seed)")
    let rig = try FaultRig(durability: durability, payloadBytes: 4000)
    var early = 0
    for round in 0..<Self.rounds {
      if Int.random(in: 0..<4, using: &generator) == 0 {
        // Somewhere in its start: mapping libraries, recovering, or already running.
        let child = rig.spawn()
        pause(Double.random(in: 0...0.06, using: &generator))
        child.send(SIGKILL)
        #expect(child.exitStatus() == 128 + SIGKILL)
        rig.ended(.killed, of: child)
        early += 1
        continue
      }
      let daemon = try #require(rig.start(), "round \(round)")
      let enough = Int.random(in: 1...60, using: &generator)
      let delay = Double.random(in: 0...0.03, using: &generator)
      let killer = DispatchGroup()
      let goal = rig.acknowledged + enough
      killer.enter()
      Thread.detachNewThread {
        _ = eventually { rig.acknowledged >= goal }
        pause(delay)
        daemon.crash()
        killer.leave()
      }
      rig.load(daemon, producers: 4, enough: .max / 2)
      killer.wait()
      rig.ended(.killed, of: daemon.process)
    }
    rig.judge("seed \(generator.seed)")
    print(
      "\(durability): \(Self.rounds) rounds, \(early) of them in the start, \(rig.acknowledged) acknowledged,",
      "slowest recovery \(rig.slowestRecovery) ms of CPU")
    #expect(rig.slowestRecovery < 1000)
  }

  @Test("A recovery that is killed and repeated changes nothing that the first did not")
  func recoveryIsRepeatable() throws {
    let rig = try FaultRig(payloadBytes: 4000)
    for place in ["before", "half", "after"] {
      let daemon = try #require(rig.start(environment: ["SLUICE_CRASH_AT": "group.write:20:\(place)"]))
      rig.load(daemon, producers: 1, enough: 100)
      #expect(daemon.process.exitStatus() == 128 + SIGKILL)
      rig.ended(.killed, of: daemon.process)
      var first: [String] = []
      for repetition in 0..<3 {
        let again = try #require(rig.start())
        again.crash()
        rig.ended(.killed, of: again.process)
        if repetition == 0 { first = rig.listing() }
        let changes = Set(rig.listing()).symmetricDifference(first)
        rig.noteSecondRecovery(changes: changes.sorted())
      }
    }
    rig.judge()
  }
}
