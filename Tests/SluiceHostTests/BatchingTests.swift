import SluiceCore
import SluiceTopology
import Testing

@testable import SluiceHost

/// When a batch is read, and how large it gets.
@Suite struct BatchingTests {
  private func feed(_ records: Int) -> (MemoryReader, StreamFeed) {
    let reader = MemoryReader()
    reader.append(numbered: 0..<records)
    return (reader, StreamFeed(reader))
  }

  @Test func whereNothingIsReadingTells() {
    let (_, feed) = feed(0)
    #expect(feed.supply(now: 0, maxRecords: 10, maxBytes: 1000, wait: 50) == .ready)
    #expect(feed.lingerUntil == nil)
  }

  @Test func aFullBatchIsReadAtOnce() {
    let (_, feed) = feed(10)
    #expect(feed.supply(now: 0, maxRecords: 10, maxBytes: 1 << 20, wait: 50) == .ready)
    #expect(feed.supply(now: 0, maxRecords: 11, maxBytes: 10 * 64, wait: 50) == .ready, "full by bytes")
  }

  @Test func aBatchThatIsNotFullWaitsFromItsFirstRecordOn() {
    let (reader, feed) = feed(2)
    #expect(feed.supply(now: 100, maxRecords: 10, maxBytes: 1 << 20, wait: 50) == .filling(until: 150))
    reader.append(numbered: 2..<4)
    #expect(feed.supply(now: 120, maxRecords: 10, maxBytes: 1 << 20, wait: 50) == .filling(until: 150))
    #expect(feed.supply(now: 150, maxRecords: 10, maxBytes: 1 << 20, wait: 50) == .ready)
  }

  @Test func withoutAWaitWhatIsThereIsRead() {
    let (_, feed) = feed(2)
    #expect(feed.supply(now: 0, maxRecords: 10, maxBytes: 1 << 20, wait: 0) == .ready)
  }

  @Test func recordsThatComeWhileABatchFillsTravelWithIt() throws {
    let rig = try SubscriberRig("recorder") {
      $0.batch.records = 6
      $0.batch.waitNanoseconds = 30_000_000_000
    }
    try rig.subscriber.start()
    for record in 0..<6 { rig.reader.append(["m\(record)"]) }
    #expect(rig.reader.waitUntilSettled(below: 7))
    #expect(rig.stop() == .stopped)
    #expect(rig.reader.reads == [6], "one batch, and not after the wait")
  }

  @Test func aBatchEndsByRecordsBytesAndSlab() throws {
    let rig = try SubscriberRig("recorder", readers: [MemoryReader(recordsPerSlab: 7)]) {
      $0.batch.records = 4
      $0.batch.bytes = 1 << 20
    }
    rig.reader.append(numbered: 0..<9)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 10))
    #expect(rig.stop() == .stopped)
    #expect(rig.reader.reads == [4, 3, 2])
    let small = try SubscriberRig("recorder") { $0.batch.bytes = 200 }
    small.reader.append(numbered: 0..<5)
    try small.subscriber.start()
    #expect(small.reader.waitUntilSettled(below: 6))
    #expect(small.stop() == .stopped)
    #expect(small.reader.reads == [2, 2, 1])
  }

  @Test func aSubscriberThatWaitsForAFullerBatchStopsAtOnce() throws {
    // Far longer than the stop may take.
    let rig = try SubscriberRig("recorder") { $0.batch.waitNanoseconds = 3_600_000_000_000 }
    try rig.subscriber.start()
    rig.reader.append(["m0"])
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.isEmpty && rig.reader.cursor == 1)
  }

  @Test func theTopologyComesBeforeThePluginsWishAndThatBeforeTheDefault() {
    var settings = SubscriberSettings(
      name: "it", plugin: "x", streams: ["s"], position: SourcePosition(file: "f", line: 1, column: 1))
    let none = LoadedPlugin.Wants(
      records: 0, bytes: 0, lingerMilliseconds: 0, maxInflight: 0, ackDeadlineMilliseconds: 0)
    let wants = LoadedPlugin.Wants(
      records: 10, bytes: 1000, lingerMilliseconds: 2, maxInflight: 50, ackDeadlineMilliseconds: 9)
    let byDefault = DeliveryOptions(settings, wants: none)
    #expect(byDefault.records == Limits.defaultBatchRecords && byDefault.bytes == Limits.defaultBatchBytes)
    #expect(byDefault.ackDeadlineNanoseconds == Limits.defaultAckDeadlineNanoseconds)
    #expect(byDefault.maxInflight == .max)
    let wished = DeliveryOptions(settings, wants: wants)
    #expect(wished.records == 10 && wished.bytes == 1000 && wished.waitNanoseconds == 2_000_000)
    #expect(wished.maxInflight == 50 && wished.ackDeadlineNanoseconds == 9_000_000)
    settings.batch.records = 7
    settings.ackDeadlineNanoseconds = 1_000
    let set = DeliveryOptions(settings, wants: wants)
    #expect(set.records == 7 && set.bytes == 1000 && set.ackDeadlineNanoseconds == 1_000)
  }
}
