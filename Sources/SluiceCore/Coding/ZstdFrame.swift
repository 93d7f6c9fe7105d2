// The header of a zstd frame (RFC 8878, 3.1), as far as it decides whether a body is taken. Read here so that the answer
// does not depend on the library's version, nor on how large a buffer happens to be.
//
//   magic       FD2FB528, or 184D2A50 … 184D2A5F for a frame to skip; little-endian, as all numbers are
//   descriptor  bits 7–6 size of the content size, 5 single segment, 3 must be 0, 2 checksum, 1–0 size of the dictionary's ID
//   window      1 byte unless single segment: 2^(10 + bits 7–3) × (1 + bits 2–0 ÷ 8) bytes
//   dictionary  0, 1, 2 or 4 bytes; 0 means none
//   content     0 (single segment: 1), 2 (plus 256), 4 or 8 bytes; of a single segment it is the window too

package enum ZstdFrame {
  package static var magic: UInt32 { 0xFD2F_B528 }

  /// Whether a frame, be it one to skip, can begin with these bytes.
  package static func begins(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count >= 4 else { return false }
    let first = UInt32(truncatingIfNeeded: number(bytes, 0, 4))
    return first == magic || isSkippable(first)
  }

  /// How many bytes come out of the frame that begins here, if its header says so. Throws what is wrong with the frame, as far
  /// as that is in the header. `limit` is how many bytes may come out.
  package static func contentBytes(
    _ bytes: UnsafeRawBufferPointer, limit: Int, maxWindowBytes: Int
  ) throws(ExpansionFault) -> Int? {
    guard bytes.count >= 4 else { throw .cutShort }
    let first = UInt32(truncatingIfNeeded: number(bytes, 0, 4))
    guard first == magic else {
      guard isSkippable(first) else { throw .notDecodable }
      return nil
    }
    guard bytes.count >= 5 else { throw .cutShort }
    let descriptor = bytes[4]
    guard descriptor & 0x08 == 0 else { throw .notDecodable }
    let isSingle = descriptor & 0x20 != 0
    let idSize = (1 << Int(descriptor & 3)) >> 1
    let sizeSize = descriptor >> 6 == 0 ? (isSingle ? 1 : 0) : 1 << Int(descriptor >> 6)
    let idStart = isSingle ? 5 : 6
    guard bytes.count >= idStart + idSize + sizeSize else { throw .cutShort }
    guard number(bytes, idStart, idSize) == 0 else { throw .dictionary }
    let size = number(bytes, idStart + idSize, sizeSize) &+ (sizeSize == 2 ? 256 : 0)
    let window = isSingle ? size : windowBytes(bytes[5])
    if sizeSize > 0, size > UInt64(limit) { throw .tooLarge }
    guard window <= UInt64(maxWindowBytes) else { throw .windowTooLarge }
    return sizeSize > 0 ? Int(size) : nil
  }

  private static func isSkippable(_ first: UInt32) -> Bool { first & 0xFFFF_FFF0 == 0x184D_2A50 }

  private static func windowBytes(_ descriptor: UInt8) -> UInt64 {
    let base: UInt64 = 1 << (10 + UInt64(descriptor >> 3))
    return base + base / 8 * UInt64(descriptor & 7)
  }

  private static func number(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ count: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<count { value |= UInt64(bytes[start + index]) << UInt64(8 * index) }
    return value
  }
}
