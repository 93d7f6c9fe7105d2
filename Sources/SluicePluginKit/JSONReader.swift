// RFC 8259, strictly: UTF-8 only, no byte order mark, no comments, no trailing commas, one value. Beyond the RFC it
// refuses names that occur twice, unpaired surrogates, and nesting deeper than `maxDepth`. Never reads past its input.

extension JSONValue {
  /// Values nested deeper than this are refused: the reader recurses.
  static let maxDepth = 128

  /// Reads one JSON value that fills `bytes`.
  public init(reading bytes: UnsafeRawBufferPointer) throws(JSONError) {
    var reader = JSONReader(bytes: bytes)
    self = try reader.document()
  }

  /// Reads one JSON value that fills `text`.
  public init(reading text: String) throws(JSONError) {
    var text = text
    let result = text.withUTF8 { utf8 in
      Result { () throws(JSONError) in try JSONValue(reading: UnsafeRawBufferPointer(utf8)) }
    }
    self = try result.get()
  }
}

struct JSONReader {
  let bytes: UnsafeRawBufferPointer
  var at = 0

  init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  mutating func document() throws(JSONError) -> JSONValue {
    skipSpace()
    let value = try value(depth: 0)
    skipSpace()
    guard at == bytes.count else { throw fault("the end was expected here") }
    return value
  }

  private func fault(_ problem: String) -> JSONError { JSONError(offset: at, problem: problem) }

  /// The byte at hand, or 0, which is not valid anywhere outside of tokens, at the end.
  private var peek: UInt8 { at < bytes.count ? bytes[at] : 0 }

  private mutating func skipSpace() {
    while at < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[at]) { at += 1 }
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    guard depth <= JSONValue.maxDepth else { throw fault("nested deeper than \(JSONValue.maxDepth)") }
    switch peek {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw fault("a value was expected here")
    }
  }

  private mutating func word(_ word: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
    for index in 0..<word.utf8CodeUnitCount {
      guard peek == word.utf8Start[index] else { throw fault("\(word) was expected here") }
      at += 1
    }
    return value
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
    at += 1
    var members: [JSONValue.Member] = []
    var names: Set<String> = []
    skipSpace()
    if peek == UInt8(ascii: "}") {
      at += 1
      return .object([])
    }
    while true {
      skipSpace()
      guard peek == UInt8(ascii: "\"") else { throw fault("a member's name was expected here") }
      let start = at
      let name = try string()
      guard names.insert(name).inserted else {
        at = start
        throw fault("the name \"\(name)\" occurs twice")
      }
      skipSpace()
      guard peek == UInt8(ascii: ":") else { throw fault("a colon was expected here") }
      at += 1
      skipSpace()
      members.append(JSONValue.Member(name, try value(depth: depth + 1)))
      skipSpace()
      if peek == UInt8(ascii: ",") {
        at += 1
      } else if peek == UInt8(ascii: "}") {
        at += 1
        return .object(members)
      } else {
        throw fault("a comma or a closing brace was expected here")
      }
    }
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
    at += 1
    var items: [JSONValue] = []
    skipSpace()
    if peek == UInt8(ascii: "]") {
      at += 1
      return .array([])
    }
    while true {
      skipSpace()
      items.append(try value(depth: depth + 1))
      skipSpace()
      if peek == UInt8(ascii: ",") {
        at += 1
      } else if peek == UInt8(ascii: "]") {
        at += 1
        return .array(items)
      } else {
        throw fault("a comma or a closing bracket was expected here")
      }
    }
  }

  private mutating func digits() throws(JSONError) {
    guard isDigit(peek) else { throw fault("a digit was expected here") }
    while isDigit(peek) { at += 1 }
  }

  private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

  private mutating func number() throws(JSONError) -> JSONValue {
    let start = at
    var isInteger = true
    if peek == UInt8(ascii: "-") { at += 1 }
    if peek == UInt8(ascii: "0") { at += 1 } else { try digits() }
    if peek == UInt8(ascii: ".") {
      isInteger = false
      at += 1
      try digits()
    }
    if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
      isInteger = false
      at += 1
      if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { at += 1 }
      try digits()
    }
    let text = String(decoding: bytes[start..<at], as: UTF8.self)
    if isInteger, let integer = Int64(text) { return .integer(integer) }
    guard let number = Double(text), number.isFinite else {
      at = start
      throw fault("a number this large can't be held")
    }
    return .number(number)
  }

  private mutating func string() throws(JSONError) -> String {
    at += 1
    var text: [UInt8] = []
    while true {
      guard at < bytes.count else { throw fault("the string has no end") }
      let byte = bytes[at]
      switch byte {
      case UInt8(ascii: "\""):
        at += 1
        guard let result = String(validating: text, as: UTF8.self) else { throw fault("invalid UTF-8 before here") }
        return result
      case UInt8(ascii: "\\"):
        at += 1
        try escape(into: &text)
      case 0..<0x20:
        throw fault("a control character must be escaped")
      default:
        text.append(byte)
        at += 1
      }
    }
  }

  private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
    let byte = peek
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      at += 1
      text.append(contentsOf: String(try scalar()).utf8)
      return
    default: throw fault("no such escape")
    }
    at += 1
  }

  /// The scalar after `\u`, of a surrogate pair if need be.
  private mutating func scalar() throws(JSONError) -> Character {
    let start = at
    var code = UInt32(try hex4())
    if code >= 0xD800, code < 0xDC00, peek == UInt8(ascii: "\\") {
      at += 1
      guard peek == UInt8(ascii: "u") else { throw fault("the other half of a surrogate pair was expected here") }
      at += 1
      let low = UInt32(try hex4())
      guard low >= 0xDC00, low < 0xE000 else {
        at = start
        throw fault("an unpaired surrogate")
      }
      code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
    }
    guard let scalar = Unicode.Scalar(code) else {
      at = start
      throw fault("an unpaired surrogate")
    }
    return Character(scalar)
  }

  private mutating func hex4() throws(JSONError) -> UInt16 {
    var code: UInt16 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(peek)).hexDigitValue, peek < 0x80 else {
        throw fault("four hexadecimal digits were expected here")
      }
      code = code << 4 | UInt16(digit)
      at += 1
    }
    return code
  }
}
