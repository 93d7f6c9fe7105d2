extension Field {
  var hasSample: Bool { standard != nil || example != nil }

  /// The default or the example as a value of the type, which shows that it is one.
  func sample<Value: Decodable>(_ type: Value.Type, at path: [any CodingKey]) throws -> Value? {
    var sample: Value?
    for (name, value) in [("example", example), ("default", standard)] {
      guard let value = try value.map({ try ConfigEncoder.encode($0) }) else { continue }
      do {
        try check(value, at: path)
        sample = try ConfigDecoder.decode(type, from: value, at: path)
      } catch {
        throw ConfigError(at: path, "the \(name) of its field is refused: \(ConfigError(error, at: path).problem)")
      }
    }
    return sample
  }

  /// Adds to a schema what the field says.
  func annotate(_ schema: [JSONValue.Member], at path: [any CodingKey]) throws -> [JSONValue.Member] {
    var schema = schema
    func has(_ type: String...) -> Bool {
      schema.contains { $0.name == "type" && type.map { .string($0) }.contains($0.value) }
    }
    func put(_ name: String, _ value: JSONValue?) {
      guard let value else { return }
      schema.removeAll { $0.name == name }
      schema.append(.init(name, value))
    }
    let isNumeric = has("integer", "number") || JSONValue.object(schema)["format"] != nil
    let isSecret = JSONValue.object(schema)["x-sluice-secret"] != nil
    guard isNumeric || minimum == nil && maximum == nil else {
      throw ConfigError(at: path, "minimum and maximum are for numbers, sizes and durations")
    }
    guard has("string") || lengths.least == nil && lengths.most == nil && pattern == nil else {
      throw ConfigError(at: path, "lengths and patterns are for strings")
    }
    guard has("array") || items.least == nil && items.most == nil else {
      throw ConfigError(at: path, "numbers of items are for lists")
    }
    guard !isSecret || !hasSample else { throw ConfigError(at: path, "a secret has no default and no example") }
    if let pattern { _ = try regex(pattern, at: path) }
    put("minimum", try minimum.map { try ConfigEncoder.encode($0) })
    put("maximum", try maximum.map { try ConfigEncoder.encode($0) })
    put("minLength", lengths.least.map { .integer(Int64($0)) })
    put("maxLength", lengths.most.map { .integer(Int64($0)) })
    put("minItems", items.least.map { .integer(Int64($0)) })
    put("maxItems", items.most.map { .integer(Int64($0)) })
    put("pattern", pattern.map { .string($0) })
    let plain = JSONValue.object(schema)
    put("default", try standardValue().map { written($0, by: plain) })
    put("examples", try example.map { .array([written(try ConfigEncoder.encode($0), by: plain)]) })
    if !summary.isEmpty { put("description", .string(summary)) }
    return schema
  }
}

/// A value as a person would write it: the daemon takes durations only with their unit, in defaults, too.
private func written(_ value: JSONValue, by schema: JSONValue) -> JSONValue {
  switch value {
  case .integer(let count) where schema["format"] == .string(durationFormat):
    return .string(Nanoseconds(count).text)
  case .array(let items):
    return .array(items.map { written($0, by: schema["items"] ?? .null) })
  case .object(let members):
    return .object(
      members.map { member in
        let inner = schema["properties"]?[member.name] ?? schema["additionalProperties"] ?? .null
        return .init(member.name, written(member.value, by: inner))
      })
  default: return value
  }
}
