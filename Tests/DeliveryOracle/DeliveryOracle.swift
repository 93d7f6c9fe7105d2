// Judges what producers were promised against what subscribers saw, across any number of ends and recoveries of a log.
// It is told what happened, in the order in which it happened, and knows nothing of how the log works:
//
//   A  every record acknowledged as on the device is delivered to every subscriber, or lies in a gap that the subscriber
//      was told of; and gaps only excuse where the test damaged the medium
//   B  first deliveries of each producer's records rise, for each subscriber
//   C  nothing is delivered that was not sent
//   D  what is delivered hashes as what was sent
//   E  nothing below a cursor that was on the disk at an end is delivered again after it
//   F  no LSN is given to two records
//   G  a recovery takes at most 5 s, and one that follows it at once changes nothing
//   H  what was acknowledged as written survives the end of the process, though not a loss of power; what was
//      acknowledged as in memory survives an orderly end
//
// B to G are judged as they happen; A and H by `verdict`, once the subscribers have read all that there is. What was not
// acknowledged may appear or not. The oracle itself lives in the test's memory: no fault reaches it.

/// What was violated, and where.
package struct Violation: Equatable, Sendable, CustomStringConvertible {
  package enum Rule: String, Sendable, CaseIterable { case a, b, c, d, e, f, g, h }
  package var rule: Rule
  package var text: String

  package var description: String { "\(rule.rawValue.uppercased()): \(text)" }
}

package struct DeliveryOracle: Sendable {
  /// A producer's record. Sequences of one producer rise in the order in which it sends.
  package struct Record: Hashable, Sendable, CustomStringConvertible {
    package var producer: UInt32
    package var sequence: UInt64

    package init(_ producer: UInt32, _ sequence: UInt64) {
      self.producer = producer
      self.sequence = sequence
    }

    package var description: String { "record \(sequence) of producer \(producer)" }
  }

  /// What an acknowledgement says.
  package enum Promise: Int, Sendable, Comparable {
    case memory, written, fsync
    package static func < (one: Promise, other: Promise) -> Bool { one.rawValue < other.rawValue }
  }

  /// How a process that had the log ended.
  package enum End: Sendable { case orderly, killed, powerLost }

  private struct View: Sendable {
    var seen: Set<Record> = []
    var highest: [UInt32: UInt64] = [:]
    var floor: UInt64 = 0
    var gaps: [ClosedRange<UInt64>] = []
  }

  /// G's bound.
  package static let recoveryNanoseconds: Int64 = 5_000_000_000

  private var sent: [Record: UInt64] = [:]
  private var promised: [Record: Promise] = [:]
  private var records: [UInt64: Record] = [:]
  private var places: [Record: UInt64] = [:]
  private var views: [String: View]
  private var found: [Violation] = []
  private var isDamaged = false

  package init(subscribers: [String]) {
    views = Dictionary(uniqueKeysWithValues: subscribers.map { ($0, View()) })
  }

  // MARK: What happened

  /// Before its first byte leaves the producer. The same record may be sent again, with the same payload.
  package mutating func sends(_ record: Record, hash: UInt64) {
    let before = sent.updateValue(hash, forKey: record)
    precondition(before == nil || before == hash, "the test sends \(record) with two payloads")
  }

  package mutating func acknowledged(_ record: Record, _ promise: Promise) {
    promised[record] = max(promise, promised[record] ?? .memory)
    if sent[record] == nil { report(.c, "\(record) was acknowledged and never sent") }
  }

  package mutating func delivered(_ record: Record, hash: UInt64, lsn: UInt64, to subscriber: String) {
    guard var view = views.removeValue(forKey: subscriber) else {
      preconditionFailure("the oracle was not told of subscriber \(subscriber)")
    }
    defer { views[subscriber] = view }
    if let expected = sent[record] {
      if expected != hash { report(.d, "\(record) at LSN \(lsn) came to \(subscriber) with other bytes") }
    } else {
      report(.c, "\(record) at LSN \(lsn) came to \(subscriber) and was never sent")
    }
    if lsn < view.floor {
      report(.e, "\(record) at LSN \(lsn) came to \(subscriber) again, whose cursor was at \(view.floor)")
    }
    if let other = records.updateValue(record, forKey: lsn), other != record {
      report(.f, "LSN \(lsn) was \(other), and is \(record) for \(subscriber)")
    }
    places[record] = lsn
    guard view.seen.insert(record).inserted else { return }
    if let before = view.highest[record.producer], before >= record.sequence {
      report(.b, "\(record) came to \(subscriber) first after record \(before) of it")
    }
    view.highest[record.producer] = max(record.sequence, view.highest[record.producer] ?? 0)
  }

  /// The subscriber was told that these will never come.
  package mutating func told(gap: ClosedRange<UInt64>, to subscriber: String) {
    views[subscriber, default: View()].gaps.append(gap)
  }

  /// The process is gone. `cursors` is what the disk says now: the lowest LSN that each subscriber has not settled.
  package mutating func ended(_ end: End, cursors: [String: UInt64] = [:]) {
    for (subscriber, lsn) in cursors {
      guard let before = views[subscriber]?.floor, before < lsn else { continue }
      views[subscriber]?.floor = lsn
    }
    switch end {
    case .orderly: break
    case .killed: promised = promised.filter { $0.value > .memory }
    case .powerLost: promised = promised.filter { $0.value > .written }
    }
  }

  /// The test destroyed bytes that were on the medium: gaps excuse now, and cursors may be lost.
  package mutating func mediumDamaged() {
    isDamaged = true
    for subscriber in views.keys { views[subscriber]?.floor = 0 }
  }

  /// A log was opened. `changes`: how the directory differs from before, where nothing happened since the last recovery
  /// but that its process was killed.
  package mutating func recovered(nanoseconds: Int64, changes: [String] = []) {
    if nanoseconds > Self.recoveryNanoseconds { report(.g, "a recovery took \(nanoseconds / 1_000_000) ms of CPU") }
    for change in changes { report(.g, "a second recovery changed something: \(change)") }
  }

  // MARK: The judgement

  /// Everything that was violated, once all subscribers have read to the end of the log.
  package func verdict() -> [Violation] {
    var all = found
    for (name, view) in views.sorted(by: { $0.key < $1.key }) {
      let missing = promised.keys.filter { !view.seen.contains($0) }
        .sorted { ($0.producer, $0.sequence) < ($1.producer, $1.sequence) }
      // Of a record that nobody was handed, the LSN is not known: as many may be missing as LSNs in gaps are nobody's.
      var unnamed = isDamaged ? view.gaps.reduce(0) { $0 + nameless(in: $1) } : 0
      for record in missing {
        if isDamaged, let lsn = places[record], view.gaps.contains(where: { $0.contains(lsn) }) { continue }
        if places[record] == nil, unnamed > 0 {
          unnamed -= 1
          continue
        }
        let rule: Violation.Rule = promised[record] == .fsync ? .a : .h
        all.append(Violation(rule: rule, text: "\(record) was acknowledged and never came to \(name)"))
      }
    }
    return all
  }

  package var acknowledgedCount: Int { promised.count }

  private func nameless(in gap: ClosedRange<UInt64>) -> Int {
    Int(clamping: gap.upperBound - gap.lowerBound + 1) - records.keys.count(where: gap.contains)
  }

  private mutating func report(_ rule: Violation.Rule, _ text: String) {
    found.append(Violation(rule: rule, text: text))
  }

  // MARK: Hashing

  /// FNV-1a, 64 bits: what the subscriber of Tests/FixturePlugins computes too.
  package static func hash(of text: String) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
  }
}
