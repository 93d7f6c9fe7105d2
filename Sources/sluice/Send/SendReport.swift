import ArgumentParser
import SluiceCore
import SluiceTopology

/// What a run says at its end and on the way.
struct SendReport {
  static let percentiles: [(name: String, value: Double)] = [
    ("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("max", 100),
  ]

  let plan: SendPlan
  let outcome: SendOutcome

  private var tally: SendTally { outcome.tally }
  private var seconds: Double { Double(outcome.nanoseconds) / 1e9 }
  private var rate: Double { seconds > 0 ? Double(tally.acknowledged) / seconds : 0 }
  private var unanswered: UInt64 { tally.pending + tally.abandoned }

  /// 0 only when everything that was to be sent is acknowledged.
  var status: ExitCode {
    if let failure = outcome.failure { return failure.status }
    if tally.refused > 0 { return ExitStatus.dataError }
    return unanswered > 0 || outcome.isInterrupted ? ExitStatus.temporary : .success
  }

  // MARK: Text

  var text: String {
    var lines = [
      "\(tally.acknowledged) of \(tally.made) records acknowledged in \(Self.decimal(seconds, 2)) s: "
        + "\(Self.decimal(rate, 0)) records/s, \(Self.decimal(rate * bytesPerRecord / 1e6, 2)) MB/s"
    ]
    var others: [String] = []
    for (count, what) in [
      (tally.skipped, "sent by an earlier run"), (tally.refused, "refused"), (unanswered, "not acknowledged"),
      (tally.retried, "sent again"), (tally.reconnects, "reconnects"),
    ] where count > 0 {
      others.append("\(count) \(what)")
    }
    if !others.isEmpty { lines.append(others.joined(separator: ", ")) }
    if tally.acknowledged > 0 {
      let values = Self.percentiles.map { "\($0.name) \(Self.duration(tally.latency(percentile: $0.value)))" }
      let origin = plan.rate == nil ? "from sending" : "from the time it was due"
      lines.append("latency, \(origin): \(values.joined(separator: "  "))")
    }
    return lines.joined(separator: "\n")
  }

  private var bytesPerRecord: Double { tally.made > 0 ? Double(tally.bytes) / Double(tally.made) : 0 }

  /// What a person should know besides: on the standard error.
  var complaints: [String] {
    var lines = tally.notes
    let unit = if case .file = plan.input { "line" } else { "record" }
    for refusal in tally.refusals {
      lines.append("\(unit) \(refusal.place) was refused: \(refusal.code) \(refusal.detail)")
    }
    let more = tally.refused - UInt64(min(tally.refusals.count, Int(clamping: tally.refused)))
    if more > 0 { lines.append("… and \(more) more were refused") }
    if let failure = outcome.failure { lines.append(failure.message) }
    if outcome.isInterrupted { lines.append("interrupted") }
    if unanswered > 0 || outcome.isInterrupted, let producer = plan.producer {
      lines.append("to go on where it ended, run the same command with --producer \(producer)")
    }
    return lines
  }

  // MARK: JSON

  var json: JSONValue {
    let latencies = Self.percentiles.map { percentile in
      JSONValue.Member(
        percentile.name,
        tally.acknowledged > 0 ? .double(Double(tally.latency(percentile: percentile.value)) / 1e6) : .null)
    }
    return [
      "acknowledged": .count(tally.acknowledged), "sent": .count(tally.made), "refused": .count(tally.refused),
      "unacknowledged": .count(unanswered), "skipped": .count(tally.skipped), "retried": .count(tally.retried),
      "reconnects": .count(tally.reconnects), "payload_bytes": .count(tally.bytes), "seconds": .double(seconds),
      "records_per_second": .double(rate), "loop": .string(plan.rate == nil ? "closed" : "open"),
      "latency_ms": .object(latencies), "producer": plan.producer.map(JSONValue.string) ?? .null,
      "refusals": .array(
        tally.refusals.map {
          ["place": .count($0.place), "code": .string($0.code), "detail": .string($0.detail)]
        }),
      "error": outcome.failure.map { .string($0.message) } ?? .null,
    ]
  }

  // MARK: On the way

  /// One line that says how it goes; `last`: the tally and time of the line before.
  static func progress(_ tally: SendTally, _ elapsed: Int64, last: (acknowledged: UInt64, elapsed: Int64)) -> String {
    let span = Double(max(1, elapsed - last.elapsed)) / 1e9
    let rate = Double(tally.acknowledged - min(last.acknowledged, tally.acknowledged)) / span
    var parts = [
      "\(decimal(Double(elapsed) / 1e9, 1)) s", "\(tally.acknowledged) acknowledged", "\(decimal(rate, 0))/s",
    ]
    if tally.acknowledged > 0 {
      parts.append("p50 \(duration(tally.latency(percentile: 50)))")
      parts.append("p99 \(duration(tally.latency(percentile: 99)))")
    }
    for (count, what) in [(tally.pending, "under way"), (tally.refused, "refused"), (tally.retried, "sent again")]
    where count > 0 {
      parts.append("\(count) \(what)")
    }
    return parts.joined(separator: "  ")
  }

  /// "812 µs", "2.31 ms", "1.20 s".
  static func duration(_ nanoseconds: UInt64) -> String {
    switch nanoseconds {
    case ..<1_000_000: "\(nanoseconds / 1000) µs"
    case ..<1_000_000_000: "\(decimal(Double(nanoseconds) / 1e6, 2)) ms"
    default: "\(decimal(Double(nanoseconds) / 1e9, 2)) s"
    }
  }

  /// With so many digits behind the point.
  static func decimal(_ value: Double, _ digits: Int) -> String {
    let scale = (0..<digits).reduce(UInt64(1)) { scale, _ in scale * 10 }
    let scaled = UInt64((value * Double(scale)).rounded())
    guard digits > 0 else { return "\(scaled)" }
    let fraction = "\(scaled % scale)"
    return "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.utf8.count) + fraction
  }
}
