/// Metrics are pulled: the owner of a counter keeps it where it is cheap, and answers when `/metrics` asks.
/// Names follow Prometheus' conventions (`sluice_` prefix, base units, `_total` for counters).
package struct MetricFamily: Sendable {
  package enum Kind: String, Sendable { case counter, gauge, histogram }

  package struct Sample: Sendable {
    package var labels: [(String, String)]
    package var value: Double
    /// Cumulative counts per upper bound, and the sum; only for histograms, whose `value` is the count.
    package var buckets: [(upperBound: Double, cumulative: UInt64)]
    package var sum: Double

    package init(
      _ labels: [(String, String)] = [], _ value: Double,
      buckets: [(upperBound: Double, cumulative: UInt64)] = [], sum: Double = 0
    ) {
      self.labels = labels
      self.value = value
      self.buckets = buckets
      self.sum = sum
    }
  }

  package var name: String
  package var help: String
  package var kind: Kind
  package var samples: [Sample]

  package init(_ name: String, _ kind: Kind, help: String, samples: [Sample]) {
    self.name = name
    self.kind = kind
    self.help = help
    self.samples = samples
  }
}

/// Something whose state `/metrics` shows. Called from any thread; must not block on I/O.
package protocol MetricSource: Sendable {
  func metrics() -> [MetricFamily]
}
