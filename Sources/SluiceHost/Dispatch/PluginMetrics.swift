// The metrics that one subscriber's plugin registered. They outlive the instance: registering the same again, after a
// restart, goes on counting.
//
// Registering takes the lock. Adding does not: a slot is published by raising `published` after it is filled, and is
// never changed or freed afterwards but through its atomics.

import SluiceCore
import Synchronization

/// What a plugin asks to have registered, checked and copied.
struct MetricRequest: Equatable, Sendable {
  enum Kind: Sendable { case counter, gauge, histogram }
  var kind: Kind
  var name: String
  var unit: String
  var help: String
  var labels: [(String, String)]
  var bounds: [Double]

  static func == (left: MetricRequest, right: MetricRequest) -> Bool {
    left.kind == right.kind && left.fullName == right.fullName
      && left.labels.elementsEqual(right.labels, by: ==)
  }

  var isValid: Bool {
    ModuleReader.isName(name, also: "_") && (unit.isEmpty || ModuleReader.isName(unit, also: "_"))
      && labels.allSatisfy { ModuleReader.isName($0.0, also: "_") && $0.0 != "subscriber" && $0.0 != "le" }
      && Set(labels.map(\.0)).count == labels.count && bounds.allSatisfy(\.isFinite)
      && zip(bounds, bounds.dropFirst()).allSatisfy(<)
  }

  var fullName: String {
    let base = "sluice_plugin_\(name)" + (unit.isEmpty || name.hasSuffix("_\(unit)") ? "" : "_\(unit)")
    return kind == .counter && !base.hasSuffix("_total") ? base + "_total" : base
  }
}

/// `@unchecked Sendable`: the slots below `published` are immutable but for their atomics; those above are only
/// touched under the lock.
final class PluginMetrics: @unchecked Sendable {
  private let slots: UnsafeMutablePointer<Slot>
  private let published = Atomic<Int>(0)
  private let lock = Mutex<Void>(())

  init() { slots = .allocate(capacity: Limits.maxPluginMetrics) }

  deinit {
    slots.deinitialize(count: published.load(ordering: .acquiring))
    slots.deallocate()
  }

  /// The metric's id, or 0 when it is refused.
  func register(_ request: MetricRequest) -> UInt64 {
    guard request.isValid else { return 0 }
    return lock.withLock { _ in
      let count = published.load(ordering: .relaxed)
      for index in 0..<count where slots[index].request == request { return UInt64(index + 1) }
      // One name has one kind, whatever its labels.
      for index in 0..<count
      where slots[index].request.fullName == request.fullName && slots[index].request.kind != request.kind { return 0 }
      guard count < Limits.maxPluginMetrics else { return 0 }
      (slots + count).initialize(to: Slot(request))
      published.store(count + 1, ordering: .releasing)
      return UInt64(count + 1)
    }
  }

  func add(_ id: UInt64, _ value: Double) { slot(id)?.add(value) }

  func set(_ id: UInt64, _ value: Double) { slot(id)?.set(value) }

  private func slot(_ id: UInt64) -> Slot? {
    guard id > 0, id <= UInt64(published.load(ordering: .acquiring)) else { return nil }
    return slots[Int(id - 1)]
  }

  /// One family per name, each sample with the label `subscriber`.
  func families(subscriber: String) -> [MetricFamily] {
    var families: [MetricFamily] = []
    for index in 0..<published.load(ordering: .acquiring) {
      let request = slots[index].request
      let sample = slots[index].sample(labels: [("subscriber", subscriber)] + request.labels)
      if let known = families.firstIndex(where: { $0.name == request.fullName }) {
        families[known].samples.append(sample)
      } else {
        families.append(MetricFamily(request.fullName, request.kind.family, help: request.help, samples: [sample]))
      }
    }
    return families
  }
}

extension MetricRequest.Kind {
  var family: MetricFamily.Kind {
    switch self {
    case .counter: .counter
    case .gauge: .gauge
    case .histogram: .histogram
    }
  }
}

/// One registered metric.
private final class Slot: Sendable {
  let request: MetricRequest
  /// The value, or the sum of a histogram's observations, as the bits of a Double.
  private let value = Atomic<UInt64>(0)
  private let histogram: HistogramCounts?

  init(_ request: MetricRequest) {
    self.request = request
    histogram = request.kind == .histogram ? HistogramCounts(bounds: request.bounds) : nil
  }

  func add(_ amount: Double) {
    guard amount.isFinite, request.kind != .counter || amount >= 0 else { return }
    histogram?.observe(amount)
    guard histogram == nil else { return }
    var old = value.load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + amount).bitPattern
      let (exchanged, original) = value.compareExchange(expected: old, desired: new, ordering: .relaxed)
      if exchanged { return }
      old = original
    }
  }

  func set(_ amount: Double) {
    guard amount.isFinite, request.kind == .gauge else { return }
    value.store(amount.bitPattern, ordering: .relaxed)
  }

  func sample(labels: [(String, String)]) -> MetricFamily.Sample {
    histogram?.sample(labels: labels)
      ?? MetricFamily.Sample(labels, Double(bitPattern: value.load(ordering: .relaxed)))
  }
}
