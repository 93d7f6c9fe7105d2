import SluiceCore

/// `${NAME}`, `${NAME:-default}` (when unset or empty) and `${file:/path}` (one trailing newline trimmed) in values;
/// `$${` stands for `${`. What is put in is never read again: it can't bring keys, lists or further `${…}`. A plain
/// scalar that holds one is understood as plain afterwards (a number may come in), a quoted one stays a string.
struct Interpolation {
  let environment: [String: String]
  let sink: DiagnosticSink
  /// Files that were read, for those who want to know when they change.
  private(set) var files: [String] = []
  private var failures = 0

  init(environment: [String: String], sink: DiagnosticSink) {
    self.environment = environment
    self.sink = sink
  }

  mutating func apply(to node: YAMLNode) -> YAMLNode {
    var result = node
    switch node.content {
    case .mapping(let pairs):
      result.content = .mapping(
        pairs.map { pair in
          var pair = pair
          pair.value = apply(to: pair.value)
          return pair
        })
    case .sequence(let items): result.content = .sequence(items.map { apply(to: $0) })
    case .scalar(let scalar) where scalar.text.contains("${"):
      let before = failures
      result.content = .scalar(expand(scalar, of: node))
      if failures > before { sink.silence(node.position) }
    case .scalar: break
    }
    return result
  }

  private mutating func fail(
    _ place: SourcePosition, _ message: String, expected: String? = nil, suggestion: String? = nil,
    help: String? = nil
  ) {
    failures += 1
    sink.error(at: place, message, expected: expected, suggestion: suggestion, help: help)
  }

  private mutating func expand(_ scalar: YAMLScalar, of node: YAMLNode) -> YAMLScalar {
    var result = scalar
    var text = ""
    var rest = scalar.text[...]
    var count = 0
    while let dollar = rest.firstIndex(of: "$") {
      text += rest[..<dollar]
      rest = rest[dollar...]
      if rest.hasPrefix("$${") {
        text += "${"
        rest = rest.dropFirst(3)
      } else if rest.hasPrefix("${") {
        count += 1
        let place = position(of: count, in: node)
        guard let close = rest.firstIndex(of: "}") else {
          fail(
            place, "'${' is not closed", expected: "${NAME}, ${NAME:-default} or ${file:/path}",
            help: "for the two characters themselves write $${")
          return scalar
        }
        let inner = rest[rest.index(rest.startIndex, offsetBy: 2)..<close]
        rest = rest[rest.index(after: close)...]
        text += value(of: String(inner), at: place, origin: &result.origin)
      } else {
        text += "$"
        rest = rest.dropFirst()
      }
    }
    result.text = text + rest
    return result
  }

  private mutating func value(
    of inner: String, at place: SourcePosition, origin: inout YAMLScalar.Origin
  ) -> String {
    if inner.hasPrefix("file:") {
      origin = .secretFile
      return contents(of: String(inner.dropFirst(5)), at: place)
    }
    if origin == .literal { origin = .environment }
    let mark = inner.firstRange(of: ":-")
    let name = mark.map { String(inner[..<$0.lowerBound]) } ?? inner
    guard Self.isName(name) else {
      fail(
        place, "\(quoted("${" + inner + "}")) names no variable",
        expected: "${NAME}, ${NAME:-default} or ${file:/path}", help: "for the characters ${ themselves write $${")
      return ""
    }
    if let value = environment[name], !(value.isEmpty && mark != nil) { return value }
    if let mark { return String(inner[mark.upperBound...]) }
    fail(
      place, "the environment variable \(name) is not set",
      suggestion: nearestName(to: name, in: environment.keys.sorted()),
      help: "set it, or give a default: ${\(name):-…}")
    return ""
  }

  private mutating func contents(of path: String, at place: SourcePosition) -> String {
    guard !path.isEmpty, !path.contains("\0") else {
      fail(place, "'${file:}' names no file", expected: "${file:/path}")
      return ""
    }
    let resolved = FileReading.resolve(path, from: place.file)
    do {
      let bytes = try FileReading.bytes(of: resolved, limit: Limits.maxSecretFileBytes, regularOnly: true)
      files.append(resolved)
      guard let text = String(validating: bytes, as: UTF8.self) else {
        fail(place, "the file \(quoted(resolved, limit: .max)) is not UTF-8")
        return ""
      }
      // One line break at the end is what editors add; "\r\n" is a single Character.
      return text.last?.isNewline == true ? String(text.dropLast()) : text
    } catch {
      fail(place, "the file \(quoted(resolved, limit: .max)) can't be read: \(error.message)")
      return ""
    }
  }

  static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
    return text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
  }

  /// Where the `number`th `${` (not `$${`) of a scalar stands, as far as the source shows it.
  private func position(of number: Int, in node: YAMLNode) -> SourcePosition {
    var seen = 0
    for line in node.position.line...max(node.position.line, node.endLine) {
      guard let text = sink.texts.line(line, of: node.position.file) else { break }
      let characters = Array(text.unicodeScalars)
      var index = line == node.position.line ? node.position.column - 1 : 0
      while index + 1 < characters.count {
        if characters[index] == "$", characters[index + 1] == "$" {
          index += 2
          continue
        }
        if characters[index] == "$", characters[index + 1] == "{" {
          seen += 1
          if seen == number {
            let length = characters[index...].firstIndex(of: "}").map { $0 - index + 1 } ?? 2
            return SourcePosition(file: node.position.file, line: line, column: index + 1, length: length)
          }
        }
        index += 1
      }
    }
    return node.position
  }
}
