import SluiceTopology
import Testing

@testable import SluiceHost

/// Plugins that are written with the kit, loaded from a `.so` as any other.
@Suite struct SwiftPluginTests {
  @Test(
    "An async subscriber settles every record once, keeps its leases no longer than its batches, and ends",
    arguments: [false, true])
  func asynchronous(isIsolated: Bool) throws {
    let rig = try SubscriberRig("swift-async", n: 10, isIsolated: isIsolated) { $0.batch.records = 20 }
    try rig.subscriber.start()
    for start in stride(from: 0, to: 1000, by: 25) { rig.reader.append(numbered: start..<(start + 25)) }
    rig.reader.append(["x"])
    #expect(rig.reader.waitUntilSettled(below: 1002))
    #expect(rig.stop() == .stopped)
    let counts = rig.subscriber.status.counts
    #expect(counts.acked == 1000 && counts.retried == 100)
    #expect(counts.doubled + counts.late + counts.foreign + counts.invalid == 0)
    #expect(rig.messages.filter { $0.attempt == 1 }.map(\.lsn) == Array(1...1001), "first deliveries come in order")
    #expect(rig.letters.letters.map(\.lsn) == [1001] && rig.letters.letters.map(\.code) == [5])
    #expect(rig.reader.pinCount == 0, "every lease was let go")
    #expect(rig.seen.suffix(1) == ["stopped"])
  }

  @Test("What a message subscriber throws is the message's verdict", arguments: [false, true])
  func messages(isIsolated: Bool) throws {
    let rig = try SubscriberRig("swift-messages", isIsolated: isIsolated)
    rig.reader.append(["a", "r", "r", "a", "x", "a"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 7))
    #expect(rig.stop() == .stopped)
    let counts = rig.subscriber.status.counts
    #expect(counts.acked == 5 && counts.retried == 2)
    #expect(counts.doubled + counts.late + counts.foreign + counts.invalid == 0)
    #expect(rig.letters.letters.map(\.lsn) == [5])
    #expect(
      rig.messages.map { "\($0.payload)\($0.attempt)" }.sorted() == ["a1", "a1", "a1", "r1", "r1", "r2", "r2", "x1"])
  }
}
