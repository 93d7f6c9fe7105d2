import CSluice
import PostgresSubscriber
import SluicePluginKit

private let module = SubscriberModule(
  name: "postgres", version: "1.0.0", vendor: "Sluice", [PostgresSubscriber.self])

/// The one symbol that libsluice-postgres.so exports.
@c @implementation
public func sluice_module_v1(_ hostMinor: UInt32) -> UnsafePointer<slu_module>! {
  module.table
}
