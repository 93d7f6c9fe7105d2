import SluiceCore
import SluiceTopology
import Synchronization
import TestSupport
import Testing

@testable import SluiceHost

/// A plugin in the daemon's process that does not return.
@Suite struct WatchdogTests {
  /// Looks as the daemon's watchdog does, until `isDone`.
  private func watch(_ rigs: SubscriberRig..., after ahead: Int64 = 0, until isDone: () -> Bool) -> Bool {
    let pause = Doorbell()
    let deadline = Clock.monotonic() + 120_000_000_000
    while Clock.monotonic() < deadline {
      for rig in rigs { rig.subscriber.watch(now: Clock.monotonic() + ahead) }
      if isDone() { return true }
      pause.wait(until: Clock.monotonic() + 5_000_000)
    }
    return false
  }

  @Test("A delivery that is over its deadline is interrupted once, and comes again when the plugin gives in to that")
  func interrupts() throws {
    let rig = try SubscriberRig("blocking") { $0.ackDeadlineNanoseconds = 50_000_000 }
    rig.reader.append(["m0"])
    try rig.subscriber.start()
    #expect(watch(rig) { rig.log.count("does not return from a call") == 1 })
    #expect(rig.log.wait(for: "delivery failed"))
    #expect(rig.subscriber.status.state == .running)
    #expect(rig.stop() == .stopped)
  }

  @Test("One that does not give in is shown as stuck, is told once, and is left behind when its subscriber stops")
  func stuck() throws {
    let rig = try SubscriberRig("deaf") { $0.ackDeadlineNanoseconds = 20_000_000 }
    rig.reader.append(["m0"])
    try rig.subscriber.start()
    #expect(watch(rig) { rig.log.count("does not return from a call") == 1 })
    #expect(watch(rig) { rig.subscriber.status.state == .stuck })
    let status = rig.subscriber.status
    #expect(!status.isReady && status.whyNotReady?.contains("has not returned from a call") == true)
    #expect(rig.log.count("does not return from a call") == 1)
    #expect(rig.stop(seconds: 1) == .stuck)
    #expect(rig.reader.cursor == 1, "what it held is delivered to the next")
  }

  @Test("A plugin that hangs in interrupt, too, keeps neither the watchdog nor its subscriber's end")
  func hangsInInterrupt() throws {
    let misbehaviour = Misbehaviour(what: "sleep_for_ever", place: "in_interrupt")
    let hanging = try SubscriberRig(misbehaviour.kind, misbehaving: misbehaviour) {
      $0.ackDeadlineNanoseconds = 20_000_000
    }
    let deaf = try SubscriberRig("deaf") { $0.ackDeadlineNanoseconds = 20_000_000 }
    hanging.reader.append(["bad"])
    try hanging.subscriber.start()
    #expect(watch(hanging, deaf) { hanging.log.count("does not return from a call") == 1 })
    #expect(watch(hanging, deaf) { hanging.subscriber.status.state == .stuck })
    #expect(hanging.log.count("does not return from a call") == 1)
    deaf.reader.append(["m0"])
    try deaf.subscriber.start()
    #expect(watch(hanging, deaf) { deaf.log.count("does not return from a call") == 1 })
    #expect(watch(hanging, deaf) { deaf.subscriber.status.state == .stuck })
    #expect(deaf.log.count("does not return from a call") == 1)
    #expect(hanging.stop(seconds: 1) == .stuck && deaf.stop(seconds: 1) == .stuck)
  }

  private static let places = [
    "create", "create_again", "start", "deliver", "flush", "gap", "reconfigure", "drain", "stop", "destroy",
  ]

  @Test(
    "Whichever function a plugin hangs in, it is shown and given up, or killed with its process, and its neighbour goes on",
    arguments: places, [false, true])
  func hangs(place: String, isIsolated: Bool) throws {
    let misbehaviour = Misbehaviour(what: "sleep_for_ever", place: "in_\(place)")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: isIsolated, misbehaving: misbehaviour) {
      $0.ackDeadlineNanoseconds = 30_000_000_000
    }
    let neighbour = try SubscriberRig("recorder")
    try neighbour.subscriber.start()
    // What a thread that is left behind still uses is kept.
    _ = Unmanaged.passRetained(rig)
    if place == "create" {
      let (subscriber, patience) = (rig.subscriber, StartPatience())
      _ = OSThread(name: "impatient") {
        _ = eventually { subscriber.shared.isInCall }
        patience.end()
      }
      #expect(throws: HostError.self) { try subscriber.start(patience: patience) }
    } else {
      try rig.subscriber.start()
    }
    if place == "gap" { rig.reader.lose(1...2) }
    rig.reader.append([place == "deliver" || place == "create_again" ? "bad" : "m0", "m1", "m2"])
    if place == "flush" || place == "reconfigure" {
      #expect(eventually { !rig.messages.isEmpty })
      let subscriber = rig.subscriber
      _ = OSThread(name: "reconfigure") { _ = subscriber.reconfigure("{}") }
    }
    let ends = ["drain", "stop", "destroy"].contains(place)
    let stopping = Stopping(rig.subscriber)
    if ends {
      #expect(eventually { rig.messages.count == 3 })
      stopping.begin(seconds: isIsolated ? 90 : 2)
    }
    let hour: Int64 = 3_600_000_000_000
    let call = place == "create_again" ? "create" : place
    if !isIsolated { #expect(watch(rig, after: hour) { rig.log.count("call=\(call) ") == 1 }, "\(rig.log.all)") }
    let isShown = eventually {
      let status = rig.subscriber.status(now: Clock.monotonic() + hour)
      return status.state == .stuck && status.lastError.contains("from a call of \(call)")
    }
    #expect(isShown, "\(rig.subscriber.status)")
    neighbour.reader.append(numbered: 0..<20)
    #expect(neighbour.reader.waitUntilSettled(below: 21, seconds: 60))
    if !ends { stopping.begin(seconds: isIsolated ? 90 : 1) }
    if isIsolated { rig.subscriber.interrupt() }
    #expect(stopping.outcome == (isIsolated ? .stopped : .stuck), "\(rig.log.all)")
    #expect(neighbour.stop(seconds: 60) == .stopped)
  }

  @Test("What is told of a call that is over its deadline is of one call, however fast they follow each other")
  func oneCall() {
    let shared = SubscriberShared()
    let calls: Int64 = 300_000
    let caller = OSThread(name: "calls") {
      for call in 1...calls {
        shared.call(call.isMultiple(of: 2) ? .deliver : .flush, from: 2 * call, until: 2 * call + 1) {}
      }
      shared.lastDelivery.store(1, ordering: .releasing)
    }
    var mixed = 0
    while shared.lastDelivery.load(ordering: .acquiring) == 0 {
      guard let overdue = shared.overdue(at: .max - 1) else { continue }
      let deadline = .max - 1 - overdue.by
      let kind: PluginCall = (overdue.since / 2).isMultiple(of: 2) ? .deliver : .flush
      if overdue.since + 1 != deadline || overdue.call != kind { mixed += 1 }
    }
    caller.join()
    #expect(mixed == 0)
  }

  @Test("A call within its deadline is let be")
  func patient() throws {
    let rig = try SubscriberRig("recorder")
    rig.reader.append(numbered: 0..<100)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 101))
    rig.subscriber.watch(now: Clock.monotonic() + 3_600_000_000_000)
    #expect(rig.log.count("does not return") == 0)
    #expect(rig.stop() == .stopped)
  }
}
