import CSluice

/// A number that only rises. Adding takes no lock.
public struct Counter: Sendable {
  let host: Host
  let id: UInt64

  /// Adds `amount`, which is not negative.
  public func add(_ amount: Int = 1) { host.table.pointee.metric_add(host.table.pointee.context, id, Double(amount)) }
}

/// A number that goes both ways.
public struct Gauge: Sendable {
  let host: Host
  let id: UInt64

  /// Makes it `value`.
  public func set(_ value: Double) { host.table.pointee.metric_set(host.table.pointee.context, id, value) }
  /// Adds `amount`, which may be negative.
  public func add(_ amount: Double) { host.table.pointee.metric_add(host.table.pointee.context, id, amount) }
}

/// Counts observations by their size.
public struct Histogram: Sendable {
  let host: Host
  let id: UInt64

  /// Counts one observation.
  public func observe(_ value: Double) { host.table.pointee.metric_add(host.table.pointee.context, id, value) }
}

extension Host {
  /// Registers a counter, shown as `sluice_plugin_<name>_<unit>_total`.
  public func counter(
    _ name: String, unit: String = "", help: String, labels: KeyValuePairs<String, String> = [:]
  ) -> Counter {
    Counter(host: self, id: register(SLU_METRIC_COUNTER, name, unit, help, labels, []))
  }

  /// Registers a gauge, shown as `sluice_plugin_<name>_<unit>`.
  public func gauge(
    _ name: String, unit: String = "", help: String, labels: KeyValuePairs<String, String> = [:]
  ) -> Gauge {
    Gauge(host: self, id: register(SLU_METRIC_GAUGE, name, unit, help, labels, []))
  }

  /// Registers a histogram with these upper bounds, or the daemon's own.
  public func histogram(
    _ name: String, unit: String = "", help: String, labels: KeyValuePairs<String, String> = [:],
    bounds: [Double] = []
  ) -> Histogram {
    Histogram(host: self, id: register(SLU_METRIC_HISTOGRAM, name, unit, help, labels, bounds))
  }

  private func register(
    _ kind: UInt32, _ name: String, _ unit: String, _ help: String, _ labels: KeyValuePairs<String, String>,
    _ bounds: [Double]
  ) -> UInt64 {
    let lent = LentBytes([name, unit, help] + labels.flatMap { [$0.key, $0.value] })
    let pairs = (0..<labels.count).map { slu_pair(name: lent[3 + 2 * $0], value: lent[4 + 2 * $0]) }
    var metric = slu_metric()
    metric.struct_size = UInt32(MemoryLayout<slu_metric>.size)
    metric.kind = kind
    metric.name = lent[0]
    metric.unit = lent[1]
    metric.help = lent[2]
    metric.label_count = UInt32(pairs.count)
    metric.bound_count = UInt32(bounds.count)
    let id = pairs.withUnsafeBufferPointer { pairs in
      bounds.withUnsafeBufferPointer { bounds in
        metric.labels = pairs.isEmpty ? nil : pairs.baseAddress
        metric.bounds = bounds.isEmpty ? nil : bounds.baseAddress
        return table.pointee.metric_register(table.pointee.context, &metric)
      }
    }
    lent.end()
    return id
  }
}
