import Glibc
import JournalSimulation
import SluiceCore
import SluiceJournal
import Testing

/// Some thousand states; `scripts/test` has the simulator judge twenty thousand more in release, and a million with `--full`.
@Suite("Crash states of a log")
struct SimulationTests {
  struct Run: Sendable, CustomTestStringConvertible {
    var durability: Durability
    var damages = false
    var states: Int
    var testDescription: String { "\(states) states, \(durability.rawValue)\(damages ? ", with damage" : "")" }
  }

  /// `SLUICE_SIM_SEED` repeats a run; the seed of each is in what a failure says.
  private static var seed: UInt64 {
    getenv("SLUICE_SIM_SEED").flatMap { UInt64(String(cString: $0)) } ?? UInt64.random(in: 1...UInt64.max >> 16)
  }

  private func story(_ plan: SimulationPlan, _ outcome: SimulationOutcome) -> String {
    "SLUICE_SIM_SEED=\(plan.seed)\n\(outcome.violation.map { "\($0)" } ?? "")\n\(outcome.place)\n"
      + outcome.trace.joined(separator: "\n")
  }

  @Test(
    "no loss of power, kill or second crash in a recovery breaks a promise, and damage is told",
    arguments: [
      Run(durability: .fsync, states: 1500), Run(durability: .written, states: 700),
      Run(durability: .memory, states: 300), Run(durability: .fsync, damages: true, states: 1000),
    ])
  func crashes(_ run: Run) {
    var plan = SimulationPlan(seed: SimulationTests.seed, states: run.states)
    plan.durability = run.durability
    plan.damages = run.damages
    print("crash states: \(run.testDescription), SLUICE_SIM_SEED=\(plan.seed)")
    let outcome = Simulation.run(plan)
    #expect(outcome.violation == nil, "\(story(plan, outcome))")
    #expect(outcome.states >= run.states && (outcome.damaged > 0) == run.damages)
  }

  /// Syncs that are not those of a log's life, and where else they are missed.
  private static let elsewhere: [StoragePoint: String] = [
    .nextFillSync: "for speed: nothing is read from there; RecyclingTests misses it",
    .repairSync: "of `sluice stream repair`, whose backup is there beside it; RepairTests fails it",
    .repairDirectorySync: "the same",
  ]

  static let syncs = StoragePoint.allCases.filter { $0.rawValue.hasSuffix("sync") && elsewhere[$0] == nil }

  @Test("without any one of its syncs a log breaks a promise", arguments: syncs)
  func mutations(_ point: StoragePoint) {
    for number in 0..<8 {
      var plan = SimulationPlan(seed: SimulationTests.seed &+ UInt64(number), states: 1000)
      plan.fault = .lies(point)
      if point.rawValue.hasPrefix("registry") {
        if Simulation.registry(plan) != nil { return }
        continue
      }
      let outcome = Simulation.run(plan)
      if let violation = outcome.violation {
        print("without \(point.rawValue): \(violation.rule), after \(outcome.states) states")
        return
      }
    }
    Issue.record("nobody missed \(point.rawValue)")
  }

  @Test("a registry that was saved survives any crash")
  func registry() {
    #expect(Simulation.registry(SimulationPlan(seed: SimulationTests.seed, states: 500)) == nil)
  }

  @Test(
    "after a sync that failed nothing is acknowledged, and what was is there",
    arguments: [
      StoragePoint.groupSync, .markerSync, .sealSync, .headerSync, .segmentDirectorySync, .cursorSync, .trimSync,
    ])
  func failures(_ point: StoragePoint) {
    var plan = SimulationPlan(seed: SimulationTests.seed, states: 60)
    plan.fault = .fails(point)
    let outcome = Simulation.run(plan)
    #expect(outcome.violation == nil, "\(story(plan, outcome))")
  }
}
