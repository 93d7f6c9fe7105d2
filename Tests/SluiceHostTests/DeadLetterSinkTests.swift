import SluiceCore
import SluiceJournal
import SluiceTopology
import Synchronization
import Testing

@testable import SluiceHost

/// Rejected records on their way to the dead letter stream, a real one.
@Suite struct DeadLetterSinkTests {
  @Test func aRejectedRecordIsKeptWithItsReason() throws {
    let dead = try DeadStream()
    let rig = try SubscriberRig("verdicts", deadLetters: StreamDeadLetterSink(dead.log))
    rig.reader.append([
      .init(payload: "a"), .init(payload: "xrow", topic: "t", key: "k", headers: [1, 0x68, 1, 0, 0x76], producer: 1),
      .init(payload: "a"),
    ])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    let entries = try dead.entries()
    #expect(entries.count == 1)
    let entry = try #require(entries.first)
    #expect(entry.letter.subscriber == "it" && entry.letter.stream == "events" && entry.letter.lsn == 2)
    #expect(entry.letter.logUUID == rig.reader.logUUID && entry.letter.cause == .plugin && entry.letter.code == 7)
    #expect(entry.letter.reason == "bad row" && entry.letter.attempts == 1 && entry.letter.cut == .nothing)
    #expect(entry.letter.source == "source-1" && entry.letter.producer == "producer-1")
    #expect(entry.letter.ingestTime == 1001 && entry.letter.sequence == 1)
    #expect(entry.payload == Array("xrow".utf8) && entry.topic == Array("t".utf8) && entry.key == Array("k".utf8))
    #expect(entry.ownHeaders == [1, 0x68, 1, 0, 0x76] && entry.eventTime == 1)
  }

  @Test func attemptsThatAreUsedUpTellWhatTheLastOneSaid() throws {
    let dead = try DeadStream()
    let rig = try SubscriberRig("failing", n: 100, deadLetters: StreamDeadLetterSink(dead.log)) {
      $0.retry.attempts = 2
    }
    rig.reader.append(numbered: 0..<600)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 601))
    #expect(rig.stop() == .stopped)
    let entries = try dead.entries()
    #expect(entries.map(\.letter.lsn) == Array(1...600))
    #expect(entries.allSatisfy { $0.letter.cause == .attemptsExhausted && $0.letter.attempts == 2 })
    #expect(entries.allSatisfy { $0.letter.reason.hasPrefix("deliver answered SLU_E_RETRYABLE") })
    #expect(rig.subscriber.status.counts.exhausted == 600)
  }

  @Test func whatDoesNotFitIsCutAndSaysSo() throws {
    let dead = try DeadStream(maxRecordBytes: 64 << 10)
    let rig = try SubscriberRig("verdicts", deadLetters: StreamDeadLetterSink(dead.log))
    let header: [UInt8] = [1, 0x68, 0xB0, 0x36] + [UInt8](repeating: 0x20, count: 0x36B0)
    rig.reader.append([
      .init(payload: "x" + String(repeating: "y", count: 80_000)),
      .init(payload: "x small", headers: header + [0, UInt8(0x10), 0x08] + [UInt8](repeating: 1, count: 0x810)),
    ])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.stop() == .stopped)
    let entries = try dead.entries()
    #expect(entries.map(\.letter.cut) == [.payload, .headers])
    #expect(entries[0].payload.isEmpty && entries[1].payload == Array("x small".utf8))
    #expect(entries.allSatisfy { $0.ownHeaders.isEmpty })
    #expect(rig.subscriber.status.cutLetters == 2)
  }

  @Test("A letter may be as large as its stream takes now, not as it did when the subscriber began")
  func theSizeOfALetterFollowsItsStream() throws {
    let dead = try DeadStream(maxRecordBytes: 64 << 10)
    let rig = try SubscriberRig("verdicts", deadLetters: StreamDeadLetterSink(dead.log))
    rig.reader.append(["x0"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2))
    for (lsn, bytes) in [(UInt64(2), 256 << 10), (3, 64 << 10)] {
      try dead.allow(maxRecordBytes: bytes)
      rig.reader.append(["x" + String(repeating: "y", count: 80_000)])
      #expect(rig.reader.waitUntilSettled(below: lsn + 1))
    }
    #expect(rig.stop() == .stopped)
    #expect(try dead.entries().map(\.letter.cut) == [.nothing, .nothing, .payload])
  }

  @Test func aFullDeadLetterStreamHoldsTheSubscriberVisibly() throws {
    let rig = try SubscriberRig("verdicts")
    rig.letters.refuse(.max)
    rig.reader.append(["x0"])
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "held by its dead letters"))
    rig.reader.append(numbered: 1..<50)
    #expect(rig.subscriber.status.whyNotReady == "the dead letter stream dead is full (retention)")
    let up = rig.subscriber.metrics().first { $0.name == "sluice_subscriber_up" }
    #expect(up?.samples[0].value == 0)
    rig.letters.refuse(0)
    #expect(rig.reader.waitUntilSettled(below: 51))
    #expect(rig.subscriber.status.isReady)
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.map(\.lsn) == [1])
    #expect(rig.messages.filter { $0.lsn > 1 }.map(\.lsn) == Array(2...50))
  }

  @Test func aRejectedRecordThatIsGoneIsCountedAsLost() throws {
    let rig = try SubscriberRig("verdicts")
    rig.letters.refuse(1)
    rig.reader.append(["a", "x", "x", "x"])
    let reader = rig.reader
    rig.log.first("held by its dead letters") { reader.lose(2...3) }
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 5))
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.map(\.lsn) == [4])
    #expect(rig.subscriber.status.lostLetters == 2)
  }

  @Test func stoppingWaitsForTheLetterThatIsUnderWay() throws {
    let dead = try DeadStream()
    let rig = try SubscriberRig("verdicts", deadLetters: StreamDeadLetterSink(dead.log))
    rig.reader.append((0..<100).map { "x\($0)" })
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "records rejected"))
    #expect(rig.stop() == .stopped)
    #expect(rig.reader.cursor == 101)
    #expect(try dead.entries().map(\.letter.lsn) == Array(1...100))
  }
}

/// A stream for dead letters, in a directory of its own.
final class DeadStream {
  struct Entry {
    var lsn: UInt64
    var letter: DeadLetter
    var ownHeaders: [UInt8]
    var topic: [UInt8]
    var key: [UInt8]
    var payload: [UInt8]
    var eventTime: Int64
  }

  private let directory = TemporaryDirectory()
  private var options: StreamOptions
  let log: StreamLog

  init(maxRecordBytes: Int = 1 << 20, retainBytes: Int = 64 << 20) throws {
    options = StreamOptions(name: "dead", directory: "\(directory.path)/dead")
    options.ringBytes = 4 << 20
    options.segmentBytes = 1 << 20
    options.retainBytes = retainBytes
    options.maxRecordBytes = maxRecordBytes
    options.diskReserveBytes = 0
    log = try StreamLog.open(options, observer: Silence())
  }

  deinit { log.close() }

  /// As a reload does.
  func allow(maxRecordBytes: Int) throws {
    options.maxRecordBytes = maxRecordBytes
    try log.reconfigure(options)
  }

  /// All letters, from the beginning.
  func entries() throws -> [Entry] {
    let reader = try log.openReader(subscriber: "test", start: .oldest)
    defer { reader.close() }
    let batch = RecordBatch(capacity: 1000)
    var entries: [Entry] = []
    while try reader.read(into: batch, maxRecords: 1000, maxBytes: 1 << 20) == .records {
      for index in 0..<batch.count {
        guard case .letter(let letter, let own) = DeadLetterFormat.decode(batch[index]) else { continue }
        let record = batch[index]
        entries.append(
          Entry(
            lsn: batch.firstLSN + UInt64(index), letter: letter, ownHeaders: Array(own), topic: Array(record.topic),
            key: Array(record.key), payload: Array(record.payload), eventTime: record.eventTime))
      }
      batch.release()
    }
    return entries
  }

  struct Silence: LogObserver {
    func logEvent(_ event: LogEvent) {}
  }
}
