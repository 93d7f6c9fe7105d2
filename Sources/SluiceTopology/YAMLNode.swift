/// A YAML document as a tree that knows where everything stands. Aliases are resolved.
struct YAMLNode: Sendable {
  enum Content: Sendable {
    case scalar(YAMLScalar)
    case sequence([YAMLNode])
    case mapping([YAMLPair])
  }

  var content: Content
  var position: SourcePosition
  /// Where the node ends (exclusive), from 1.
  var endLine: Int
  var endColumn: Int

  /// What it is, in the words of a message: "a mapping", "the string 'x'". Never shows a secret.
  var describedKind: String {
    switch content {
    case .mapping: "a mapping"
    case .sequence: "a list"
    case .scalar(let scalar): scalar.describedKind
    }
  }

  var isNull: Bool {
    if case .scalar(let scalar) = content, case .null = scalar.value { return true }
    return false
  }

  var span: SourceTexts.Span {
    SourceTexts.Span(line: position.line, column: position.column, endLine: endLine, endColumn: endColumn)
  }

  /// The value of `key`, if this is a mapping that has it.
  subscript(key: String) -> YAMLNode? {
    guard case .mapping(let pairs) = content else { return nil }
    return pairs.first { $0.key == key }?.value
  }
}

/// One entry of a mapping. Keys are scalars and taken as text.
struct YAMLPair: Sendable {
  var key: String
  var keyPosition: SourcePosition
  var value: YAMLNode
}

/// A scalar: its text, how it was written, and where its text came from.
struct YAMLScalar: Sendable {
  enum Style: Sendable { case plain, quoted, block }
  enum Origin: Sendable {
    case literal
    /// Holds something from the environment.
    case environment
    /// Holds something from a `${file:…}`: never shown.
    case secretFile
  }

  var text: String
  var style: Style
  var origin = Origin.literal

  /// What the text means. Only plain scalars are anything but strings.
  var value: YAMLScalarValue { style == .plain ? YAMLScalarValue(plain: text) : .string(text) }

  var describedKind: String {
    if origin == .secretFile { return "a secret" }
    return switch value {
    case .null: "nothing"
    case .bool: "the boolean \(text)"
    case .integer, .hugeInteger: "the integer \(text)"
    case .double: "the number \(text)"
    case .string: text.isEmpty ? "an empty string" : "the string \(quoted(text))"
    }
  }
}
