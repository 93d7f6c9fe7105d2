/// What is wrong with a config, and where in it.
public struct ConfigError: Error, Equatable, Sendable, CustomStringConvertible {
  /// JSON Pointer to the value at fault; "" is the config as a whole.
  public var pointer: String
  /// What is wrong and what was expected.
  public var problem: String

  /// An error at `pointer`.
  public init(at pointer: String, _ problem: String) {
    self.pointer = pointer
    self.problem = problem
  }

  /// A message for people.
  public var description: String { pointer.isEmpty ? "config: \(problem)" : "config \(pointer): \(problem)" }
}

/// A JSON object with typed access. The daemon has checked the config against the schema already and filled in its
/// defaults; what is read here is checked again, since a mistake in a schema must not become a trap.
public struct Config: Sendable {
  /// The object's members.
  public let members: [JSONValue.Member]
  /// Where this object lies in the whole config.
  public let pointer: String

  /// Reads a config from its JSON text.
  public init(json: UnsafeRawBufferPointer) throws(ConfigError) {
    let value: JSONValue
    do {
      value = try JSONValue(reading: json)
    } catch {
      throw ConfigError(at: "", error.description)
    }
    try self.init(value, pointer: "")
  }

  /// Reads a config from its JSON text.
  public init(json: String) throws(ConfigError) {
    let value: JSONValue
    do {
      value = try JSONValue(reading: json)
    } catch {
      throw ConfigError(at: "", error.description)
    }
    try self.init(value, pointer: "")
  }

  private init(_ value: JSONValue, pointer: String) throws(ConfigError) {
    guard case .object(let members) = value else {
      throw ConfigError(at: pointer, "an object was expected, this is \(value.kindName)")
    }
    self.members = members
    self.pointer = pointer
  }

  /// The member called `name`; `null` counts as absent.
  public subscript(name: String) -> JSONValue? {
    guard let value = members.first(where: { $0.name == name })?.value, value != .null else { return nil }
    return value
  }

  /// JSON Pointer of the member called `name`.
  public func pointer(to name: String) -> String {
    var escaped = ""
    for character in name {
      switch character {
      case "~": escaped += "~0"
      case "/": escaped += "~1"
      default: escaped.append(character)
      }
    }
    return pointer + "/" + escaped
  }

  /// An error about the member called `name`.
  public func error(_ name: String, _ problem: String) -> ConfigError {
    ConfigError(at: pointer(to: name), problem)
  }

  /// A string; without `fallback` it is required.
  public func string(_ name: String, default fallback: String? = nil) throws(ConfigError) -> String {
    guard let value = try required(name, fallback != nil) else { return fallback ?? "" }
    guard case .string(let string) = value else { throw mismatch(name, "a string", value) }
    return string
  }

  /// An integer within `range`; without `fallback` it is required.
  public func integer(
    _ name: String, in range: ClosedRange<Int64> = Int64.min...Int64.max, default fallback: Int64? = nil
  ) throws(ConfigError) -> Int64 {
    guard let value = try required(name, fallback != nil) else { return fallback ?? 0 }
    guard case .integer(let integer) = value else { throw mismatch(name, "an integer", value) }
    guard range.contains(integer) else {
      throw error(name, "\(integer) is not between \(range.lowerBound) and \(range.upperBound)")
    }
    return integer
  }

  /// A number; without `fallback` it is required.
  public func number(_ name: String, default fallback: Double? = nil) throws(ConfigError) -> Double {
    guard let value = try required(name, fallback != nil) else { return fallback ?? 0 }
    switch value {
    case .number(let number): return number
    case .integer(let integer): return Double(integer)
    default: throw mismatch(name, "a number", value)
    }
  }

  /// A boolean; without `fallback` it is required.
  public func bool(_ name: String, default fallback: Bool? = nil) throws(ConfigError) -> Bool {
    guard let value = try required(name, fallback != nil) else { return fallback ?? false }
    guard case .bool(let bool) = value else { throw mismatch(name, "true or false", value) }
    return bool
  }

  /// One of the raw values of `Choice`; without `fallback` it is required.
  public func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, default fallback: Choice? = nil
  ) throws(ConfigError) -> Choice where Choice.RawValue == String {
    if let fallback, self[name] == nil { return fallback }
    let text = try string(name)
    guard let choice = Choice(rawValue: text) else {
      let known = Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
      throw error(name, "\"\(text)\" is none of \(known)")
    }
    return choice
  }

  /// An array of strings, empty when absent.
  public func strings(_ name: String) throws(ConfigError) -> [String] {
    guard let value = self[name] else { return [] }
    guard case .array(let items) = value else { throw mismatch(name, "an array of strings", value) }
    var strings: [String] = []
    for (index, item) in items.enumerated() {
      guard case .string(let string) = item else {
        throw ConfigError(at: pointer(to: name) + "/\(index)", "a string was expected, this is \(item.kindName)")
      }
      strings.append(string)
    }
    return strings
  }

  /// An object within this one, or nil when absent.
  public func object(_ name: String) throws(ConfigError) -> Config? {
    guard let value = self[name] else { return nil }
    return try Config(value, pointer: pointer(to: name))
  }

  private func required(_ name: String, _ hasFallback: Bool) throws(ConfigError) -> JSONValue? {
    if let value = self[name] { return value }
    if hasFallback { return nil }
    throw error(name, "is required")
  }

  private func mismatch(_ name: String, _ expected: String, _ value: JSONValue) -> ConfigError {
    error(name, "\(expected) was expected, this is \(value.kindName)")
  }
}
