/// A type that is made of one JSON value, and has a schema of its own.
protocol ConfigScalar {
  /// Nil if the value is of another kind, or out of range.
  init?(_ value: JSONValue)
  /// What was expected, for messages.
  static var expected: String { get }
  static var schema: [JSONValue.Member] { get }
  /// Any value, to go on with where a type is only looked at.
  static var sample: Self { get }
}

extension Bool: ConfigScalar {
  init?(_ value: JSONValue) {
    guard case .bool(let bool) = value else { return nil }
    self = bool
  }
  static var expected: String { "true or false" }
  static var schema: [JSONValue.Member] { [.init("type", "boolean")] }
  static var sample: Bool { false }
}

extension String: ConfigScalar {
  init?(_ value: JSONValue) {
    guard case .string(let string) = value else { return nil }
    self = string
  }
  static var expected: String { "a string" }
  static var schema: [JSONValue.Member] { [.init("type", "string")] }
  static var sample: String { "" }
}

extension Double: ConfigScalar {
  static var expected: String { "a number" }
  static var schema: [JSONValue.Member] { [.init("type", "number")] }
  static var sample: Double { 0 }
}

extension Float: ConfigScalar {
  init?(_ value: JSONValue) {
    guard let number = Double(value), abs(number) <= Double(Float.greatestFiniteMagnitude) else { return nil }
    self = Float(number)
  }
  static var expected: String { "a number" }
  static var schema: [JSONValue.Member] {
    let most = Double(Float.greatestFiniteMagnitude)
    return [.init("type", "number"), .init("minimum", .number(-most)), .init("maximum", .number(most))]
  }
  static var sample: Float { 0 }
}

/// Integers of every width: what does not fit is refused by the schema, too.
protocol ConfigInteger: ConfigScalar, FixedWidthInteger {}

extension ConfigInteger {
  init?(_ value: JSONValue) {
    switch value {
    case .integer(let integer): self.init(exactly: integer)
    case .number(let number): self.init(exactly: number)
    default: return nil
    }
  }
  static var expected: String {
    bitWidth == 64 && isSigned ? "an integer" : "an integer from \(min) to \(max)"
  }
  static var schema: [JSONValue.Member] {
    var schema = [JSONValue.Member("type", "integer")]
    if !isSigned || bitWidth < 64 { schema.append(.init("minimum", .integer(Int64(min)))) }
    if bitWidth < 64 { schema.append(.init("maximum", .integer(Int64(max)))) }
    return schema
  }
  static var sample: Self { 0 }
}

extension Int: ConfigInteger {}
extension Int8: ConfigInteger {}
extension Int16: ConfigInteger {}
extension Int32: ConfigInteger {}
extension Int64: ConfigInteger {}
extension UInt: ConfigInteger {}
extension UInt8: ConfigInteger {}
extension UInt16: ConfigInteger {}
extension UInt32: ConfigInteger {}
extension UInt64: ConfigInteger {}

extension ByteCount: ConfigScalar {
  init?(_ value: JSONValue) {
    guard let bytes = Int(value), bytes >= 0 else { return nil }
    self.init(bytes)
  }
  static var expected: String { "a number of bytes" }
  static var schema: [JSONValue.Member] {
    [.init("type", ["string", "integer"]), .init("format", .string(sizeFormat))]
  }
  static var sample: ByteCount { 0 }
}

extension Nanoseconds: ConfigScalar {
  init?(_ value: JSONValue) {
    guard let count = Int64(value), count >= 0 else { return nil }
    self.init(count)
  }
  static var expected: String { "a number of nanoseconds" }
  static var schema: [JSONValue.Member] {
    [.init("type", ["string", "integer"]), .init("format", .string(durationFormat))]
  }
  static var sample: Nanoseconds { Nanoseconds(0) }
}

/// Formats of the daemon's own: what is written with a unit and delivered as an integer.
let sizeFormat = "sluice-size"
let durationFormat = "sluice-duration"

extension Secret: ConfigScalar {
  init?(_ value: JSONValue) {
    guard let string = String(value) else { return nil }
    self.init(string)
  }
  static var expected: String { "a string" }
  static var schema: [JSONValue.Member] { [.init("type", "string"), .init("x-sluice-secret", true)] }
  static var sample: Secret { Secret("") }
}

extension JSONValue: ConfigScalar {
  init?(_ value: JSONValue) { self = value }
  static var expected: String { "a value" }
  static var schema: [Member] { [] }
  static var sample: JSONValue { .null }
}

/// The raw values of an enum, or nil where the type is no enum with raw strings.
func choices(of type: any Decodable.Type) -> [String]? {
  func rawValues<Choice: CaseIterable>(_ type: Choice.Type) -> [String]? {
    var names: [String] = []
    for choice in type.allCases {
      guard let name = (choice as? any RawRepresentable)?.rawValue as? String else { return nil }
      names.append(name)
    }
    return names.isEmpty ? nil : names
  }
  guard let type = type as? any CaseIterable.Type else { return nil }
  return rawValues(type)
}
