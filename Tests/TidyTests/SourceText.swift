// A source file with its comments and string literals blanked out, so that the checks look at code only.
//
// Same length and same line breaks as the original: an offset or a line number means the same in both. Understands
// `//`, nested `/* */`, "…" with escapes and \(interpolation), """…""", #"…"# and, in C, '…'. Not understood: Swift
// regex literals with quotes or braces in them; the house style is not to use them.

struct SourceText {
  let lines: [String]
  /// The code alone, as bytes.
  let code: [UInt8]

  init(_ text: String, isC: Bool = false) {
    lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    var blanker = Blanker(bytes: Array(text.utf8), isC: isC)
    blanker.run()
    code = blanker.bytes
  }

  /// The code of each line.
  var codeLines: [String] {
    code.split(separator: Ascii.newline, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The 1-based line of a byte offset.
  func line(at offset: Int) -> Int { 1 + code[..<offset].count { $0 == Ascii.newline } }
}

/// The bytes that the scanners look for.
enum Ascii {
  static let newline = UInt8(ascii: "\n")
  static let space = UInt8(ascii: " ")
  static let slash = UInt8(ascii: "/")
  static let star = UInt8(ascii: "*")
  static let quote = UInt8(ascii: "\"")
  static let apostrophe = UInt8(ascii: "'")
  static let hash = UInt8(ascii: "#")
  static let backslash = UInt8(ascii: "\\")
  static let openParen = UInt8(ascii: "(")
  static let closeParen = UInt8(ascii: ")")
  static let openBrace = UInt8(ascii: "{")
  static let closeBrace = UInt8(ascii: "}")
}

/// Overwrites comments and literals with spaces.
private struct Blanker {
  var bytes: [UInt8]
  let isC: Bool
  var at = 0

  init(bytes: [UInt8], isC: Bool) {
    self.bytes = bytes
    self.isC = isC
  }

  func peek(_ distance: Int = 0) -> UInt8 { at + distance < bytes.count ? bytes[at + distance] : 0 }

  /// Blanks `count` bytes, but no line break.
  mutating func blank(_ count: Int = 1) {
    for _ in 0..<count where at < bytes.count {
      if bytes[at] != Ascii.newline { bytes[at] = Ascii.space }
      at += 1
    }
  }

  mutating func run() {
    while at < bytes.count { if !skipLiteralOrComment() { at += 1 } }
  }

  /// True if something was blanked.
  mutating func skipLiteralOrComment() -> Bool {
    switch (peek(), peek(1)) {
    case (Ascii.slash, Ascii.slash):
      while at < bytes.count, peek() != Ascii.newline { blank() }
    case (Ascii.slash, Ascii.star): blockComment()
    case (Ascii.quote, _): string(hashes: 0)
    case (Ascii.apostrophe, _) where isC: character()
    case (Ascii.hash, _) where !isC:
      var hashes = 0
      while peek(hashes) == Ascii.hash { hashes += 1 }
      guard peek(hashes) == Ascii.quote else { return false }
      blank(hashes)
      string(hashes: hashes)
    default: return false
    }
    return true
  }

  mutating func blockComment() {
    var depth = 0
    repeat {
      if peek() == Ascii.slash, peek(1) == Ascii.star, depth == 0 || !isC {
        depth += 1
        blank(2)
      } else if peek() == Ascii.star, peek(1) == Ascii.slash {
        depth -= 1
        blank(2)
      } else {
        blank()
      }
    } while depth > 0 && at < bytes.count
  }

  mutating func character() {
    blank()
    while at < bytes.count, peek() != Ascii.apostrophe, peek() != Ascii.newline {
      blank(peek() == Ascii.backslash ? 2 : 1)
    }
    blank()
  }

  mutating func string(hashes: Int) {
    let multiline = !isC && peek(1) == Ascii.quote && peek(2) == Ascii.quote
    let quotes = multiline ? 3 : 1
    blank(quotes)
    while at < bytes.count {
      if closes(quotes: quotes, hashes: hashes) {
        blank(quotes + hashes)
        return
      }
      if !multiline, peek() == Ascii.newline { return }
      if peek() == Ascii.backslash, (0..<hashes).allSatisfy({ peek(1 + $0) == Ascii.hash }) {
        let escaped = peek(1 + hashes)
        blank(2 + hashes)
        if escaped == Ascii.openParen, !isC { interpolation() }
      } else {
        blank()
      }
    }
  }

  func closes(quotes: Int, hashes: Int) -> Bool {
    (0..<quotes).allSatisfy { peek($0) == Ascii.quote }
      && (0..<hashes).allSatisfy { peek(quotes + $0) == Ascii.hash }
  }

  mutating func interpolation() {
    var depth = 1
    while at < bytes.count, depth > 0 {
      if peek() == Ascii.openParen { depth += 1 }
      if peek() == Ascii.closeParen { depth -= 1 }
      if !skipLiteralOrComment() { blank() }
    }
  }
}
