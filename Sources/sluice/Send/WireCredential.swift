import SluiceIdentity
import SluiceIngest

/// How a framed connection shows who it is: a token, to this machine only, since nobody else can read it there; else
/// challenge–response, which sends no secret, with a tag on every frame.
struct WireCredential {
  private let token: [UInt8]
  private let identity: String
  private let fingerprint: String
  /// Set for challenge–response.
  let secret: IdentitySecret?

  static let none = WireCredential(token: "", fingerprint: "", host: "")

  init(token: String, fingerprint: String, host: String) {
    self.fingerprint = fingerprint
    let isLocal = SendTarget.isThisMachine(host)
    // What is no token may be a secret all the same: it goes to this machine only.
    guard !isLocal, let read = IdentityToken(parsing: token.utf8) else {
      self.token = isLocal ? Array(token.utf8) : []
      identity = ""
      secret = nil
      return
    }
    self.token = []
    identity = read.identity
    secret = read.secret
  }

  func enter(_ hello: inout WireHello) {
    hello.fingerprint = fingerprint
    if secret != nil {
      hello.authentication = WireAuthentication.challenge.rawValue
      hello.integrity = WireIntegrity.hmacSHA256.rawValue
      hello.identity = identity
      hello.clientNonce = Nonce.make()
    } else if !token.isEmpty {
      hello.authentication = WireAuthentication.bearer.rawValue
      hello.credential = token
    }
  }
}

/// The client's side of challenge–response.
struct WireGreeting {
  private let secret: IdentitySecret
  private let hello: [UInt8]
  private var transcript: HandshakeTranscript?
  private var keys: SessionKeys?

  init(secret: IdentitySecret, hello: [UInt8]) {
    self.secret = secret
    self.hello = hello
  }

  /// The proof; nil for a second challenge.
  mutating func answer(_ challengeFrame: [UInt8]) -> [UInt8]? {
    guard transcript == nil else { return nil }
    let transcript = HandshakeTranscript(hello: hello, challenge: challengeFrame)
    self.transcript = transcript
    return transcript.proof(of: secret)
  }

  /// What seals the frames from here on.
  mutating func sent(proofFrame: [UInt8]) -> FrameSealer? {
    keys = transcript?.keys(for: secret, proofFrame: proofFrame)
    return keys?.sealer
  }

  func isSigned(_ welcome: WireWelcome) -> Bool {
    keys.map { HandshakeTranscript.isSigned(welcome.serverSignature, $0) } ?? false
  }
}
