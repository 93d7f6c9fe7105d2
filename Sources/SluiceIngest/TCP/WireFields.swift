import SluiceCore

/// A frame's body, read by offset. Fixed fields are below the length that `init` made sure of; texts are checked.
struct WireFields {
  private let base: UnsafeRawPointer
  private let count: Int

  init(_ body: UnsafeRawBufferPointer, atLeast bytes: Int) throws(WireFault) {
    guard body.count >= bytes, let base = body.baseAddress else {
      throw WireFault(.protocolViolation, "a body of \(body.count) bytes, where \(bytes) are needed")
    }
    self.base = base
    count = body.count
  }

  func u8(_ offset: Int) -> UInt8 { base.loadLE(offset) }
  func u16(_ offset: Int) -> UInt16 { base.loadLE(offset) }
  func u32(_ offset: Int) -> UInt32 { base.loadLE(offset) }
  func u64(_ offset: Int) -> UInt64 { base.loadLE(offset) }

  func copy(_ offset: Int, count: Int) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: base + offset, count: count))
  }

  /// Where the texts begin: later versions may have more fixed bytes than this one knows.
  func fixedLength(at offset: Int, atLeast known: Int) throws(WireFault) -> Int {
    let length = Int(u16(offset))
    guard length >= known, length <= count else { throw WireFault(.protocolViolation, "fixed_len is \(length)") }
    return length
  }

  /// The next `length` bytes, and past them.
  func bytes(
    _ at: inout Int, _ length: UInt16, _ name: StaticString, limit: Int
  ) throws(WireFault) -> UnsafeRawBufferPointer {
    guard Int(length) <= limit else {
      throw WireFault(.protocolViolation, "\(name) is longer than \(limit) bytes")
    }
    guard Int(length) <= count - at else { throw WireFault(.protocolViolation, "\(name) runs past the frame") }
    defer { at += Int(length) }
    return UnsafeRawBufferPointer(start: base + at, count: Int(length))
  }

  func text(
    _ at: inout Int, _ length: UInt16, _ name: StaticString, limit: Int = Limits.maxWireNameBytes
  ) throws(WireFault) -> String {
    let bytes = try bytes(&at, length, name, limit: limit)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw WireFault(.protocolViolation, "\(name) is not UTF-8")
    }
    return text
  }
}
