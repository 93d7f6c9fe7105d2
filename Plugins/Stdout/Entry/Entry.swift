import CSluice
import SluicePluginKit
import StdoutSubscriber

private let module = SubscriberModule(
  name: "stdout", version: "1.0.0", vendor: "Sluice", [StdoutSubscriber.self])

/// The one symbol that libsluice-stdout.so exports.
@c @implementation
public func sluice_module_v1(_ hostMinor: UInt32) -> UnsafePointer<slu_module>! {
  module.table
}
