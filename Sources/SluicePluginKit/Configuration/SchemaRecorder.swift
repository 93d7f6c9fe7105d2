/// Finds out what a type decodes from by letting it decode: every value that it asks for is written down and a sample of
/// it given back, so that the type goes on to the next.
final class SchemaRecorder: Decoder {
  /// A config nested deeper than this, or in itself, has no schema.
  static let maxDepth = 32

  /// What was asked for.
  fileprivate enum Shape {
    case value(JSONValue)
    case list(items: JSONValue)
    case map(values: JSONValue)
    case object
  }

  let codingPath: [any CodingKey]
  var userInfo: [CodingUserInfoKey: Any] { [:] }
  fileprivate let fields: FieldTable
  fileprivate var shape: Shape?
  /// Members of an object.
  fileprivate var properties: [JSONValue.Member] = []
  fileprivate var required: [JSONValue] = []
  fileprivate var isMap = false

  fileprivate init(fields: FieldTable, at path: [any CodingKey]) {
    self.fields = fields
    codingPath = path
  }

  /// The schema of a type, and a value of it. `field` is what the table says of the key.
  static func describe<Value: Decodable>(
    _ type: Value.Type, _ field: Field?, at path: [any CodingKey]
  ) throws -> (schema: JSONValue, sample: Value) {
    guard path.count <= maxDepth else {
      throw ConfigError(at: path, "\(type) is nested deeper than \(maxDepth), or in itself")
    }
    var described: (members: [JSONValue.Member], sample: Value?)
    if let scalar = type as? any ConfigScalar.Type {
      described = (scalar.schema, scalar.sample as? Value)
    } else if let names = choices(of: type) {
      let schema: [JSONValue.Member] = [.init("type", "string"), .init("enum", .array(names.map { .string($0) }))]
      let first = JSONValue.string(names[0])
      described = (schema, try ConfigDecoder.decode(type, from: first, at: path))
    } else {
      described = try record(type, hasSample: field?.hasSample ?? false, at: path)
    }
    let annotated = try field?.annotate(described.members, at: path) ?? described.members
    if let sample = try field?.sample(type, at: path) { described.sample = sample }
    guard let sample = described.sample else {
      throw ConfigError(at: path, "no sample of \(type) can be made: give its field a default or an example")
    }
    return (.object(annotated), sample)
  }

  private static func record<Value: Decodable>(
    _ type: Value.Type, hasSample: Bool, at path: [any CodingKey]
  ) throws -> (members: [JSONValue.Member], sample: Value?) {
    let configuration = type as? any SubscriberConfiguration.Type
    let recorder = SchemaRecorder(fields: configuration?.fields ?? FieldTable(), at: path)
    var sample: Value?
    do {
      sample = try type.init(from: recorder)
    } catch {
      // Of what is made of one value, that value's kind is known by now.
      guard hasSample, case .value = recorder.shape else {
        let fault = ConfigError(error, at: path)
        // What is deeper inside was named there.
        guard fault.pointer.utf8.count <= pointerText(path).utf8.count else { throw fault }
        throw ConfigError(at: path, "\(type) can't be described by a schema: \(fault.problem)")
      }
    }
    if configuration != nil, recorder.shape == nil { recorder.shape = .object }
    return (try recorder.members(of: type), sample)
  }

  private func members(of type: any Decodable.Type) throws -> [JSONValue.Member] {
    switch shape {
    case .value(.object(let members)): return members
    case .list(let items): return [.init("type", "array"), .init("items", items)]
    case .map(let values): return [.init("type", "object"), .init("additionalProperties", values)]
    case .object:
      let unknown = fields.names.subtracting(properties.map(\.name)).sorted()
      guard unknown.isEmpty else {
        throw ConfigError(
          at: codingPath, "\(type) has fields that it does not decode: \(unknown.joined(separator: ", "))")
      }
      var schema: [JSONValue.Member] = [.init("type", "object"), .init("additionalProperties", false)]
      if !required.isEmpty { schema.append(.init("required", .array(required))) }
      if !properties.isEmpty { schema.append(.init("properties", .object(properties))) }
      return schema
    case .value, nil: throw ConfigError(at: codingPath, "\(type) decodes nothing that a schema can describe")
    }
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    if shape == nil { shape = .object }
    return KeyedDecodingContainer(RecordedMembers<Key>(recorder: self))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { RecordedItems(recorder: self) }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { self }

  fileprivate func refusal(_ what: String) -> ConfigError { ConfigError(at: codingPath, what) }
}

extension SchemaRecorder: SingleValueDecodingContainer {
  func decodeNil() -> Bool { false }
  func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    let (schema, sample) = try SchemaRecorder.describe(type, nil, at: codingPath)
    shape = .value(schema)
    return sample
  }
}

private struct RecordedMembers<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let recorder: SchemaRecorder
  /// Keys that were asked for as Optionals.
  private let optionals = Names()
  var codingPath: [any CodingKey] { recorder.codingPath }

  private final class Names { var names: Set<String> = [] }

  init(recorder: SchemaRecorder) { self.recorder = recorder }

  /// Only what takes any name asks which there are: a dictionary.
  var allKeys: [Key] {
    guard let key = Key(stringValue: "name") else { return [] }
    recorder.isMap = true
    return [key]
  }

  func contains(_ key: Key) -> Bool { true }
  func decodeNil(forKey key: Key) throws -> Bool {
    optionals.names.insert(key.stringValue)
    return false
  }

  func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
    let field = recorder.fields[key]
    let (schema, sample) = try SchemaRecorder.describe(type, field, at: codingPath + [key])
    if recorder.isMap {
      recorder.shape = .map(values: schema)
    } else {
      note(schema, key, isRequired: field?.standard == nil && !optionals.names.contains(key.stringValue))
    }
    return sample
  }

  private func note(_ schema: JSONValue, _ key: Key, isRequired: Bool) {
    guard !recorder.properties.contains(where: { $0.name == key.stringValue }) else { return }
    recorder.properties.append(.init(key.stringValue, schema))
    if isRequired { recorder.required.append(.string(key.stringValue)) }
  }

  // A container made by hand would have to be looked at after it was filled: a struct says the same.
  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> { throw nested(key) }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw nested(key) }
  func superDecoder() throws -> any Decoder { throw nested(Step(stringValue: "super")) }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw nested(key) }

  private func nested(_ key: any CodingKey) -> ConfigError {
    ConfigError(at: codingPath + [key], "nested containers are not looked into: decode a struct or a list")
  }
}

/// A list asks for one item after the other until it is at the end: after the first.
private struct RecordedItems: UnkeyedDecodingContainer {
  let recorder: SchemaRecorder
  var currentIndex = 0
  var codingPath: [any CodingKey] { recorder.codingPath }
  var count: Int? { nil }
  var isAtEnd: Bool { currentIndex > 0 }

  init(recorder: SchemaRecorder) { self.recorder = recorder }

  mutating func decodeNil() throws -> Bool { false }
  mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    guard !isAtEnd else { throw recorder.refusal("items of a list must be alike") }
    let (schema, sample) = try SchemaRecorder.describe(type, nil, at: codingPath + [Step(index: currentIndex)])
    recorder.shape = .list(items: schema)
    currentIndex += 1
    return sample
  }

  func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
    throw nested()
  }
  func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer { throw nested() }
  func superDecoder() throws -> any Decoder { throw nested() }
  private func nested() -> ConfigError {
    recorder.refusal("nested containers are not looked into: decode a struct or a list")
  }
}
