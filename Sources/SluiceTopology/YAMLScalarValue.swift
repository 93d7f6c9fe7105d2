/// What a plain scalar means by the core schema of YAML 1.2 (section 10.3.2 of its specification):
///
///     null    null Null NULL ~ and nothing at all
///     bool    true True TRUE false False FALSE
///     int     [-+]?[0-9]+   0o[0-7]+   0x[0-9a-fA-F]+
///     float   [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?   [-+]?\.(inf|Inf|INF)   \.(nan|NaN|NAN)
///     string  everything else, so also yes, no, on, off, 0b1, 1_000, 12:30
enum YAMLScalarValue: Sendable, Equatable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// Written as an integer, but beyond 64 bits.
  case hugeInteger
  case double(Double)
  case string(String)

  init(plain text: String) {
    switch text {
    case "", "~", "null", "Null", "NULL": self = .null
    case "true", "True", "TRUE": self = .bool(true)
    case "false", "False", "FALSE": self = .bool(false)
    case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": self = .double(.infinity)
    case "-.inf", "-.Inf", "-.INF": self = .double(-.infinity)
    case ".nan", ".NaN", ".NAN": self = .double(.nan)
    default: self = Self.number(text) ?? .string(text)
    }
  }

  private static func number(_ text: String) -> YAMLScalarValue? {
    let bytes = Array(text.utf8)
    if bytes.count > 2, bytes[0] == UInt8(ascii: "0") {
      if bytes[1] == UInt8(ascii: "o") { return radix(bytes.dropFirst(2), 8) }
      if bytes[1] == UInt8(ascii: "x") { return radix(bytes.dropFirst(2), 16) }
    }
    var rest = bytes[...]
    if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { rest = rest.dropFirst() }
    let whole = digits(&rest)
    if whole > 0, rest.isEmpty { return Int64(text).map { .integer($0) } ?? .hugeInteger }
    var fraction = 0
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      fraction = digits(&rest)
    }
    guard whole + fraction > 0 else { return nil }
    if let e = rest.first, e == UInt8(ascii: "e") || e == UInt8(ascii: "E") {
      rest = rest.dropFirst()
      if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { rest = rest.dropFirst() }
      guard digits(&rest) > 0 else { return nil }
    }
    guard rest.isEmpty else { return nil }
    return Double(text).map { .double($0) }
  }

  private static func digits(_ rest: inout ArraySlice<UInt8>) -> Int {
    let count = rest.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }.count
    rest = rest.dropFirst(count)
    return count
  }

  private static func radix(_ digits: ArraySlice<UInt8>, _ radix: Int) -> YAMLScalarValue? {
    let valid = digits.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "7"): true
      case UInt8(ascii: "8")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
        UInt8(ascii: "A")...UInt8(ascii: "F"):
        radix == 16
      default: false
      }
    }
    guard valid else { return nil }
    return Int64(String(decoding: digits, as: UTF8.self), radix: radix).map { .integer($0) } ?? .hugeInteger
  }
}
