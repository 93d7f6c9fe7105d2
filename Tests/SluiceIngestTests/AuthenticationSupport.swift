import NIOCore
import SluiceCore
import SluiceIdentity
import Testing

@testable import SluiceIngest

/// An identity and its secret.
struct TestIdentity {
  var name = "press-7"
  var keyID = "k1"
  var secret = IdentitySecret()
  var scopes: [IdentityDefinition.Scope] = [.publish(stream: "events", topics: nil)]
  var fingerprint: String?
  var certificate: [UInt8]?
  var quota: IdentityDefinition.Quota?
  var producers: [String]?
  var expires: Int64?

  var token: String { IdentityToken(identity: name, keyID: keyID, secret: secret).text }
  var bearer: String { "Authorization: Bearer \(token)\r\n" }
  var key: IdentityDefinition.Key {
    IdentityDefinition.Key(id: keyID, storedKey: secret.storedKey, serverKey: secret.serverKey, expires: expires)
  }
  var definition: IdentityDefinition {
    IdentityDefinition(
      name: name, kind: .module, scopes: scopes, fingerprint: fingerprint, certificate: certificate, quota: quota,
      producers: producers, keys: [key])
  }

  /// The same name with a secret of the attacker's.
  var impostor: TestIdentity {
    var other = self
    other.secret = IdentitySecret()
    return other
  }
}

/// A source that wants to know who sends.
struct Guarded {
  let authority: IdentityAuthority
  let tcp: TCPHarness

  init(_ identities: TestIdentity..., demand: AuthenticationDemand = .required) {
    let authority = IdentityAuthority(identities.map(\.definition))
    self.authority = authority
    tcp = TCPHarness { $0.authentication = SourceAuthentication(demand, authority) }
  }

  static func http(
    _ identities: TestIdentity..., demand: AuthenticationDemand = .required
  ) -> (HTTPHarness, IdentityAuthority) {
    let authority = IdentityAuthority(identities.map(\.definition))
    return (HTTPHarness { $0.authentication = SourceAuthentication(demand, authority) }, authority)
  }
}

/// A client that proves who it is. What it sends is kept, as an eavesdropper would.
final class ProvingClient {
  let connection: TCPTestConnection
  let identity: TestIdentity
  private(set) var sent: [ByteBuffer] = []
  private(set) var keys: SessionKeys?

  init(_ connection: TCPTestConnection, as identity: TestIdentity) {
    self.connection = connection
    self.identity = identity
  }

  /// What the server says to HELLO and, if it challenges, to PROOF. `tamper`: what becomes of HELLO on its way.
  func greet(
    producer: String = "press-7", integrity: WireIntegrity = .hmacSHA256, fingerprint: String = "",
    tamper: (inout WireHello) -> Void = { _ in }
  ) throws -> [WireSeen] {
    var hello = WireHello(producer: producer, epoch: 1)
    hello.integrity = integrity.rawValue
    hello.authentication = WireAuthentication.challenge.rawValue
    hello.identity = identity.name
    hello.fingerprint = fingerprint
    hello.clientNonce = Nonce.make()
    var original = ByteBuffer()
    var sender = WireSender(.toServer)
    sender.hello(hello, to: &original)
    tamper(&hello)
    try send { $0.hello(hello, to: &$1) }
    let answer = try connection.received()
    guard case .challenge = answer.first else { return answer }
    let transcript = HandshakeTranscript(
      hello: Array(original.readableBytesView), challenge: connection.challengeFrame)
    let proof = try send { $0.proof(WireProof(transcript.proof(of: self.identity.secret)), to: &$1) }
    let keys = transcript.keys(for: identity.secret, proofFrame: Array(proof.readableBytesView))
    self.keys = keys
    let sealer: FrameSealer? =
      switch integrity {
      case .crc32c: nil
      case .sha256: .sha256
      case .hmacSHA256: keys.sealer
      }
    if let sealer {
      connection.sender.seal(with: sealer)
      connection.receiver.expectTags(of: sealer)
    }
    return try connection.received()
  }

  @discardableResult
  func send(_ build: (inout WireSender, inout ByteBuffer) -> Void) throws -> ByteBuffer {
    let frame = make(build)
    try connection.receive(frame)
    return frame
  }

  /// A frame that is not sent yet.
  func make(_ build: (inout WireSender, inout ByteBuffer) -> Void) -> ByteBuffer {
    var buffer = ByteBuffer()
    build(&connection.sender, &buffer)
    sent.append(buffer)
    return buffer
  }

  func data(_ payload: String, first: UInt64) -> ByteBuffer {
    make { TCPTestConnection.data([payload], first: first, &$0, &$1) }
  }
}

extension [WireSeen] {
  var welcome: WireWelcome? {
    for case .welcome(let welcome) in self { return welcome }
    return nil
  }
  var error: WireErrorCode? { compactMap(\.errorCode).first }
  var nacks: [WireNack] { compactMap { if case .nack(_, let nack) = $0 { nack } else { nil } } }
}

extension TCPTestConnection {
  /// HELLO with a bearer token, and what the server says to it.
  func greet(
    token: String, identity: String = "", fingerprint: String = "", stream: String = "", producer: String = "press-7"
  ) throws -> [WireSeen] {
    try sendHello(token: token, identity: identity, fingerprint: fingerprint, stream: stream, producer: producer)
    return try received()
  }

  func sendHello(
    token: String, identity: String = "", fingerprint: String = "", stream: String = "", producer: String = "press-7"
  ) throws {
    try send { sender, buffer in
      var hello = WireHello(stream: stream, producer: producer, epoch: 1)
      hello.authentication = WireAuthentication.bearer.rawValue
      hello.credential = Array(token.utf8)
      hello.identity = identity
      hello.fingerprint = fingerprint
      sender.hello(hello, to: &buffer)
    }
  }
}
