import SluiceCore
import SluiceJournal

// Crash states of a log: a seeded workload runs over a simulated disk; before some of its changes of the disk a copy is
// taken, several crashes of each copy are drawn, and what each leaves is recovered and held against what was promised.

package struct SimulationPlan: Sendable {
  package var seed: UInt64
  /// Crash states to judge, at least.
  package var states: Int
  package var durability: Durability = .fsync
  package var fault: SyncFault?
  /// Some states have one damaged bit, too.
  package var damages = false

  package init(seed: UInt64, states: Int) {
    self.seed = seed
    self.states = states
  }
}

package struct SimulationOutcome: Sendable {
  package var states = 0
  package var tails: [String: Int] = [:]
  /// States with damage; records that were told to be gone; records that are gone without a word because nothing behind
  /// their group was durable.
  package var damaged = 0
  package var told = 0
  package var residual = 0
  package var violation: SimulationViolation?
  /// Where the violation was found: the seed of its life, the operation, and what the disk was asked before it.
  package var place = ""
  package var trace: [String] = []

  package init() {}

  package mutating func add(_ other: SimulationOutcome) {
    states += other.states
    tails.merge(other.tails, uniquingKeysWith: +)
    damaged += other.damaged
    told += other.told
    residual += other.residual
    if violation == nil {
      violation = other.violation
      place = other.place
      trace = other.trace
    }
  }
}

package enum Simulation {
  /// Steps of one life, and how many of its changes of the disk are copied, in percent.
  private static let stepsPerLife = 300
  private static let copiedPercent = 12
  private static let crashesPerCopy = 2
  private static let traceLines = 60

  /// Lives follow each other until there are states enough, or a promise is broken.
  package static func run(_ plan: SimulationPlan) -> SimulationOutcome {
    var outcome = SimulationOutcome()
    var life: UInt64 = 0
    while outcome.states < plan.states, outcome.violation == nil {
      outcome.add(runLife(plan, seed: plan.seed &+ life &* 0x1_0000_0001))
      life += 1
    }
    return outcome
  }

  /// One life, which its seed says whole.
  package static func runLife(_ plan: SimulationPlan, seed: UInt64) -> SimulationOutcome {
    var run = Life(plan, seed: seed)
    do { try run.live(stepsPerLife) } catch {
      run.outcome.violation = error as? SimulationViolation ?? SimulationViolation("nothing is thrown", "\(error)")
      run.outcome.place = "life \(seed), step \(run.steps), \(run.place)"
    }
    return run.outcome
  }

  /// The registry of a data directory under the same treatment: what was saved is there after a crash.
  package static func registry(_ plan: SimulationPlan) -> SimulationViolation? {
    var random = SimulationRandom(seed: plan.seed)
    for round in 0..<plan.states {
      let storage = SimulatedStorage(SimulatedDisk(), fault: plan.fault)
      guard let data = try? DataDirectory(SimulatedStorage.directory, streams: [], storage: storage) else {
        return SimulationViolation("a data directory can be taken", "round \(round)")
      }
      let uuid = LogUUID(high: 1, low: 2)
      let saves = UInt64(1 + round % 3)
      _ = data.opened("events", uuid)
      for last in 1...saves {
        data.closed("events", uuid, lastLSN: last)
        guard data.save() == nil else { return SimulationViolation("a registry can be saved", "round \(round)") }
      }
      var disk = storage.disk
      disk.crash(&random)
      let again = try? DataDirectory(
        SimulatedStorage.directory, streams: ["events"], storage: SimulatedStorage(disk, fault: plan.fault))
      let standing = try? again?.admit("events", among: ["events"], onCorruption: .gap).standing
      guard case .wiped(let was, _)? = standing, was.lastLSN == saves else {
        return SimulationViolation("a registry that was saved stays", "round \(round)")
      }
    }
    return nil
  }

  private struct Life {
    let plan: SimulationPlan
    var random: SimulationRandom
    var outcome = SimulationOutcome()
    var steps = 0
    var place = "at the start"

    init(_ plan: SimulationPlan, seed: UInt64) {
      self.plan = plan
      random = SimulationRandom(seed: seed)
    }

    mutating func live(_ count: Int) throws {
      var workload = try Workload(plan.durability, fault: plan.fault)
      defer { workload.abandon() }
      // A disk that failed once may do what it is asked the next time; one that lies goes on lying.
      let lie = if case .lies? = plan.fault { plan.fault } else { SyncFault?.none }
      let judge = Judge(
        options: workload.options, subscribers: Workload.subscribers, producers: Workload.producers, fault: lie)
      try judgeCopies(workload.storage, World(), judge)
      while steps < count, !workload.hasFailed, !workload.isOver {
        steps += 1
        let world = workload.world
        let salt = random.next()
        workload.storage.keepCopies { number, _ in
          var draw = SimulationRandom(seed: salt ^ UInt64(number))
          return draw.chance(Simulation.copiedPercent)
        }
        let storage = workload.storage
        try workload.step(&random)
        try judgeCopies(storage, world, judge)
        if random.chance(1) { try crash(&workload, judge) }
      }
      if workload.hasFailed { return try end(&workload, judge) }
      if workload.isOver { return }
      let before = workload.world
      workload.close()
      try judgeCopies(workload.storage, before, judge)
      for _ in 0..<4 { try self.judge(workload.storage.disk, workload.world, judge, workload.storage) }
    }

    private mutating func judgeCopies(_ storage: SimulatedStorage, _ world: World, _ judge: Judge) throws {
      for copy in storage.takeCopies() {
        place = "before operation \(copy.number), \(copy.point.rawValue)"
        // The step may have submitted records before it came to this operation, never promised any.
        for _ in 0..<Simulation.crashesPerCopy { try self.judge(copy.disk, world, judge, storage) }
      }
    }

    private mutating func judge(
      _ disk: SimulatedDisk, _ world: World, _ judge: Judge, _ storage: SimulatedStorage
    ) throws {
      var disk = disk
      var crash = random.chance(80) ? Judge.Crash.power : .kill
      if plan.damages, random.chance(50) { crash = .damage }
      if crash != .kill { disk.crash(&random) }
      if crash == .damage {
        guard disk.damage(&random) else { return }
        outcome.damaged += 1
      }
      do {
        let finding = try judge.judge(disk, world, crash, &random)
        outcome.states += 1
        outcome.tails[finding.tail.rawValue, default: 0] += 1
        outcome.told += finding.told
        outcome.residual += finding.residual
      } catch {
        outcome.trace = Array(storage.trace.suffix(Simulation.traceLines))
        throw error
      }
    }

    /// Power is lost, and the same world goes on with what is left.
    private mutating func crash(_ workload: inout Workload, _ judge: Judge) throws {
      place = "a crash to go on from"
      var disk = workload.storage.disk
      disk.crash(&random)
      _ = try judge.judge(disk, workload.world, .power, &random)
      outcome.states += 1
      do { try workload.start(on: disk) } catch {
        if case .fails? = plan.fault { return workload.giveUp() }
        throw error
      }
    }

    /// The disk failed: what was promised before must be there all the same.
    private mutating func end(_ workload: inout Workload, _ judge: Judge) throws {
      place = "after a failed sync"
      let promised = workload.world
      if !workload.hasCommitEnded { workload.commit() }
      if workload.world.survivesPower > promised.survivesPower {
        throw SimulationViolation("nothing is acknowledged after a failed sync", "\(workload.world.survivesPower)")
      }
      for _ in 0..<4 { try self.judge(workload.storage.disk, promised, judge, workload.storage) }
    }
  }
}
