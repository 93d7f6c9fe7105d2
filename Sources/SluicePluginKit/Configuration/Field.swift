/// What is to be said of one key of a config beyond its type. Bounds are checked by the daemon, which knows the line, and
/// again where the config is decoded.
public struct Field: Sendable {
  let summary: String
  let standard: (any Encodable & Sendable)?
  let example: (any Encodable & Sendable)?
  let minimum: (any Encodable & Sendable)?
  let maximum: (any Encodable & Sendable)?
  let lengths: Bounds
  let items: Bounds
  let pattern: String?
  let otherwise: String?

  /// Least and most of something that is counted.
  struct Bounds: Sendable {
    let least: Int?
    let most: Int?
  }

  /// A key without default.
  /// - Parameters:
  ///   - summary: A sentence for people.
  ///   - minLength: Least number of characters of a string, as Unicode scalars.
  ///   - maxLength: Most of them.
  ///   - pattern: A regular expression that is found somewhere in the string; anchor it with ^ and $. Take what both JSON
  ///     Schema and Swift know.
  ///   - minItems: Least number of items of a list.
  ///   - maxItems: Most of them.
  ///   - otherwise: What is said of a string whose length or pattern is wrong, in place of the bound.
  public init(
    _ summary: String, minLength: Int? = nil, maxLength: Int? = nil, pattern: String? = nil, minItems: Int? = nil,
    maxItems: Int? = nil, otherwise: String? = nil
  ) {
    self.init(
      summary, default: String?.none, minLength: minLength, maxLength: maxLength, pattern: pattern, minItems: minItems,
      maxItems: maxItems, otherwise: otherwise)
  }

  /// A key with a default, an example, or bounds of its value, which are values of the property's own type.
  /// - Parameters:
  ///   - summary: A sentence for people.
  ///   - standard: What the key holds where the topology says nothing.
  ///   - example: A value that is good, where there is no default and the type's `init(from:)` refuses some values.
  ///   - minimum: The least number, size or duration.
  ///   - maximum: The greatest.
  ///   - minLength: Least number of characters of a string, as Unicode scalars.
  ///   - maxLength: Most of them.
  ///   - pattern: A regular expression that is found somewhere in the string; anchor it with ^ and $. Take what both JSON
  ///     Schema and Swift know.
  ///   - minItems: Least number of items of a list.
  ///   - maxItems: Most of them.
  ///   - otherwise: What is said of a string whose length or pattern is wrong, in place of the bound.
  public init<Value: Encodable & Sendable>(
    _ summary: String, default standard: Value? = nil, example: Value? = nil, minimum: Value? = nil,
    maximum: Value? = nil, minLength: Int? = nil, maxLength: Int? = nil, pattern: String? = nil, minItems: Int? = nil,
    maxItems: Int? = nil, otherwise: String? = nil
  ) {
    self.summary = summary
    self.standard = standard
    self.example = example
    self.minimum = minimum
    self.maximum = maximum
    lengths = Bounds(least: minLength, most: maxLength)
    items = Bounds(least: minItems, most: maxItems)
    self.pattern = pattern
    self.otherwise = otherwise
  }
}

/// The fields of a config by their coding keys.
public struct FieldTable: Sendable {
  private var fields: [String: Field] = [:]

  init() {}

  /// A table for the keys of a type's `CodingKeys`; of a key that stands twice the first counts.
  public init<Key: CodingKey>(_ keys: Key.Type, _ fields: KeyValuePairs<Key, Field>) {
    self.fields = Dictionary(fields.map { ($0.key.stringValue, $0.value) }, uniquingKeysWith: { first, _ in first })
  }

  subscript(key: any CodingKey) -> Field? { fields[key.stringValue] }
  var names: Set<String> { Set(fields.keys) }
}

extension Field {
  /// What the key holds where the config says nothing.
  func standardValue() throws -> JSONValue? { try standard.map { try ConfigEncoder.encode($0) } }

  /// Refuses a value that is beyond the bounds. What is of another kind than a bound is for the decoding to refuse.
  func check(_ value: JSONValue, at path: [any CodingKey]) throws {
    switch value {
    case .integer(let integer): try check(integer, at: path)
    case .number(let number): try check(number, at: path)
    case .string(let text): try check(text, at: path)
    case .array(let list):
      guard lengthsHold(list.count, items) else {
        throw ConfigError(at: path, "has \(list.count) items, \(described(items)) were expected")
      }
    default: break
    }
  }

  private func check(_ integer: Int64, at path: [any CodingKey]) throws {
    let least = try minimum.map { try ConfigEncoder.encode($0) } ?? .integer(Int64.min)
    let most = try maximum.map { try ConfigEncoder.encode($0) } ?? .integer(Int64.max)
    guard case .integer(let low) = least, case .integer(let high) = most else {
      return try check(Double(integer), at: path)
    }
    guard integer >= low, integer <= high else {
      throw ConfigError(at: path, "\(integer) is not between \(low) and \(high)")
    }
  }

  private func check(_ number: Double, at path: [any CodingKey]) throws {
    if let least = try minimum.map({ try ConfigEncoder.encode($0) }), let low = Double(least), number < low {
      throw ConfigError(at: path, "\(number) is less than \(low)")
    }
    if let most = try maximum.map({ try ConfigEncoder.encode($0) }), let high = Double(most), number > high {
      throw ConfigError(at: path, "\(number) is more than \(high)")
    }
  }

  /// The text itself is never shown: it may be a secret.
  private func check(_ text: String, at path: [any CodingKey]) throws {
    guard lengthsHold(text.unicodeScalars.count, lengths) else {
      let problem = "has \(text.unicodeScalars.count) characters, \(described(lengths)) were expected"
      throw ConfigError(at: path, otherwise ?? problem)
    }
    guard let pattern else { return }
    guard text.firstMatch(of: try regex(pattern, at: path)) != nil else {
      throw ConfigError(at: path, otherwise ?? "does not match the pattern \(pattern)")
    }
  }

  func regex(_ pattern: String, at path: [any CodingKey]) throws -> Regex<AnyRegexOutput> {
    do {
      return try Regex(pattern).matchingSemantics(.unicodeScalar)
    } catch {
      throw ConfigError(at: path, "has a pattern that can't be read: \(error)")
    }
  }

  private func lengthsHold(_ count: Int, _ bounds: Bounds) -> Bool {
    count >= bounds.least ?? 0 && count <= bounds.most ?? Int.max
  }

  private func described(_ bounds: Bounds) -> String {
    guard let most = bounds.most else { return "at least \(bounds.least ?? 0)" }
    return "\(bounds.least ?? 0) to \(most)"
  }
}

extension Double {
  /// The number that `value` is.
  init?(_ value: JSONValue) {
    switch value {
    case .integer(let integer): self = Double(integer)
    case .number(let number): self = number
    default: return nil
    }
  }
}
