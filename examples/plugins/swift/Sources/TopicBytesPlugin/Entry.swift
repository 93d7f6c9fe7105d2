import CSluice
import SluicePluginKit
import TopicBytesKind

// A target of its own, with nothing else in it: the entries of two plugins can't be linked into one test bundle.

#if OWN_RUNTIME
  private let hasOwnRuntime = true
#else
  private let hasOwnRuntime = false
#endif

private let module = SubscriberModule(
  name: "topic-bytes", version: "0.1.0", hasOwnRuntime: hasOwnRuntime, [TopicBytesSubscriber.self])

/// The one symbol that sluice looks for.
@c @implementation
public func sluice_module_v1(_ hostMinor: UInt32) -> UnsafePointer<slu_module>! { module.table }
