import SluiceCore

/// An identity of one generation, ready to be asked what it may do.
package final class Identity: Sendable {
  package let definition: IdentityDefinition
  /// Shared by all its connections, and by the generations that leave it as it is.
  package let quota: IdentityQuota?
  /// SHA-256 of the fingerprint: comparing digests takes the same time for texts of any length.
  private let fingerprint: [UInt8]?
  /// By stream.
  private let permissions: [String: PublishPermission]
  private let producers: [TopicGlob]
  /// Shared like `quota`.
  package let producerAllowance: ProducerAllowance

  package var name: String { definition.name }

  init(_ definition: IdentityDefinition, after former: Identity?) {
    self.definition = definition
    permissions = Self.permissions(of: definition)
    producers = definition.ownProducers.map { TopicGlob($0) }
    producerAllowance = former?.producerAllowance ?? ProducerAllowance()
    fingerprint = definition.fingerprint.map { Digest.sha256(Array($0.utf8)) }
    if let quota = definition.quota {
      self.quota = former?.quota?.definition == quota ? former?.quota : IdentityQuota(quota)
    } else {
      quota = nil
    }
  }

  package var mayReadMetrics: Bool { definition.scopes.contains { $0 == .readMetrics || $0 == .admin } }

  /// Which topics of the stream it may publish to.
  package func permission(toPublish stream: String) -> PublishPermission { permissions[stream] ?? .none }

  /// Whether the producer is one of its own.
  package func owns(producer name: String) -> Bool {
    var name = name
    return name.withUTF8 { name in producers.contains { $0.matches(UnsafeRawBufferPointer(name)) } }
  }

  private static func permissions(of definition: IdentityDefinition) -> [String: PublishPermission] {
    var permissions: [String: PublishPermission] = [:]
    for case .publish(let stream, let topics) in definition.scopes {
      switch (permissions[stream], topics) {
      case (.all?, _), (_, nil): permissions[stream] = .all
      case (.topics(let globs)?, let topics?): permissions[stream] = .topics(globs + [TopicGlob(topics)])
      case (.some(.none), let topics?), (nil, let topics?): permissions[stream] = .topics([TopicGlob(topics)])
      }
    }
    return permissions
  }

  /// The keys that a proof is held against, always `Limits.maxIdentityKeys`: others stand in for those that are missing.
  func keys(at now: Int64, padding: IdentityDefinition.Key) -> [IdentityDefinition.Key] {
    let valid = definition.keys.suffix(Limits.maxIdentityKeys).filter { Self.isValid($0, at: now) }
    return valid + [IdentityDefinition.Key](repeating: padding, count: Limits.maxIdentityKeys - valid.count)
  }

  func key(_ id: String, at now: Int64) -> IdentityDefinition.Key? {
    definition.keys.suffix(Limits.maxIdentityKeys).first { $0.id == id && Self.isValid($0, at: now) }
  }

  private static func isValid(_ key: IdentityDefinition.Key, at now: Int64) -> Bool {
    key.expires.map { now < $0 } ?? true
  }

  /// Whether what came beside the secret is what the identity is tied to.
  func isTied(to presented: IdentityEvidence) -> Bool {
    var isRight = true
    if let fingerprint { isRight = ConstantTime.isDigest(fingerprint, of: presented.fingerprint) && isRight }
    if let certificate = definition.certificate {
      isRight = ConstantTime.areEqual(certificate, presented.certificate ?? []) && isRight
    }
    return isRight
  }
}

/// What an identity may publish to one stream.
package enum PublishPermission: Sendable {
  case none, all
  case topics([TopicGlob])

  package func permits(topic: UnsafeRawBufferPointer) -> Bool {
    switch self {
    case .none: false
    case .all: true
    case .topics(let globs): globs.contains { $0.matches(topic) }
    }
  }
}

/// What comes with a secret, and from where.
package struct IdentityEvidence: Sendable {
  package var fingerprint: [UInt8]
  /// SHA-256 of the client's certificate.
  package var certificate: [UInt8]?
  /// Of the peer, as guesses are counted.
  package var address: String

  package init(fingerprint: [UInt8] = [], certificate: [UInt8]? = nil, address: String) {
    self.fingerprint = fingerprint
    self.certificate = certificate
    self.address = address
  }
}

/// Someone who has shown who they are.
package struct IdentitySession: Sendable {
  package let identity: Identity
  package let keyID: String
  /// Of the key, in nanoseconds since 1970.
  package let expires: Int64
  /// Of the identities that this was found out with.
  package let generation: UInt64
  let storedKey: [UInt8]
  let evidence: IdentityEvidence

  package func isExpired(at now: Int64) -> Bool { now >= expires }
}
