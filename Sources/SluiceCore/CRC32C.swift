internal import CSluiceSystem

/// CRC32C (Castagnoli), the one checksum of the log and the wire.
package enum CRC32C {
  /// Continues `seed` (0 to begin) over `bytes`; `of(b, seed: of(a))` equals the checksum of `a` followed by `b`.
  @inline(__always)
  package static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    csluice_crc32c(seed, bytes.baseAddress, bytes.count)
  }

  /// The table version that the tests hold the CPU's instruction against.
  package static func portable(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    csluice_crc32c_portable(seed, bytes.baseAddress, bytes.count)
  }
}
