import Glibc
import SluiceCore
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// A plugin that takes its time to go on with another config.
@Suite struct LateAnswerTests {
  @Test(
    "A config that is taken when nobody waits any more does not last: the instance ends, and is made with the old one",
    arguments: [false, true])
  func doesNotLast(isIsolated: Bool) throws {
    let rig = try SubscriberRig("late", n: 1, isIsolated: isIsolated)
    let gate = rig.directory.folder("plugins/it") + "/change"
    #expect(mkfifo(gate, 0o600) == 0)
    try rig.subscriber.start()
    rig.reader.append(["m0"])
    #expect(rig.reader.waitUntilSettled(below: 2, seconds: 60))
    let wanted = Reconfiguration(#"{"n":2}"#)
    rig.subscriber.submit(wanted)
    #expect(wanted.wait(for: 0) == nil, "the plugin waits for the pipe, or has not been asked yet")
    // Returns when the plugin reads from it.
    close(open(gate, O_WRONLY | O_CLOEXEC))
    unlink(gate)
    #expect(rig.log.wait(for: "instance ended", seconds: 60), "\(rig.log.all)")
    rig.reader.append(["m1"])
    #expect(rig.reader.waitUntilSettled(below: 3, seconds: 60))
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(rig.messages.map(\.attempt) == [1, 1], "in that place stands the config's n: \(rig.seen)")
    #expect(rig.subscriber.status.restarts == 1)
  }

  @Test("What a plugin settles when it is asked to flush for another config moves its cursor at once")
  func settlesInFlush() throws {
    let rig = try SubscriberRig("deferring") { $0.ackDeadlineNanoseconds = 3_600_000_000_000 }
    try rig.subscriber.start()
    rig.reader.append(numbered: 0..<2)
    #expect(eventually { rig.messages.count == 2 })
    #expect(rig.subscriber.reconfigure("{}") == .applied)
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.stop() == .stopped)
  }

  @Test("The rows of the table of a config that is offered")
  func rows() {
    let answered = Reconfiguration("{}")
    #expect(answered.answer(.needsNew) && answered.wait(for: 0) == .needsNew)
    #expect(!answered.answer(.applied) && answered.wait(for: 0) == .needsNew)
    let abandoned = Reconfiguration("{}")
    #expect(abandoned.wait(for: 0) == nil && !abandoned.answer(.applied) && abandoned.wait(for: 0) == nil)
  }

  @Test("A process that does not return from reconfigure is killed before its reload is given up, which says so")
  func hangs() throws {
    let rig = try SubscriberRig("late", n: 1, isIsolated: true)
    #expect(mkfifo(rig.directory.folder("plugins/it") + "/change", 0o600) == 0)
    try rig.subscriber.start()
    rig.reader.append(["m0"])
    #expect(rig.reader.waitUntilSettled(below: 2, seconds: 60))
    guard case .failed(let why) = rig.subscriber.reconfigure(#"{"n":2}"#, limit: 300_000_000_000) else {
      Issue.record("it was taken")
      return
    }
    #expect(why.contains("nor when it was interrupted"), "\(why)")
    rig.reader.append(["m1"])
    #expect(rig.reader.waitUntilSettled(below: 3, seconds: 60))
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(rig.messages.map(\.attempt) == [1, 1])
  }
}
