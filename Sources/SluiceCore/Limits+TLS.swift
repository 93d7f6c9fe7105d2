/// Limits of TLS, on both sides.
extension Limits {
  /// The largest PEM file that is read.
  package static let maxPEMBytes = 1 << 20
  /// How long a handshake may take where the topology has no `header_timeout`.
  package static let tlsHandshakeNanoseconds: Int64 = 10_000_000_000
  /// How long a peer that was told of the end may take to agree; then the connection is closed without. Less than the
  /// time between two sweeps, which would find it idle still.
  package static let tlsCloseNanoseconds: Int64 = 500_000_000
  /// What one read of an encrypted connection brings, from the least to the most.
  package static let tlsReceiveBytes = 512...65_536
  /// A certificate that ends so soon is warned of.
  package static let tlsExpiryWarningSeconds: Int64 = 14 * 86_400
}
