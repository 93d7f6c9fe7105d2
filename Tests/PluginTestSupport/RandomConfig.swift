import SluicePluginKit
import TestSupport

/// Configs around a schema. One half keeps to it as far as that is easy; in the other, values are near what it allows, on
/// either side of it.
package struct RandomConfig {
  private var random: SeededGenerator
  /// Whether this config strays from the schema.
  private var strays = false
  private let schema: JSONValue

  package init(_ schema: JSONValue, seed: UInt64) {
    random = SeededGenerator(seed: seed)
    self.schema = schema
  }

  /// A config as JSON.
  package mutating func next() -> String {
    strays = chance(1, in: 2)
    return value(schema, depth: 0).description
  }

  private mutating func chance(_ one: Int, in count: Int) -> Bool { Int.random(in: 0..<count, using: &random) < one }
  private mutating func pick<Item>(_ items: [Item]) -> Item { items[Int.random(in: 0..<items.count, using: &random)] }

  private mutating func value(_ schema: JSONValue, depth: Int) -> JSONValue {
    if strays, depth > 0, chance(1, in: 25) { return anything() }
    if let standard = schema["default"], chance(1, in: 4) { return standard }
    if case .array(let choices)? = schema["enum"], !strays || !chance(1, in: 12) { return pick(choices) }
    switch schema["type"] {
    case "object": return object(schema, depth)
    case "array": return array(schema, depth)
    case "boolean": return .bool(chance(1, in: 2))
    case "integer", "number": return number(schema)
    case "string": return .string(text(schema))
    case .array: return quantity(schema)
    default: return anything()
    }
  }

  private mutating func array(_ schema: JSONValue, _ depth: Int) -> JSONValue {
    let least = bound(schema, "minItems") ?? 0
    let count = strays ? Int.random(in: 0...3, using: &random) : Int(least)
    return .array((0..<count).map { _ in value(schema["items"] ?? .object([]), depth: depth + 1) })
  }

  private func bound(_ schema: JSONValue, _ name: String) -> Int64? {
    guard case .integer(let bound)? = schema[name] else { return nil }
    return bound
  }

  private mutating func object(_ schema: JSONValue, _ depth: Int) -> JSONValue {
    var members: [JSONValue.Member] = []
    if case .object(let properties)? = schema["properties"] {
      for property in properties
      where strays ? !chance(1, in: 6) : isRequired(property.name, schema) || chance(1, in: 2) {
        members.append(.init(property.name, value(property.value, depth: depth + 1)))
      }
    }
    if case .object? = schema["additionalProperties"] {
      for name in ["one", "a/b~c"] where chance(1, in: 2) {
        members.append(.init(name, value(schema["additionalProperties"] ?? .null, depth: depth + 1)))
      }
    }
    if strays, chance(1, in: 30) { members.append(.init("unknown", anything())) }
    return .object(members)
  }

  private func isRequired(_ name: String, _ schema: JSONValue) -> Bool {
    guard case .array(let names)? = schema["required"] else { return false }
    return names.contains(.string(name))
  }

  private mutating func number(_ schema: JSONValue) -> JSONValue {
    let bounds = ["minimum", "maximum"].compactMap { bound(schema, $0) }
    guard strays else { return bounds.isEmpty ? 1 : .integer(pick(bounds)) }
    var numbers: [JSONValue] = [0, 1, .integer(Int64.random(in: -300...300, using: &random)), .number(2), .number(0.5)]
    for limit in bounds { numbers += [limit, limit &- 1, limit &+ 1, limit &* 2].map { .integer($0) } }
    if chance(1, in: 20) { numbers += [.integer(Int64.min), .integer(Int64.max), .number(1e19), .number(-1e300)] }
    return pick(numbers)
  }

  private mutating func text(_ schema: JSONValue) -> String {
    let lengths = ["minLength", "maxLength"].compactMap { bound(schema, $0).map { Int($0) } }
    let letters: [Character] = ["a", "Z", "7", "_", ".", "-", "/", "é", "\u{301}", "😀", "\n", " ", "\"", "\\"]
    let length = strays ? max(0, pick(lengths + [3, 8]) + Int.random(in: -1...1, using: &random)) : pick(lengths + [3])
    let usual = !strays || chance(2, in: 3) ? 3 : letters.count
    return String((0..<length).map { _ in letters[Int.random(in: 0..<usual, using: &random)] })
  }

  /// A size or a duration.
  private mutating func quantity(_ schema: JSONValue) -> JSONValue {
    let isSize = schema["format"] == "sluice-size"
    let units = isSize ? ["", "B", "KiB", "MiB", "GB"] : ["ns", "us", "ms", "s", "m", "h", "d"]
    guard strays else { return .string("\(Int.random(in: 1...900, using: &random))" + (isSize ? "MiB" : "s")) }
    if chance(1, in: 2) { return number(schema) }
    return .string("\(Int.random(in: 0...5000, using: &random))" + pick(units + ["", "x"]))
  }

  private mutating func anything() -> JSONValue {
    pick([.null, true, 7, -1, .number(1.5), "text", "", [], [1, "a"], .object([]), .object([.init("a", 1)])])
  }
}

/// Where two schemas differ in what the daemon makes of configs.
package struct SchemaComparison {
  /// How many configs both accepted.
  package private(set) var accepted = 0
  /// Configs, and what became of them by each schema.
  package private(set) var differences: [String] = []

  /// Puts `count` random configs around the derived schema to both.
  package init(_ written: String, _ derived: JSONValue, count: Int, seed: UInt64) {
    var configs = RandomConfig(derived, seed: seed)
    for _ in 0..<count {
      let config = configs.next()
      let (left, right) = (DaemonCheck(config, schema: written), DaemonCheck(config, schema: derived.description))
      if left != right { differences.append("\(config): \(left), but derived: \(right)") }
      if case .delivered = left { accepted += 1 }
    }
  }
}
