internal import CSluiceSystem

/// CRC32C (Castagnoli), the one checksum of the log and the wire.
package enum CRC32C {
  /// Continues `seed` (0 to begin) over `bytes`; `of(b, seed: of(a))` equals the checksum of `a` followed by `b`.
  @inline(__always)
  package static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    csluice_crc32c(seed, bytes.baseAddress, bytes.count)
  }

  /// Continues `seed` over the first eight bytes of each of `count` pieces; the u32 that a piece begins with says how many
  /// bytes follow those eight. Nil if the pieces don't fit into `bytes` or are no multiples of 8.
  package static func ofPrefixes(_ bytes: UnsafeRawBufferPointer, count: Int, seed: UInt32) -> UInt32? {
    guard count > 0, let number = UInt32(exactly: count) else { return count == 0 ? seed : nil }
    var crc = seed
    return csluice_crc32c_prefixes(&crc, bytes.baseAddress, bytes.count, number) > 0 ? crc : nil
  }

  /// The table version that the tests hold the CPU's instruction against.
  package static func portable(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    csluice_crc32c_portable(seed, bytes.baseAddress, bytes.count)
  }
}
