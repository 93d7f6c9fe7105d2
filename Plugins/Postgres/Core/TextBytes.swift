/// Whether bytes can be a value of type text.
package enum TextBytes {
  /// Why not.
  package enum Fault: Equatable, Sendable { case notUTF8, hasNUL }

  /// Nil: they can. UTF-8 as Unicode's table 3-7 has it, and no NUL.
  package static func fault(in bytes: UnsafeRawBufferPointer) -> Fault? {
    guard let base = bytes.baseAddress else { return nil }
    let end = bytes.count
    var at = 0
    while at < end {
      // Eight bytes at once, as long as all of them are ASCII and none is NUL.
      while at + 8 <= end {
        let word = base.loadUnaligned(fromByteOffset: at, as: UInt64.self)
        guard (word | (word &- 0x0101_0101_0101_0101)) & 0x8080_8080_8080_8080 == 0 else { break }
        at += 8
      }
      guard at < end else { return nil }
      let lead = base.load(fromByteOffset: at, as: UInt8.self)
      if lead == 0 { return .hasNUL }
      let length = lead < 0x80 ? 1 : sequence(lead, bytes, at)
      guard length > 0 else { return .notUTF8 }
      at += length
    }
    return nil
  }

  /// Length of the sequence whose first byte, not ASCII, is at `at`; 0: it is ill-formed or cut off.
  private static func sequence(_ lead: UInt8, _ bytes: UnsafeRawBufferPointer, _ at: Int) -> Int {
    let second: ClosedRange<UInt8>
    let length: Int
    switch lead {
    case 0xC2...0xDF: (length, second) = (2, 0x80...0xBF)
    case 0xE0: (length, second) = (3, 0xA0...0xBF)
    case 0xED: (length, second) = (3, 0x80...0x9F)
    case 0xE1...0xEF: (length, second) = (3, 0x80...0xBF)
    case 0xF0: (length, second) = (4, 0x90...0xBF)
    case 0xF1...0xF3: (length, second) = (4, 0x80...0xBF)
    case 0xF4: (length, second) = (4, 0x80...0x8F)
    default: return 0
    }
    guard at + length <= bytes.count, second.contains(bytes[at + 1]) else { return 0 }
    for index in (at + 2)..<max(at + 2, at + length) where bytes[index] & 0xC0 != 0x80 { return 0 }
    return length
  }
}
