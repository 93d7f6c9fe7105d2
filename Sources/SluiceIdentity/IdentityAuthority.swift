// Who is who. The identities of one generation are immutable and replaced as a whole; a connection that knows who it speaks to
// remembers the generation, and asks again (`renewed`) when there is another. So a revoked key ends live connections, and what
// is asked per request or frame is one atomic load.

import Crypto
import SluiceCore
import Synchronization

package enum AuthenticationOutcome: Sendable {
  case session(IdentitySession)
  /// Wrong secret, key, fingerprint, certificate or name: which is not said.
  case refused
  /// Wrong too, and one of too many guesses: the next is looked upon as one after so many nanoseconds.
  case lockedOut(Int64)
}

package final class IdentityAuthority: Sendable {
  private struct State {
    var identities: [String: Identity] = [:]
    var claims = ProducerClaims()
    var generation: UInt64 = 0
  }

  private let state = Mutex(State())
  private let current = Atomic<UInt64>(0)
  package let lockout = LockoutTable()
  private let refusals: RefusalLog
  /// Held against the proofs of those who do not exist, so that they take as long as others. Nobody has its secret.
  private let nobody: IdentityDefinition.Key

  package init(
    _ definitions: [IdentityDefinition], tell: @escaping @Sendable (RefusalLog.Refusal) -> Void = { _ in }
  ) {
    let secret = IdentitySecret()
    nobody = IdentityDefinition.Key(id: "", storedKey: secret.storedKey, serverKey: secret.serverKey)
    refusals = RefusalLog(tell: tell)
    replace(with: definitions)
  }

  /// Changes with each `replace`.
  package var generation: UInt64 { current.load(ordering: .acquiring) }

  /// Another file: from now on this is who there is.
  package func replace(with definitions: [IdentityDefinition]) {
    let claims = ProducerClaims(definitions)
    state.withLock { state in
      var identities: [String: Identity] = [:]
      for definition in definitions {
        identities[definition.name] = Identity(definition, after: state.identities[definition.name])
      }
      state.identities = identities
      state.claims = claims
      state.generation += 1
      current.store(state.generation, ordering: .releasing)
    }
  }

  private func find(_ name: String) -> (identity: Identity?, generation: UInt64) {
    state.withLock { ($0.identities[name], $0.generation) }
  }

  /// Whether the producer belongs to some identity.
  package func isOwned(producer name: String) -> Bool {
    let claims = state.withLock { $0.claims }
    return claims.cover(name)
  }

  /// The same session under the identities of now; nil if its key is no longer one of them, or is over.
  package func renewed(_ session: IdentitySession, at now: Int64) -> IdentitySession? {
    let (identity, generation) = find(session.identity.name)
    guard let identity, let key = identity.key(session.keyID, at: now),
      ConstantTime.areEqual(key.storedKey, session.storedKey), identity.isTied(to: session.evidence)
    else { return nil }
    return Self.session(identity, key, generation, session.evidence)
  }

  // MARK: Bearer tokens

  /// `text`: the token as it came. `now` is of the wall clock.
  package func authenticate(
    token text: UnsafeRawBufferPointer, named claimed: String = "", _ evidence: IdentityEvidence, at now: Int64
  ) -> AuthenticationOutcome {
    guard let token = IdentityToken(parsing: text), claimed.isEmpty || claimed == token.identity else {
      // What is no token names nobody, and costs a guess of the address.
      return judge("", evidence) { nil }
    }
    return judge(token.identity, evidence) {
      let (identity, generation) = find(token.identity)
      let found = identity?.key(token.keyID, at: now)
      let key = found ?? nobody
      let isRight = ConstantTime.isDigest(key.storedKey, of: token.secret.clientKey)
      let isTied = identity?.isTied(to: evidence) ?? false
      guard isRight, isTied, let identity, found != nil else { return nil }
      return Self.session(identity, key, generation, evidence)
    }
  }

  // MARK: Challenge–response

  /// What is made of the PROOF that answers a challenge.
  package func authenticate(
    proof: [UInt8], proofFrame: [UInt8], of name: String, _ transcript: HandshakeTranscript,
    _ evidence: IdentityEvidence, at now: Int64
  ) -> (outcome: AuthenticationOutcome, keys: SessionKeys?) {
    var keys: SessionKeys?
    let outcome = judge(name, evidence) { () -> IdentitySession? in
      let (identity, generation) = find(name)
      var found: (key: IdentityDefinition.Key, clientKey: [UInt8])?
      let all =
        identity?.keys(at: now, padding: nobody)
        ?? [IdentityDefinition.Key](repeating: nobody, count: Limits.maxIdentityKeys)
      for key in all {
        let (clientKey, isRight) = transcript.clientKey(proving: key, by: proof)
        if isRight { found = (key, clientKey) }
      }
      let isTied = identity?.isTied(to: evidence) ?? false
      guard let identity, let found, isTied, identity.key(found.key.id, at: now) != nil else { return nil }
      keys = transcript.keys(clientKey: found.clientKey, serverKey: found.key.serverKey, proofFrame: proofFrame)
      return Self.session(identity, found.key, generation, evidence)
    }
    return (outcome, keys)
  }

  /// A secret has 256 bits: what is right was not guessed, and strangers behind the same address must not be able to shut its
  /// owner out. So it is verified first, and the lockout is for those who are wrong.
  private func judge(
    _ name: String, _ evidence: IdentityEvidence, _ verify: () -> IdentitySession?
  ) -> AuthenticationOutcome {
    if let session = verify() {
      lockout.succeeded(identity: name, address: evidence.address)
      return .session(session)
    }
    let time = Clock.monotonic()
    let wait = lockout.wait(identity: name, address: evidence.address, at: time)
    guard wait == 0 else { return .lockedOut(wait) }
    lockout.failed(identity: name, address: evidence.address, at: time)
    return .refused
  }

  /// Tells of a refusal, at most once in a while. `name`: as it was claimed.
  package func noteRefusal(source: String, identity name: String, address: String, reason: String, at now: Int64) {
    let isKnown = find(name).identity != nil
    refusals.refused(source: source, identity: name, isKnown: isKnown, address: address, reason: reason, at: now)
  }

  private static func session(
    _ identity: Identity, _ key: IdentityDefinition.Key, _ generation: UInt64, _ evidence: IdentityEvidence
  ) -> IdentitySession {
    IdentitySession(
      identity: identity, keyID: key.id, expires: key.expires ?? .max, generation: generation,
      storedKey: key.storedKey, evidence: evidence)
  }
}

/// The credential that a connection was last known by, so that asking again with the same is a comparison: SHA-256 of both.
package struct KnownCredential: Sendable {
  private let digest: SHA256Digest

  package init(_ credential: UnsafeRawBufferPointer, _ fingerprint: UnsafeRawBufferPointer) {
    digest = Self.digest(credential, fingerprint)
  }

  package func isSame(as credential: UnsafeRawBufferPointer, _ fingerprint: UnsafeRawBufferPointer) -> Bool {
    ConstantTime.areEqual(Self.digest(credential, fingerprint), digest)
  }

  /// The zero between them stands in neither.
  private static func digest(_ credential: UnsafeRawBufferPointer, _ fingerprint: UnsafeRawBufferPointer)
    -> SHA256Digest
  {
    var hash = SHA256()
    hash.update(bufferPointer: credential)
    if !fingerprint.isEmpty {
      withUnsafeBytes(of: UInt8(0)) { hash.update(bufferPointer: $0) }
      hash.update(bufferPointer: fingerprint)
    }
    return hash.finalize()
  }
}
