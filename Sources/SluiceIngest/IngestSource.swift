import SluiceCore

/// Where records enter, running. Made and started by `sluice/`; ended once.
package protocol IngestSource: MetricSource, Sendable {
  var name: String { get }
  /// Connections that are open now; 0 for a source without any.
  var openConnections: Int { get }
  /// Takes no connections from now on; those that are open go on.
  func stopAccepting() async
  /// Stops accepting, answers what is pending, closes every connection and the lanes; what is left at the deadline is
  /// cut. The source is not used again.
  func drain(within limit: Duration) async
  /// Meets the connections that come from now on with these certificates; those that are open go on. Only for a source
  /// that was made with some.
  func renew(_ tls: TLSMaterial)
}

extension IngestSource {
  package func renew(_ tls: TLSMaterial) {}
}
