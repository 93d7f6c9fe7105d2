// Who speaks: from HELLO to WELCOME, and whether that is still so later.
//
//   auth 0   HELLO ─────────────────────────────────► WELCOME
//   auth 1   HELLO, token checked ──────────────────► WELCOME
//   auth 2   HELLO ──► CHALLENGE ──► PROOF, checked ─► WELCOME
//
// Frames have tags from WELCOME on, and from the client's side from the frame behind HELLO or PROOF on.

import NIOCore
import SluiceCore
import SluiceIdentity

/// What is kept of a handshake that goes on.
struct TCPHandshake {
  var hello: WireHello
  /// The frames as they were sent; of a handshake without a challenge nothing.
  var helloFrame: [UInt8] = []
  var challengeFrame: [UInt8] = []
  /// What comes out of it.
  var sealer: FrameSealer?
  var signature: [UInt8] = []
}

extension TCPConnection {
  var peer: PeerAddress { PeerAddress(context?.channel.remoteAddress) }
  var clock: SourceClock { loop.settings.options.clock }
  private var authority: IdentityAuthority? { loop.settings.options.authentication.authority }

  private func evidence(of hello: WireHello) -> IdentityEvidence {
    IdentityEvidence(
      fingerprint: Array(hello.fingerprint.utf8), certificate: security.certificateSHA256, address: peer.text)
  }

  func shakeHands(_ hello: WireHello, _ frame: WireFrame) {
    let isPrivate = security.isEncrypted || peer.isLoopback
    if let objection = loop.settings.terms.objection(to: hello, isPrivate: isPrivate) {
      return refuse(objection, hello.identity)
    }
    handshake = TCPHandshake(hello: hello)
    switch WireAuthentication(rawValue: hello.authentication) {
    case .bearer: takeToken(of: hello)
    case .challenge: challenge(hello, frame)
    case .some(.none), nil: begin()
    }
  }

  private func takeToken(of hello: WireHello) {
    guard let authority else { return }
    let outcome = hello.credential.withUnsafeBytes {
      authority.authenticate(token: $0, named: hello.identity, evidence(of: hello), at: clock.wall())
    }
    let claimed = hello.credential.withUnsafeBytes { IdentityToken.claimedIdentity(in: $0) }
    if take(outcome, claimed: claimed) { begin() }
  }

  /// Whoever is named is challenged, whether or not there is such an identity, and whoever guessed before: the right proof is
  /// always good.
  private func challenge(_ hello: WireHello, _ frame: WireFrame) {
    guard authority != nil else { return }
    state = .challenged
    var challenge = ByteBuffer()
    sender.challenge(WireProof(Nonce.make()), to: &challenge)
    handshake?.helloFrame = Array(frame.bytes)
    handshake?.challengeFrame = Array(challenge.readableBytesView)
    write { _, out in out.writeImmutableBuffer(challenge) }
  }

  func prove(_ proof: WireProof, _ frame: WireFrame) {
    guard let authority, let handshake else { return }
    let (outcome, keys) = authority.authenticate(
      proof: proof.bytes, proofFrame: Array(frame.bytes), of: handshake.hello.identity,
      HandshakeTranscript(hello: handshake.helloFrame, challenge: handshake.challengeFrame),
      evidence(of: handshake.hello), at: clock.wall())
    guard take(outcome, claimed: handshake.hello.identity) else { return }
    self.handshake?.signature = keys?.serverSignature ?? []
    self.handshake?.sealer = keys?.sealer
    begin()
  }

  /// True if it is known who speaks; otherwise that is answered.
  private func take(_ outcome: AuthenticationOutcome, claimed: String) -> Bool {
    switch outcome {
    case .session(let session):
      self.session = session
      permission = session.identity.permission(toPublish: loop.settings.terms.stream)
      return true
    case .refused:
      refuse(WireEnd(.authFailed, text: "wrong identity, secret, fingerprint or certificate"), claimed)
      return false
    case .lockedOut(let wait):
      refuse(.lockedOut(wait), claimed)
      return false
    }
  }

  /// It is known who speaks, or that nobody has to say: the rest of HELLO is looked at, and the producer claimed.
  private func begin() {
    guard let hello = handshake?.hello else { return }
    if let objection = loop.settings.terms.objection(toStream: hello.stream, permission) {
      return refuse(objection, hello.identity)
    }
    switch WireIntegrity(rawValue: hello.integrity) {
    case .sha256: handshake?.sealer = .sha256
    case .hmacSHA256: break
    case .crc32c, nil: handshake?.sealer = nil
    }
    if let sealer = handshake?.sealer { receiver.expectTags(of: sealer) }
    if let end = openChannel(0, hello.producer, hello.epoch) { refuse(end, hello.identity) }
  }

  private func refuse(_ end: WireEnd, _ claimed: String) {
    note(end, claimed)
    fail(end)
  }

  /// What is about identities is told.
  func note(_ end: WireEnd, _ claimed: String) {
    switch WireErrorCode(rawValue: end.code) {
    case .authRequired, .authFailed, .authInsecure, .integrityRequired, .forbidden, .busy:
      let name = session?.identity.name ?? claimed
      authority?.noteRefusal(
        source: loop.settings.options.name, identity: name, address: peer.text,
        reason: WireErrorCode(rawValue: end.code)?.label ?? "", at: clock.monotonic())
    default: break
    }
  }

  func welcome(_ last: UInt64) {
    let settings = loop.settings
    promise = TCPPromise(maxRecordBytes: settings.stream.maxRecordBytes)
    since = loop.sweeps
    state = .open
    receiver.takeFrames(upTo: promise.maxFrame)
    granted = firstCredit()
    var welcome = WireWelcome(
      durability: settings.stream.durability, maxChannels: UInt16(Limits.tcpMaxChannels),
      maxFrame: UInt32(promise.maxFrame), maxPart: UInt32(promise.maxPart),
      idleTimeoutMilliseconds: UInt32(clamping: settings.options.idleSeconds * 1000), lastSequence: last,
      serverTime: clock.wall(), credit: granted, logUUID: settings.stream.logUUID,
      stream: settings.stream.streamName, software: settings.options.software)
    if let handshake {
      welcome.integrity = handshake.hello.integrity
      welcome.serverSignature = handshake.signature
      if let sealer = handshake.sealer { sender.seal(with: sealer) }
    }
    handshake = nil
    write { $0.welcome(welcome, to: &$1) }
  }

  // MARK: Later

  /// Whether who speaks still may; otherwise that is said and the connection ends. `now`, of the wall clock, is given where
  /// the end of a key matters.
  func isSessionCurrent(at now: Int64? = nil) -> Bool {
    guard let session, let authority else { return true }
    let isOver = now.map(session.isExpired) ?? false
    guard isOver || session.generation != authority.generation else { return true }
    guard let renewed = authority.renewed(session, at: clock.wall()) else {
      refuse(WireEnd(.authFailed, text: "the key was revoked, or its time is over"), session.identity.name)
      return false
    }
    self.session = renewed
    quotaMayHaveRoom()
    permission = renewed.identity.permission(toPublish: loop.settings.terms.stream)
    if case .none = permission {
      refuse(WireEnd(.forbidden, text: "the identity may not publish to this stream any more"), renewed.identity.name)
      return false
    }
    let producers = channels.lazy.compactMap { $0?.producer?.name }
    guard producers.allSatisfy({ renewed.identity.owns(producer: $0) }) else {
      refuse(WireEnd(.forbidden, text: "a producer is not one of the identity's own any more"), renewed.identity.name)
      return false
    }
    return true
  }
}

extension WireEnd {
  fileprivate static func lockedOut(_ nanoseconds: Int64) -> WireEnd {
    WireEnd(
      .busy, retryAfterMilliseconds: UInt32(clamping: nanoseconds / 1_000_000 + 1),
      text: "too many wrong guesses from this address")
  }
}

/// What of a frame's records an identity may send, looked at record by record.
protocol TopicPermission {
  /// `part`: a producer part that is well formed.
  func permits(_ part: UnsafeRawBufferPointer) -> Bool
}

/// Everything: costs nothing, since it is known when this is compiled.
struct AnyTopic: TopicPermission {
  @inline(__always)
  func permits(_ part: UnsafeRawBufferPointer) -> Bool { true }
}

struct SomeTopics: TopicPermission {
  let globs: [TopicGlob]

  func permits(_ part: UnsafeRawBufferPointer) -> Bool {
    guard let base = part.baseAddress else { return false }
    let start = Int(base.loadLE(0) as UInt8)
    let count = Int(base.loadLE(RecordLayout.topicLength - RecordLayout.producerPart) as UInt16)
    let topic = UnsafeRawBufferPointer(start: base + start, count: count)
    return globs.contains { $0.matches(topic) }
  }
}

extension TCPTerms {
  /// Why who has shown who it is can't be served.
  func objection(toStream name: String, _ permission: PublishPermission) -> WireEnd? {
    guard name.isEmpty || name == stream else {
      return WireEnd(.streamUnknown, text: "this source feeds the stream \(stream)")
    }
    if case .none = permission { return WireEnd(.forbidden, text: "the identity may not publish to \(stream)") }
    return nil
  }
}
