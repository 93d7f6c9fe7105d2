import SluiceCore

/// One mapping of the topology under check: hands out its values, and in the end complains about every key that
/// nobody asked for.
struct Section {
  /// What the mapping is, in messages: "streams.events".
  let path: String
  let sink: DiagnosticSink
  /// Where to say that a key is missing.
  let position: SourcePosition
  private let pairs: [YAMLPair]
  private let known: [String]

  /// Nil (and an error) when the node is not a mapping. An empty value is an empty mapping if `allowsNothing`.
  init?(
    _ node: YAMLNode, path: String, at position: SourcePosition? = nil, known: [String], allowsNothing: Bool = false,
    sink: DiagnosticSink
  ) {
    self.path = path
    self.sink = sink
    self.known = known
    self.position = position ?? node.position
    if case .mapping(let pairs) = node.content {
      self.pairs = pairs
    } else if allowsNothing && node.isNull {
      pairs = []
    } else {
      sink.error(
        at: node.position, "expected a mapping for \(path), found \(node.describedKind)",
        expected: known.isEmpty ? "name: …" : "a mapping with the keys \(known.joined(separator: ", "))")
      return nil
    }
    complainAboutUnknownKeys()
  }

  private func complainAboutUnknownKeys() {
    guard !known.isEmpty else { return }
    for pair in pairs where !known.contains(pair.key) {
      let nearest = nearestName(to: pair.key, in: known)
      var help = nearest == nil ? "the keys here are \(known.joined(separator: ", "))" : nil
      if pair.key == "<<" { help = "YAML 1.2 has no merge keys; use an alias for the whole value" }
      sink.error(
        at: pair.keyPosition, "unknown key \(quoted(pair.key)) in \(path)", suggestion: nearest, help: help)
    }
  }

  var entries: [YAMLPair] { pairs }

  subscript(key: String) -> YAMLNode? {
    assert(known.isEmpty || known.contains(key), "'\(key)' is read but not listed as known")
    return pairs.first { $0.key == key }?.value
  }

  func keyPosition(_ key: String) -> SourcePosition? { pairs.first { $0.key == key }?.keyPosition }

  func required(_ key: String, _ expected: String) -> YAMLNode? {
    if let found = self[key] { return found }
    sink.error(at: position, "\(path) has no '\(key)'", expected: "\(key): \(expected)")
    return nil
  }

  func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  // MARK: Values. Each gives nil after an error of its own, and for a key that is absent.

  func string(_ key: String) -> String? { self[key].flatMap { string($0, path(of: key)) } }

  func string(_ node: YAMLNode, _ what: String) -> String? {
    if case .scalar(let scalar) = node.content {
      if case .string(let text) = scalar.value { return text }
      if scalar.origin != .literal && scalar.value != .null { return scalar.text }
    }
    var help: String?
    if case .scalar(let scalar) = node.content, scalar.origin == .literal, scalar.value != .null {
      help = "for a string, write it in quotes: \"\(scalar.text)\""
    }
    sink.error(at: node.position, "expected a string for \(what), found \(node.describedKind)", help: help)
    return nil
  }

  /// A string that is not empty.
  func text(_ node: YAMLNode, _ what: String, expected: String) -> String? {
    guard let text = string(node, what) else { return nil }
    guard !text.isEmpty, !text.contains("\0") else {
      sink.error(at: node.position, "\(what) is \(node.describedKind)", expected: expected)
      return nil
    }
    return text
  }

  /// A path, resolved against the file it stands in.
  func path(_ node: YAMLNode, _ what: String) -> String? {
    text(node, what, expected: "a path").map { FileReading.resolve($0, from: node.position.file) }
  }

  func strings(_ key: String, example: String) -> [(text: String, node: YAMLNode)]? {
    guard let node = self[key] else { return nil }
    guard case .sequence(let items) = node.content else {
      sink.error(
        at: node.position, "expected a list for \(path(of: key)), found \(node.describedKind)",
        expected: "a list such as \(example)")
      return nil
    }
    return items.compactMap { item in
      text(item, path(of: key), expected: "a name").map { ($0, item) }
    }
  }

  func choice<Choice: RawRepresentable & CaseIterable>(_ key: String) -> Choice? where Choice.RawValue == String {
    guard let node = self[key] else { return nil }
    let names = Choice.allCases.map(\.rawValue)
    guard let text = word(node, path(of: key), of: names) else { return nil }
    return Choice(rawValue: text)
  }

  /// One of `names`.
  func word(_ node: YAMLNode, _ what: String, of names: [String]) -> String? {
    guard case .scalar(let scalar) = node.content, names.contains(scalar.text) else {
      var nearest: String?
      if case .scalar(let scalar) = node.content, scalar.origin != .secretFile {
        nearest = nearestName(to: scalar.text, in: names)
      }
      sink.error(
        at: node.position, "\(what) can't be \(node.describedKind)",
        expected: names.count == 1 ? names[0] : names.dropLast().joined(separator: ", ") + " or " + names.last!,
        suggestion: nearest)
      return nil
    }
    return scalar.text
  }

  func integer(_ key: String, in range: ClosedRange<Int>) -> Int? {
    guard let node = self[key] else { return nil }
    guard case .scalar(let scalar) = node.content, case .integer(let value) = scalar.value else {
      sink.error(
        at: node.position, "expected an integer for \(path(of: key)), found \(node.describedKind)",
        expected: "\(range.lowerBound) to \(range.upperBound)")
      return nil
    }
    return within(Int(value), range, node, key) { "\($0)" }
  }

  /// Bytes.
  func size(_ key: String, in range: ClosedRange<Int>) -> Int? {
    guard let node = self[key] else { return nil }
    guard case .scalar(let scalar) = node.content, let value = Units.size(scalar.text) else {
      sink.error(
        at: node.position, "expected a size for \(path(of: key)), found \(node.describedKind)",
        expected: Units.sizeExamples)
      return nil
    }
    return within(Int(value), range, node, key) { Units.describe(bytes: Int64($0)) }
  }

  /// Nanoseconds.
  func duration(_ key: String, in range: ClosedRange<Int64>) -> Int64? {
    guard let node = self[key] else { return nil }
    guard case .scalar(let scalar) = node.content, let value = Units.duration(scalar.text) else {
      var help: String?
      if case .scalar(let scalar) = node.content, case .integer = scalar.value {
        help = "a duration needs its unit: ns, us, ms, s, m, h or d"
      }
      sink.error(
        at: node.position, "expected a duration for \(path(of: key)), found \(node.describedKind)",
        expected: Units.durationExamples, help: help)
      return nil
    }
    return within(Int(value), Int(range.lowerBound)...Int(range.upperBound), node, key) {
      Units.describe(nanoseconds: Int64($0))
    }.map { Int64($0) }
  }

  private func within(
    _ value: Int, _ range: ClosedRange<Int>, _ node: YAMLNode, _ key: String, _ describe: (Int) -> String
  ) -> Int? {
    if range.contains(value) { return value }
    let isSmall = value < range.lowerBound
    let expected =
      if range.upperBound == Int.max {
        "at least \(describe(range.lowerBound))"
      } else {
        "\(describe(range.lowerBound)) to \(describe(range.upperBound))"
      }
    sink.error(
      at: node.position, "\(path(of: key)) is too \(isSmall ? "small" : "large")\(Self.shown(value, node, describe))",
      expected: expected)
    return nil
  }

  private static func shown(_ value: Int, _ node: YAMLNode, _ describe: (Int) -> String) -> String {
    if case .scalar(let scalar) = node.content, scalar.origin == .secretFile { return "" }
    return ": \(describe(value))"
  }
}

/// What a stream, source or subscriber may be called: `[a-z][a-z0-9_-]*`, at most `Limits.maxNameCharacters`.
package func isValidName(_ name: String) -> Bool {
  guard let first = name.utf8.first, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first) else { return false }
  guard name.utf8.count <= Limits.maxNameCharacters else { return false }
  return name.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"),
      UInt8(ascii: "-"):
      true
    default: false
    }
  }
}
