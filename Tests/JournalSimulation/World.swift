import SluiceCore
import SluiceJournal

/// What was promised and done outside the log: the judge's knowledge.
struct World: Sendable {
  struct Record: Sendable, Equatable {
    /// The first bytes of its payload; no two records of a world share it.
    var id: UInt64
    var payloadBytes: Int
    /// 0 = anonymous.
    var producer: Int
    var sequence: UInt64
  }

  /// By LSN, everything that was submitted and not yet found to be lost.
  var records: [UInt64: Record] = [:]
  /// Up to here records must survive a loss of power, or a kill of the process.
  var survivesPower: UInt64 = 0
  var survivesKill: UInt64 = 0
  /// Up to here they were handed out: these LSNs never belong to other records.
  var handedOut: UInt64 = 0
  /// What each subscriber has settled, and of it what a cursor write that returned covers: the lowest LSN not settled.
  var settled: [String: UInt64] = [:]
  var flushed: [String: UInt64] = [:]
  /// The log was closed in order.
  var isClosed = false
  /// A later group, or the idle marker, witnesses all that must survive.
  var isWitnessed = false
  var nextID: UInt64 = 1

  mutating func submitted(_ batch: [Record], last: UInt64) {
    for (place, record) in batch.enumerated() { records[last - UInt64(batch.count - 1 - place)] = record }
  }

  /// After a recovery: what it found is all there is, and was handed out.
  mutating func recovered(through last: UInt64) {
    records = records.filter { $0.key <= last }
    survivesPower = last
    survivesKill = last
    handedOut = max(handedOut, last)
    isClosed = false
    isWitnessed = false
  }

  func lastSequence(of producer: Int, through last: UInt64) -> UInt64 {
    records.reduce(0) { most, entry in
      entry.value.producer == producer && entry.key <= last ? max(most, entry.value.sequence) : most
    }
  }

  func hasRecords(in range: Range<UInt64>) -> Bool {
    range.count > 1 << 20 ? records.keys.contains { range.contains($0) } : range.contains { records[$0] != nil }
  }
}

/// A promise that was broken.
package struct SimulationViolation: Error, Sendable, CustomStringConvertible {
  package var rule: String
  package var detail: String
  init(_ rule: String, _ detail: String) {
    self.rule = rule
    self.detail = detail
  }
  package var description: String { "\(rule): \(detail)" }
}

/// Keeps what a log tells. By hand it tells on the caller's thread.
final class SimulationEvents: LogObserver {
  private let state = Locked<[LogEvent]>([])
  func logEvent(_ event: LogEvent) { state.with { $0.append(event) } }
  var all: [LogEvent] { state.with { $0 } }
}
