extension String {
  /// Appends `text` as a JSON string, quotes included. Only `"`, `\` and control characters are escaped, those that have a
  /// short form with that. Always valid UTF-8: where a string was made of bytes that are not, it has U+FFFD already.
  package mutating func appendJSON(_ text: String) {
    self += "\""
    if text.utf8.contains(where: { $0 < 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) {
      for scalar in text.unicodeScalars { appendJSON(scalar) }
    } else {
      self += text
    }
    self += "\""
  }

  private mutating func appendJSON(_ scalar: Unicode.Scalar) {
    switch scalar {
    case "\"": self += "\\\""
    case "\\": self += "\\\\"
    case "\u{08}": self += "\\b"
    case "\u{0C}": self += "\\f"
    case "\n": self += "\\n"
    case "\r": self += "\\r"
    case "\t": self += "\\t"
    case "\u{00}"..."\u{1F}":
      let digits = String(scalar.value, radix: 16)
      self += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    default: unicodeScalars.append(scalar)
    }
  }

  /// As a JSON string, quotes included.
  package var jsonQuoted: String {
    var text = ""
    text.appendJSON(self)
    return text
  }
}
