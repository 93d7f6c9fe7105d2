// UTF-8 as Unicode's table 3-7 has it: no overlong form, no surrogate, nothing above U+10FFFF.

package enum UTF8Bytes {
  /// Bytes of the sequence at `at`, whose first byte is not ASCII; 0 if it is ill-formed or cut off at `end`.
  @inline(__always)
  package static func sequence(_ base: UnsafeRawPointer, _ at: Int, _ end: Int) -> Int {
    let lead = base.load(fromByteOffset: at, as: UInt8.self)
    if lead < 0xE0 {
      return lead >= 0xC2 && at + 1 < end && isContinuation(base, at + 1) ? 2 : 0
    }
    guard at + 2 < end else { return 0 }
    let second = base.load(fromByteOffset: at + 1, as: UInt8.self)
    if lead < 0xF0 {
      let low: UInt8 = lead == 0xE0 ? 0xA0 : 0x80
      let high: UInt8 = lead == 0xED ? 0x9F : 0xBF
      return second >= low && second <= high && isContinuation(base, at + 2) ? 3 : 0
    }
    guard lead <= 0xF4, at + 3 < end else { return 0 }
    let low: UInt8 = lead == 0xF0 ? 0x90 : 0x80
    let high: UInt8 = lead == 0xF4 ? 0x8F : 0xBF
    return second >= low && second <= high && isContinuation(base, at + 2) && isContinuation(base, at + 3) ? 4 : 0
  }

  /// Whether all of `bytes` is UTF-8.
  package static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let base = bytes.baseAddress else { return true }
    var at = 0
    while at < bytes.count {
      if base.load(fromByteOffset: at, as: UInt8.self) < 0x80 {
        at += 1
      } else {
        let length = sequence(base, at, bytes.count)
        guard length > 0 else { return false }
        at += length
      }
    }
    return true
  }

  @inline(__always)
  private static func isContinuation(_ base: UnsafeRawPointer, _ at: Int) -> Bool {
    base.load(fromByteOffset: at, as: UInt8.self) & 0xC0 == 0x80
  }
}
