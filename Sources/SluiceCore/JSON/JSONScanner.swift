// A JSON text (RFC 8259) checked in one pass over its bytes, and its top-level member `message` found. Nothing is
// allocated and nothing decoded.
//
//   valid  ⇔  exactly one value of the grammar, in well-formed UTF-8, white space around it, nested at most
//             `maxDepth` deep, no byte order mark. Beyond the grammar one thing is refused: an escaped surrogate
//             without its other half (`"\ud800"`), which no Unicode text can hold.
//   message   a top-level member whose name, after unescaping, is `message` (so `"messag\u0065"` counts). Such
//             members may repeat; all must be strings and the last one is reported.
//
// Faults of the text come before faults of its content, and of several the first is reported; so is the first
// `message` that is no string. An offset points at the byte where the text can no longer be right.
//
//   ┌──► value ──► afterValue ──► end            `{` and `[` push a bit (1 = object), their ends pop it
//   │      │          │  ▲
//   └── key ◄── `,` ◄─┘  └── `}` `]`

internal import CSluiceSystem

package struct JSONScanner {
  /// The nesting is kept in the bits of one integer.
  package static var deepest: Int { 128 }

  /// The bytes between the quotes of the last top-level `message`, still escaped.
  package static func message(
    of text: UnsafeRawBufferPointer, maxDepth: Int
  ) throws(JSONFault) -> Range<Int> {
    precondition(maxDepth >= 1 && maxDepth <= deepest)
    guard let base = text.baseAddress, !text.isEmpty else { throw JSONFault(.unexpectedEnd, 0) }
    var scanner = JSONScanner(base: base, count: text.count, maxDepth: maxDepth)
    try scanner.run(isPart: false)
    if let fault = scanner.contentFault { throw fault }
    return scanner.messageStart..<scanner.messageEnd
  }

  /// One value out of a longer text.
  package struct Element {
    /// The bytes of the value, if it is an object or an array.
    package var value: Range<Int>
    /// The first byte behind it that is no white space; the text's length if there is none.
    package var next: Int
    /// Why it would not do as a text of its own.
    package var contentFault: JSONFault?
  }

  /// Reads one value of `text`, from `offset` on; white space around it is passed over. Offsets count from the start of
  /// `text`.
  package static func element(
    of text: UnsafeRawBufferPointer, from offset: Int, maxDepth: Int
  ) throws(JSONFault) -> Element {
    precondition(maxDepth >= 1 && maxDepth <= deepest && offset <= text.count)
    guard let base = text.baseAddress else { throw JSONFault(.unexpectedEnd, 0) }
    var scanner = JSONScanner(base: base, count: text.count, maxDepth: maxDepth)
    scanner.at = offset
    try scanner.run(isPart: true)
    return Element(
      value: scanner.start..<max(scanner.start, scanner.end + 1), next: scanner.at, contentFault: scanner.contentFault)
  }

  private var contentFault: JSONFault? {
    guard isObject else { return JSONFault(.notAnObject, start) }
    if notString >= 0 { return JSONFault(.messageNotString, notString) }
    return messageStart >= 0 ? nil : JSONFault(.messageMissing, end)
  }

  let base: UnsafeRawPointer
  let count: Int
  private let maxDepth: Int
  var at = 0
  private var depth = 0
  private var nesting: UInt128 = 0
  private var isObject = false
  private var start = 0
  private var end = 0
  private var messageStart = -1
  private var messageEnd = -1
  private var notString = -1

  init(base: UnsafeRawPointer, count: Int, maxDepth: Int) {
    self.base = base
    self.count = count
    self.maxDepth = maxDepth
  }

  private enum State { case value, key, afterValue }

  private mutating func run(isPart: Bool) throws(JSONFault) {
    skipWhiteSpace()
    start = at
    isObject = at < count && byte == UInt8(ascii: "{")
    var state = State.value
    var isMessage = false
    while true {
      skipWhiteSpace()
      switch state {
      case .value:
        state = try value(isMessage)
        isMessage = false
      case .key:
        isMessage = try key()
        state = .value
      case .afterValue:
        guard depth > 0 else {
          guard isPart || at == count else { throw JSONFault(.trailingBytes, at) }
          return
        }
        state = try separator()
      }
    }
  }

  // MARK: Structure

  /// Reads a scalar or opens an object or array; says what comes next.
  @inline(__always)
  private mutating func value(_ isMessage: Bool) throws(JSONFault) -> State {
    guard at < count else { throw JSONFault(.unexpectedEnd, count) }
    let first = byte
    if first == UInt8(ascii: "\"") {
      at += 1
      let from = at
      _ = try string()
      if isMessage {
        messageStart = from
        messageEnd = at - 1
      }
      return .afterValue
    }
    if isMessage, notString < 0 { notString = at }
    switch first {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      let opensObject = first == UInt8(ascii: "{")
      guard depth < maxDepth else { throw JSONFault(.tooDeep, at) }
      at += 1
      depth += 1
      nesting = nesting << 1 | (opensObject ? 1 : 0)
      skipWhiteSpace()
      if at < count, byte == (opensObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
        close()
        return .afterValue
      }
      return opensObject ? .key : .value
    case UInt8(ascii: "t"): try literal("true")
    case UInt8(ascii: "f"): try literal("false")
    case UInt8(ascii: "n"): try literal("null")
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
    default: throw JSONFault(.expectedValue, at)
    }
    return .afterValue
  }

  /// Reads a member's name and its colon; says whether it is a top-level `message`.
  @inline(__always)
  private mutating func key() throws(JSONFault) -> Bool {
    guard at < count else { throw JSONFault(.unexpectedEnd, count) }
    guard byte == UInt8(ascii: "\"") else { throw JSONFault(.expectedKey, at) }
    at += 1
    let from = at
    let isEscaped = try string()
    let isMessage = depth == 1 && JSONScanner.isMessage(base + from, at - 1 - from, isEscaped)
    skipWhiteSpace()
    guard at < count else { throw JSONFault(.unexpectedEnd, count) }
    guard byte == UInt8(ascii: ":") else { throw JSONFault(.expectedColon, at) }
    at += 1
    return isMessage
  }

  @inline(__always)
  private mutating func separator() throws(JSONFault) -> State {
    guard at < count else { throw JSONFault(.unexpectedEnd, count) }
    let inObject = nesting & 1 == 1
    if byte == UInt8(ascii: ",") {
      at += 1
      return inObject ? .key : .value
    }
    guard byte == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
      throw JSONFault(inObject ? .expectedCommaOrBrace : .expectedCommaOrBracket, at)
    }
    close()
    return .afterValue
  }

  @inline(__always)
  private mutating func close() {
    end = at
    at += 1
    depth -= 1
    nesting >>= 1
  }

  @inline(__always)
  var byte: UInt8 { base.load(fromByteOffset: at, as: UInt8.self) }

  @inline(__always)
  mutating func skipWhiteSpace() {
    while at < count {
      let next = byte
      guard next <= 0x20, next == 0x20 || next == 0x0A || next == 0x0D || next == 0x09 else { return }
      at += 1
    }
  }

  // MARK: Scalars

  mutating func literal(_ text: StaticString) throws(JSONFault) {
    for index in 0..<text.utf8CodeUnitCount {
      guard at < count else { throw JSONFault(.unexpectedEnd, count) }
      guard byte == text.utf8Start[index] else { throw JSONFault(.badLiteral, at) }
      at += 1
    }
  }

  mutating func number() throws(JSONFault) {
    if byte == UInt8(ascii: "-") { at += 1 }
    if at < count, byte == UInt8(ascii: "0") {
      at += 1
      if at < count, isDigit { throw JSONFault(.badNumber, at) }
    } else {
      try digits()
    }
    if at < count, byte == UInt8(ascii: ".") {
      at += 1
      try digits()
    }
    if at < count, byte | 0x20 == UInt8(ascii: "e") {
      at += 1
      if at < count, byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { at += 1 }
      try digits()
    }
  }

  @inline(__always)
  private var isDigit: Bool { byte &- UInt8(ascii: "0") < 10 }

  /// One digit at least.
  @inline(__always)
  private mutating func digits() throws(JSONFault) {
    guard at < count else { throw JSONFault(.unexpectedEnd, count) }
    guard isDigit else { throw JSONFault(.badNumber, at) }
    repeat { at += 1 } while at < count && isDigit
  }

  /// Reads on from behind the opening quote to behind the closing one; says whether there was an escape.
  @inline(__always)
  mutating func string() throws(JSONFault) -> Bool {
    var isEscaped = false
    while true {
      skipPlain()
      guard at < count else { throw JSONFault(.unexpectedEnd, count) }
      let next = byte
      if next == UInt8(ascii: "\"") {
        at += 1
        return isEscaped
      }
      if next >= 0x80 {
        repeat {
          let length = UTF8Bytes.sequence(base, at, count)
          guard length > 0 else { throw JSONFault(.badUTF8, at) }
          at += length
        } while at < count && byte >= 0x80
      } else if next == UInt8(ascii: "\\") {
        isEscaped = true
        try escape()
      } else {
        throw JSONFault(.controlCharacter, at)
      }
    }
  }

  /// Passes over bytes that need no look: ASCII but control characters, quotes and backslashes.
  @inline(__always)
  private mutating func skipPlain() {
    while at + 16 <= count {
      let stops = csluice_text_stops(base + at)
      guard stops == 0 else {
        at += stops.trailingZeroBitCount
        return
      }
      at += 16
    }
    while at < count {
      let next = byte
      guard next >= 0x20, next < 0x80, next != UInt8(ascii: "\""), next != UInt8(ascii: "\\") else { return }
      at += 1
    }
  }

  private mutating func escape() throws(JSONFault) {
    guard at + 1 < count else { throw JSONFault(.unexpectedEnd, count) }
    switch base.load(fromByteOffset: at + 1, as: UInt8.self) {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      at += 2
    case UInt8(ascii: "u"):
      let from = at
      let unit = try codeUnit()
      guard unit & 0xF800 == 0xD800 else { return }
      guard unit < 0xDC00 else { throw JSONFault(.loneSurrogate, from) }
      guard at + 1 < count else {
        if at < count, byte != UInt8(ascii: "\\") { throw JSONFault(.loneSurrogate, from) }
        throw JSONFault(.unexpectedEnd, count)
      }
      guard byte == UInt8(ascii: "\\"), base.load(fromByteOffset: at + 1, as: UInt8.self) == UInt8(ascii: "u"),
        try codeUnit() & 0xFC00 == 0xDC00
      else { throw JSONFault(.loneSurrogate, from) }
    default:
      throw JSONFault(.badEscape, at + 1)
    }
  }

  /// Reads `\uXXXX`.
  private mutating func codeUnit() throws(JSONFault) -> UInt32 {
    at += 2
    var unit: UInt32 = 0
    for _ in 0..<4 {
      guard at < count else { throw JSONFault(.unexpectedEnd, count) }
      guard let digit = JSONScanner.hexDigit(byte) else { throw JSONFault(.badEscape, at) }
      unit = unit << 4 | digit
      at += 1
    }
    return unit
  }

  @inline(__always)
  static func hexDigit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A")) + 10
    default: nil
    }
  }

  /// Whether a name that is known to be well-formed spells `message`. Of the escapes only `\u` can spell a letter.
  @inline(__always)
  private static func isMessage(_ name: UnsafeRawPointer, _ count: Int, _ isEscaped: Bool) -> Bool {
    let wanted: StaticString = "message"
    if !isEscaped {
      guard count == 7 else { return false }
      let head = UInt32(littleEndian: name.loadUnaligned(as: UInt32.self))
      let tail = UInt32(littleEndian: name.loadUnaligned(fromByteOffset: 3, as: UInt32.self))
      return head == 0x7373_656D && tail == 0x6567_6173
    }
    var at = 0
    for index in 0..<7 {
      guard at < count else { return false }
      var unit = UInt32(name.load(fromByteOffset: at, as: UInt8.self))
      at += 1
      if unit == UInt32(UInt8(ascii: "\\")) {
        guard name.load(fromByteOffset: at, as: UInt8.self) == UInt8(ascii: "u") else { return false }
        unit = 0
        for digit in 1...4 { unit = unit << 4 | (hexDigit(name.load(fromByteOffset: at + digit, as: UInt8.self)) ?? 0) }
        at += 5
      }
      guard unit == UInt32(wanted.utf8Start[index]) else { return false }
    }
    return at == count
  }
}
