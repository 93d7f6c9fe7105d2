import SluiceCore
import SluiceTopology
import Testing

@testable import SluiceHost

/// What is read while a plugin's process has a batch changes nothing of what the plugin sees.
@Suite struct ReadAheadTests {
  @Test("While a process has a batch the next full one is read, and no slab stays pinned; in this process none is")
  func readsWhileTheProcessWorks() throws {
    for (isIsolated, reads, pins) in [(true, [4, 4], 0), (false, [4], 1)] {
      let rig = try SubscriberRig("blocking", isIsolated: isIsolated) { $0.batch.records = 4 }
      rig.reader.append(numbered: 0..<12)
      try rig.subscriber.start()
      #expect(eventually { rig.seen == ["blocking"] && rig.reader.reads == reads && rig.reader.pinCount == pins })
      #expect(rig.reader.cursor == 1 && rig.subscriber.status.counts.delivered == 4, "the second is not in the books")
      #expect(rig.stopInterrupting() == .stopped)
      #expect(rig.reader.pinCount == 0)
    }
  }

  @Test("What is not a full batch yet is not read before its turn, so that more can join it")
  func waitsForCompany() throws {
    let rig = try SubscriberRig("blocking", isIsolated: true) { $0.batch.records = 4 }
    rig.reader.append(numbered: 0..<7)
    try rig.subscriber.start()
    #expect(eventually { rig.seen == ["blocking"] })
    #expect(rig.stopInterrupting() == .stopped)
    #expect(rig.reader.reads == [4])
  }

  @Test("A batch that fails comes again before what was read meanwhile", arguments: [false, true])
  func retriesComeFirst(isIsolated: Bool) throws {
    let rig = try SubscriberRig("failing", n: 2, isIsolated: isIsolated) { $0.batch.records = 4 }
    rig.reader.append(numbered: 0..<40)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 41))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == [1, 2, 3, 4, 1, 2, 3, 4] + Array(1...40))
    #expect(rig.messages.map(\.attempt).prefix(13) == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 1])
  }

  @Test("A busy plugin gets the same batch again, and with less credit what was read meanwhile is read once more")
  func busyAndCredit() throws {
    let rig = try SubscriberRig("busy", n: 3, isIsolated: true) { $0.batch.records = 6 }
    rig.reader.append(numbered: 0..<60)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 61))
    #expect(rig.stop() == .stopped)
    #expect(rig.seen.count { $0 == "busy" } == 3 && !rig.seen.contains("more than the credit"))
    #expect(rig.messages.map(\.lsn) == Array(1...60) && rig.messages.allSatisfy { $0.attempt == 1 })
  }

  @Test("A gap that is found meanwhile is told when its turn comes, once")
  func gaps() throws {
    let rig = try SubscriberRig("recorder", isIsolated: true) { $0.batch.records = 4 }
    rig.reader.append(numbered: 0..<20)
    rig.reader.lose(5...7)
    rig.reader.skip(12...13)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 21))
    #expect(rig.stop() == .stopped)
    let told = rig.seen.map { $0.hasPrefix("gap") ? $0 : String($0.prefix { $0 != " " }) }
    #expect(
      told == ["1", "2", "3", "4", "gap 5 7"] + ([8...11, 14...20].joined().map { "\($0)" }) + ["drain", "stop"])
    #expect(rig.subscriber.status.gaps == 1 && rig.subscriber.status.lostRecords == 3)
  }

  @Test(
    "Of two streams each is delivered in its order, and what does not match is passed over, whoever is read meanwhile")
  func streamsAndMatches() throws {
    let records = 2 * Limits.matchScanRecords
    let readers = [MemoryReader("one"), MemoryReader("two")]
    let rig = try SubscriberRig("recorder", readers: readers, isIsolated: true) {
      $0.batch.records = 50
      $0.match = SubscriberSettings.Match()
      $0.match?.topics = ["t1"]
    }
    // Every third record has that topic, and none of the last part.
    for reader in readers {
      reader.append((0..<records).map { MemoryReader.Draft(payload: "\(reader.streamName)\($0)", topic: "t\($0 % 3)") })
      reader.append((0..<records).map { MemoryReader.Draft(payload: "\($0)", topic: "t0") })
    }
    try rig.subscriber.start()
    for reader in readers { #expect(reader.waitUntilSettled(below: UInt64(2 * records + 1))) }
    #expect(rig.stop() == .stopped)
    let wanted = stride(from: 1, to: records, by: 3).map { $0 }
    let payloads = rig.messages.map(\.payload)
    for name in readers.map(\.streamName) {
      #expect(payloads.filter { $0.hasPrefix(name) } == wanted.map { "\(name)\($0)" })
    }
    let counts = rig.subscriber.status.counts
    #expect(counts.delivered == UInt64(2 * wanted.count) && counts.passed == UInt64(4 * records) - counts.delivered)
  }
}
