// Metrics as text: Prometheus 0.0.4, OpenMetrics 1.0, or JSON.
//
//   Prometheus    # HELP name text / # TYPE name kind / name{label="value"} number
//   OpenMetrics   the same, but a counter's family is named without `_total`, and `# EOF` ends it
//   JSON          {"metrics":[{"name":…,"kind":…,"help":…,"samples":[{"labels":{…},"value":n}]}]}
//                 a histogram's sample: {"labels":{…},"count":n,"sum":n,"buckets":[{"le":n,"count":n}]}
//
// Families of the same name are joined: two sources each bring theirs.

import SluiceCore

package enum MetricsExposition {
  package enum Form: Sendable {
    case prometheus, openMetrics, json

    /// From an `Accept` header: JSON if it names that, or neither of the others (as `*/*` does), else what it names,
    /// OpenMetrics first. Scrapers never name JSON; browsers' and scripts' defaults name it beside `text/plain`.
    package init(accept: UnsafeRawBufferPointer) {
      let accept = String(decoding: accept, as: UTF8.self).lowercased()
      if accept.contains("application/json") {
        self = .json
      } else if accept.contains("application/openmetrics-text") {
        self = .openMetrics
      } else if accept.contains("text/plain") {
        self = .prometheus
      } else {
        self = .json
      }
    }

    package var contentType: String {
      switch self {
      case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
      case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
      case .json: "application/json"
      }
    }
  }

  package static func render(_ families: [MetricFamily], as form: Form) -> String {
    let families = joined(families)
    if form == .json { return json(families) }
    var text = ""
    for family in families { append(family, openMetrics: form == .openMetrics, to: &text) }
    if form == .openMetrics { text += "# EOF\n" }
    return text
  }

  private static func joined(_ families: [MetricFamily]) -> [MetricFamily] {
    var order: [String: Int] = [:]
    var all: [MetricFamily] = []
    for family in families {
      if let index = order[family.name] {
        all[index].samples += family.samples
      } else {
        order[family.name] = all.count
        all.append(family)
      }
    }
    return all
  }

  // MARK: Text

  private static func append(_ family: MetricFamily, openMetrics: Bool, to text: inout String) {
    var name = family.name
    if openMetrics, family.kind == .counter, name.hasSuffix("_total") { name.removeLast(6) }
    let help = escaped(family.help, quotes: openMetrics)
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(family.kind.rawValue)\n"
    let series = openMetrics && family.kind == .counter ? name + "_total" : family.name
    for sample in family.samples {
      guard family.kind == .histogram else {
        text += "\(series)\(labels(sample.labels)) \(number(sample.value))\n"
        continue
      }
      for bucket in sample.buckets where bucket.upperBound != .infinity {
        let bound = [("le", number(bucket.upperBound))]
        text += "\(series)_bucket\(labels(sample.labels + bound)) \(bucket.cumulative)\n"
      }
      text += "\(series)_bucket\(labels(sample.labels + [("le", "+Inf")])) \(number(sample.value))\n"
      text += "\(series)_sum\(labels(sample.labels)) \(number(sample.sum))\n"
      text += "\(series)_count\(labels(sample.labels)) \(number(sample.value))\n"
    }
  }

  private static func labels(_ labels: [(String, String)]) -> String {
    guard !labels.isEmpty else { return "" }
    return "{" + labels.map { "\($0.0)=\"\(escaped($0.1, quotes: true))\"" }.joined(separator: ",") + "}"
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// Whole numbers without a fraction; the shortest text that reads back as the same number otherwise.
  private static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    return value.rounded() == value && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
  }

  // MARK: JSON

  private static func json(_ families: [MetricFamily]) -> String {
    let all = families.map { family in
      let samples = family.samples.map { sample in
        let labels = sample.labels.map { "\($0.0.jsonQuoted):\($0.1.jsonQuoted)" }.joined(separator: ",")
        guard family.kind == .histogram else { return #"{"labels":{\#(labels)},"value":\#(jsonNumber(sample.value))}"# }
        let buckets = sample.buckets.filter { $0.upperBound.isFinite }.map {
          #"{"le":\#(jsonNumber($0.upperBound)),"count":\#($0.cumulative)}"#
        }
        return #"{"labels":{\#(labels)},"count":\#(jsonNumber(sample.value)),"sum":\#(jsonNumber(sample.sum)),"#
          + #""buckets":[\#(buckets.joined(separator: ","))]}"#
      }
      return #"{"name":\#(family.name.jsonQuoted),"kind":"\#(family.kind.rawValue)","help":\#(family.help.jsonQuoted),"#
        + #""samples":[\#(samples.joined(separator: ","))]}"#
    }
    return #"{"metrics":[\#(all.joined(separator: ","))]}"#
  }

  private static func jsonNumber(_ value: Double) -> String { value.isFinite ? number(value) : "null" }
}
