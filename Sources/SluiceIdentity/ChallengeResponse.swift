// Challenge–response, in the manner of SCRAM (docs/wire-protocol.md, "Integrity and authentication"):
//
//   T1 = SHA256(HELLO ‖ CHALLENGE)             client_proof     = client_key XOR HMAC(stored_key, T1)
//   T2 = SHA256(HELLO ‖ CHALLENGE ‖ PROOF)     server_signature = HMAC(server_key, T2)
//                                              session_key      = HMAC(client_key ‖ server_key, "sluice session key 1" ‖ T2)
//
// Frames enter whole, headers included. Both nonces are in them, so that nothing of one handshake is of use in another.

import Crypto
import SluiceCore

/// What both sides have once the proof is right.
package struct SessionKeys: Sendable, Equatable {
  package let serverSignature: [UInt8]
  package let sessionKey: [UInt8]

  fileprivate init(clientKey: [UInt8], serverKey: [UInt8], transcript: [UInt8]) {
    serverSignature = KeyedHash.of(transcript, under: serverKey)
    sessionKey = KeyedHash.of(Array("sluice session key 1".utf8) + transcript, under: clientKey + serverKey)
  }

  package var sealer: FrameSealer { .hmac(sessionKey: sessionKey) }
}

/// The frames of one handshake, as either side saw them.
package struct HandshakeTranscript: Sendable {
  private var frames: [UInt8]

  /// Begins with HELLO and CHALLENGE.
  package init(hello: [UInt8], challenge: [UInt8]) { frames = hello + challenge }

  var hash: [UInt8] { Digest.sha256(frames) }
  func hash(with proof: [UInt8]) -> [UInt8] { Digest.sha256(frames + proof) }

  // MARK: The client

  /// The client's proof that it has `secret`.
  package func proof(of secret: IdentitySecret) -> [UInt8] {
    Self.xor(secret.clientKey, KeyedHash.of(hash, under: secret.storedKey))
  }

  /// What a server that knows the identity signs with, once the client's PROOF is sent.
  package func keys(for secret: IdentitySecret, proofFrame: [UInt8]) -> SessionKeys {
    SessionKeys(clientKey: secret.clientKey, serverKey: secret.serverKey, transcript: hash(with: proofFrame))
  }

  /// Whether the server has signed with the identity's key, in constant time.
  package static func isSigned(_ signature: [UInt8], _ keys: SessionKeys) -> Bool {
    ConstantTime.areEqual(signature, keys.serverSignature)
  }

  // MARK: The server

  /// The client's key, if the proof is one of `key`; made in the same time either way.
  func clientKey(proving key: IdentityDefinition.Key, by proof: [UInt8]) -> (key: [UInt8], isRight: Bool) {
    let clientKey = Self.xor(proof, KeyedHash.of(hash, under: key.storedKey))
    return (clientKey, ConstantTime.isDigest(key.storedKey, of: clientKey))
  }

  func keys(clientKey: [UInt8], serverKey: [UInt8], proofFrame: [UInt8]) -> SessionKeys {
    SessionKeys(clientKey: clientKey, serverKey: serverKey, transcript: hash(with: proofFrame))
  }

  private static func xor(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] { zip(left, right).map { $0 ^ $1 } }
}

/// A nonce of a handshake.
package enum Nonce {
  package static func make() -> [UInt8] { IdentitySecret().bytes }
}
