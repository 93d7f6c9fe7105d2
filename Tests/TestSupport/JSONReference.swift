/// The grammar of RFC 8259 as recursive functions, slow and plain.
package struct JSONReference {
  package enum Verdict: Equatable {
    case invalid
    /// Valid, but not what `POST /log` takes.
    case content
    case message(Range<Int>)
  }
  private struct Invalid: Error {}

  let text: [UInt8]
  let maxDepth: Int
  var at = 0
  var messages: [Range<Int>?] = []

  package init(_ text: [UInt8], maxDepth: Int) {
    self.text = text
    self.maxDepth = maxDepth
  }

  package func verdict() -> Verdict {
    // Ill-formed UTF-8 is outside of a string no JSON, and inside not allowed either.
    guard String(validating: text, as: UTF8.self) != nil else { return .invalid }
    var copy = self
    do {
      copy.space()
      let isObject = copy.peek == UInt8(ascii: "{")
      _ = try copy.value(depth: 0)
      copy.space()
      guard copy.at == text.count else { return .invalid }
      guard isObject, let last = copy.messages.last, let range = last, !copy.messages.contains(nil) else {
        return .content
      }
      return .message(range)
    } catch {
      return .invalid
    }
  }

  var peek: UInt8? { at < text.count ? text[at] : nil }

  mutating func space() {
    while let byte = peek, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { at += 1 }
  }

  mutating func take(_ byte: Character) throws {
    guard peek == byte.asciiValue else { throw Invalid() }
    at += 1
  }

  mutating func take(if byte: Character) -> Bool {
    guard peek == byte.asciiValue else { return false }
    at += 1
    return true
  }

  /// The string's range, if it was one.
  mutating func value(depth: Int) throws -> Range<Int>? {
    switch peek.map({ Character(Unicode.Scalar($0)) }) {
    case "{":
      try object(depth: depth + 1)
    case "[":
      try array(depth: depth + 1)
    case "\"":
      return try string().range
    case "t": for letter in "true" { try take(letter) }
    case "f": for letter in "false" { try take(letter) }
    case "n": for letter in "null" { try take(letter) }
    default: try number()
    }
    return nil
  }

  mutating func object(depth: Int) throws {
    guard depth <= maxDepth else { throw Invalid() }
    try take("{")
    space()
    if take(if: "}") { return }
    repeat {
      space()
      let name = try string().units
      space()
      try take(":")
      space()
      let range = try value(depth: depth)
      if depth == 1, name == Array("message".utf16) { messages.append(range) }
      space()
    } while take(if: ",")
    try take("}")
  }

  mutating func array(depth: Int) throws {
    guard depth <= maxDepth else { throw Invalid() }
    try take("[")
    space()
    if take(if: "]") { return }
    repeat {
      space()
      _ = try value(depth: depth)
      space()
    } while take(if: ",")
    try take("]")
  }

  mutating func number() throws {
    _ = take(if: "-")
    if !take(if: "0") { try digits() }
    if take(if: ".") { try digits() }
    if take(if: "e") || take(if: "E") {
      _ = take(if: "+") || take(if: "-")
      try digits()
    }
  }

  mutating func digits() throws {
    let from = at
    while let byte = peek, (48...57).contains(byte) { at += 1 }
    guard at > from else { throw Invalid() }
  }

  mutating func string() throws -> (range: Range<Int>, units: [UInt16]) {
    try take("\"")
    let from = at
    var units: [UInt16] = []
    while let byte = peek, byte != UInt8(ascii: "\"") {
      guard byte >= 0x20 else { throw Invalid() }
      at += 1
      guard byte == UInt8(ascii: "\\") else {
        units.append(UInt16(byte))
        continue
      }
      guard let kind = peek else { throw Invalid() }
      at += 1
      switch Character(Unicode.Scalar(kind)) {
      case "\"", "\\", "/", "b", "f", "n", "r", "t": units.append(0)
      case "u":
        guard at + 4 <= text.count, text[at..<at + 4].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
          let unit = UInt16(String(decoding: text[at..<at + 4], as: UTF8.self), radix: 16)
        else { throw Invalid() }
        at += 4
        units.append(unit)
      default: throw Invalid()
      }
    }
    let range = from..<at
    try take("\"")
    // Only escapes give units above 255: those that are surrogates must pair up, next to each other.
    try pair(range)
    return (range, units)
  }

  /// Each escaped surrogate stands beside its other half.
  func pair(_ range: Range<Int>) throws {
    var index = range.lowerBound
    while index < range.upperBound {
      guard text[index] == UInt8(ascii: "\\") else {
        index += 1
        continue
      }
      guard let unit = unit(at: index, in: range) else {
        index += 2
        continue
      }
      index += 6
      if (0xDC00...0xDFFF).contains(unit) { throw Invalid() }
      if (0xD800...0xDBFF).contains(unit) {
        guard let low = self.unit(at: index, in: range), (0xDC00...0xDFFF).contains(low) else { throw Invalid() }
        index += 6
      }
    }
  }

  func unit(at index: Int, in range: Range<Int>) -> UInt16? {
    guard index + 6 <= range.upperBound, text[index] == UInt8(ascii: "\\"), text[index + 1] == UInt8(ascii: "u") else {
      return nil
    }
    return UInt16(String(decoding: text[index + 2..<index + 6], as: UTF8.self), radix: 16)
  }
}
