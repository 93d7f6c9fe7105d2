import Histogram
import SluiceCore

/// A record that was refused for good.
struct SendRefusal: Equatable, Sendable {
  /// Its line in the input, or its number among the generated ones; from 1.
  var place: UInt64
  var code: String
  var detail: String
}

/// What became of the records. Each event loop has one; they are added up for the progress line and at the end.
struct SendTally: Sendable {
  /// Records that were made, each counted once however often it was sent.
  var made: UInt64 = 0
  var bytes: UInt64 = 0
  /// Records that the server has as durable as its stream promises.
  var acknowledged: UInt64 = 0
  /// Of an earlier run under the same producer name, and passed over.
  var skipped: UInt64 = 0
  /// Refused for good.
  var refused: UInt64 = 0
  /// Refused for now or lost with a connection, and not sent again because of `--no-retry`.
  var abandoned: UInt64 = 0
  /// Sent once more.
  var retried: UInt64 = 0
  var reconnects: UInt64 = 0
  private(set) var refusals: [SendRefusal] = []
  private(set) var notes: [String] = []
  private var latency = Histogram<UInt64>(
    highestTrackableValue: UInt64(Limits.maxSendLatencyNanoseconds), numberOfSignificantValueDigits: .three)

  /// Records that were made and have no fate yet.
  var pending: UInt64 { UInt64(max(0, Int64(made) - Int64(acknowledged + refused + abandoned))) }

  /// The time within which so many percent of the records were acknowledged, in nanoseconds.
  func latency(percentile: Double) -> UInt64 {
    percentile >= 100 ? latency.maxRecorded : latency.valueAtPercentile(percentile)
  }

  /// `count` records were acknowledged after `nanoseconds`.
  mutating func acknowledge(_ count: Int, after nanoseconds: Int64) {
    acknowledged += UInt64(count)
    let value = UInt64(clamping: min(max(nanoseconds, 1), Limits.maxSendLatencyNanoseconds))
    latency.record(value, count: UInt64(count))
  }

  mutating func refuse(_ refusal: SendRefusal) {
    refused += 1
    if refusals.count < Limits.maxSendRefusalsShown { refusals.append(refusal) }
  }

  /// Something that the person should know, once.
  mutating func note(_ text: String) {
    if notes.count < Limits.maxSendRefusalsShown, !notes.contains(text) { notes.append(text) }
  }

  mutating func add(_ other: SendTally) {
    made += other.made
    bytes += other.bytes
    acknowledged += other.acknowledged
    skipped += other.skipped
    refused += other.refused
    abandoned += other.abandoned
    retried += other.retried
    reconnects += other.reconnects
    refusals = Array((refusals + other.refusals).sorted { $0.place < $1.place }.prefix(Limits.maxSendRefusalsShown))
    for text in other.notes { note(text) }
    latency.add(other.latency)
  }
}
