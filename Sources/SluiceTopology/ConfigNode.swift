import SluiceCore

/// A value of a plugin's config on its way from YAML to JSON: it knows where it stands, and whether it may be shown.
struct ConfigNode: Sendable {
  indirect enum Value: Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case string(String)
    case array([ConfigNode])
    case object([Member])
  }

  struct Member: Sendable {
    var key: String
    var keyPosition: SourcePosition
    var value: ConfigNode
  }

  var value: Value
  var position: SourcePosition
  /// What to blank when it turns out to be secret; nil for what no file says (defaults).
  var span: SourceTexts.Span?
  /// The text of a plain scalar that holds something interpolated: may be meant as a string.
  var interpolated: String?
  var isSecret = false
  /// The plugin's schema calls it secret, so that its author knows that there may be a placeholder.
  private var isSecretBySchema = false
  /// Already turned from a size or duration into its number.
  var isDelivered = false

  init(_ value: Value, at position: SourcePosition) {
    self.value = value
    self.position = position
  }

  /// `keyPosition` is where a mapping is pointed at. Says what can't be said in JSON.
  init(_ node: YAMLNode, keyPosition: SourcePosition, sink: DiagnosticSink) {
    position = node.position
    span = node.span
    switch node.content {
    case .sequence(let items):
      value = .array(items.map { ConfigNode($0, keyPosition: $0.position, sink: sink) })
    case .mapping(let pairs):
      position = keyPosition
      value = .object(
        pairs.map { pair in
          let value = ConfigNode(pair.value, keyPosition: pair.keyPosition, sink: sink)
          return Member(key: pair.key, keyPosition: pair.keyPosition, value: value)
        })
    case .scalar(let scalar):
      isSecret = scalar.origin == .secretFile
      if scalar.origin != .literal && scalar.style == .plain { interpolated = scalar.text }
      if let json = JSONValue(scalar) {
        value = ConfigNode(json, at: node.position).value
      } else {
        value = .null
        sink.error(
          at: node.position, "a plugin's config can't hold \(scalar.describedKind)",
          expected: "a finite number; integers within 64 bits", help: "for a string, write it in quotes")
      }
    }
  }

  /// From a schema's default.
  init(_ json: JSONValue, at position: SourcePosition) {
    self.position = position
    switch json {
    case .null: value = .null
    case .bool(let bool): value = .bool(bool)
    case .integer(let integer): value = .integer(integer)
    case .double(let double): value = .double(double)
    case .string(let string): value = .string(string)
    case .array(let items): value = .array(items.map { ConfigNode($0, at: position) })
    case .object(let members):
      value = .object(
        members.map { Member(key: $0.key, keyPosition: position, value: ConfigNode($0.value, at: position)) })
    }
  }

  var typeName: String {
    switch value {
    case .null: "null"
    case .bool: "boolean"
    case .integer: "integer"
    case .double: "number"
    case .string: "string"
    case .array: "array"
    case .object: "object"
    }
  }

  /// What it is, in the words of a message. Never shows a secret.
  var described: String {
    switch value {
    case .array: "a list"
    case .object: "a mapping"
    case _ where isSecret: "a secret"
    case .null: "nothing"
    case .bool(let bool): "the boolean \(bool)"
    case .integer(let integer): "the integer \(integer)"
    case .double(let double): "the number \(double)"
    case .string(let text): text.isEmpty ? "an empty string" : "the string \(quoted(text))"
    }
  }

  mutating func markSecret() {
    isSecret = true
    isSecretBySchema = true
    switch value {
    case .array(var items):
      for index in items.indices { items[index].markSecret() }
      value = .array(items)
    case .object(var members):
      for index in members.indices { members[index].value.markSecret() }
      value = .object(members)
    default: break
    }
  }

  /// As JSON; with placeholders of the same type in place of what the schema calls secret, or as it is.
  func json(withPlaceholders: Bool = false) -> JSONValue {
    let isHidden = withPlaceholders && isSecretBySchema
    return switch value {
    case .array(let items): .array(items.map { $0.json(withPlaceholders: withPlaceholders) })
    case .object(let members):
      .object(members.map { JSONValue.Member($0.key, $0.value.json(withPlaceholders: withPlaceholders)) })
    case .null: .null
    case .bool(let bool): .bool(!isHidden && bool)
    case .integer(let integer): .integer(isHidden ? 0 : integer)
    case .double(let double): .double(isHidden ? 0 : double)
    case .string(let string): .string(isHidden ? "***" : string)
    }
  }

  /// JSON Pointer → where the value stands, for this value and all in it.
  func positions(_ pointer: String = "", into all: inout [String: SourcePosition]) {
    all[pointer] = position
    switch value {
    case .array(let items):
      for (index, item) in items.enumerated() { item.positions("\(pointer)/\(index)", into: &all) }
    case .object(let members):
      for member in members {
        let name = member.key.replacing("~", with: "~0").replacing("/", with: "~1")
        member.value.positions("\(pointer)/\(name)", into: &all)
      }
    default: break
    }
  }
}
