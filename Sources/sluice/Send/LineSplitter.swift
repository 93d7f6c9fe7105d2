// Bytes → lines.
//
// A line ends with LF or CR LF, which are not part of it, or with the end of the input if anything stands there: a CR there
// is part of it, as sources of lines take it. A line
// of more than `limit` bytes comes out cut to `limit` + 1 bytes, by which whoever takes it sees that it is too long; the
// rest of it is dropped.

struct LineSplitter {
  private let limit: Int
  private var partial: [UInt8] = []

  init(limit: Int) { self.limit = limit }

  /// Hands out the lines that end in `bytes`. A line is valid during the call it is handed to.
  mutating func feed(_ bytes: UnsafeRawBufferPointer, _ line: (UnsafeRawBufferPointer) -> Void) {
    var start = 0
    while start < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
      guard let length = rest.firstIndex(of: UInt8(ascii: "\n")) else {
        hold(rest)
        return
      }
      let head = UnsafeRawBufferPointer(rebasing: rest[..<length])
      if partial.isEmpty {
        line(cut(head))
      } else {
        hold(head)
        partial.withUnsafeBytes { line(cut($0)) }
        partial.removeAll(keepingCapacity: true)
      }
      start += length + 1
    }
  }

  /// The input ended.
  mutating func end(_ line: (UnsafeRawBufferPointer) -> Void) {
    guard !partial.isEmpty else { return }
    partial.withUnsafeBytes { line(UnsafeRawBufferPointer(rebasing: $0.prefix(limit + 1))) }
    partial.removeAll()
  }

  /// Two bytes beyond the limit are kept, so that a line of `limit` bytes may still end in CR.
  private mutating func hold(_ bytes: UnsafeRawBufferPointer) {
    partial.append(contentsOf: bytes.prefix(limit + 2 - partial.count))
  }

  private func cut(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let line = bytes.last == UInt8(ascii: "\r") ? UnsafeRawBufferPointer(rebasing: bytes.dropLast()) : bytes
    return UnsafeRawBufferPointer(rebasing: line.prefix(limit + 1))
  }
}
