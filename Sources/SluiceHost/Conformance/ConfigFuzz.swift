import SluiceCore
import SluiceTopology

/// Configs made from a schema and one good config: each differs from that in one place.
///
/// The same ones every time, so that what fails once fails again.
struct ConfigFuzz {
  /// Canonical, with defaults: what the schema takes.
  private(set) var good: [String] = []
  /// JSON objects that the schema does not take, so that no host passes them on; nobody may be harmed by them all the same.
  private(set) var broken: [String] = []
  /// No objects, or not even JSON.
  static let nonsense = [
    "", "{", "[]", "null", "\"\"", "0", "{\"a\":}", "{\"a\":1e999}", "{\"a\":-}", "{\"a\":NaN}", "{\"a\":01}",
    "{\"a\":18446744073709551616}", "{\"a\":\"\\ud800\"}", "{\"a\":1}{", String(repeating: "[", count: 10_000),
    String(repeating: "{\"a\":", count: 10_000),
  ]

  private var seen: Set<String> = []
  private let schema: PluginConfigCheck

  init(schema: PluginConfigCheck, schemaJSON: String, config: String) {
    self.schema = schema
    let base = (try? JSONValue(parsing: config)) ?? .object([])
    let root = (try? JSONValue(parsing: schemaJSON)) ?? .object([])
    add(base)
    for variant in ConfigFuzz.variants(of: base, by: root, depth: 0) { add(variant) }
  }

  private mutating func add(_ config: JSONValue) {
    guard good.count + broken.count < Limits.conformanceFuzzConfigs, case .object = config else { return }
    let outcome = schema.check(config)
    let text = outcome.errors.isEmpty ? outcome.configJSON : config.canonicalText
    guard seen.insert(text).inserted else { return }
    if outcome.errors.isEmpty { good.append(text) } else { broken.append(text) }
  }

  /// `value` with one thing changed, for each thing that can be.
  private static func variants(of value: JSONValue, by schema: JSONValue, depth: Int) -> [JSONValue] {
    guard case .object(let members) = value, depth < 4 else { return candidates(for: schema) }
    var all: [JSONValue] = []
    var names = members.map(\.key)
    if case .object(let properties) = schema["properties"] {
      for property in properties where !names.contains(property.key) { names.append(property.key) }
    }
    for name in names {
      let others = members.filter { $0.key != name }
      all.append(.object(others))
      let property = schema["properties"]?[name] ?? .object([])
      var values = candidates(for: property)
      if let old = value[name], case .object = old { values += variants(of: old, by: property, depth: depth + 1) }
      all += values.map { .object(others + [JSONValue.Member(name, $0)]) }
    }
    for name in ["", "unknown", "__proto__", "\u{0}", "ü\u{1F600}", String(repeating: "k", count: 4096)] {
      all.append(.object(members + [JSONValue.Member(name, .integer(1))]))
    }
    return all
  }

  /// Values for one property: what its schema speaks of, the neighbours of that, and what no schema expects.
  private static func candidates(for schema: JSONValue) -> [JSONValue] {
    var all: [JSONValue] = []
    if case .array(let choices) = schema["enum"] { all += choices }
    for name in ["default", "const"] { if let value = schema[name] { all.append(value) } }
    for name in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] {
      guard case .integer(let bound) = schema[name] else { continue }
      all += [bound, bound &- 1, bound &+ 1].map(JSONValue.integer)
    }
    for name in ["minLength", "maxLength"] {
      guard case .integer(let bound) = schema[name], (0...4096).contains(bound) else { continue }
      all += [bound, bound + 1].map { .string(String(repeating: "a", count: Int($0))) }
    }
    all += [.null, .bool(true), .bool(false), .integer(0), .integer(-1), .integer(1), .integer(.max), .integer(.min)]
    all += [.double(0.5), .double(1e308), .double(-1e308), .double(.leastNonzeroMagnitude)]
    all += ["", "a", "10s", "1MiB", "-1", "\u{0}", "\\\"\n\t\u{1}", "ü\u{1F600}\u{202E}", "../..", "%s%n"].map {
      JSONValue.string($0)
    }
    all.append(.string(String(repeating: "A", count: Limits.conformanceFuzzStringBytes)))
    all += [.array([]), .array([.null]), .array([.string("a"), .integer(1)]), .object([])]
    all += [nested { .array([$0]) }, nested { .object([JSONValue.Member("a", $0)]) }]
    return all
  }

  private static func nested(_ wrap: (JSONValue) -> JSONValue) -> JSONValue {
    (0..<Limits.conformanceFuzzDepth).reduce(.integer(0)) { value, _ in wrap(value) }
  }
}

extension RuleBench {
  func fuzz() throws(RuleVerdict) -> ConfigFuzz {
    ConfigFuzz(schema: try schema(), schemaJSON: try kind().schemaJSON, config: try config())
  }
}

extension String {
  /// For messages: its beginning.
  var shownAsConfig: String { utf8.count > 120 ? String(prefix(120)) + "… (\(utf8.count) bytes)" : self }
}
