import Crypto
import SluiceCore

/// The tag behind each frame after a handshake: SHA-256, or HMAC-SHA256 under the session's key, of
/// `direction ‖ counter ‖ header ‖ body`. Both sides count frames, so that one which is repeated, left out, moved or reflected
/// has another tag.
package struct FrameSealer: Sendable {
  package static let tagBytes = 32

  /// Nil: plain SHA-256.
  private let key: SymmetricKey?

  private init(key: SymmetricKey?) { self.key = key }

  package static let sha256 = FrameSealer(key: nil)
  package static func hmac(sessionKey: [UInt8]) -> FrameSealer { FrameSealer(key: SymmetricKey(data: sessionKey)) }

  /// The tag of a frame: `bytes` are its header and body.
  package func tag(of bytes: UnsafeRawBufferPointer, direction: UInt64, counter: UInt64) -> [UInt8] {
    let bound = (direction.littleEndian, counter.littleEndian)
    return withUnsafeBytes(of: bound) { bound in
      guard let key else { return Array(Self.digest(bound, bytes)) }
      return Array(Self.code(bound, bytes, key))
    }
  }

  /// Whether `tag` is the frame's, in constant time.
  package func isValid(
    _ tag: UnsafeRawBufferPointer, of bytes: UnsafeRawBufferPointer, direction: UInt64, counter: UInt64
  ) -> Bool {
    let bound = (direction.littleEndian, counter.littleEndian)
    return withUnsafeBytes(of: bound) { bound in
      guard let key else { return ConstantTime.isTag(tag, Self.digest(bound, bytes)) }
      return ConstantTime.isTag(tag, Self.code(bound, bytes, key))
    }
  }

  private static func digest(_ bound: UnsafeRawBufferPointer, _ bytes: UnsafeRawBufferPointer) -> SHA256Digest {
    var hash = SHA256()
    hash.update(bufferPointer: bound)
    hash.update(bufferPointer: bytes)
    return hash.finalize()
  }

  private static func code(
    _ bound: UnsafeRawBufferPointer, _ bytes: UnsafeRawBufferPointer, _ key: SymmetricKey
  ) -> HMAC<SHA256>.MAC {
    var code = HMAC<SHA256>(key: key)
    code.update(data: bound)
    code.update(data: bytes)
    return code.finalize()
  }
}
