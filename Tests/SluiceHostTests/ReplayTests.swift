import SluiceCore
import SluiceJournal
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// Dead letters in an operator's hands: listed, delivered again, given up.
@Suite struct ReplayTests {
  private let soon: Int64 = 120_000_000_000

  /// A subscriber with a real dead letter stream, to which `payloads` were delivered.
  private func rig(
    _ fixture: String, _ payloads: [String], dead: DeadStream, n: Int? = nil,
    _ change: (inout SubscriberSettings) -> Void = { _ in }
  ) throws -> SubscriberRig {
    let rig = try SubscriberRig(fixture, n: n, deadLetters: StreamDeadLetterSink(dead.log), change)
    rig.reader.append(payloads)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: UInt64(payloads.count) + 1))
    return rig
  }

  private func open(_ letters: DeadLetterLog) throws -> [UInt64] {
    try letters.list(DeadLetterSelection(), limit: 10_000).entries.map(\.letter.lsn)
  }

  @Test func aRetriedLetterIsDeliveredAsItWasAndSettled() throws {
    let dead = try DeadStream()
    let letters = try DeadLetterLog(dead.log)
    defer { letters.close() }
    let rig = try rig("second-thoughts", ["a0", "x1", "a2", "x3"], dead: dead)
    #expect(try open(letters) == [2, 4])
    let result = try letters.retry(DeadLetterSelection(), deadline: Clock.monotonic() + soon) { name in
      name == "it" ? rig.subscriber : nil
    }
    #expect(result == DeadLetterRetry(delivered: 2))
    #expect(try open(letters).isEmpty)
    #expect(rig.stop() == .stopped)
    let log = rig.reader.logUUID
    #expect(rig.seen.contains("replay events \(log) 2 4"), "\(rig.seen)")
    let again = rig.seen.filter { $0.hasPrefix("again") }
    #expect(again == ["again 2 1 x1 t1 source-1 producer-1 1001 1", "again 4 1 x3 t0 source-1 producer-1 1003 3"])
    #expect(rig.subscriber.status.counts.acked == 4)
  }

  @Test func whatIsRejectedAgainStaysOpenAndMakesNoSecondLetter() throws {
    let dead = try DeadStream()
    let letters = try DeadLetterLog(dead.log)
    defer { letters.close() }
    let rig = try rig("verdicts", ["x0", "a1", "x2"], dead: dead)
    let result = try letters.retry(DeadLetterSelection(), deadline: Clock.monotonic() + soon) { _ in rig.subscriber }
    #expect(result == DeadLetterRetry(rejected: 2))
    #expect(try open(letters) == [1, 3])
    #expect(try dead.entries().count == 2)
    rig.reader.append(["a3"])
    #expect(rig.reader.waitUntilSettled(below: 5), "and delivery goes on")
    #expect(rig.stop() == .stopped)
  }

  @Test func lettersOfSubscribersThatDoNotRunStayOpen() throws {
    let dead = try DeadStream()
    let letters = try DeadLetterLog(dead.log)
    defer { letters.close() }
    let rig = try rig("verdicts", ["x0"], dead: dead)
    #expect(rig.stop() == .stopped)
    for target in [nil, rig.subscriber] {
      let result = try letters.retry(DeadLetterSelection(), deadline: Clock.monotonic() + soon) { _ in target }
      #expect(result == DeadLetterRetry(unavailable: 1))
    }
    #expect(try open(letters) == [1])
  }

  @Test("Who delivers letters again does not wait for them any more when that is given up")
  func givenUp() throws {
    let dead = try DeadStream()
    let letters = try DeadLetterLog(dead.log)
    defer { letters.close() }
    let rig = try rig("second-thoughts", ["x0"], dead: dead, n: 1)
    let result = try letters.retry(
      DeadLetterSelection(), deadline: .max, isGivenUp: { rig.log.count("delivery failed") > 0 }
    ) { _ in rig.subscriber }
    #expect(result == DeadLetterRetry(unsettled: 1))
    #expect(try open(letters) == [1])
    #expect(rig.stop() == .stopped)
  }

  @Test func whatIsNotSettledInTimeStaysOpenAndIsNotTriedForEver() throws {
    let dead = try DeadStream()
    let letters = try DeadLetterLog(dead.log)
    defer { letters.close() }
    let rig = try rig("second-thoughts", ["x0"], dead: dead, n: 1) {
      $0.retry.firstNanoseconds = 50_000_000
      $0.retry.maxNanoseconds = 50_000_000
    }
    let result = try letters.retry(DeadLetterSelection(), deadline: Clock.monotonic() + 30_000_000) { _ in
      rig.subscriber
    }
    #expect(result == DeadLetterRetry(unsettled: 1))
    #expect(try open(letters) == [1])
    rig.reader.append(["a1"])
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.stop() == .stopped)
  }

  @Test func aFullDeadLetterStreamDoesNotKeepLettersFromBeingRetried() throws {
    let dead = try DeadStream()
    let letters = try DeadLetterLog(dead.log)
    defer { letters.close() }
    let rig = try SubscriberRig("second-thoughts")
    rig.reader.append(["x0"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2))
    rig.letters.refuse(.max)
    rig.reader.append(["x1"])
    #expect(rig.log.wait(for: "held by its dead letters"))
    let ticket = try #require(rig.subscriber.replay([try replayRecord(of: rig)]))
    #expect(ticket.wait(until: Clock.monotonic() + soon) == [.delivered])
    rig.letters.refuse(0)
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.stop() == .stopped)
  }

  private func replayRecord(of rig: SubscriberRig) throws -> ReplayRecord {
    let reader = MemoryReader()
    reader.append(["x0"])
    let batch = RecordBatch(capacity: 1)
    defer { batch.release() }
    #expect(try reader.read(into: batch, maxRecords: 1, maxBytes: .max) == .records)
    let letter = try #require(rig.letters.letters.first)
    let copy = try #require(RecordCopy(letter, of: batch[0], ownHeaders: .empty))
    return ReplayRecord(letter: letter, record: copy)
  }

  @Test func purgedLettersAreGoneAndTheirRoomIsGivenBack() throws {
    let dead = try DeadStream()
    let letters = try DeadLetterLog(dead.log)
    let rig = try rig("verdicts", (0..<300).map { $0 % 3 == 0 ? "a\($0)" : "x\($0)" }, dead: dead)
    #expect(rig.stop() == .stopped)
    var selection = DeadLetterSelection()
    selection.lsns = 50...99
    #expect(try letters.purge(selection) == 50)
    #expect(try letters.list(DeadLetterSelection(), limit: 10_000).entries.count == 150)
    letters.close()
    // Another one finds what the first has written down.
    let again = try DeadLetterLog(dead.log)
    #expect(try again.list(DeadLetterSelection(), limit: 10_000).entries.map(\.lsn) == Array(1...49) + Array(100...200))
    let (first, hasMore) = try again.list(DeadLetterSelection(), limit: 10)
    #expect(first.map(\.lsn) == Array(1...10) && hasMore)
    #expect(try again.purge(DeadLetterSelection()) == 150)
    #expect(try again.list(DeadLetterSelection(), limit: 1).entries.isEmpty)
    let held = dead.log.status.subscribers.first { $0.name == DeadLetterLog.cursorName }
    #expect(held?.lag.records == 0, "nothing holds the stream")
    again.close()
  }

  @Test func selectionsAreWhatTheySay() throws {
    let letter = DeadLetterFormatTests.sample
    func includes(_ change: (inout DeadLetterSelection) -> Void) -> Bool {
      var selection = DeadLetterSelection()
      change(&selection)
      return selection.includes(letter, at: 5)
    }
    #expect(includes { _ in })
    #expect(includes { $0.subscriber = "archive" } && !includes { $0.subscriber = "other" })
    #expect(includes { $0.stream = "events" } && !includes { $0.stream = "other" })
    #expect(includes { $0.cause = .attemptsExhausted } && !includes { $0.cause = .plugin })
    #expect(includes { $0.code = 4_000_000_000 } && !includes { $0.code = 0 })
    #expect(includes { $0.lsns = 5...5 } && !includes { $0.lsns = 6...9 })
    #expect(includes { $0.before = 0 } && !includes { $0.before = -5 })
  }

  @Test func rangesAreASetOfLSNs() {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    for _ in 0..<200 {
      var ranges = LSNRanges()
      var model: Set<UInt64> = []
      for _ in 0..<30 {
        let first = UInt64.random(in: 1...100, using: &random)
        let last = first + UInt64.random(in: 0...8, using: &random)
        ranges.insert(first...last)
        model.formUnion(first...last)
      }
      #expect((0...120).allSatisfy { ranges.contains($0) == model.contains($0) }, "seed \(random.seed)")
      let list = ranges.ranges
      #expect(zip(list, list.dropFirst()).allSatisfy { $0.upperBound + 1 < $1.lowerBound }, "seed \(random.seed)")
      ranges.remove(below: 50)
      #expect((50...120).allSatisfy { ranges.contains($0) == model.contains($0) }, "seed \(random.seed)")
      #expect(ranges.ranges.allSatisfy { $0.upperBound >= 50 })
    }
  }
}
