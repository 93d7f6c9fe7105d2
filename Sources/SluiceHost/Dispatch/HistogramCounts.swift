import SluiceCore
import Synchronization

/// A histogram that any thread may add to without a lock.
///
/// `@unchecked Sendable`: the counters behind the pointer are atomics, made in `init` and freed with the last
/// reference; the bounds never change.
final class HistogramCounts: @unchecked Sendable {
  /// From 10 µs to 30 s: what a call to a plugin takes.
  static let durations: [Double] = [
    0.000_01, 0.000_025, 0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 30,
  ]

  private let bounds: [Double]
  /// One per bound, and one for what is above.
  private let counts: UnsafeMutablePointer<Atomic<UInt64>>
  private let sum = Atomic<UInt64>(0)

  init(bounds: [Double] = []) {
    self.bounds = bounds.isEmpty ? HistogramCounts.durations : bounds
    counts = .allocate(capacity: self.bounds.count + 1)
    for index in 0...self.bounds.count { (counts + index).initialize(to: Atomic(0)) }
  }

  deinit {
    counts.deinitialize(count: bounds.count + 1)
    counts.deallocate()
  }

  func observe(_ value: Double) {
    var bucket = 0
    while bucket < bounds.count, value > bounds[bucket] { bucket += 1 }
    counts[bucket].wrappingAdd(1, ordering: .relaxed)
    var old = sum.load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + value).bitPattern
      let (exchanged, original) = sum.compareExchange(expected: old, desired: new, ordering: .relaxed)
      if exchanged { return }
      old = original
    }
  }

  func sample(labels: [(String, String)]) -> MetricFamily.Sample {
    var running: UInt64 = 0
    var buckets: [(upperBound: Double, cumulative: UInt64)] = []
    for (index, bound) in bounds.enumerated() {
      running += counts[index].load(ordering: .relaxed)
      buckets.append((bound, running))
    }
    running += counts[bounds.count].load(ordering: .relaxed)
    return MetricFamily.Sample(
      labels, Double(running), buckets: buckets, sum: Double(bitPattern: sum.load(ordering: .relaxed)))
  }
}
