import CSluice
import Glibc
import SluiceCore
import SluiceTopology
import Synchronization
import TestSupport
import Testing

@testable import SluiceHost

/// What ends with a plugin's process, and what its output and its memory may come to.
@Suite struct ProcessEndTests {
  @Test("What outlives a process in a session of its own, and prints without end, does not keep its subscriber dead")
  func printsFromAfar() throws {
    let misbehaviour = Misbehaviour(what: "rant_from_afar", place: "in_deliver")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
    rig.reader.append(["bad", "m1"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3, seconds: 60))
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(rig.letters.letters.map(\.lsn) == [1] && rig.messages.map(\.lsn) == [2], "\(rig.log.all.suffix(20))")
  }

  @Test("An instance that is of no more use shows as waiting, with the reason, however long its end takes")
  func doesNotRun() throws {
    let rig = try SubscriberRig("late")
    let gate = rig.directory.folder("plugins/it") + "/end"
    #expect(mkfifo(gate, 0o600) == 0)
    rig.reader.append(["bad"])
    try rig.subscriber.start()
    let pause = Doorbell()
    let deadline = Clock.monotonic() + 60_000_000_000
    while rig.subscriber.status.state != .waiting, Clock.monotonic() < deadline {
      pause.wait(until: Clock.monotonic() + 1_000_000)
    }
    let status = rig.subscriber.status
    #expect(status.state == .waiting && status.lastError.contains("it is bad"), "\(status)")
    #expect(rig.log.count("instance ended") == 0, "it is in destroy")
    // Waits until the plugin does.
    close(open(gate, O_WRONLY | O_CLOEXEC))
    unlink(gate)
    #expect(rig.stop(seconds: 60) == .stopped)
  }

  @Test("What a process has forked is ended with it, whether it dies or is not needed any more")
  func endsItsGroup() throws {
    let misbehaviour = Misbehaviour(what: "bear", place: "in_start")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
    rig.reader.append(["m0"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2, seconds: 60))
    let held = "\(rig.directory.path)/plugins/it/held"
    #expect(Files.isLocked(held))
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(Files.waitUntilUnlocked(held, seconds: 60))
  }

  @Test("A process that dies in create is no fault of the one that comes after it")
  func diesInCreate() throws {
    let misbehaviour = Misbehaviour(what: "crash", place: "in_create_once")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
    rig.reader.append(["bad", "m1"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3, seconds: 60))
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(rig.log.count("instance ended") == 2, "the one that gave up, and the one that died: \(rig.log.all)")
    #expect(rig.letters.letters.isEmpty && Set(rig.messages.map(\.lsn)) == [1, 2])
  }

  @Test("Whoever sees that a process is dead finds that it has crashed, too")
  func crashIsNotedBeforeTheDeath() throws {
    let process = try HostileProcess()
    process.say("start-last", [])
    let host = DeathWatch(stateDirectory: process.directory.path)
    let module = IsolatedModule(
      path: "", kept: nil, name: "hostile", kind: "recorder", runner: "\(process.directory.path)/sluice")
    let settings = IsolationSettings(batchBytes: 4096, records: 1)
    let instance = try IsolatedInstance(module, host, settings)
    host.setProcess(instance)
    #expect(instance.create(slu_bytes(), settings).rc == SLU_OK)
    #expect(instance.start(.start, deadline: 0).rc == SLU_E_FATAL)
    #expect(eventually { host.wasDeadWhenNoted != nil })
    #expect(host.wasDeadWhenNoted == false)
    #expect(instance.destroy()?.contains("status 0") == true)
    host.setProcess(nil)
  }

  @Test(
    "Shared memory that a process asks for counts towards its limit, also when it has closed its output",
    arguments: ["share", "share_unseen"])
  func sharedMemory(what: String) throws {
    let misbehaviour = Misbehaviour(what: what, place: "in_deliver")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour) {
      $0.isolation = .process(user: nil, memoryBytes: 64 << 20)
      $0.ackDeadlineNanoseconds = 60_000_000_000
    }
    rig.reader.append(["bad", "m1"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3, seconds: 300))
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(rig.log.all.contains { $0.contains("more than its limit of 64 MiB") }, "\(rig.log.all)")
  }

  @Test("What a process prints or logs beyond so much in a second is left out of the log, which is said with how much")
  func saysTooMuch() throws {
    for what in ["rant", "prattle"] {
      let misbehaviour = Misbehaviour(what: what, place: "in_deliver")
      let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour) {
        $0.ackDeadlineNanoseconds = 10_000_000_000
      }
      rig.reader.append(["bad"])
      let begin = Clock.monotonic()
      try rig.subscriber.start()
      #expect(rig.log.wait(for: "lines_left_out=", seconds: 60), "\(what)")
      #expect(rig.stop(seconds: 60) == .stopped)
      let periods = Int((Clock.monotonic() - begin) / Limits.isolationLogPeriodNanoseconds) + 1
      #expect(rig.log.count("\(what == "rant" ? "rant " : "")\(what)") <= periods * Limits.isolationLogLines, "\(what)")
    }
  }

  @Test("The rows of the table of what is logged in a period")
  func allowance() {
    let period = Limits.isolationLogPeriodNanoseconds
    // What is said when, how large, and how often in a row: what is logged of it, and what was left out of the period before.
    func play(_ rows: [(at: Int64, bytes: Int, count: Int)]) -> [[Int]] {
      var state = LineAllowance()
      return rows.map { row in
        let before = state.takeLeftOut(at: row.at)
        return [(0..<row.count).count { _ in state.admits(bytes: row.bytes, at: row.at) }, before]
      }
    }
    let most = Limits.isolationLogLines
    #expect(
      play([(5, 1, most + 3), (4 + period, 1, 1), (5 + period, 1, 1), (5 + 2 * period, 1, 0)]) == [
        [most, 0], [0, 0], [1, 4], [0, 0],
      ])
    let room = Limits.isolationLogBytes
    #expect(
      play([(5, room, 2), (6, 1, 1), (5 + period, 1, 1), (6 + period, room, 1), (.max, 1, 0)]) == [
        [1, 0], [0, 0], [1, 2], [0, 0], [0, 1],
      ])
  }
}

/// Looks, when it is told of a crash, whether others can see already that the process is gone.
///
/// `@unchecked Sendable`: `table` is written in `init`; the rest never changes or is locked.
private final class DeathWatch: IsolationHost, @unchecked Sendable {
  let table = UnsafeMutablePointer<slu_host>.allocate(capacity: 1)
  let subscriber = "it"
  let hostVersion = "test"
  let stateDirectory: String
  let isolation: IsolationSettings? = nil
  private let process = Mutex<IsolatedInstance?>(nil)
  private let wasDead = Mutex<Bool?>(nil)

  init(stateDirectory: String) {
    self.stateDirectory = stateDirectory
    table.initialize(to: slu_host())
  }

  deinit { table.deallocate() }

  /// Nil: it was told of none.
  var wasDeadWhenNoted: Bool? { wasDead.withLock { $0 } }

  func setProcess(_ instance: IsolatedInstance?) { process.withLock { $0 = instance } }

  func noteCrash(_ death: ProcessDeath) {
    let isDead = process.withLock { $0 }?.state.withLock { $0.death } != nil
    wasDead.withLock { $0 = isDead }
  }

  func workMeanwhile() {}
  func isLogged(_ level: UInt32) -> Bool { false }
  func log(_ level: UInt32, _ message: String, _ pairs: [(String, String)]) {}
  func register(_ metric: MetricRequest) -> UInt64 { 0 }
  func notePrinted(_ line: String) {}
  func noteLinesLeftOut(_ count: Int) {}
  func noteLeasesLeft(_ count: Int) {}
  func noteDeathInDestroy(_ why: String) {}
}
