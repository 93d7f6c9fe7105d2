import CSluice
import SluiceCore

extension ConformanceHost {
  private static let healthStates = [SLU_HEALTH_OK, SLU_HEALTH_DEGRADED, SLU_HEALTH_DOWN].map { UInt32($0) }

  /// Text that a plugin hands over, if it is any.
  private func check(_ bytes: slu_bytes, _ what: String, limit: Int) {
    guard bytes.len > 0 else { return }
    guard bytes.ptr != nil else {
      return offend(.badArgument, "\(what) has a NULL pointer and \(bytes.len) bytes")
    }
    if String(validating: bytes.raw(limit: limit), as: UTF8.self) == nil, bytes.len <= UInt64(limit) {
      offend(.badArgument, "\(what) is not UTF-8")
    }
  }

  private func check(_ pairs: UnsafePointer<slu_pair>?, _ count: UInt32, _ what: String) {
    guard count > 0 else { return }
    guard let pairs else { return offend(.badArgument, "\(what) are NULL, and \(count) of them") }
    for index in 0..<min(Int(count), Limits.maxPluginLogPairs) {
      check(pairs[index].name, "the name of one of \(what)", limit: Limits.maxPluginLogPairBytes)
      check(pairs[index].value, "the value of one of \(what)", limit: Limits.maxPluginLogPairBytes)
    }
  }

  fileprivate func log(_ level: UInt32, _ message: slu_bytes, _ pairs: UnsafePointer<slu_pair>?, _ count: UInt32) {
    note("log")
    if level > UInt32(SLU_LOG_ERROR) { offend(.badArgument, "log was called with the level \(level)") }
    check(message, "the message of a log line", limit: Limits.maxPluginLogMessageBytes)
    check(pairs, count, "the pairs of a log line")
  }

  func log(_ level: UInt32, _ message: String, _ pairs: [(String, String)]) {
    note("log")
    if level > UInt32(SLU_LOG_ERROR) { offend(.badArgument, "log was called with the level \(level)") }
  }

  /// The same name, kind and labels give the same id.
  fileprivate func register(_ metric: UnsafePointer<slu_metric>?) -> UInt64 {
    note("metric_register")
    guard let metric, let request = MetricRequest(metric), request.isValid else {
      let name = metric.map { "\"\($0.pointee.name.text(limit: Limits.maxPluginKindBytes))\"" } ?? "NULL"
      offend(.badArgument, "metric_register was called with a metric that is none: \(name)")
      return 0
    }
    return add(request)
  }

  func register(_ metric: MetricRequest) -> UInt64 {
    note("metric_register")
    guard metric.isValid else {
      offend(.badArgument, "metric_register was called with a metric that is none: \"\(metric.name)\"")
      return 0
    }
    return add(metric)
  }

  private func add(_ request: MetricRequest) -> UInt64 {
    with { state in
      if let known = state.metrics.firstIndex(of: request) { return UInt64(known + 1) }
      guard state.metrics.count < Limits.maxPluginMetrics else {
        state.offend(.badArgument, "more than \(Limits.maxPluginMetrics) metrics were registered")
        return 0
      }
      state.metrics.append(request)
      return UInt64(state.metrics.count)
    }
  }

  fileprivate func change(_ name: String, _ metric: UInt64) {
    note(name)
    with { state in
      if metric > UInt64(state.metrics.count) {
        state.offend(.badArgument, "\(name) was called with the metric \(metric), which was never registered")
      }
    }
  }

  fileprivate func setHealth(_ health: UInt32, _ why: slu_bytes) {
    note("set_health")
    if !ConformanceHost.healthStates.contains(health) {
      offend(.badArgument, "set_health was called with the state \(health)")
    }
    check(why, "the reason of set_health", limit: Limits.maxPluginHealthBytes)
  }

  fileprivate func publish(_ items: UnsafePointer<slu_publication>?, _ count: UInt32, _ stride: UInt32) -> slu_rc {
    note("publish", running: true)
    guard count > 0 else { return SLU_OK }
    guard let items else {
      offend(.badArgument, "publish was called with NULL for \(count) records")
      return SLU_E_INVALID
    }
    guard stride >= items.pointee.struct_size, stride % 8 == 0 else {
      offend(
        .badArgument, "publish was called with the stride \(stride) for records of \(items.pointee.struct_size) bytes")
      return SLU_E_INVALID
    }
    for index in 0..<Int(count) {
      let item = UnsafeRawPointer(items).load(fromByteOffset: index * Int(stride), as: slu_publication.self)
      guard Int(item.output) < outputs else {
        offend(.badArgument, "publish was called with the output \(item.output) of \(outputs)")
        return SLU_E_INVALID
      }
    }
    return manners.publish
  }

  static var functions: slu_host {
    slu_host(
      struct_size: 0, abi_minor: 0, context: nil, host_version: slu_bytes(), instance: slu_bytes(),
      state_dir: slu_bytes(),
      log: { context, level, message, pairs, count in ConformanceHost.from(context).log(level, message, pairs, count) },
      settle: { context, items, count in ConformanceHost.from(context).settle(items, count) },
      retain: { context, lease in ConformanceHost.from(context).retain(lease) },
      release: { context, lease in ConformanceHost.from(context).release(lease) },
      set_credit: { context, messages in ConformanceHost.from(context).setCredit(messages) },
      publish: { context, items, count, stride in ConformanceHost.from(context).publish(items, count, stride) },
      metric_register: { context, metric in ConformanceHost.from(context).register(metric) },
      metric_add: { context, metric, _ in ConformanceHost.from(context).change("metric_add", metric) },
      metric_set: { context, metric, _ in ConformanceHost.from(context).change("metric_set", metric) },
      clock_ns: { context, clock in
        ConformanceHost.from(context).note("clock_ns")
        switch clock {
        case UInt32(SLU_CLOCK_REALTIME): return Clock.wall()
        case UInt32(SLU_CLOCK_MONOTONIC): return Clock.monotonic()
        default: return 0
        }
      },
      set_health: { context, health, why in ConformanceHost.from(context).setHealth(health, why) },
      get_extension: { context, _ in
        ConformanceHost.from(context).note("get_extension")
        return nil
      })
  }

  /// `context` is what `init` put into the table, which is never freed.
  fileprivate static func from(_ context: UnsafeMutableRawPointer?) -> ConformanceHost {
    guard let context else { fatalError("the plugin called the host with NULL for its context") }
    return Unmanaged<ConformanceHost>.fromOpaque(context).takeUnretainedValue()
  }
}
