/// An identity as its file declares it: who may do what, and how it shows who it is. It holds no secret, only what a
/// secret can be checked with.
package struct IdentityDefinition: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable { case user, module, core }

  /// What an identity may do.
  package enum Scope: Sendable, Equatable {
    /// Nil topics: all of them. A pattern is a `TopicGlob`.
    case publish(stream: String, topics: String?)
    case readMetrics
    case admin
  }

  /// A token bucket; nil: no bound.
  package struct Quota: Sendable, Equatable {
    package var recordsPerSecond: Int?
    package var bytesPerSecond: Int?
    /// So much of a rate may come at once.
    package var burstNanoseconds: Int64

    package init(
      recordsPerSecond: Int? = nil, bytesPerSecond: Int? = nil,
      burstNanoseconds: Int64 = Limits.defaultQuotaBurstNanoseconds
    ) {
      self.recordsPerSecond = recordsPerSecond
      self.bytesPerSecond = bytesPerSecond
      self.burstNanoseconds = burstNanoseconds
    }
  }

  /// What of a secret the server keeps: docs/wire-protocol.md has the derivation.
  package struct Key: Sendable, Equatable {
    package var id: String
    package var storedKey: [UInt8]
    package var serverKey: [UInt8]
    /// Nanoseconds since 1970; nil: not said, or never.
    package var created: Int64?
    package var expires: Int64?

    package init(
      id: String, storedKey: [UInt8], serverKey: [UInt8], created: Int64? = nil, expires: Int64? = nil
    ) {
      self.id = id
      self.storedKey = storedKey
      self.serverKey = serverKey
      self.created = created
      self.expires = expires
    }
  }

  package var name: String
  package var kind: Kind
  package var scopes: [Scope]
  /// Of the device: it has to be named, and proves nothing.
  package var fingerprint: String?
  /// SHA-256 of the client certificate (DER) that its connections have to show.
  package var certificate: [UInt8]?
  package var quota: Quota?
  /// Patterns (`TopicGlob`) of the producers that are its own; nil: `NAME` and `NAME/*`.
  package var producers: [String]?
  package var keys: [Key]

  package init(
    name: String, kind: Kind, scopes: [Scope] = [], fingerprint: String? = nil, certificate: [UInt8]? = nil,
    quota: Quota? = nil, producers: [String]? = nil, keys: [Key] = []
  ) {
    self.name = name
    self.kind = kind
    self.scopes = scopes
    self.fingerprint = fingerprint
    self.certificate = certificate
    self.quota = quota
    self.producers = producers
    self.keys = keys
  }

  /// Patterns of the producers that it may write as, and nobody else who has no such pattern.
  package var ownProducers: [String] { producers ?? [name, "\(name)/*"] }
}

extension IdentityDefinition.Scope {
  /// `publish:STREAM`, `publish:STREAM/TOPICS`, `read:metrics`, `admin`; nil for anything else.
  package init?(parsing text: String) {
    switch text {
    case "read:metrics": self = .readMetrics
    case "admin": self = .admin
    default:
      guard text.hasPrefix("publish:") else { return nil }
      let rest = text.dropFirst("publish:".count)
      let stream = rest.prefix { $0 != "/" }
      let topics = stream.count < rest.count ? String(rest.dropFirst(stream.count + 1)) : nil
      guard !stream.isEmpty, topics?.isEmpty != true, (topics?.utf8.count ?? 0) <= Limits.maxTopicBytes else {
        return nil
      }
      self = .publish(stream: String(stream), topics: topics)
    }
  }

  package var text: String {
    switch self {
    case .publish(let stream, let topics): "publish:\(stream)\(topics.map { "/\($0)" } ?? "")"
    case .readMetrics: "read:metrics"
    case .admin: "admin"
    }
  }
}
