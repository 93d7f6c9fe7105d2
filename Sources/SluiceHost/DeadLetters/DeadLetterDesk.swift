// How one subscriber's rejected records get to the dead letter sink. One hand-over at a time, as a commit takes what came
// in the meantime:
//
//   state      rejected ranges there              kept              full
//   idle       append copies, submit → waiting    –                 → held, tried again after a pause
//   waiting    they wait                          settled → idle    –
//   held       tried when the pause is over       –                 stays
//
// A copy is made by reading the record once more: what was rejected is above the cursor, so it is still in the log. What
// is not there all the same (damaged in the meantime, or dropped by `max_lag`) is lost, logged and counted.

import Logging
import SluiceCore

/// Owned by the subscriber's thread.
final class DeadLetterDesk {
  /// Ranges of one stream that are on their way.
  struct Taken {
    /// Copied whole.
    var ranges = 0
    /// Copied of the range behind those, below this LSN.
    var next: UInt64 = 0
  }

  private(set) var taken: [Taken]
  /// The hand-over that is waited for.
  private var position: UInt64?
  private(set) var heldUntil: Int64 = 0
  /// Why no letter is taken.
  private(set) var held: String?
  private(set) var lostRecords: UInt64 = 0
  private let subscriber: String
  private let sink: any DeadLetterSink
  private let wake: @Sendable () -> Void
  private var writer: (any DeadLetterWriter)?
  private let batch = RecordBatch(capacity: Limits.deadLetterReadRecords)
  private let logger: Logger
  private var log: RejectionLog

  init(subscriber: String, streams: Int, sink: any DeadLetterSink, bell: Doorbell, logger: Logger) {
    self.subscriber = subscriber
    self.sink = sink
    self.logger = logger
    log = RejectionLog(logger)
    wake = { bell.ring() }
    taken = Array(repeating: Taken(), count: streams)
  }

  var isWaiting: Bool { position != nil }
  var cutLetters: UInt64 { writer?.cutLetters ?? 0 }

  /// Whether what was handed over is kept now. Then `taken` says what that was, and `finish` is to be called.
  var isKept: Bool {
    guard let position, let writer else { return false }
    return writer.isKept(position)
  }

  /// Everything `taken` is settled.
  func finish() {
    position = nil
    for index in taken.indices { taken[index].ranges = 0 }
  }

  /// Copies what was rejected, stream by stream, as far as it is taken, and hands it over.
  func handOver(_ rejected: [[RejectedRange]], of feeds: [StreamFeed], now: Int64) {
    precondition(position == nil, "one hand-over at a time")
    guard heldUntil <= now, rejected.contains(where: { !$0.isEmpty }) else { return }
    let writer = self.writer ?? sink.openWriter(subscriber: subscriber, wake: wake)
    self.writer = writer
    var appended = false
    var refusal: String?
    streams: for (stream, ranges) in rejected.enumerated() {
      for range in ranges {
        refusal = copy(range, of: feeds[stream], from: max(taken[stream].next, range.first)) { next in
          taken[stream].next = next
          appended = true
        }
        if refusal != nil { break streams }
        log.note(range, stream: feeds[stream].reader.streamName, now: now)
        taken[stream].ranges += 1
        taken[stream].next = 0
        appended = true
      }
    }
    // Also when nothing was: a lane that was refused something is not left half open.
    let submitted = writer.submit()
    if appended { position = submitted }
    hold(refusal, now: now)
  }

  private func hold(_ refusal: String?, now: Int64) {
    if refusal != nil { heldUntil = now + Limits.fullRetryNanoseconds }
    held = refusal
  }

  /// Copies the records `first...` of `range`; says why not all of them. `passed` gets the LSN that comes next, each time
  /// that it moves.
  private func copy(
    _ range: RejectedRange, of feed: StreamFeed, from first: UInt64, passed: (UInt64) -> Void
  ) -> String? {
    var next = first
    while next <= range.last {
      feed.reader.seek(to: next)
      let outcome: ReadOutcome
      do throws(StreamReadError) {
        let records = Int(min(range.last - next, UInt64(batch.capacity) - 1)) + 1
        outcome = try feed.reader.read(into: batch, maxRecords: records, maxBytes: Limits.deadLetterReadBytes)
      } catch {
        batch.release()
        return "reading stream \(feed.reader.streamName): \(error)"
      }
      defer { batch.release() }
      switch outcome {
      case .nothingYet: return "stream \(feed.reader.streamName) does not have record \(next) any more"
      case .gap(_, let last, let reason):
        lose(next...min(last, range.last), "\(reason.rawValue)", feed)
        next = last + 1
      case .records:
        if batch.firstLSN > next { lose(next...min(batch.firstLSN - 1, range.last), "unknown", feed) }
        next = batch.firstLSN
        for index in 0..<batch.count where next <= range.last {
          let letter = letter(range, next, batch[index], feed)
          if let reason = writer?.append(letter, batch[index]) {
            return "the dead letter stream \(sink.name) is full (\(reason.rawValue))"
          }
          next += 1
          passed(next)
        }
      }
    }
    return nil
  }

  private func letter(_ range: RejectedRange, _ lsn: UInt64, _ record: RecordView, _ feed: StreamFeed) -> DeadLetter {
    DeadLetter(
      subscriber: subscriber, stream: feed.reader.streamName, logUUID: feed.reader.logUUID, lsn: lsn,
      cause: range.cause, code: range.code, reason: range.reason, attempts: range.attempt, time: Clock.wall(),
      ingestTime: record.ingestTime, source: record.source == 0 ? "" : feed.reader.sourceName(record.source),
      producer: record.producer == 0 ? "" : feed.reader.producerName(record.producer), epoch: record.epoch,
      sequence: record.sequence, crc: record.crc)
  }

  private func lose(_ lsns: ClosedRange<UInt64>, _ reason: String, _ feed: StreamFeed) {
    lostRecords += UInt64(lsns.count)
    logger.error(
      "rejected records are gone before they could be kept",
      metadata: [
        "stream": "\(feed.reader.streamName)", "lsn": "\(lsns.lowerBound)...\(lsns.upperBound)", "reason": "\(reason)",
      ])
  }

  func close() { writer?.close() }
}
