// A secret is 32 random bytes. What the server keeps of it, and what both ends of a handshake make of it, is that of
// docs/wire-protocol.md:
//
//   client_key = HMAC(secret, "sluice client key 1")      stored_key = SHA256(client_key)
//   server_key = HMAC(secret, "sluice server key 1")
//
// A token is a secret with the names that it goes by: `slu1_IDENTITY_KEYID_SECRET`, the secret in base64url. A key's id has no
// underscore and the secret has a fixed length, so that it is read from its end.
//
// This target is the only one that imports the crypto library, and every comparison of something secret is the library's
// (`ConstantTime`).

import Crypto
import SluiceCore

/// What an identity proves itself with.
package struct IdentitySecret: Sendable {
  package let bytes: [UInt8]

  /// A new one, from the system's generator.
  package init() {
    var generator = SystemRandomNumberGenerator()
    bytes = (0..<Limits.identityKeyBytes).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
  }

  /// Nil unless there are 32 bytes.
  package init?(_ bytes: [UInt8]) {
    guard bytes.count == Limits.identityKeyBytes else { return nil }
    self.bytes = bytes
  }

  package var clientKey: [UInt8] { KeyedHash.of("sluice client key 1", under: bytes) }
  package var serverKey: [UInt8] { KeyedHash.of("sluice server key 1", under: bytes) }
  package var storedKey: [UInt8] { Digest.sha256(clientKey) }
}

/// A secret, whose it is, and which of its owner's keys.
package struct IdentityToken: Sendable {
  package let identity: String
  package let keyID: String
  package let secret: IdentitySecret

  static let prefix = "slu1_"
  /// Of 32 bytes in base64url without padding.
  static let secretCharacters = 43

  package init(identity: String, keyID: String, secret: IdentitySecret) {
    self.identity = identity
    self.keyID = keyID
    self.secret = secret
  }

  /// Nil for anything that is no token.
  package init?(parsing text: some Collection<UInt8>) {
    guard text.count <= Limits.maxTokenBytes, text.starts(with: Self.prefix.utf8) else { return nil }
    let all = Array(text.dropFirst(Self.prefix.utf8.count))
    guard all.count > Self.secretCharacters, all[all.count - Self.secretCharacters - 1] == UInt8(ascii: "_"),
      let secret = Base64URL.bytes(all.suffix(Self.secretCharacters)).flatMap(IdentitySecret.init)
    else { return nil }
    let names = all.dropLast(Self.secretCharacters + 1)
    guard let end = names.lastIndex(of: UInt8(ascii: "_")), end > names.startIndex, end + 1 < names.endIndex,
      let identity = String(validating: names[..<end], as: UTF8.self),
      let keyID = String(validating: names[(end + 1)...], as: UTF8.self)
    else { return nil }
    self.init(identity: identity, keyID: keyID, secret: secret)
  }

  /// Whom a token names, for a log; empty if that can't be told.
  package static func claimedIdentity(in text: UnsafeRawBufferPointer) -> String {
    IdentityToken(parsing: text)?.identity ?? ""
  }

  package var text: String { "\(Self.prefix)\(identity)_\(keyID)_\(Base64URL.text(secret.bytes))" }
}

/// HMAC-SHA256 and SHA-256 over bytes.
enum KeyedHash {
  static func of(_ message: StaticString, under key: [UInt8]) -> [UInt8] {
    var code = HMAC<SHA256>(key: SymmetricKey(data: key))
    code.update(data: UnsafeRawBufferPointer(start: message.utf8Start, count: message.utf8CodeUnitCount))
    return Array(code.finalize())
  }

  static func of(_ message: [UInt8], under key: [UInt8]) -> [UInt8] {
    Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
  }
}

/// Base64 in the alphabet of URLs, without padding (RFC 4648, section 5).
enum Base64URL {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  static func text(_ bytes: [UInt8]) -> String {
    var characters: [UInt8] = []
    var (bits, held) = (UInt32(0), 0)
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      held += 8
      while held >= 6 {
        held -= 6
        characters.append(alphabet[Int(bits >> UInt32(held)) & 63])
      }
    }
    if held > 0 { characters.append(alphabet[Int(bits << UInt32(6 - held)) & 63]) }
    return String(decoding: characters, as: UTF8.self)
  }

  /// Nil for what is not in the alphabet, or has bits beyond its last byte: each secret has one text.
  static func bytes(_ text: some Sequence<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var (bits, held) = (UInt32(0), 0)
    for character in text {
      guard let value = alphabet.firstIndex(of: character) else { return nil }
      bits = bits << 6 | UInt32(value)
      held += 6
      if held >= 8 {
        held -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
      }
    }
    guard held < 6, bits & (1 << UInt32(held) - 1) == 0 else { return nil }
    return bytes
  }
}
