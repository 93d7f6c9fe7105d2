/// A function found in a file.
struct FoundFunction: Equatable {
  var name: String
  var line: Int
  /// From the line that declares it to its closing brace, both counted.
  var length: Int
}

extension SourceText {
  /// Every Swift function, initializer, deinitializer, subscript and braced variable with its length.
  func swiftFunctions() -> [FoundFunction] {
    var found: [FoundFunction] = []
    for word in words() {
      let body: Int?
      switch word.text {
      case "func", "subscript": body = bodyAfterParameters(from: word.end)
      case "init": body = word.afterDot ? nil : bodyAfterParameters(from: word.end)
      case "deinit": body = nextCode(from: word.end, is: Ascii.openBrace)
      case "var", "let": body = braceAtLineEnd(from: word.end)
      default: continue
      }
      guard let body, let end = matchingBrace(body) else { continue }
      let start = line(at: word.start)
      found.append(
        FoundFunction(
          name: nameAfter(word), line: start, length: line(at: end) - start + 1))
    }
    return found
  }

  /// Every C function with its length.
  func cFunctions() -> [FoundFunction] {
    var found: [FoundFunction] = []
    var start = 0
    var at = 0
    while at < code.count {
      if isDirective(at) {
        at = endOfDirective(at)
        start = at
        continue
      }
      switch code[at] {
      case UInt8(ascii: ";"), Ascii.closeBrace: start = at + 1
      case Ascii.openBrace:
        let head = String(decoding: code[start..<at], as: UTF8.self)
        if head.contains("("), !head.contains("="), let end = matchingBrace(at) {
          let first = firstCode(from: start)
          let name = head.split(separator: "(")[0].split { !($0.isLetter || $0.isNumber || $0 == "_") }.last ?? ""
          found.append(
            FoundFunction(name: String(name), line: line(at: first), length: line(at: end) - line(at: first) + 1))
          at = end
        }
        start = at + 1
      default: break
      }
      at += 1
    }
    return found
  }

  private struct Word {
    var text: String
    var start: Int
    var end: Int
    var afterDot: Bool
  }

  private static func isIdentifier(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 95 || byte >= 128
  }

  private func words() -> [Word] {
    var result: [Word] = []
    var at = 0
    while at < code.count {
      guard SourceText.isIdentifier(code[at]) else {
        at += 1
        continue
      }
      let start = at
      while at < code.count, SourceText.isIdentifier(code[at]) { at += 1 }
      let before = start > 0 ? code[start - 1] : 0
      guard before != UInt8(ascii: "`") else { continue }
      result.append(
        Word(
          text: String(decoding: code[start..<at], as: UTF8.self), start: start, end: at,
          afterDot: before == UInt8(ascii: ".")))
    }
    return result
  }

  private func nameAfter(_ word: Word) -> String {
    guard word.text == "func" || word.text == "var" || word.text == "let" else { return word.text }
    let rest = code[word.end...].drop { $0 == Ascii.space }
    return String(decoding: rest.prefix { SourceText.isIdentifier($0) }, as: UTF8.self)
  }

  /// The opening brace of the body after a parameter list, or nil for a requirement without one.
  private func bodyAfterParameters(from start: Int) -> Int? {
    guard let open = nextCode(from: start, is: Ascii.openParen, within: 400) else { return nil }
    var at = open
    var depth = 0
    var closed = false
    while at < code.count {
      switch code[at] {
      case Ascii.openParen: depth += 1
      case Ascii.closeParen:
        depth -= 1
        closed = true
      case Ascii.openBrace where depth == 0: return at
      case Ascii.closeBrace where depth == 0: return nil
      case Ascii.newline where depth == 0 && closed:
        if startsDeclaration(at + 1) { return nil }
      default: break
      }
      at += 1
    }
    return nil
  }

  private static let declarations: Set<String> = [
    "func", "var", "let", "init", "deinit", "subscript", "case", "static", "mutating", "struct", "class", "enum",
    "extension", "protocol", "typealias", "associatedtype", "private", "fileprivate", "package", "public", "internal",
  ]

  private func startsDeclaration(_ start: Int) -> Bool {
    let rest = code[start...].drop { $0 == Ascii.space }
    if rest.first == UInt8(ascii: "@") || rest.first == Ascii.hash { return true }
    let word = String(decoding: rest.prefix { SourceText.isIdentifier($0) }, as: UTF8.self)
    return SourceText.declarations.contains(word)
  }

  private func nextCode(from start: Int, is wanted: UInt8, within: Int = 80) -> Int? {
    code[start..<min(code.count, start + within)].firstIndex(of: wanted)
  }

  private func braceAtLineEnd(from start: Int) -> Int? {
    let line = code[start..<(code[start...].firstIndex(of: Ascii.newline) ?? code.count)]
    guard let last = line.lastIndex(where: { $0 != Ascii.space }), line[last] == Ascii.openBrace else { return nil }
    return last
  }

  private func matchingBrace(_ open: Int) -> Int? {
    var depth = 0
    for at in open..<code.count {
      if code[at] == Ascii.openBrace { depth += 1 }
      if code[at] == Ascii.closeBrace { depth -= 1 }
      if depth == 0 { return at }
    }
    return nil
  }

  private func firstCode(from start: Int) -> Int {
    code[start...].firstIndex { $0 != Ascii.space && $0 != Ascii.newline } ?? start
  }

  private func isDirective(_ at: Int) -> Bool { code[at] == Ascii.hash && (at == 0 || code[at - 1] == Ascii.newline) }

  private func endOfDirective(_ start: Int) -> Int {
    var at = start
    while at < code.count {
      if code[at] == Ascii.newline, code[at - 1] != Ascii.backslash { return at + 1 }
      at += 1
    }
    return at
  }
}
