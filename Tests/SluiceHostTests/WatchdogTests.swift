import SluiceCore
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// A plugin in the daemon's process that does not return.
@Suite struct WatchdogTests {
  /// Looks as the daemon's watchdog does, until `isDone`.
  private func watch(_ rig: SubscriberRig, until isDone: () -> Bool) -> Bool {
    let pause = Doorbell()
    let deadline = Clock.monotonic() + 20_000_000_000
    while Clock.monotonic() < deadline {
      rig.subscriber.watch(now: Clock.monotonic())
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
    #expect(watch(rig) { rig.subscriber.status.state == .stuck })
    let status = rig.subscriber.status
    #expect(!status.isReady && status.whyNotReady?.contains("has not returned from a call") == true)
    #expect(rig.log.count("does not return from a call") == 1)
    #expect(rig.stop(seconds: 1) == .stuck)
    #expect(rig.reader.cursor == 1, "what it held is delivered to the next")
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
