import CSluice

/// A plugin: what its entry function answers. Make one, once, in a global of the entry's file:
///
///     private let module = SubscriberModule(name: "disk", version: "1.0.0", [DiskSubscriber.self])
///
///     @c @implementation
///     public func sluice_module_v1(_ hostMinor: UInt32) -> UnsafePointer<slu_module>! { module.table }
///
/// `@unchecked Sendable`: nothing writes to the table or to anything it points to after `init`.
public struct SubscriberModule: @unchecked Sendable {
  /// The table in its C form. It is never freed: plugins stay mapped as long as the process lives.
  public let table: UnsafePointer<slu_module>

  /// A module of these kinds. `hasOwnRuntime`: it is linked with `-static-stdlib`, so it does not share the daemon's.
  public init(
    name: String, version: String, vendor: String = "", hasOwnRuntime: Bool = false, _ kinds: [any SubscriberKind.Type]
  ) {
    precondition(!kinds.isEmpty, "a module has at least one kind")
    let pointers = UnsafeMutablePointer<UnsafePointer<slu_subscriber>?>.allocate(capacity: kinds.count)
    for (index, kind) in kinds.enumerated() {
      (pointers + index).initialize(to: SubscriberModule.subscriber(Kind(kind.driven)))
    }
    let module = UnsafeMutablePointer<slu_module>.allocate(capacity: 1)
    module.initialize(
      to: slu_module(
        struct_size: UInt32(MemoryLayout<slu_module>.size), abi_minor: SLU_ABI_MINOR, abi_minor_needed: 0,
        subscriber_count: UInt32(kinds.count), name: permanent(name), version: permanent(version),
        vendor: permanent(vendor), runtime: permanent(compilerName + (hasOwnRuntime ? " static" : " dynamic")),
        subscribers: pointers))
    table = UnsafePointer(module)
  }

  private static func subscriber(_ context: Kind) -> UnsafePointer<slu_subscriber> {
    let kind = context.type
    let outputs = UnsafeMutablePointer<slu_bytes>.allocate(capacity: max(1, kind.outputs.count))
    for (index, output) in kind.outputs.enumerated() { (outputs + index).initialize(to: permanent(output)) }
    let defaults = kind.delivery
    let table = UnsafeMutablePointer<slu_subscriber>.allocate(capacity: 1)
    table.initialize(
      to: slu_subscriber(
        struct_size: UInt32(MemoryLayout<slu_subscriber>.size), flags: kind.traits.rawValue,
        context: UnsafeRawPointer(Unmanaged.passRetained(context).toOpaque()),
        kind: permanent(kind.kind), summary: permanent(kind.summary), config_schema: permanent(context.schema),
        want_records: defaults.records, want_bytes: defaults.bytes, want_linger_ms: defaults.lingerMilliseconds,
        max_inflight: defaults.maxInFlight, ack_deadline_ms: defaults.ackDeadlineMilliseconds,
        output_count: UInt32(kind.outputs.count), outputs: kind.outputs.isEmpty ? nil : UnsafePointer(outputs),
        validate: kitValidate, create: kitCreate, start: kitStart, deliver: kitDeliver, gap: kitGap, flush: kitFlush,
        drain: kitDrain, stop: kitStop, destroy: kitDestroy, interrupt: kitInterrupt, reconfigure: kitReconfigure,
        get_extension: nil))
    return UnsafePointer(table)
  }
}

/// What `slu_subscriber.context` points to.
final class Kind {
  let type: any Subscriber.Type
  /// What the daemon checks configs with.
  let schema: String
  /// Why no schema can be made of the kind's `Configuration`: every config is then refused with it.
  let fault: ConfigError?

  init(_ type: any Subscriber.Type) {
    self.type = type
    do throws(ConfigError) {
      schema = try Kind.schema(type).description
      fault = nil
    } catch {
      schema = "{}"
      fault = ConfigError(at: error.pointer, "the plugin's Configuration is at fault: \(error.problem)")
    }
  }

  private static func schema<Subscribing: Subscriber>(_ type: Subscribing.Type) throws(ConfigError) -> JSONValue {
    try Subscribing.Configuration.schema()
  }
}

/// What an instance pointer points to.
final class Instance {
  let subscriber: any Subscriber
  let host: Host

  init(_ subscriber: any Subscriber, _ host: Host) {
    self.subscriber = subscriber
    self.host = host
  }
}

/// Bytes of `text` that are never freed.
private func permanent(_ text: String) -> slu_bytes {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, text.utf8.count), alignment: 1)
  copy.copyBytes(from: text.utf8)
  return slu_bytes(ptr: UnsafeRawPointer(copy.baseAddress), len: UInt64(text.utf8.count))
}

/// The compiler that built this image: Swift's Linux ABI is not stable, so a host built by another one must not share
/// its runtime with it.
private var compilerName: String {
  #if compiler(>=6.5)
    "swift-6.5"
  #elseif compiler(>=6.4)
    "swift-6.4"
  #elseif compiler(>=6.3.1)
    "swift-6.3.1"
  #else
    "swift-6.3"
  #endif
}
