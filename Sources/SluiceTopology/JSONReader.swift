import SluiceCore

/// Why a text is not JSON, and where.
package struct JSONError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Bytes from the start.
  package var offset: Int
  package var message: String
  package var description: String { "\(message) at byte \(offset)" }
}

extension JSONValue {
  /// Reads one JSON text, strictly as RFC 8259 has it: UTF-8, no comments, no trailing commas, no lone surrogates,
  /// nothing after the value; in addition no object may have the same member twice. Nesting is bounded by
  /// `Limits.maxJSONDepth`.
  package init(parsing text: String) throws(JSONError) {
    try self.init(parsing: Array(text.utf8))
  }

  package init(parsing bytes: [UInt8]) throws(JSONError) {
    var reader = JSONReader(bytes: bytes)
    self = try reader.document()
  }
}

private struct JSONReader {
  let bytes: [UInt8]
  var at = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func document() throws(JSONError) -> JSONValue {
    let value = try self.value(depth: 1)
    skipSpace()
    guard at == bytes.count else { throw fault("something follows the JSON value") }
    return value
  }

  private func fault(_ message: String) -> JSONError { JSONError(offset: at, message: message) }

  private var current: UInt8? { at < bytes.count ? bytes[at] : nil }

  private mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { at += 1 }
  }

  private mutating func take(_ byte: Character) -> Bool {
    guard let wanted = byte.asciiValue, current == wanted else { return false }
    at += 1
    return true
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    guard depth <= Limits.maxJSONDepth else { throw fault("nested more than \(Limits.maxJSONDepth) levels deep") }
    skipSpace()
    guard let byte = current else { throw fault("the text ends where a value should stand") }
    switch byte {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw fault("no value begins like this")
    }
  }

  private mutating func word(_ word: String, _ value: JSONValue) throws(JSONError) -> JSONValue {
    guard bytes[at...].starts(with: word.utf8) else { throw fault("no value begins like this") }
    at += word.utf8.count
    return value
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
    at += 1
    var members: [JSONValue.Member] = []
    var seen: Set<String> = []
    skipSpace()
    if take("}") { return .object([]) }
    repeat {
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw fault("a member's name should stand here") }
      let start = at
      let key = try string()
      guard seen.insert(key).inserted else {
        throw JSONError(offset: start, message: "the member \(quoted(key)) stands twice")
      }
      skipSpace()
      guard take(":") else { throw fault("':' should stand here") }
      members.append(JSONValue.Member(key, try value(depth: depth + 1)))
      skipSpace()
    } while take(",")
    guard take("}") else { throw fault("',' or '}' should stand here") }
    return .object(members)
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
    at += 1
    var items: [JSONValue] = []
    skipSpace()
    if take("]") { return .array([]) }
    repeat {
      items.append(try value(depth: depth + 1))
      skipSpace()
    } while take(",")
    guard take("]") else { throw fault("',' or ']' should stand here") }
    return .array(items)
  }

  private mutating func digits() -> Int {
    let start = at
    while let byte = current, byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") { at += 1 }
    return at - start
  }

  private mutating func number() throws(JSONError) -> JSONValue {
    let start = at
    _ = take("-")
    let leading = current
    let whole = digits()
    guard whole > 0 else { throw fault("a digit should stand here") }
    guard whole == 1 || leading != UInt8(ascii: "0") else {
      throw JSONError(offset: start, message: "a number begins with a needless zero")
    }
    var isWhole = true
    if take(".") {
      isWhole = false
      guard digits() > 0 else { throw fault("a digit should stand here") }
    }
    if take("e") || take("E") {
      isWhole = false
      if !take("+") { _ = take("-") }
      guard digits() > 0 else { throw fault("a digit should stand here") }
    }
    let text = String(decoding: bytes[start..<at], as: UTF8.self)
    if isWhole, let exact = Int64(text) { return .integer(exact) }
    guard let double = Double(text), double.isFinite else {
      throw JSONError(offset: start, message: "the number is too large")
    }
    return .double(double)
  }

  private mutating func string() throws(JSONError) -> String {
    at += 1
    let start = at
    var text: [UInt8] = []
    while true {
      guard let byte = current else { throw fault("a string does not end") }
      switch byte {
      case UInt8(ascii: "\""):
        guard let valid = String(validating: text, as: UTF8.self) else {
          throw JSONError(offset: start, message: "a string is not UTF-8")
        }
        at += 1
        return valid
      case UInt8(ascii: "\\"):
        at += 1
        try escape(into: &text)
      case 0..<0x20: throw fault("a control character stands in a string")
      default:
        text.append(byte)
        at += 1
      }
    }
  }

  private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
    guard let byte = current else { throw fault("a string does not end") }
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      var code = UInt32(try unit())
      if code >= 0xD800 && code < 0xDC00 {
        guard take("\\"), take("u") else { throw fault("half a surrogate pair") }
        let low = UInt32(try unit())
        guard low >= 0xDC00 && low < 0xE000 else { throw fault("half a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fault("half a surrogate pair") }
      text.append(contentsOf: Array(String(Character(scalar)).utf8))
    default:
      at -= 1
      throw fault("no escape is written like this")
    }
  }

  private mutating func unit() throws(JSONError) -> UInt16 {
    var value: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw fault("four hexadecimal digits should stand here")
      }
      value = value << 4 | UInt16(digit)
      at += 1
    }
    return value
  }
}
