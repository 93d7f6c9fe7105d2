import SluiceCore

/// A plugin's JSON Schema, compiled. What it may hold:
///
///     type properties required additionalProperties items enum const oneOf default
///     minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength minItems maxItems pattern
///     $ref (to `#` or `#/…` of the same schema; its neighbours count too)  $defs definitions
///     format: sluice-size (delivered as bytes) | sluice-duration (delivered as nanoseconds)
///     x-sluice-secret: true (never shown)
///     title description examples $schema (say something to people only)
///
/// Meaning is that of JSON Schema 2020-12. Anything else is refused when the schema is compiled, by name, so that no
/// plugin relies on a check that is not made. A schema that leads back to itself without going into a value would
/// never end and is refused, too.
struct ConfigSchema: Sendable {
  enum Unit: String, Sendable, CaseIterable {
    case size = "sluice-size"
    case duration = "sluice-duration"
  }

  enum Additional: Sendable {
    /// The schema says nothing: allowed, but worth a warning.
    case unstated
    case allowed
    case refused
    case checked(Int)
  }

  /// One schema. Others are named by their index.
  struct Node: Sendable {
    /// Where it stands in the schema's text.
    var pointer: String
    /// `false` as a schema: nothing is right.
    var refusesAll = false
    var types: [String]?
    var properties: [(name: String, schema: Int)] = []
    var required: [String] = []
    var additional = Additional.unstated
    var items: Int?
    var choices: [JSONValue]?
    var constant: JSONValue?
    var minimum: JSONValue?
    var maximum: JSONValue?
    var exclusiveMinimum: JSONValue?
    var exclusiveMaximum: JSONValue?
    var minLength: Int?
    var maxLength: Int?
    var minItems: Int?
    var maxItems: Int?
    var pattern: Pattern?
    var oneOf: [Int] = []
    var reference: Int?
    var standard: JSONValue?
    var unit: Unit?
    var isSecret = false
    var summary: String?
  }

  struct Fault: Error {
    var message: String
  }

  var nodes: [Node] = []

  /// Node 0 is the root.
  init(_ schema: JSONValue) throws(Fault) {
    var compiler = ConfigSchemaCompiler(root: schema)
    nodes = try compiler.compile()
  }

  /// From the text that a plugin carries. An empty text takes an empty mapping only.
  init(text: String) throws(Fault) {
    guard text.utf8.count <= Limits.maxPluginSchemaBytes else {
      throw Fault(message: "has more than \(Limits.maxPluginSchemaBytes) bytes")
    }
    if text.isEmpty {
      try self.init(.object([.init("type", .string("object")), .init("additionalProperties", .bool(false))]))
      return
    }
    let value: JSONValue
    do {
      value = try JSONValue(parsing: text)
    } catch {
      throw Fault(message: "is not JSON: \(error)")
    }
    try self.init(value)
  }

  /// The default of a schema, or of the one it refers to.
  func standard(of index: Int) -> JSONValue? {
    nodes[index].standard ?? nodes[index].reference.flatMap { standard(of: $0) }
  }
}
