/// Decodes a value of a config. Members that are missing come from the field table; `null` counts as missing.
struct ConfigDecoder: Decoder {
  let value: JSONValue
  let fields: FieldTable
  let codingPath: [any CodingKey]
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  static func decode<Value: Decodable>(
    _ type: Value.Type, from value: JSONValue, at path: [any CodingKey]
  ) throws -> Value {
    if let scalar = type as? any ConfigScalar.Type {
      guard let result = scalar.init(value) as? Value else { throw mismatch(scalar.expected, value, path) }
      return result
    }
    if let names = choices(of: type) {
      guard let text = String(value) else { throw mismatch(String.expected, value, path) }
      guard names.contains(text) else {
        let known = names.map { "\"\($0)\"" }.joined(separator: ", ")
        throw ConfigError(at: path, "\"\(text)\" is none of \(known)")
      }
    }
    let fields = (type as? any SubscriberConfiguration.Type)?.fields ?? FieldTable()
    do {
      let result = try Value(from: ConfigDecoder(value: value, fields: fields, codingPath: path))
      try checked(result, value, path)
      return result
    } catch {
      throw ConfigError(error, at: path)
    }
  }

  private static func checked(_ result: Any, _ value: JSONValue, _ path: [any CodingKey]) throws {
    guard let configuration = result as? any SubscriberConfiguration else { return }
    // A struct without properties asks for nothing.
    guard case .object = value else { throw mismatch("an object", value, path) }
    do {
      try configuration.check()
    } catch let error as ConfigError {
      throw ConfigError(at: pointerText(path) + error.pointer, error.problem)
    }
  }

  static func mismatch(_ expected: String, _ value: JSONValue, _ path: [any CodingKey]) -> ConfigError {
    let found = if case .integer(let integer) = value { "is \(integer)" } else { "is \(value.kindName)" }
    let isRange = expected.hasPrefix("an integer from") || expected.hasPrefix("a number of")
    return ConfigError(at: path, "\(expected) was expected, this \(isRange ? found : "is \(value.kindName)")")
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    guard case .object(let members) = value else { throw ConfigDecoder.mismatch("an object", value, codingPath) }
    return KeyedDecodingContainer(ConfigMembers<Key>(members: members, fields: fields, codingPath: codingPath))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    guard case .array(let items) = value else { throw ConfigDecoder.mismatch("a list", value, codingPath) }
    return ConfigItems(items: items, codingPath: codingPath)
  }

  func singleValueContainer() throws -> any SingleValueDecodingContainer { self }
}

extension ConfigDecoder: SingleValueDecodingContainer {
  func decodeNil() -> Bool { value == .null }
  func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    try ConfigDecoder.decode(type, from: value, at: codingPath)
  }
}

private struct ConfigMembers<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let members: [JSONValue.Member]
  let fields: FieldTable
  let codingPath: [any CodingKey]

  var allKeys: [Key] { members.filter { $0.value != .null }.compactMap { Key(stringValue: $0.name) } }

  /// The member, or its default.
  private func value(_ key: any CodingKey) throws -> JSONValue? {
    if let member = members.first(where: { $0.name == key.stringValue }), member.value != .null { return member.value }
    return try fields[key]?.standardValue()
  }

  private func required(_ key: any CodingKey) throws -> JSONValue {
    guard let value = try value(key) else { throw ConfigError(at: codingPath + [key], "is required") }
    try fields[key]?.check(value, at: codingPath + [key])
    return value
  }

  func contains(_ key: Key) -> Bool { (try? value(key)) ?? nil != nil }
  func decodeNil(forKey key: Key) throws -> Bool { try value(key) == nil }
  func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
    try ConfigDecoder.decode(type, from: required(key), at: codingPath + [key])
  }

  private func decoder(_ key: any CodingKey) throws -> ConfigDecoder {
    ConfigDecoder(value: try required(key), fields: FieldTable(), codingPath: codingPath + [key])
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> { try decoder(key).container(keyedBy: type) }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try decoder(key).unkeyedContainer()
  }
  func superDecoder() throws -> any Decoder { try decoder(Step(stringValue: "super")) }
  func superDecoder(forKey key: Key) throws -> any Decoder { try decoder(key) }
}

private struct ConfigItems: UnkeyedDecodingContainer {
  let items: [JSONValue]
  let codingPath: [any CodingKey]
  var currentIndex = 0

  var count: Int? { items.count }
  var isAtEnd: Bool { currentIndex >= items.count }

  /// `null` as an item is an Optional without value.
  mutating func decodeNil() throws -> Bool {
    guard !isAtEnd, items[currentIndex] == .null else { return false }
    currentIndex += 1
    return true
  }

  mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    let next = try decoder()
    return try ConfigDecoder.decode(type, from: next.value, at: next.codingPath)
  }

  private mutating func decoder() throws -> ConfigDecoder {
    let path = codingPath + [Step(index: currentIndex)]
    guard !isAtEnd else { throw ConfigError(at: path, "is required") }
    defer { currentIndex += 1 }
    return ConfigDecoder(value: items[currentIndex], fields: FieldTable(), codingPath: path)
  }

  mutating func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) throws -> KeyedDecodingContainer<Nested> { try decoder().container(keyedBy: type) }
  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer { try decoder().unkeyedContainer() }
  mutating func superDecoder() throws -> any Decoder { try decoder() }
}
