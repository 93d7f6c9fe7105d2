/// Makes a JSON value of a default or a bound, for schemas.
final class ConfigEncoder: Encoder {
  private enum Shape {
    case none
    case value(JSONValue)
    case list([ConfigEncoder])
    case object([(name: String, value: ConfigEncoder)])
  }

  private var shape = Shape.none
  let codingPath: [any CodingKey]
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  private init(at path: [any CodingKey]) { codingPath = path }

  static func encode(_ value: any Encodable) throws -> JSONValue {
    let encoder = ConfigEncoder(at: [])
    try encoder.take(value)
    return encoder.value
  }

  private var value: JSONValue {
    switch shape {
    case .none: .object([])
    case .value(let value): value
    case .list(let items): .array(items.map(\.value))
    case .object(let members): .object(members.map { JSONValue.Member($0.name, $0.value.value) })
    }
  }

  private func take(_ value: any Encodable) throws {
    switch value {
    case let value as JSONValue: shape = .value(value)
    case let value as Bool: shape = .value(.bool(value))
    case let value as String: shape = .value(.string(value))
    case let value as Double: shape = .value(try number(value))
    case let value as Float: shape = .value(try number(Double(value)))
    case let value as any FixedWidthInteger:
      guard let integer = Int64(exactly: value) else { throw ConfigError(at: codingPath, "\(value) is too large") }
      shape = .value(.integer(integer))
    default: try value.encode(to: self)
    }
  }

  private func number(_ value: Double) throws -> JSONValue {
    guard value.isFinite else { throw ConfigError(at: codingPath, "\(value) is no number in JSON") }
    return .number(value)
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    if case .none = shape { shape = .object([]) }
    return KeyedEncodingContainer(Members<Key>(encoder: self))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    if case .none = shape { shape = .list([]) }
    return Items(encoder: self)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { Single(encoder: self) }

  fileprivate func member(_ key: any CodingKey) -> ConfigEncoder {
    let child = ConfigEncoder(at: codingPath + [key])
    var members = if case .object(let members) = shape { members } else { [(name: String, value: ConfigEncoder)]() }
    members.removeAll { $0.name == key.stringValue }
    shape = .object(members + [(key.stringValue, child)])
    return child
  }

  fileprivate func item() -> ConfigEncoder {
    let items = if case .list(let items) = shape { items } else { [ConfigEncoder]() }
    let child = ConfigEncoder(at: codingPath + [Step(index: items.count)])
    shape = .list(items + [child])
    return child
  }

  private struct Single: SingleValueEncodingContainer {
    let encoder: ConfigEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }

    func encodeNil() throws { encoder.shape = .value(.null) }
    func encode<Value: Encodable>(_ value: Value) throws { try encoder.take(value) }
  }

  private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let encoder: ConfigEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }

    func encodeNil(forKey key: Key) throws { encoder.member(key).shape = .value(.null) }
    func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws { try encoder.member(key).take(value) }
    func nestedContainer<Nested: CodingKey>(
      keyedBy type: Nested.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Nested> { encoder.member(key).container(keyedBy: type) }
    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
      encoder.member(key).unkeyedContainer()
    }
    func superEncoder() -> any Encoder { encoder.member(Step(stringValue: "super")) }
    func superEncoder(forKey key: Key) -> any Encoder { encoder.member(key) }
  }

  private struct Items: UnkeyedEncodingContainer {
    let encoder: ConfigEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }
    var count: Int { if case .list(let items) = encoder.shape { items.count } else { 0 } }

    func encodeNil() throws { encoder.item().shape = .value(.null) }
    func encode<Value: Encodable>(_ value: Value) throws { try encoder.item().take(value) }
    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
      encoder.item().container(keyedBy: type)
    }
    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { encoder.item().unkeyedContainer() }
    func superEncoder() -> any Encoder { encoder.item() }
  }
}
