import NIOCore
import SluiceIdentity

/// Whether a source asks who sends, and who there is.
package struct SourceAuthentication: Sendable {
  package let demand: AuthenticationDemand
  /// Nil: nobody has an identity.
  package let authority: IdentityAuthority?

  /// `none` has no use for identities.
  package init(_ demand: AuthenticationDemand, _ authority: IdentityAuthority?) {
    self.demand = demand
    self.authority = demand == .none ? nil : authority
  }

  package static let none = SourceAuthentication(.none, nil)

  /// Whether who speaks may write as this producer: an identity as one of its own, and who has none as one that is nobody's.
  func permits(producer name: String, of session: IdentitySession?) -> Bool {
    if let session { return session.identity.owns(producer: name) }
    return authority?.isOwned(producer: name) != true
  }
}

/// Where a connection comes from, as far as it matters to who may do what.
package struct PeerAddress: Sendable, Equatable {
  /// As guesses are counted: an IPv4 address, or the network (/64) of an IPv6 address, of which one customer has many.
  package let text: String
  package let isLoopback: Bool

  package init(_ address: SocketAddress?) { self.init(ipAddress: address?.ipAddress ?? "") }

  /// An empty text is an address that is not known, and so not this machine's.
  package init(ipAddress: String) {
    let plain = Self.plain(ipAddress)
    isLoopback = plain == "::1" || plain.hasPrefix("127.")
    text = plain.contains(":") ? Self.network(plain) : plain
  }

  /// The address itself where it is IPv4 in the clothes of IPv6, as a socket for both shows it.
  static func plain(_ ipAddress: String) -> String {
    ipAddress.hasPrefix("::ffff:") && ipAddress.contains(".") ? String(ipAddress.dropFirst(7)) : ipAddress
  }

  /// The first four groups, with those that `::` leaves out.
  private static func network(_ address: String) -> String {
    let halves = address.split(separator: "::", omittingEmptySubsequences: false).map { half in
      half.split(separator: ":").map(String.init)
    }
    guard halves.count == 2 else { return halves.joined().prefix(4).joined(separator: ":") }
    let zeros = max(0, 8 - halves[0].count - halves[1].count)
    let groups = halves[0] + [String](repeating: "0", count: zeros) + halves[1]
    return groups.prefix(4).joined(separator: ":")
  }
}
