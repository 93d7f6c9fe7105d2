import Glibc
import JournalSimulation
import SluiceCore
import SluiceJournal

/// Lives of several threads, each with seeds of its own, until there are states enough.
struct SimulatorRun {
  private let values: [String: String]

  init(_ words: [String]) {
    values = Dictionary(
      words.dropFirst().compactMap { word in
        let parts = word.split(separator: "=", maxSplits: 1)
        return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
      }, uniquingKeysWith: { $1 })
  }

  private func number(_ key: String, _ fallback: Int) -> Int { values[key].flatMap(Int.init) ?? fallback }

  private func plan(seed: UInt64, states: Int) -> SimulationPlan {
    var plan = SimulationPlan(seed: seed, states: states)
    plan.durability = Durability(rawValue: values["durability"] ?? "fsync") ?? .fsync
    plan.damages = number("damages", 0) == 1
    plan.fault = values["lies"].flatMap(StoragePoint.init(rawValue:)).map(SyncFault.lies)
    if let point = values["fails"].flatMap(StoragePoint.init(rawValue:)) { plan.fault = .fails(point) }
    return plan
  }

  func run() {
    let states = number("states", 20_000)
    let threads = max(1, number("threads", 1))
    let seed = values["seed"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...UInt64.max >> 16)
    let plan = plan(seed: seed, states: states)
    print("seed=\(seed) states=\(states) durability=\(plan.durability.rawValue) damages=\(plan.damages ? 1 : 0)")
    let total = Locked(SimulationOutcome())
    let nextLife = Locked<UInt64>(0)
    let started = Clock.monotonic()
    withThreads(threads) {
      while total.with({ $0.states < states && $0.violation == nil }) {
        let life = nextLife.with { next -> UInt64 in
          defer { next += 1 }
          return next
        }
        let outcome = Simulation.runLife(plan, seed: seed &+ life &* 0x1_0000_0001)
        let sum = total.with { total -> (SimulationOutcome, Bool) in
          let before = total.states / 50_000
          total.add(outcome)
          return (total, total.states / 50_000 > before)
        }
        if sum.1 { report(sum.0, started) }
      }
    }
    let outcome = total.with { $0 }
    report(outcome, started)
    guard let violation = outcome.violation else { return }
    print("BROKEN: \(violation)\n\(outcome.place)\n" + outcome.trace.joined(separator: "\n"))
    exit(1)
  }

  private func withThreads(_ count: Int, _ body: @escaping @Sendable () -> Void) {
    let threads = (0..<count).map { OSThread(name: "simulate \($0)", stackBytes: 8 << 20, body: body) }
    for thread in threads { thread.join() }
  }

  private func report(_ outcome: SimulationOutcome, _ started: Int64) {
    let seconds = Double(Clock.monotonic() - started) / 1e9
    print(
      "\(outcome.states) states, \(Int(Double(outcome.states) / seconds)) a second; tails \(outcome.tails.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")); "
        + "damaged \(outcome.damaged), told \(outcome.told), residual \(outcome.residual)")
  }
}
