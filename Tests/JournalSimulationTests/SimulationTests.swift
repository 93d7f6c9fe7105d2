import JournalSimulation
import SluiceCore
import SluiceJournal
import Testing

@Suite("Crash states of a log")
struct SimulationTests {
  @Test("no crash breaks a promise", arguments: [Durability.fsync, .written, .memory])
  func crashes(_ durability: Durability) {
    var plan = SimulationPlan(seed: 1, states: 500)
    plan.durability = durability
    let outcome = Simulation.run(plan)
    #expect(outcome.violation == nil, "\(outcome.place)\n\(outcome.trace.joined(separator: "\n"))")
  }
}
