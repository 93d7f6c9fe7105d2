import Crypto

/// Every comparison of something secret, or of something that is proof of it: by the crypto library, which takes the same time
/// wherever two values of one length differ. `TidyTests` refuses others.
enum ConstantTime {
  /// Whether two values are the same: keys, signatures, digests that were stored.
  static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    SymmetricKey(data: left) == SymmetricKey(data: right)
  }

  /// Whether SHA256(`bytes`) is `digest`.
  static func isDigest(_ digest: [UInt8], of bytes: [UInt8]) -> Bool { SHA256.hash(data: bytes) == digest }

  static func areEqual(_ left: SHA256Digest, _ right: SHA256Digest) -> Bool { left == right }

  static func isTag(_ tag: UnsafeRawBufferPointer, _ digest: SHA256Digest) -> Bool { digest == tag }

  static func isTag(_ tag: UnsafeRawBufferPointer, _ code: HMAC<SHA256>.MAC) -> Bool { code == tag }
}
