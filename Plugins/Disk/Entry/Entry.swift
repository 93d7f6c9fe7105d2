import CSluice
import DiskSubscriber
import SluicePluginKit

private let module = SubscriberModule(
  name: "disk", version: "1.0.0", vendor: "Sluice", [DiskSubscriber.self])

/// The one symbol that libsluice-disk.so exports.
@c @implementation
public func sluice_module_v1(_ hostMinor: UInt32) -> UnsafePointer<slu_module>! {
  module.table
}
