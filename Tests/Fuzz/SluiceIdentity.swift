// What the codec needs of SluiceIdentity, for the fuzz targets: they are built without the crypto library, whose hash no
// fuzzer would guess. The tag is as long as the real one and made of a checksum.

import SluiceCore

package struct FrameSealer: Sendable {
  package static let tagBytes = 32

  package func isValid(
    _ tag: UnsafeRawBufferPointer, of bytes: UnsafeRawBufferPointer, direction: UInt64, counter: UInt64
  ) -> Bool {
    let sum = CRC32C.of(bytes, seed: UInt32(truncatingIfNeeded: direction &* 31 &+ counter))
    return tag.count == FrameSealer.tagBytes && tag.loadUnaligned(as: UInt32.self) == sum
  }
}
