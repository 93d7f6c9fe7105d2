import SluiceCore

/// A schema's JSON → `ConfigSchema`'s nodes. Schemas are compiled once per place, so that a `$ref` may lead anywhere,
/// also to where it comes from.
struct ConfigSchemaCompiler {
  private typealias Fault = ConfigSchema.Fault

  private static let keywords = [
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "oneOf", "default", "minimum",
    "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
    "$ref", "$defs", "definitions", "format", "x-sluice-secret", "title", "description", "examples", "$schema",
  ]
  private static let types = ["null", "boolean", "integer", "number", "string", "array", "object"]

  private let root: JSONValue
  private var nodes: [ConfigSchema.Node] = []
  private var places: [String: Int] = [:]
  private var depth = 0

  init(root: JSONValue) { self.root = root }

  mutating func compile() throws(ConfigSchema.Fault) -> [ConfigSchema.Node] {
    _ = try compile(root, "#")
    try settleSecrets()
    return nodes
  }

  private mutating func compile(_ value: JSONValue, _ pointer: String) throws(Fault) -> Int {
    if let known = places[pointer] { return known }
    depth += 1
    defer { depth -= 1 }
    guard depth <= Limits.maxSchemaDepth else {
      throw Fault(message: "is nested more than \(Limits.maxSchemaDepth) levels deep at \(pointer)")
    }
    let index = nodes.count
    places[pointer] = index
    nodes.append(ConfigSchema.Node(pointer: pointer))
    switch value {
    case .bool(let allows): nodes[index].refusesAll = !allows
    case .object(let members):
      for member in members {
        guard Self.keywords.contains(member.key) else {
          throw Fault(
            message: "uses the keyword \(quoted(member.key)) at \(pointer), which is not among those that Sluice knows")
        }
        if try annotate(index, member, pointer) { continue }
        if try bound(index, member, pointer) { continue }
        try shape(index, member, "\(pointer)/\(member.key)")
      }
    default: throw Fault(message: "has something other than an object or a boolean as a schema at \(pointer)")
    }
    return index
  }

  private func wrong(_ pointer: String, _ key: String, _ expected: String) -> Fault {
    Fault(message: "has a \(quoted(key)) at \(pointer) that is not \(expected)")
  }

  /// Keywords that don't check anything. Each of these three says whether the keyword was its.
  private mutating func annotate(
    _ index: Int, _ member: JSONValue.Member, _ pointer: String
  ) throws(Fault) -> Bool {
    switch member.key {
    case "description":
      if case .string(let text) = member.value { nodes[index].summary = text }
    case "title", "examples", "$schema", "$defs", "definitions": break
    case "default": nodes[index].standard = member.value
    case "x-sluice-secret":
      guard case .bool(let isSecret) = member.value else { throw wrong(pointer, member.key, "true or false") }
      nodes[index].isSecret = isSecret
    case "format":
      guard case .string(let name) = member.value, let unit = ConfigSchema.Unit(rawValue: name) else {
        throw wrong(pointer, member.key, "sluice-size or sluice-duration")
      }
      nodes[index].unit = unit
    default: return false
    }
    return true
  }

  /// Keywords about scalars.
  private mutating func bound(_ index: Int, _ member: JSONValue.Member, _ pointer: String) throws(Fault) -> Bool {
    switch member.key {
    case "minimum": nodes[index].minimum = try number(member, pointer)
    case "maximum": nodes[index].maximum = try number(member, pointer)
    case "exclusiveMinimum": nodes[index].exclusiveMinimum = try number(member, pointer)
    case "exclusiveMaximum": nodes[index].exclusiveMaximum = try number(member, pointer)
    case "minLength": nodes[index].minLength = try count(member, pointer)
    case "maxLength": nodes[index].maxLength = try count(member, pointer)
    case "minItems": nodes[index].minItems = try count(member, pointer)
    case "maxItems": nodes[index].maxItems = try count(member, pointer)
    case "const": nodes[index].constant = member.value
    case "enum":
      guard case .array(let choices) = member.value, !choices.isEmpty else {
        throw wrong(pointer, member.key, "a list of values")
      }
      nodes[index].choices = choices
    case "pattern":
      guard case .string(let text) = member.value else { throw wrong(pointer, member.key, "a string") }
      do {
        nodes[index].pattern = try Pattern(text)
      } catch {
        throw Fault(message: "has a pattern at \(pointer) that Sluice does not know: \(error.message)")
      }
    default: return false
    }
    return true
  }

  /// Keywords that hold other schemas, or say what a value is made of. `place` is where the keyword stands.
  private mutating func shape(_ index: Int, _ member: JSONValue.Member, _ place: String) throws(Fault) {
    switch member.key {
    case "type": nodes[index].types = try typeNames(member, place)
    case "required":
      guard case .array(let items) = member.value else { throw wrong(place, member.key, "a list of names") }
      for item in items {
        guard case .string(let name) = item else { throw wrong(place, member.key, "a list of names") }
        nodes[index].required.append(name)
      }
    case "properties":
      guard case .object(let members) = member.value else { throw wrong(place, member.key, "an object") }
      for property in members {
        let schema = try compile(property.value, "\(place)/\(Self.escaped(property.key))")
        nodes[index].properties.append((property.key, schema))
      }
    case "additionalProperties":
      if case .bool(let allows) = member.value {
        nodes[index].additional = allows ? .allowed : .refused
      } else {
        nodes[index].additional = .checked(try compile(member.value, place))
      }
    case "items": nodes[index].items = try compile(member.value, place)
    case "oneOf":
      guard case .array(let branches) = member.value, !branches.isEmpty else {
        throw wrong(place, member.key, "a list of schemas")
      }
      for (number, branch) in branches.enumerated() {
        nodes[index].oneOf.append(try compile(branch, "\(place)/\(number)"))
      }
    case "$ref":
      guard case .string(let target) = member.value else { throw wrong(place, member.key, "a string") }
      nodes[index].reference = try compile(resolve(target, at: place), target)
    default: preconditionFailure("the keyword \(member.key) is listed but not compiled")
    }
  }

  private func typeNames(_ member: JSONValue.Member, _ place: String) throws(Fault) -> [String] {
    let items: [JSONValue]
    if case .array(let list) = member.value { items = list } else { items = [member.value] }
    var names: [String] = []
    for item in items {
      guard case .string(let name) = item, Self.types.contains(name) else {
        throw wrong(place, "type", "one of \(Self.types.joined(separator: ", "))")
      }
      names.append(name)
    }
    return names
  }

  private func number(_ member: JSONValue.Member, _ pointer: String) throws(Fault) -> JSONValue {
    switch member.value {
    case .integer, .double: return member.value
    default: throw wrong(pointer, member.key, "a number")
    }
  }

  private func count(_ member: JSONValue.Member, _ pointer: String) throws(Fault) -> Int {
    guard case .integer(let value) = member.value, value >= 0 else { throw wrong(pointer, member.key, "a count") }
    return Int(value)
  }

  // MARK: $ref

  private static func escaped(_ name: String) -> String {
    name.replacing("~", with: "~0").replacing("/", with: "~1")
  }

  private func resolve(_ target: String, at place: String) throws(Fault) -> JSONValue {
    guard target == "#" || target.hasPrefix("#/") else {
      throw Fault(message: "refers to \(quoted(target)) at \(place); only #/… of the same schema is allowed")
    }
    var value = root
    for part in target.dropFirst().split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
      let name = part.replacing("~1", with: "/").replacing("~0", with: "~")
      switch value {
      case .object:
        guard let inner = value[String(name)] else {
          throw Fault(message: "refers to \(quoted(target)) at \(place), which is not there")
        }
        value = inner
      case .array(let items):
        guard let number = Int(name), items.indices.contains(number) else {
          throw Fault(message: "refers to \(quoted(target)) at \(place), which is not there")
        }
        value = items[number]
      default: throw Fault(message: "refers to \(quoted(target)) at \(place), which is not there")
      }
    }
    return value
  }

  /// A value is secret when any schema that looks at the same value says so. On the way every circle that does not
  /// go into a value is found.
  private mutating func settleSecrets() throws(Fault) {
    var state = [Int](repeating: 0, count: nodes.count)  // 0 not seen, 1 on the way, 2 done
    // Schemas that look at one value: bounded, since checking a value goes as deep.
    var heights = [Int](repeating: 0, count: nodes.count)
    func visit(_ index: Int, _ nodes: inout [ConfigSchema.Node]) throws(Fault) {
      if state[index] == 2 { return }
      guard state[index] == 0 else {
        throw Fault(message: "leads back to itself at \(nodes[index].pointer) without going into a value")
      }
      state[index] = 1
      for next in nodes[index].oneOf + (nodes[index].reference.map { [$0] } ?? []) {
        try visit(next, &nodes)
        if nodes[next].isSecret { nodes[index].isSecret = true }
        heights[index] = max(heights[index], heights[next] + 1)
      }
      guard heights[index] <= Limits.maxSchemaHeight else {
        throw Fault(message: "puts more than \(Limits.maxSchemaHeight) schemas on one value at \(nodes[index].pointer)")
      }
      state[index] = 2
    }
    for index in nodes.indices { try visit(index, &nodes) }
  }
}
