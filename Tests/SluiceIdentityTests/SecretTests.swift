import SluiceCore
import SluiceIdentity
import TestSupport
import Testing

@Suite("Secrets and tokens")
struct SecretTests {
  @Test func aTokenReadsBackAsWhatItWasMadeOf() throws {
    for identity in ["a", "press-7", "a_b_c", String(repeating: "x", count: 63)] {
      let token = IdentityToken(identity: identity, keyID: "5f3a9c01", secret: IdentitySecret())
      let read = try #require(IdentityToken(parsing: token.text.utf8))
      #expect(read.identity == identity && read.keyID == "5f3a9c01" && read.secret.bytes == token.secret.bytes)
    }
  }

  @Test func whatIsNoTokenIsNone() {
    let good = IdentityToken(identity: "a", keyID: "k", secret: IdentitySecret()).text
    #expect(IdentityToken(parsing: good.utf8) != nil)
    for bad in [
      "", "slu1_", "slu1_a_k_", String(good.dropFirst()), String(good.dropLast()), good + "A",
      "slu2" + good.dropFirst(4),
    ] {
      #expect(IdentityToken(parsing: bad.utf8) == nil, "\(bad)")
    }
  }

  @Test func anyBytesAreReadWithoutHarmAndEachTokenHasOneText() throws {
    var generator = SeededGenerator(seed: 7)
    let good = Array(IdentityToken(identity: "a_b", keyID: "k1", secret: IdentitySecret()).text.utf8)
    for _ in 0..<20_000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let at = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<3, using: &generator) {
        case 0: bytes[at] = UInt8.random(in: .min ... .max, using: &generator)
        case 1: bytes.remove(at: at)
        default: bytes.insert(UInt8.random(in: .min ... .max, using: &generator), at: at)
        }
      }
      if let token = IdentityToken(parsing: bytes) { #expect(Array(token.text.utf8) == bytes) }
    }
  }

  /// The frames of `Tests/Golden/wire`, made by another program from the secret 00 01 … 1f.
  @Test func theHandshakeIsThatOfTheGoldenFrames() throws {
    let secret = try #require(IdentitySecret(Array(0..<32)))
    let hello = try Golden.bytes("wire/auth-01-client-0-hello.hex")
    let challenge = try Golden.bytes("wire/auth-02-server-0-challenge.hex")
    let proof = try Golden.bytes("wire/auth-03-client-1-proof.hex")
    let transcript = HandshakeTranscript(hello: hello, challenge: challenge)
    #expect(transcript.proof(of: secret) == Array(proof[32..<64]))
    let keys = transcript.keys(for: secret, proofFrame: proof)
    let welcome = try Golden.bytes("wire/auth-04-server-1-welcome.hex")
    #expect(HandshakeTranscript.isSigned(Array(welcome[104..<136]), keys))
    for (file, direction, counter) in [
      ("auth-04-server-1-welcome", 2, 1), ("auth-05-client-2-data", 1, 2), ("auth-06-server-2-ack", 2, 2),
    ] as [(String, UInt64, UInt64)] {
      let frame = try Golden.bytes("wire/\(file).hex")
      let tag = frame.dropLast(32).withUnsafeBytes { keys.sealer.tag(of: $0, direction: direction, counter: counter) }
      #expect(tag == Array(frame.suffix(32)), "\(file)")
    }
    let definition = IdentityDefinition(
      name: "press-7", kind: .module,
      keys: [IdentityDefinition.Key(id: "k", storedKey: secret.storedKey, serverKey: secret.serverKey)])
    let (outcome, serverKeys) = IdentityAuthority([definition]).authenticate(
      proof: Array(proof[32..<64]), proofFrame: proof, of: "press-7", transcript,
      IdentityEvidence(address: "192.0.2.1"),
      at: Clock.wall())
    guard case .session = outcome else {
      Issue.record("the golden proof is refused")
      return
    }
    #expect(serverKeys == keys)
  }

  @Test func aCertificateInPEMIsItsDER() {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB+/8=\n-----END CERTIFICATE-----\n"
    #expect(CertificateDER.of(Array(pem.utf8)) == [0x30, 0x82, 0x01, 0xFB, 0xFF])
    #expect(CertificateDER.of([0x30, 0x82, 0x01, 0xFB, 0xFF]) == [0x30, 0x82, 0x01, 0xFB, 0xFF])
    #expect(CertificateDER.of(Array("no certificate".utf8)) == nil)
  }
}
