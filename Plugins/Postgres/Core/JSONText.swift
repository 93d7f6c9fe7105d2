// What a payload is: JSON (RFC 8259) or other text. One pass, nothing allocated, nothing decoded but a name or the
// message.
//
//   ┌──► value ──► afterValue ──► end            `{` and `[` push a bit (1 = object), their ends pop it
//   │      │          │  ▲
//   └── name ◄── `,` ◄┘  └── `}` `]`
//
// Deeper than `maxDepth` counts as no JSON. What the grammar lets pass and a database does not (numbers out of its range,
// half of a surrogate pair) is left for the database to say.

/// Facts about a payload that is JSON.
package struct JSONText: Equatable {
  /// Bits of the integer that keeps the nesting.
  package static let maxDepth = 128

  /// Where the top-level member `message` lies, between its quotes; nil: there is none, or it is no string. Of several
  /// the last counts, as in jsonb.
  package private(set) var message: Range<Int>?
  /// The message has escapes in it.
  package private(set) var isMessageEscaped = false
  /// There is a `\u0000` somewhere, which jsonb can't hold.
  package private(set) var hasEscapedNUL = false

  /// Nil if `bytes`, which are UTF-8, are not one JSON value.
  package init?(_ bytes: UnsafeRawBufferPointer) {
    var scanner = Scanner(bytes)
    guard scanner.run() else { return nil }
    message = scanner.message
    isMessageEscaped = scanner.isMessageEscaped
    hasEscapedNUL = scanner.hasEscapedNUL
  }
}

private struct Scanner {
  private let bytes: UnsafeRawBufferPointer
  private var at = 0
  private var depth = 0
  private var nesting: UInt128 = 0
  var message: Range<Int>?
  var isMessageEscaped = false
  var hasEscapedNUL = false

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  private enum State { case value, name, afterValue }

  mutating func run() -> Bool {
    var state = State.value
    var isMessage = false
    while true {
      skipBlanks()
      switch state {
      case .value:
        guard let next = value(isMessage) else { return false }
        isMessage = false
        state = next
      case .name:
        guard let found = name() else { return false }
        isMessage = found
        state = .value
      case .afterValue:
        guard depth > 0 else { return at == bytes.count }
        guard let next = separator() else { return false }
        state = next
      }
    }
  }

  /// The byte at hand; 0, which is valid nowhere, at the end.
  private var byte: UInt8 { at < bytes.count ? bytes[at] : 0 }

  private mutating func skipBlanks() {
    while byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { at += 1 }
  }

  private mutating func value(_ isMessage: Bool) -> State? {
    if isMessage { message = nil }
    switch byte {
    case UInt8(ascii: "\""):
      let start = at + 1
      guard let isEscaped = string() else { return nil }
      if isMessage {
        message = start..<(at - 1)
        isMessageEscaped = isEscaped
      }
      return .afterValue
    case UInt8(ascii: "{"): return open(object: true)
    case UInt8(ascii: "["): return open(object: false)
    case UInt8(ascii: "t"): return word("true")
    case UInt8(ascii: "f"): return word("false")
    case UInt8(ascii: "n"): return word("null")
    default: return number()
    }
  }

  private mutating func open(object: Bool) -> State? {
    guard depth < JSONText.maxDepth else { return nil }
    at += 1
    depth += 1
    nesting = nesting << 1 | (object ? 1 : 0)
    skipBlanks()
    guard byte == (object ? UInt8(ascii: "}") : UInt8(ascii: "]")) else { return object ? .name : .value }
    close()
    return .afterValue
  }

  private mutating func close() {
    at += 1
    depth -= 1
    nesting >>= 1
  }

  private mutating func separator() -> State? {
    let inObject = nesting & 1 == 1
    if byte == UInt8(ascii: ",") {
      at += 1
      return inObject ? .name : .value
    }
    guard byte == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else { return nil }
    close()
    return .afterValue
  }

  /// Reads a member's name and its colon; says whether it is the top-level `message`.
  private mutating func name() -> Bool? {
    guard byte == UInt8(ascii: "\"") else { return nil }
    let start = at + 1
    guard let isEscaped = string() else { return nil }
    let isMessage = depth == 1 && Self.isMessage(UnsafeRawBufferPointer(rebasing: bytes[start..<(at - 1)]), isEscaped)
    skipBlanks()
    guard byte == UInt8(ascii: ":") else { return nil }
    at += 1
    return isMessage
  }

  private static func isMessage(_ name: UnsafeRawBufferPointer, _ isEscaped: Bool) -> Bool {
    let wanted: StaticString = "message"
    let count = wanted.utf8CodeUnitCount
    // Each byte as \uXXXX is the longest way to write it.
    guard name.count >= count, name.count <= 6 * count else { return false }
    return withUnsafeTemporaryAllocation(byteCount: 6 * count, alignment: 1) { plain in
      let length = isEscaped ? JSONString.unescape(name, into: plain) : name.count
      if !isEscaped { plain.copyMemory(from: name) }
      return length == count
        && plain[..<count].elementsEqual(UnsafeBufferPointer(start: wanted.utf8Start, count: count))
    }
  }

  /// Reads a string with its quotes; says whether it has escapes.
  private mutating func string() -> Bool? {
    at += 1
    var isEscaped = false
    while true {
      switch byte {
      case UInt8(ascii: "\""):
        at += 1
        return isEscaped
      case UInt8(ascii: "\\"):
        isEscaped = true
        guard escape() else { return nil }
      case 0..<0x20: return nil
      default: at += 1
      }
    }
  }

  private mutating func escape() -> Bool {
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      at += 1
      return true
    case UInt8(ascii: "u"):
      at += 1
      guard at + 4 <= bytes.count, let code = JSONString.hex4(bytes, at) else { return false }
      if code == 0 { hasEscapedNUL = true }
      at += 4
      return true
    default: return false
    }
  }

  private mutating func word(_ word: StaticString) -> State? {
    for index in 0..<word.utf8CodeUnitCount {
      guard byte == word.utf8Start[index] else { return nil }
      at += 1
    }
    return .afterValue
  }

  private mutating func number() -> State? {
    if byte == UInt8(ascii: "-") { at += 1 }
    if byte == UInt8(ascii: "0") { at += 1 } else if !digits() { return nil }
    if byte == UInt8(ascii: ".") {
      at += 1
      guard digits() else { return nil }
    }
    if byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E") {
      at += 1
      if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { at += 1 }
      guard digits() else { return nil }
    }
    return .afterValue
  }

  private mutating func digits() -> Bool {
    let start = at
    while byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { at += 1 }
    return at > start
  }
}

/// The inside of a JSON string whose escapes are known to be right.
package enum JSONString {
  /// Writes the string without its escapes, which is never longer. Half of a surrogate pair becomes U+FFFD.
  /// - Returns: the bytes written.
  package static func unescape(_ text: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Int {
    var at = 0
    var out = 0
    while at < text.count {
      guard text[at] == UInt8(ascii: "\\") else {
        target[out] = text[at]
        out += 1
        at += 1
        continue
      }
      let kind = text[at + 1]
      at += 2
      guard kind == UInt8(ascii: "u") else {
        target[out] = plain(kind)
        out += 1
        continue
      }
      for unit in Unicode.UTF8.encode(scalar(text, &at)) ?? Unicode.UTF8.encodedReplacementCharacter {
        target[out] = unit
        out += 1
      }
    }
    return out
  }

  private static func plain(_ kind: UInt8) -> UInt8 {
    switch kind {
    case UInt8(ascii: "b"): 0x08
    case UInt8(ascii: "f"): 0x0C
    case UInt8(ascii: "n"): 0x0A
    case UInt8(ascii: "r"): 0x0D
    case UInt8(ascii: "t"): 0x09
    default: kind
    }
  }

  /// The scalar whose four digits begin at `at`, with the other half of its pair if one follows.
  private static func scalar(_ text: UnsafeRawBufferPointer, _ at: inout Int) -> Unicode.Scalar {
    let first = hex4(text, at) ?? 0xFFFD
    at += 4
    if first >= 0xD800, first < 0xDC00, at + 6 <= text.count, text[at] == UInt8(ascii: "\\"),
      text[at + 1] == UInt8(ascii: "u"), let second = hex4(text, at + 2), second >= 0xDC00, second < 0xE000
    {
      at += 6
      return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) ?? "\u{FFFD}"
    }
    return Unicode.Scalar(first) ?? "\u{FFFD}"
  }

  /// Four hexadecimal digits, all of them within `text`.
  package static func hex4(_ text: UnsafeRawBufferPointer, _ at: Int) -> UInt32? {
    var code: UInt32 = 0
    for index in at..<(at + 4) {
      let digit: UInt8
      switch text[index] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = text[index] - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = text[index] - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = text[index] - UInt8(ascii: "A") + 10
      default: return nil
      }
      code = code << 4 | UInt32(digit)
    }
    return code
  }
}
