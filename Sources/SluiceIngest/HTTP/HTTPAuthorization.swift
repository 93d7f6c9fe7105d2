// Who asks, and whether that one may: decided from a request's head, before its body is kept and before `100 Continue`.
//
//   what                          source with `auth: required`           `optional`                     the admin listener
//   POST /log, /logs              an identity that may publish           anybody, or such an identity    –
//                                 to the stream and topic
//   … that a producer numbers     the producer is one of the     … or nobody's           –
//                                 identity's own
//   GET /metrics                  `read:metrics` or `admin`              anybody                         this machine, or the same
//   GET /health, /ready           anybody                                anybody                         anybody
//
// A wrong token is refused wherever a token is looked at, also where none is needed. What a connection was last known by is
// remembered: the requests that follow with the same headers cost one comparison.

import NIOCore
import SluiceCore
import SluiceIdentity

/// What a connection has shown.
struct HTTPAuthorization {
  var session: IdentitySession?
  /// The headers that it was shown with.
  fileprivate var known: KnownCredential?
  /// What the request cost that took from the identity's quota last.
  fileprivate var cost = (records: 0, bytes: 0)
}

extension HTTPConnection {
  var authentication: SourceAuthentication { loop.settings.options.authentication }
  var peer: PeerAddress { PeerAddress(context?.channel.remoteAddress) }

  /// Part of the admission: what speaks against who asks. It is counted.
  func objection(
    to head: HTTPRequestHead, for route: HTTPRoute, _ bytes: UnsafeRawBufferPointer
  ) -> HTTPAdmissionRefusal? {
    let objection = objection(toHost: head.host.of(bytes)) ?? objection(toAsker: head, for: route, bytes)
    if let reason = objection?.reason { loop.counters.rejected(reason) }
    return objection
  }

  private func objection(
    toAsker head: HTTPRequestHead, for route: HTTPRoute, _ bytes: UnsafeRawBufferPointer
  ) -> HTTPAdmissionRefusal? {
    switch route {
    case .health, .ready: nil
    case .metrics: objection(toMetrics: head, bytes)
    case .log, .logs: objection(toRecords: head, bytes)
    }
  }

  private func objection(toRecords head: HTTPRequestHead, _ bytes: UnsafeRawBufferPointer) -> HTTPAdmissionRefusal? {
    guard let stream = loop.settings.stream else { return nil }
    if let objection = identify(head, bytes, isNeeded: authentication.demand == .required) { return objection }
    guard let session = authorization.session else { return nil }
    let topic = head.topic.isEmpty ? loop.settings.defaultTopic : head.topic.of(bytes)
    guard !session.identity.permission(toPublish: stream.streamName).permits(topic: topic) else { return nil }
    return forbidden(session, "this identity may not publish to that stream and topic")
  }

  private func objection(toMetrics head: HTTPRequestHead, _ bytes: UnsafeRawBufferPointer) -> HTTPAdmissionRefusal? {
    let isAdmin = loop.settings.stream == nil
    let isNeeded = isAdmin ? authentication.authority != nil && !peer.isLoopback : authentication.demand == .required
    if let objection = identify(head, bytes, isNeeded: isNeeded) { return objection }
    guard isNeeded, let session = authorization.session, !session.identity.mayReadMetrics else { return nil }
    return forbidden(session, "this identity has neither the scope read:metrics nor admin")
  }

  /// Looks who it is. Nil if that is known, or need not be.
  private func identify(
    _ head: HTTPRequestHead, _ bytes: UnsafeRawBufferPointer, isNeeded: Bool
  ) -> HTTPAdmissionRefusal? {
    let value = head.authorization.of(bytes)
    guard !value.isEmpty, let authority = authentication.authority else {
      authorization.session = nil
      return isNeeded ? refusal(.unauthorized, of: "", Self.missing) : nil
    }
    let now = loop.now()
    let fingerprint = head.fingerprint.of(bytes)
    if let session = authorization.session, authorization.known?.isSame(as: value, fingerprint) == true {
      if session.generation == authority.generation, !session.isExpired(at: now) { return nil }
      // There are other identities, perhaps not in its place: then nothing was guessed.
      authorization.session = authority.renewed(session, at: now)
      if authorization.session != nil { return nil }
    }
    authorization.session = nil
    guard security.isEncrypted || peer.isLoopback else { return refusal(.insecure, of: "", Self.insecure) }
    guard let token = Self.token(in: value) else { return refusal(.unauthorized, of: "", Self.wrong) }
    let evidence = IdentityEvidence(
      fingerprint: Array(fingerprint), certificate: security.certificateSHA256, address: peer.text)
    switch authority.authenticate(token: token, evidence, at: now) {
    case .session(let session):
      authorization.session = session
      authorization.known = KnownCredential(value, fingerprint)
      return nil
    case .refused: return refusal(.unauthorized, of: IdentityToken.claimedIdentity(in: token), Self.wrong)
    case .lockedOut(let wait):
      return refusal(.lockedOut, of: IdentityToken.claimedIdentity(in: token), Self.lockedOut(wait))
    }
  }

  /// `Bearer TOKEN`; nil for another scheme.
  private static func token(in value: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    let scheme = 7
    guard value.count > scheme, HTTPBytes.equals(.init(rebasing: value[..<6]), ignoringCase: "bearer"),
      value[6] == UInt8(ascii: " ")
    else { return nil }
    var start = scheme
    while start < value.count, value[start] == UInt8(ascii: " ") { start += 1 }
    return UnsafeRawBufferPointer(rebasing: value[start...])
  }

  // MARK: Refusals

  private static let challenge = "WWW-Authenticate: Bearer realm=\"sluice\"\r\n"

  private static var missing: HTTPAdmissionRefusal {
    HTTPAdmissionRefusal(
      status: .unauthorized, code: "unauthorized",
      detail: "send `Authorization: Bearer TOKEN` with a token of `sluice identity`", extra: challenge,
      reason: .unauthorized)
  }

  private static var wrong: HTTPAdmissionRefusal {
    HTTPAdmissionRefusal(
      status: .unauthorized, code: "unauthorized", detail: "the token, or what has to come with it, is wrong",
      extra: "WWW-Authenticate: Bearer realm=\"sluice\", error=\"invalid_token\"\r\n", reason: .unauthorized)
  }

  private static var insecure: HTTPAdmissionRefusal {
    HTTPAdmissionRefusal(
      status: .forbidden, code: "auth_insecure",
      detail: "a token in the clear, which others may have read: rotate it, and use TLS", reason: .insecure)
  }

  private static func lockedOut(_ nanoseconds: Int64) -> HTTPAdmissionRefusal {
    HTTPAdmissionRefusal(
      status: .tooManyRequests, code: "locked_out", detail: "too many wrong guesses from this address",
      extra: retryAfter(nanoseconds), reason: .lockedOut)
  }

  private static func retryAfter(_ nanoseconds: Int64) -> String {
    "Retry-After: \(max(1, (nanoseconds + 999_999_999) / 1_000_000_000))\r\n"
  }

  private func forbidden(_ session: IdentitySession, _ detail: String) -> HTTPAdmissionRefusal {
    refusal(
      .forbidden, of: session.identity.name,
      HTTPAdmissionRefusal(status: .forbidden, code: "forbidden", detail: detail, reason: .forbidden))
  }

  /// Answers that the producer is not the sender's.
  func refuseProducer(_ request: HTTPRequest) {
    loop.counters.rejected(.forbidden)
    refuse(
      request,
      refusal(
        .forbidden, of: authorization.session?.identity.name ?? "",
        HTTPAdmissionRefusal(
          status: .forbidden, code: "forbidden",
          detail: "the producer is not one of the sender's own: see `producers` of identities", reason: .forbidden)))
  }

  /// Tells of the refusal, at most once in a while.
  private func refusal(_ reason: RejectReason, of name: String, _ objection: HTTPAdmissionRefusal)
    -> HTTPAdmissionRefusal
  {
    authentication.authority?.noteRefusal(
      source: loop.settings.name, identity: name, address: peer.text, reason: reason.label,
      at: loop.settings.options.clock.monotonic())
    return objection
  }

  // MARK: The admin listener's Host

  /// This machine's clients need no token there, and a web page whose name was made to point to this machine would be one of
  /// them: so they have to ask for the machine itself.
  private func objection(toHost host: UnsafeRawBufferPointer) -> HTTPAdmissionRefusal? {
    guard let own = loop.settings.options.checkedHost, !host.isEmpty, peer.isLoopback,
      !Self.isLocal(String(decoding: host, as: UTF8.self), own)
    else { return nil }
    return HTTPAdmissionRefusal(
      status: .forbidden, code: "foreign_host", detail: "ask for this machine by its address or as localhost",
      reason: .forbidden)
  }

  private static func isLocal(_ host: String, _ own: String) -> Bool {
    if host.hasPrefix("[") {
      guard let end = host.firstIndex(of: "]") else { return false }
      return isAddress(host[host.index(after: host.startIndex)..<end], .inet6)
        && isPort(host[host.index(after: end)...])
    }
    let name = host.prefix { $0 != ":" }
    guard isPort(host.dropFirst(name.count)) else { return false }
    return name.lowercased() == "localhost" || name.lowercased() == own.lowercased() || isAddress(name, .inet)
  }

  private static func isAddress(_ text: Substring, _ family: NIOBSDSocket.ProtocolFamily) -> Bool {
    (try? SocketAddress(ipAddress: String(text), port: 0))?.protocol == family
  }

  /// What may follow a host: nothing, or a port.
  private static func isPort(_ text: Substring) -> Bool {
    text.isEmpty || text.first == ":" && text.dropFirst().utf8.allSatisfy { (0x30...0x39).contains($0) }
  }

  // MARK: Quotas

  /// Takes records from the identity's quota: their bytes are those of the body as it was sent, or as it is without its coding
  /// if they are more. False: that is used up, and answered.
  @inline(__always)
  func takesQuota(records: Int, of body: UnsafeRawBufferPointer, _ request: HTTPRequest) -> Bool {
    guard let quota = authorization.session?.identity.quota else { return true }
    authorization.cost = (records, max(request.bodyBytes, body.count))
    let wait = quota.take(
      records: records, bytes: authorization.cost.bytes, at: loop.settings.options.clock.monotonic())
    guard wait > 0 else { return true }
    loop.counters.rejected(.quota, records)
    problem(
      request, .tooManyRequests, code: "quota", detail: "the identity's quota is used up; try again later",
      extra: Self.retryAfter(wait))
    return false
  }

  /// They were not taken, because the stream had no room for them or for what they are.
  func givesBackQuota() {
    let cost = authorization.cost
    authorization.session?.identity.quota?.giveBack(records: cost.records, bytes: cost.bytes, of: cost)
  }
}
