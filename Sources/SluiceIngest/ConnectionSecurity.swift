/// What a connection's transport vouches for. A plain connection vouches for nothing.
package struct ConnectionSecurity: Sendable, Equatable {
  /// Whether the bytes cross the network encrypted.
  package var isEncrypted: Bool
  /// SHA-256 of the client's certificate (DER), if the client showed one and a trusted authority signed it.
  package var certificateSHA256: [UInt8]?

  package init(isEncrypted: Bool, certificateSHA256: [UInt8]? = nil) {
    self.isEncrypted = isEncrypted
    self.certificateSHA256 = certificateSHA256
  }

  package static let plain = ConnectionSecurity(isEncrypted: false)
}
