import SluiceCore
import SluiceTopology
import Testing

@testable import SluiceHost

/// Subscribers from `start` to `stop`, through real shared objects.
@Suite struct SubscriberTests {
  @Test func everyRecordIsDeliveredAndAcknowledgedOnceAndInOrder() throws {
    let rig = try SubscriberRig("recorder", readers: [MemoryReader(recordsPerSlab: 37)]) { $0.batch.records = 16 }
    rig.reader.append(numbered: 0..<200)
    try rig.subscriber.start()
    rig.reader.append(numbered: 200..<1000)
    #expect(rig.reader.waitUntilSettled(below: 1001))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == Array(1...1000))
    #expect(rig.messages.map(\.payload) == (0..<1000).map { "m\($0)" })
    #expect(rig.messages.allSatisfy { $0.attempt == 1 })
    let counts = rig.subscriber.status.counts
    #expect(counts.delivered == 1000 && counts.acked == 1000 && counts.retried == 0)
    #expect(rig.reader.pinCount == 0)
  }

  @Test func stoppingDrainsStopsFlushesAndCloses() throws {
    let rig = try SubscriberRig("recorder")
    try rig.subscriber.start()
    rig.reader.append(["a"])
    #expect(rig.reader.waitUntilSettled(below: 2))
    #expect(rig.subscriber.status.state == .running && rig.subscriber.status.isReady)
    #expect(rig.stop() == .stopped)
    #expect(Array(rig.seen.suffix(2)) == ["drain", "stop"])
    #expect(rig.reader.flushes == 1 && rig.reader.isClosed)
    #expect(rig.subscriber.status.state == .stopped)
    #expect(rig.subscriber.status.whyNotReady == "stopped")
    #expect(rig.stop() == .stopped, "once more does no harm")
  }

  @Test func streamsTakeTurns() throws {
    let readers = [MemoryReader("one"), MemoryReader("two"), MemoryReader("three")]
    let rig = try SubscriberRig("recorder", readers: readers) { $0.batch.records = 10 }
    for reader in readers { reader.append((0..<30).map { "\(reader.streamName)-\($0)" }) }
    try rig.subscriber.start()
    for reader in readers { #expect(reader.waitUntilSettled(below: 31)) }
    #expect(rig.stop() == .stopped)
    let turns = stride(from: 0, to: 90, by: 10).map { rig.messages[$0].payload.prefix { $0 != "-" } }
    #expect(turns == ["one", "two", "three", "one", "two", "three", "one", "two", "three"])
  }

  @Test func aFailedBatchComesAgainWholeWithARisingAttempt() throws {
    let rig = try SubscriberRig("failing", n: 2)
    rig.reader.append(numbered: 0..<3)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.attempt) == [1, 1, 1, 2, 2, 2, 3, 3, 3])
    #expect(rig.subscriber.status.counts.retried == 6)
    #expect(
      rig.subscriber.status.lastError == "deliver answered SLU_E_RETRYABLE: the far side is asleep (code 42)")
    #expect(rig.log.count("delivery failed") == 2)
  }

  @Test func aSubscriberWhoseDeliveriesFailOneAfterTheOtherIsNotReady() throws {
    let rig = try SubscriberRig("failing", n: 1_000_000)
    rig.reader.append(["a"])
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "delivery failed", count: 3), "it is logged for the first, second and fourth")
    let status = rig.subscriber.status
    #expect(status.state == .running && !status.isReady)
    #expect(status.whyNotReady?.contains("deliveries in a row failed: deliver answered SLU_E_RETRYABLE") == true)
    #expect(rig.stop() == .stopped)
  }

  @Test func attemptsThatAreUsedUpEndInTheDeadLetters() throws {
    let rig = try SubscriberRig("failing", n: 2) { $0.retry.attempts = 2 }
    rig.reader.append(numbered: 0..<3)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.map(\.lsn) == [1, 2, 3])
    #expect(rig.letters.letters.allSatisfy { $0.cause == .attemptsExhausted && $0.attempts == 2 })
  }

  @Test func eachRecordGetsItsOwnVerdict() throws {
    let rig = try SubscriberRig("verdicts")
    rig.reader.append(["a0", "r1", "x2", "u3", "d4", "r5", "x6", "x7"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 9))
    #expect(rig.stop() == .stopped)
    let attempts = (1...8).map { lsn in rig.messages.filter { $0.lsn == lsn }.map(\.attempt) }
    #expect(attempts == [[1], [1, 2, 3], [1], [1, 2], [1], [1, 2, 3], [1], [1]])
    #expect(!rig.seen.contains("settle failed"))
    let counts = rig.subscriber.status.counts
    #expect(counts.acked == 5 && counts.rejected == 3 && counts.retried == 5 && counts.unknownVerdicts == 1)
    let letters = rig.letters.letters
    #expect(letters.map(\.lsn) == [3, 7, 8])
    #expect(letters.allSatisfy { $0.code == 7 && $0.reason == "bad row" && $0.cause == .plugin })
  }

  @Test func theCursorWaitsForTheDeadLetterSink() throws {
    let rig = try SubscriberRig("verdicts")
    rig.letters.refuse(5)
    rig.reader.append(["a0", "x1", "a2"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    #expect(rig.reader.settles == [2, 4])
    #expect(rig.letters.letters.count == 1)
  }

  @Test func verdictsFromAnotherThreadOutOfOrderSettleEverythingOnce() throws {
    let rig = try SubscriberRig("async", readers: [MemoryReader(recordsPerSlab: 50)]) { $0.batch.records = 20 }
    try rig.subscriber.start()
    for start in stride(from: 0, to: 2000, by: 25) { rig.reader.append(numbered: start..<(start + 25)) }
    #expect(rig.reader.waitUntilSettled(below: 2001))
    #expect(rig.stop() == .stopped)
    let counts = rig.subscriber.status.counts
    #expect(counts.acked == 2000 && counts.retried > 0)
    #expect(counts.doubled + counts.late + counts.foreign + counts.invalid == 0)
    #expect(Set(rig.messages.map(\.lsn)).count == 2000)
    let first = rig.messages.filter { $0.attempt == 1 }.map(\.lsn)
    #expect(first == Array(1...2000), "first deliveries come in order")
    #expect(rig.reader.pinCount == 0, "every lease was let go")
  }

  @Test func strictOrderLetsNothingPassARetriedRecord() throws {
    let rig = try SubscriberRig("verdicts") {
      $0.batch.records = 1
      $0.order = .strict
    }
    rig.reader.append(["r0", "a1", "r2", "a3"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 5))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == [1, 1, 1, 2, 3, 3, 3, 4])
  }

  @Test func wrongVerdictsAreCountedAndHarmless() throws {
    let rig = try SubscriberRig("missettling")
    rig.reader.append(numbered: 0..<4)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 5))
    rig.reader.append(numbered: 4..<5)
    #expect(rig.reader.waitUntilSettled(below: 6))
    #expect(rig.stop() == .stopped)
    #expect(
      rig.seen == ["first 0", "double 3", "foreign 3", "zero 3", "none -7", "past -7", "null -7", "late 3"])
    let counts = rig.subscriber.status.counts
    #expect(counts.doubled == 1 && counts.foreign == 3 && counts.invalid == 2 && counts.late == 1)
    #expect(counts.acked == 5 && rig.letters.letters.isEmpty)
  }

  @Test func whatIsNotSettledInTimeIsDeliveredAgain() throws {
    let rig = try SubscriberRig("silent")
    rig.reader.append(numbered: 0..<3)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.attempt) == [1, 1, 1, 2, 2, 2])
    #expect(rig.subscriber.status.counts.overdue == 3)
  }

  @Test("A busy plugin is asked again, and its credit is kept, in process and isolated", arguments: [false, true])
  func aBusyPluginIsAskedAgainAndItsCreditIsKept(isIsolated: Bool) throws {
    let rig = try SubscriberRig("busy", n: 3, isIsolated: isIsolated)
    rig.reader.append(numbered: 0..<40)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 41))
    #expect(rig.stop() == .stopped)
    #expect(rig.seen.count { $0 == "busy" } == 3)
    #expect(!rig.seen.contains("more than the credit"))
    #expect(rig.messages.map(\.lsn) == Array(1...40))
    #expect(rig.messages.allSatisfy { $0.attempt == 1 }, "a busy answer is no attempt")
  }

  @Test func aGapIsToldInOrderAndCounted() throws {
    let rig = try SubscriberRig("recorder") { $0.batch.records = 4 }
    rig.reader.append(numbered: 0..<10)
    rig.reader.lose(5...7)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 11))
    #expect(rig.stop() == .stopped)
    let told = rig.seen.map { $0.hasPrefix("gap") ? $0 : String($0.prefix { $0 != " " }) }
    #expect(told == ["1", "2", "3", "4", "gap 5 7", "8", "9", "10", "drain", "stop"])
    #expect(rig.subscriber.status.gaps == 1 && rig.subscriber.status.lostRecords == 3)
  }

  @Test func lsnsThatTheLogSkippedArePassedOverInSilence() throws {
    let rig = try SubscriberRig("recorder")
    rig.reader.append(numbered: 0..<10)
    rig.reader.skip(5...7)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 11))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == [1, 2, 3, 4, 8, 9, 10])
    #expect(rig.subscriber.status.gaps == 0)
  }

  @Test func recordsThatAreGoneBeforeTheirRetryAreToldAsAGap() throws {
    let rig = try SubscriberRig("failing", n: 1)
    let reader = rig.reader
    reader.append(numbered: 0..<6)
    rig.log.first("delivery failed") {
      reader.skip(1...2)
      reader.lose(3...4)
    }
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 7))
    #expect(rig.stop() == .stopped)
    #expect(Array(rig.seen.dropFirst(6)) == ["gap 1 4", "5 2 m4", "6 2 m5"])
    #expect(rig.subscriber.status.lostRecords == 4)
  }

  @Test func aFaultUnderTheReaderIsShownAndReadingGoesOn() throws {
    let rig = try SubscriberRig("recorder")
    rig.reader.append(numbered: 0..<3)
    rig.reader.failReads(2)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.subscriber.status.lastError == "reading stream events: the disk hums")
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == [1, 2, 3])
  }
}
