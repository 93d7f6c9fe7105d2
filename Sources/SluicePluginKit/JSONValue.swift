/// A JSON value. Integers that fit 64 bits stay exact; members keep their order.
public enum JSONValue: Sendable, Equatable {
  /// `null`
  case null
  /// `true` or `false`
  case bool(Bool)
  /// A number without fraction or exponent that fits 64 bits.
  case integer(Int64)
  /// Any other number.
  case number(Double)
  /// A string, unescaped.
  case string(String)
  /// An array.
  case array([JSONValue])
  /// An object; no name occurs twice.
  case object([Member])

  /// One member of an object.
  public struct Member: Sendable, Equatable {
    /// Its name, unescaped.
    public var name: String
    /// Its value.
    public var value: JSONValue

    /// A member.
    public init(_ name: String, _ value: JSONValue) {
      self.name = name
      self.value = value
    }
  }

  /// What kind of value this is, for messages.
  public var kindName: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer: "an integer"
    case .number: "a number"
    case .string: "a string"
    case .array: "a list"
    case .object: "an object"
    }
  }
}

/// Why some bytes are not JSON.
public struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Byte offset of the first byte that can't be.
  public var offset: Int
  /// What was expected there.
  public var problem: String

  /// A message for people.
  public var description: String { "not JSON at byte \(offset): \(problem)" }
}

extension JSONValue {
  /// The member of an object called `name`; nil where there is none, and in anything that is no object.
  public subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral
{
  /// A string.
  public init(stringLiteral string: String) { self = .string(string) }
  /// An integer.
  public init(integerLiteral integer: Int64) { self = .integer(integer) }
  /// A boolean.
  public init(booleanLiteral bool: Bool) { self = .bool(bool) }
  /// An array.
  public init(arrayLiteral items: JSONValue...) { self = .array(items) }
}

extension JSONValue: Codable {
  /// Whatever stands in a config, and from nothing but a config.
  public init(from decoder: any Decoder) throws {
    guard let decoder = decoder as? ConfigDecoder else {
      throw decoder.fault("JSONValue is decoded from configs only")
    }
    self = decoder.value
  }

  /// As the value that it is.
  public func encode(to encoder: any Encoder) throws {
    switch self {
    case .null:
      var container = encoder.singleValueContainer()
      try container.encodeNil()
    case .bool(let bool): try bool.encode(to: encoder)
    case .integer(let integer): try integer.encode(to: encoder)
    case .number(let number): try number.encode(to: encoder)
    case .string(let string): try string.encode(to: encoder)
    case .array(let items): try items.encode(to: encoder)
    case .object(let members):
      var container = encoder.container(keyedBy: Step.self)
      for member in members { try container.encode(member.value, forKey: Step(stringValue: member.name)) }
    }
  }
}
