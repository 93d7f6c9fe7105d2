// Byte classes of RFC 9110 and 9112, eight at a time where it pays.

package enum HTTPBytes {
  /// `tchar`: what methods and header names are made of.
  @inline(__always)
  package static func isToken(_ byte: UInt8) -> Bool {
    // Bits of ! # $ % & ' * + - . 0-9 (below 64) and A-Z ^ _ ` a-z | ~ (above).
    let low: UInt64 = 0x03FF_6CFA_0000_0000
    let high: UInt64 = 0x57FF_FFFF_C7FF_FFFE
    let mask = byte < 64 ? low : high
    return byte < 128 && (mask >> UInt64(byte & 63)) & 1 == 1
  }

  /// What a request target is made of here: visible ASCII but `#`, which no client may send.
  @inline(__always)
  package static func isTarget(_ byte: UInt8) -> Bool { byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "#") }

  /// What `Host` and an URL's authority are made of: names, addresses, a port; no user part.
  @inline(__always)
  package static func isHost(_ byte: UInt8) -> Bool {
    // Bits of ! $ % & ' ( ) * + , - . 0-9 : ; = (below 64) and A-Z [ ] _ a-z ~ (above).
    let low: UInt64 = 0x2FFF_7FF2_0000_0000
    let high: UInt64 = 0x47FF_FFFE_AFFF_FFFE
    let mask = byte < 64 ? low : high
    return byte < 128 && (mask >> UInt64(byte & 63)) & 1 == 1
  }

  /// The first byte of `start ..< end` that a header value may not have (a control character but HTAB), or `end`.
  /// `base` has at least `end` bytes.
  @inline(__always)
  package static func firstControl(_ base: UnsafeRawPointer, from start: Int, to end: Int) -> Int {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let tops: UInt64 = 0x8080_8080_8080_8080
    var at = start
    while at < end {
      if at + 8 <= end {
        let word = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: at, as: UInt64.self))
        let delete = word ^ (ones &* 0x7F)
        let below = (word &- ones &* 0x20) & ~word
        if (below | ((delete &- ones) & ~delete)) & tops == 0 {
          at += 8
          continue
        }
      }
      let byte = base.load(fromByteOffset: at, as: UInt8.self)
      if (byte < 0x20 && byte != 0x09) || byte == 0x7F { return at }
      at += 1
    }
    return end
  }

  /// Whether `bytes`, which has no control characters, is `lowercase` in any case. `lowercase` is of letters, digits,
  /// `-`, `:` and `/`: a bit set in each byte makes capitals small and leaves no other byte equal to one of those.
  @inline(__always)
  package static func equals(_ bytes: UnsafeRawBufferPointer, ignoringCase lowercase: StaticString) -> Bool {
    guard bytes.count == lowercase.utf8CodeUnitCount else { return false }
    var difference: UInt8 = 0
    for index in 0..<bytes.count {
      difference |= (bytes[index] | 0x20) ^ lowercase.utf8Start[index]
    }
    return difference == 0
  }

  /// Whether `bytes` is `text`, case and all.
  @inline(__always)
  package static func equals(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard bytes.count == text.utf8CodeUnitCount else { return false }
    var difference: UInt8 = 0
    for index in 0..<bytes.count { difference |= bytes[index] ^ text.utf8Start[index] }
    return difference == 0
  }
}
