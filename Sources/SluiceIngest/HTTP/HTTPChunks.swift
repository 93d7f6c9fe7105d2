// Bodies in chunks: checked as they come, joined once they are whole. Imports only the C library: the fuzz targets
// compile this file alone.

import Glibc

extension HTTPRequestParser {
  /// The most hexadecimal digits of a chunk's size; leading zeros count.
  static var chunkSizeDigits: Int { 16 }

  mutating func chunkSize(_ base: UnsafeRawPointer, _ count: Int) -> Step {
    let end: Int
    switch findLine(base, count, bound: line + Self.chunkSizeDigits + 2) {
    case .end(let at): end = at
    case .more: return .more
    case .tooLong: return .refuse(.badChunk)
    case .bareLineFeed: return .refuse(.bareLineFeed)
    }
    guard end > line else { return .refuse(.badChunk) }
    var size = 0
    for at in line..<end {
      guard let digit = hexDigit(base.load(fromByteOffset: at, as: UInt8.self)) else { return .refuse(.badChunk) }
      guard size <= Int.max >> 4 else { return .refuse(.bodyTooLarge) }
      size = size << 4 | digit
    }
    guard size <= limits.bodyBytes - decodedBytes else { return .refuse(.bodyTooLarge) }
    framingBytes += end + 4 - line
    guard framingBytes <= limits.chunkFramingBytes else { return .refuse(.chunkOverhead) }
    line = end + 2
    if size == 0 {
      trailersStart = line
      searched = line
      fieldCount = 0
      phase = .trailers
    } else {
      chunkBytes = size
      decodedBytes += size
      phase = .chunkData
    }
    return .next
  }

  mutating func chunkData(_ base: UnsafeRawPointer, _ count: Int) -> Step {
    let end = line + chunkBytes
    if count > end, base.load(fromByteOffset: end, as: UInt8.self) != 0x0D { return .refuse(.badChunk) }
    guard count >= end + 2 else { return .more }
    guard base.load(fromByteOffset: end + 1, as: UInt8.self) == 0x0A else { return .refuse(.badChunk) }
    line = end + 2
    searched = line
    phase = .chunkSize
    return .next
  }

  mutating func trailer(_ base: UnsafeRawPointer, _ count: Int) -> Step {
    let end: Int
    switch findLine(base, count, bound: trailersStart + limits.trailerBytes + 2) {
    case .end(let at): end = at
    case .more: return .more
    case .tooLong: return .refuse(.trailersTooLarge)
    case .bareLineFeed: return .refuse(.bareLineFeed)
    }
    defer { line = end + 2 }
    guard end > line else { return .done }
    fieldCount += 1
    guard fieldCount <= limits.headerCount else { return .refuse(.trailersTooLarge) }
    guard case .name(let colon, _) = field(base, to: end) else { return .refuse(.badTrailer) }
    let name = UnsafeRawBufferPointer(start: base + line, count: colon - line)
    return Self.mayTrail(name) ? .next : .refuse(.badTrailer)
  }

  /// What says how a request is read must not stand behind it (RFC 9110, 6.5.1): another parser may heed it.
  private static func mayTrail(_ name: UnsafeRawBufferPointer) -> Bool {
    switch name.count {
    case 4: !HTTPBytes.equals(name, ignoringCase: "host")
    case 10: !HTTPBytes.equals(name, ignoringCase: "connection")
    case 14: !HTTPBytes.equals(name, ignoringCase: "content-length")
    case 17: !HTTPBytes.equals(name, ignoringCase: "transfer-encoding")
    default: true
    }
  }

  @inline(__always)
  private func hexDigit(_ byte: UInt8) -> Int? { HTTPRequest.hexDigit(byte) }
}

extension HTTPRequest {
  @inline(__always)
  static func hexDigit(_ byte: UInt8) -> Int? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): Int(byte - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): Int(byte - UInt8(ascii: "A")) + 10
    default: nil
    }
  }

  /// Joins the chunks of a body that the parser has accepted into `target`, which has room for `bodyBytes`.
  /// `bytes` are those the request was parsed from.
  package func copyBody(from bytes: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer) {
    precondition(head.isChunked && target.count >= bodyBytes)
    let raw = rawBody.of(bytes)
    var at = 0
    var copied = 0
    while at < raw.count {
      var size = 0
      while let digit = Self.hexDigit(raw[at]) {
        size = size << 4 | digit
        at += 1
      }
      at += 2
      guard size > 0, let from = raw.baseAddress, let to = target.baseAddress else { break }
      precondition(size <= bodyBytes - copied && size <= raw.count - at, "a chunk that the parser has not accepted")
      (to + copied).copyMemory(from: from + at, byteCount: size)
      copied += size
      at += size + 2
    }
    precondition(copied == bodyBytes)
  }
}
