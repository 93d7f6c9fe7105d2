import Glibc
import SluiceCore
import SluiceTopology
import Synchronization
import Testing

@testable import SluiceHost

/// Beginnings and ends that do not go well, and what the host offers in between.
@Suite struct SubscriberLifeTests {
  @Test func aStartThatFailsIsTriedAgainAndShown() throws {
    let never = try SubscriberRig("starting", n: 1_000_000)
    try never.subscriber.start()
    #expect(never.log.wait(for: "not started yet"))
    let early = never.subscriber.status
    #expect(!early.isReady)
    #expect(early.whyNotReady?.hasSuffix("start answered SLU_E_RETRYABLE: connection refused") == true)
    #expect(never.stop() == .stopped)
    let rig = try SubscriberRig("starting", n: 3)
    rig.reader.append(numbered: 0..<2)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.subscriber.status.isReady && rig.subscriber.status.failedStarts == 0)
    #expect(rig.stop() == .stopped)
    #expect(rig.seen == ["start", "start", "start", "start", "1 1 m0", "2 1 m1", "stop"])
  }

  @Test("One is at work in its plugin and behind it, and not when it fails or waits for more records")
  func atWork() throws {
    let within = try SubscriberRig("blocking")
    within.reader.append(numbered: 0..<2)
    #expect(within.subscriber.status.isAtWork, "it has not begun")
    try within.subscriber.start()
    #expect(eventually { within.seen == ["blocking"] })
    #expect(within.subscriber.status.isAtWork)
    within.subscriber.interrupt()
    #expect(eventually { within.subscriber.status.failedDeliveries > 0 })
    #expect(!within.subscriber.status.isAtWork)
    #expect(within.stop() == .stopped)
    #expect(!within.subscriber.status.isAtWork)
    let holding = try SubscriberRig("deferring") { $0.ackDeadlineNanoseconds = 3_600_000_000_000 }
    holding.reader.append(numbered: 0..<2)
    try holding.subscriber.start()
    #expect(eventually { holding.messages.count == 2 && !holding.subscriber.status.isAtWork })
    #expect(holding.stop() == .stopped)
  }

  @Test func aStartThatNeverWillSucceedEndsTheInstanceAndANewOneIsMade() throws {
    let rig = try SubscriberRig("starting", n: -1)
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "instance ended", count: 2))
    #expect(rig.stop() == .stopped)
    #expect(Array(rig.seen.prefix(4)) == ["start", "stop", "start", "stop"])
    #expect(rig.subscriber.status.restarts >= 2)
  }

  @Test func aPluginThatRefusesToBeMadeFailsTheStart() throws {
    let rig = try SubscriberRig("recorder")
    // The fixture's file can't be opened where a directory is.
    _ = rig.directory.folder("plugins/it/seen")
    let error = #expect(throws: HostError.self) { try rig.subscriber.start() }
    #expect(error?.description == "subscriber it: create answered SLU_E_CONFIG: no file in the state directory")
    #expect(rig.subscriber.status.state == .stopped && rig.reader.isClosed)
  }

  @Test func aPluginWhoseCreateDoesNotReturnGivesItsCursorsBack() throws {
    let rig = try SubscriberRig("late")
    let gate = rig.directory.folder("plugins/it") + "/gate"
    #expect(mkfifo(gate, 0o600) == 0)
    rig.reader.append(numbered: 0..<2)
    let patience = StartPatience()
    let subscriber = rig.subscriber
    let impatient = OSThread(name: "impatient") {
      _ = eventually { subscriber.shared.isInCall }
      patience.end()
    }
    let error = #expect(throws: HostError.self) { try subscriber.start(limit: 600_000_000_000, patience: patience) }
    impatient.join()
    #expect(error?.description == "subscriber it: create of plugin late was given up")
    #expect(rig.subscriber.status.state == .stuck && rig.reader.isClosed)
    let before = (rig.reader.reads, rig.reader.settles, rig.reader.flushes)
    // Its thread ends when the plugin lets it, and leaves the readers alone.
    let other = open(gate, O_WRONLY | O_CLOEXEC)
    defer { close(other) }
    #expect(rig.stop() == .stopped && rig.seen.isEmpty)
    #expect((rig.reader.reads, rig.reader.settles, rig.reader.flushes) == before)
    #expect(rig.reader.lateUses == 0)
  }

  @Test("Who is left before its thread came to run leaves the readers alone as well")
  func leftBeforeItRan() throws {
    for _ in 0..<50 {
      let rig = try SubscriberRig("late")
      let gate = rig.directory.folder("plugins/it") + "/gate"
      #expect(mkfifo(gate, 0o600) == 0)
      let error = #expect(throws: HostError.self) { try rig.subscriber.start(limit: 1) }
      #expect(error?.description.hasPrefix("subscriber it: create of plugin late did not return") == true)
      #expect(rig.subscriber.status.state == .stuck && rig.reader.isClosed)
      // Both ends, so that it waits for nobody who does not come.
      let other = open(gate, O_RDWR | O_CLOEXEC)
      #expect(rig.stop() == .stopped && rig.seen.isEmpty)
      close(other)
      #expect(rig.reader.lateUses == 0 && rig.reader.reads.isEmpty && rig.reader.flushes == 0)
    }
  }

  @Test func afterAFatalErrorANewInstanceGoesOn() throws {
    let rig = try SubscriberRig("fatal")
    rig.reader.append(numbered: 0..<2)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.subscriber.status.lastError == "deliver answered SLU_E_FATAL: lost my mind")
    #expect(rig.subscriber.status.restarts == 1)
    #expect(rig.stop() == .stopped)
    #expect(rig.seen == ["1 1 m0", "2 1 m1", "stop", "1 2 m0", "2 2 m1", "stop"])
  }

  @Test func aPluginThatBlocksIsInterruptedWhenTimeRunsOut() throws {
    let rig = try SubscriberRig("blocking")
    rig.reader.append(numbered: 0..<2)
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "blocking"))
    #expect(rig.subscriber.stop(deadline: Clock.monotonic() + 60_000_000_000) == .stopped)
    #expect(rig.seen == ["blocking", "stop"])
    #expect(rig.reader.cursor == 1, "nothing was acknowledged")
  }

  @Test func aPluginThatHangsIsLeftBehindWithItsVerdictsKept() throws {
    let rig = try SubscriberRig("hanging")
    rig.reader.append(numbered: 0..<2)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.subscriber.stop(deadline: Clock.monotonic() + 50_000_000) == .stuck)
    #expect(rig.subscriber.status.state == .stuck)
    #expect(rig.reader.cursor == 3)
    #expect(rig.log.count("left behind") == 1)
  }

  @Test("Whoever waits for a subscriber's end hears of it when its thread is over, and at once when it is already")
  func itsEndIsTold() throws {
    let rig = try SubscriberRig("blocking")
    rig.reader.append(numbered: 0..<1)
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "blocking"))
    let bell = Doorbell()
    let told = Atomic<Int>(0)
    for _ in 0..<2 {
      rig.subscriber.onEnd {
        told.add(1, ordering: .relaxed)
        bell.ring()
      }
    }
    #expect(told.load(ordering: .relaxed) == 0 && !rig.subscriber.hasEnded)
    #expect(rig.stop() == .stopped)
    #expect(bell.wait(until: Clock.monotonic() + 60_000_000_000))
    #expect(told.load(ordering: .relaxed) == 2 && rig.subscriber.hasEnded)
    rig.subscriber.onEnd { told.add(1, ordering: .relaxed) }
    #expect(told.load(ordering: .relaxed) == 3)
  }

  @Test("The host answers for everything that it offers, in process and isolated", arguments: [false, true])
  func theHostAnswersForEverythingItOffers(isIsolated: Bool) throws {
    let rig = try SubscriberRig("services", n: isIsolated ? 1 : 0, isIsolated: isIsolated)
    rig.reader.append(["row"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2))
    let status = rig.subscriber.status
    #expect(status.health == .down && status.whyNotReady == "no room")
    let families = rig.subscriber.metrics()
    #expect(rig.stop() == .stopped)
    #expect(
      Array(rig.seen.dropLast()) == [
        "same id 1", "bad name 0", "other kind 0", "publish -1", "extension 0", "clock 1", "no clock 0", "no lease -7",
        "lease 0", "again 0",
      ])
    #expect(rig.reader.pinCount == 0)
    #expect(rig.log.count("warning broken \u{FFFD} text row=7 subscriber=it") == 1)
    #expect(rig.log.all.contains { $0.hasPrefix("error eeee") && $0.count < 9000 })
    #expect(rig.log.count("info its own words from=its output subscriber=it") == (isIsolated ? 1 : 0))
    let rows = try #require(families.first { $0.name == "sluice_plugin_rows_total" })
    #expect(rows.samples[0].value == 5)
    #expect(rows.samples[0].labels.map { "\($0.0)=\($0.1)" } == ["subscriber=it", "table=events"])
    #expect(families.first { $0.name == "sluice_plugin_buffer_bytes" }?.samples[0].value == 512)
    let query = try #require(families.first { $0.name == "sluice_plugin_query_seconds" })
    #expect(query.samples[0].value == 1 && query.samples[0].sum == 0.5)
  }

  @Test func metricsTellWhatBecameOfTheRecords() throws {
    let rig = try SubscriberRig("verdicts")
    rig.reader.append(["a0", "r1", "x2"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    let families = rig.subscriber.metrics()
    #expect(rig.stop() == .stopped)
    func value(_ name: String) -> Double? {
      families.first { $0.name == "sluice_subscriber_\(name)" }?.samples[0].value
    }
    #expect(value("up") == 1)
    #expect(value("delivered_records_total") == 5)
    #expect(value("acked_records_total") == 2)
    #expect(value("retried_records_total") == 2)
    #expect(value("dead_letters_total") == 1)
    #expect(value("delivery_seconds") == value("batches_total"))
    #expect(Set(families.map(\.name)).count == families.count, "each family once")
  }
}
