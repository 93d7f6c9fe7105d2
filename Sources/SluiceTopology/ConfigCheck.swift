import SluiceCore

/// Checks one config against its plugin's schema, and makes of it what the plugin gets: defaults in place, sizes and
/// durations as numbers. Every complaint stands where the value stands.
struct ConfigCheck {
  private let schema: ConfigSchema
  private var steps = 0
  private var depth = 0
  private var gaveUp = false
  private(set) var findings: [Diagnostic] = []
  /// Where secrets stand, also those of branches that did not fit.
  private(set) var secrets: [(file: String, span: SourceTexts.Span)] = []

  init(_ schema: ConfigSchema) { self.schema = schema }

  /// `index`: the schema to check by; the root, unless it is a part of it.
  mutating func run(_ config: ConfigNode, by index: Int = 0, path: String) -> ConfigNode { check(config, index, path) }

  // MARK: Findings

  mutating func fail(
    _ node: ConfigNode, _ message: String, expected: String? = nil, suggestion: String? = nil, help: String? = nil
  ) {
    findings.append(
      Diagnostic(at: node.position, message, expected: expected, suggestion: suggestion, help: help))
  }

  mutating func blank(_ node: ConfigNode) {
    if let span = node.span { secrets.append((node.position.file, span)) }
  }

  // MARK: One schema on one value

  private mutating func check(_ node: ConfigNode, _ index: Int, _ path: String) -> ConfigNode {
    steps += 1
    depth += 1
    defer { depth -= 1 }
    if gaveUp { return node }
    guard steps <= Limits.maxSchemaSteps, depth <= Limits.maxSchemaDepth else {
      gaveUp = true
      fail(node, "checking \(path) by the plugin's schema does not come to an end")
      return node
    }
    let rule = schema.nodes[index]
    var node = node
    if rule.isSecret {
      node.markSecret()
      blank(node)
    }
    if let reference = rule.reference { node = check(node, reference, path) }
    guard !rule.refusesAll else {
      fail(node, "\(path) is not allowed here")
      return node
    }
    guard let typed = fitType(node, rule, path) else { return node }
    node = typed
    if !node.isDelivered { checkChoices(node, rule, path) }
    if let unit = rule.unit, let delivered = deliver(node, unit, rule, path) { node = delivered }
    switch node.value {
    case .integer, .double: checkBounds(node, rule, path)
    case .string(let text): checkText(text, node, rule, path)
    case .array(let items): node.value = .array(checkItems(items, node, rule, path))
    case .object(let members): node.value = .object(checkMembers(members, node, rule, path))
    default: break
    }
    return rule.oneOf.isEmpty ? node : checkBranches(node, rule, path)
  }

  /// The value as the type that the schema asks for; nil (and a finding) when it is another.
  private mutating func fitType(_ node: ConfigNode, _ rule: ConfigSchema.Node, _ path: String) -> ConfigNode? {
    guard let types = rule.types else { return node }
    if node.isDelivered && (types.contains("string") || types.contains("integer")) { return node }
    var result = node
    for type in types {
      switch (type, node.value) {
      case (node.typeName, _), ("number", .integer): return node
      case ("integer", .double(let double)):
        guard let whole = Int64(exactly: double) else { continue }
        result.value = .integer(whole)
        return result
      default: continue
      }
    }
    if types.contains("string"), let text = node.interpolated {
      result.value = .string(text)
      return result
    }
    if rule.unit != nil, case .integer = node.value { return node }
    if case .array = node.value { blank(node) } else if case .object = node.value { blank(node) }
    let names = types.map { Self.described($0) }.joined(separator: " or ")
    var help = rule.summary
    if types.contains("string"), !node.isSecret, case .integer = node.value { help = "for a string, put it in quotes" }
    fail(node, "expected \(names) for \(path), found \(node.described)", expected: Self.expectation(rule), help: help)
    return nil
  }

  private static func described(_ type: String) -> String {
    switch type {
    case "null": "nothing"
    case "array": "a list"
    case "object": "a mapping"
    case "integer": "an integer"
    default: "a \(type)"
    }
  }

  /// What the rest of the schema says that a value should be like.
  static func expectation(_ rule: ConfigSchema.Node) -> String? {
    switch rule.unit {
    case .size: return Units.sizeExamples
    case .duration: return Units.durationExamples
    case nil: break
    }
    if let choices = rule.choices { return choices.map(\.canonicalText).joined(separator: ", ") }
    return nil
  }

  private mutating func checkChoices(_ node: ConfigNode, _ rule: ConfigSchema.Node, _ path: String) {
    let value = node.json()
    let allowed = rule.choices ?? rule.constant.map { [$0] } ?? []
    let isChosen = rule.choices?.contains { $0.means(value) } ?? true
    let isConstant = rule.constant?.means(value) ?? true
    guard !isChosen || !isConstant else { return }
    let names = allowed.compactMap { choice -> String? in
      if case .string(let name) = choice { return name }
      return nil
    }
    var nearest: String?
    if case .string(let text) = value, !node.isSecret { nearest = nearestName(to: text, in: names) }
    fail(
      node, "\(path) can't be \(node.described)",
      expected: node.isSecret
        ? nil : names.count == allowed.count ? names.joined(separator: ", ") : Self.list(allowed),
      suggestion: nearest, help: rule.summary)
  }

  private static func list(_ values: [JSONValue]) -> String { values.map(\.canonicalText).joined(separator: ", ") }

  private mutating func deliver(
    _ node: ConfigNode, _ unit: ConfigSchema.Unit, _ rule: ConfigSchema.Node, _ path: String
  ) -> ConfigNode? {
    guard !node.isDelivered else { return node }
    var number: Int64?
    switch (node.value, unit) {
    case (.string(let text), .size): number = Units.size(text)
    case (.string(let text), .duration): number = Units.duration(text)
    case (.integer(let bytes), .size): number = bytes >= 0 ? bytes : nil
    case (.integer(0), .duration): number = 0
    case (.integer, .duration): number = nil
    default: return node
    }
    guard let number else {
      let what = unit == .size ? "a size" : "a duration"
      fail(
        node, "expected \(what) for \(path), found \(node.described)", expected: Self.expectation(rule),
        help: rule.summary)
      return nil
    }
    var result = node
    result.value = .integer(number)
    result.isDelivered = true
    return result
  }

  // MARK: Keywords about scalars

  private mutating func checkBounds(_ node: ConfigNode, _ rule: ConfigSchema.Node, _ path: String) {
    let value = node.json()
    let rules: [(JSONValue?, String, (JSONValue, JSONValue) -> Bool)] = [
      (rule.minimum, "at least", { !$0.isLess(than: $1) }),
      (rule.maximum, "at most", { !$1.isLess(than: $0) }),
      (rule.exclusiveMinimum, "more than", { $1.isLess(than: $0) }),
      (rule.exclusiveMaximum, "less than", { $0.isLess(than: $1) }),
    ]
    for (bound, words, holds) in rules {
      guard let bound, !holds(value, bound) else { continue }
      let found = node.isSecret ? "a secret" : Self.shown(value, rule.unit)
      fail(
        node, "\(path) can't be \(found)", expected: "\(words) \(Self.shown(bound, rule.unit))", help: rule.summary)
    }
  }

  private static func shown(_ value: JSONValue, _ unit: ConfigSchema.Unit?) -> String {
    switch (value, unit) {
    case (.integer(let bytes), .size): Units.describe(bytes: bytes)
    case (.integer(let time), .duration): Units.describe(nanoseconds: time)
    default: value.canonicalText
    }
  }

  private mutating func checkText(_ text: String, _ node: ConfigNode, _ rule: ConfigSchema.Node, _ path: String) {
    let count = text.unicodeScalars.count
    if let least = rule.minLength, count < least {
      fail(
        node, count == 0 ? "\(path) is empty" : "\(path) is too short", expected: "at least \(least) characters",
        help: rule.summary)
    }
    if let most = rule.maxLength, count > most {
      fail(node, "\(path) is too long", expected: "at most \(most) characters", help: rule.summary)
    }
    guard let pattern = rule.pattern else { return }
    if text.utf8.count > Limits.maxPatternTextBytes {
      fail(node, "\(path) is too long to be checked", expected: "at most \(Limits.maxPatternTextBytes) bytes")
    } else if !pattern.isFound(in: text) {
      fail(
        node, "\(path) can't be \(node.described)", expected: "what matches the pattern \(pattern.text)",
        help: rule.summary)
    }
  }

  // MARK: Keywords about lists and mappings

  private mutating func checkItems(
    _ items: [ConfigNode], _ node: ConfigNode, _ rule: ConfigSchema.Node, _ path: String
  ) -> [ConfigNode] {
    if let least = rule.minItems, items.count < least {
      fail(node, "\(path) has \(items.count) items", expected: "at least \(least)", help: rule.summary)
    }
    if let most = rule.maxItems, items.count > most {
      fail(node, "\(path) has \(items.count) items", expected: "at most \(most)", help: rule.summary)
    }
    guard let schema = rule.items else { return items }
    var result: [ConfigNode] = []
    for (index, item) in items.enumerated() { result.append(check(item, schema, "\(path)[\(index)]")) }
    return result
  }

  /// Members in the order of the schema, then the others in theirs: two ways to write the same config are one.
  private mutating func checkMembers(
    _ members: [ConfigNode.Member], _ node: ConfigNode, _ rule: ConfigSchema.Node, _ path: String
  ) -> [ConfigNode.Member] {
    var result: [ConfigNode.Member] = []
    for (name, index) in rule.properties {
      if var member = members.first(where: { $0.key == name }) {
        member.value = check(member.value, index, "\(path).\(name)")
        result.append(member)
      } else if let standard = schema.standard(of: index) {
        let value = checkDefault(ConfigNode(standard, at: node.position), index, "\(path).\(name)")
        result.append(ConfigNode.Member(key: name, keyPosition: node.position, value: value))
      }
    }
    let names = rule.properties.map(\.name)
    for member in members where !names.contains(member.key) {
      result.append(checkAdditional(member, rule, names, path))
    }
    for name in rule.required where !result.contains(where: { $0.key == name }) {
      let property = rule.properties.first { $0.name == name }.map { schema.nodes[$0.schema] }
      fail(
        node, "\(path) has no '\(name)'",
        expected: "\(name): " + (property?.types.map { $0.map(Self.described).joined(separator: " or ") } ?? "…"),
        help: property?.summary)
    }
    return result
  }

  private mutating func checkAdditional(
    _ member: ConfigNode.Member, _ rule: ConfigSchema.Node, _ names: [String], _ path: String
  ) -> ConfigNode.Member {
    if case .checked(let index) = rule.additional {
      var member = member
      member.value = check(member.value, index, "\(path).\(member.key)")
      return member
    }
    let nearest = nearestName(to: member.key, in: names)
    // A misspelt key may carry the secret that the right one would.
    if rule.properties.contains(where: { schema.nodes[$0.schema].isSecret }) { blank(member.value) }
    let help = nearest == nil && !names.isEmpty ? "the keys here are \(names.joined(separator: ", "))" : nil
    switch rule.additional {
    case .refused:
      findings.append(
        Diagnostic(
          at: member.keyPosition, "unknown key \(quoted(member.key)) in \(path)", suggestion: nearest, help: help))
    case .unstated where !names.isEmpty && rule.reference == nil && rule.oneOf.isEmpty && depth == 1:
      findings.append(
        Diagnostic(
          .warning, at: member.keyPosition,
          "the plugin's schema does not name the key \(quoted(member.key)) in \(path)",
          suggestion: nearest, help: help))
    default: break
    }
    return member
  }

  private mutating func checkDefault(_ node: ConfigNode, _ index: Int, _ path: String) -> ConfigNode {
    let before = findings.count
    let result = check(node, index, path)
    if findings[before...].contains(where: { $0.severity == .error }) {
      findings.removeSubrange(before...)
      fail(
        node, "the plugin's schema gives \(path) a default that it does not allow", help: "that is the plugin's fault")
    }
    return result
  }

  // MARK: oneOf

  private mutating func checkBranches(_ node: ConfigNode, _ rule: ConfigSchema.Node, _ path: String) -> ConfigNode {
    var fitting: [ConfigNode] = []
    var closest: [Diagnostic]?
    let before = findings
    for branch in rule.oneOf {
      findings = []
      let result = check(node, branch, path)
      let complaints = findings
      if !complaints.contains(where: { $0.severity == .error }) {
        fitting.append(result)
      } else if Self.isCloser(complaints, than: closest, at: node.position) {
        closest = complaints
      }
    }
    findings = before
    if fitting.count == 1 { return fitting[0] }
    if fitting.count > 1 {
      fail(
        node, "\(path) fits \(fitting.count) of the forms that the plugin allows, and must fit one", help: rule.summary)
    } else if let closest, rule.oneOf.count == 1 || closest.contains(where: { $0.position != node.position }) {
      findings += closest
    } else {
      let wishes = closest?.first?.expected
      fail(
        node, "\(path) fits none of the \(rule.oneOf.count) forms that the plugin allows, found \(node.described)",
        expected: wishes, help: rule.summary)
    }
    return node
  }

  /// A branch is closer when it finds fault with parts rather than with the whole, then when it finds fewer faults.
  private static func isCloser(_ new: [Diagnostic], than old: [Diagnostic]?, at place: SourcePosition) -> Bool {
    guard let old else { return true }
    let wholes = (
      new.filter { $0.position == place }.count, old.filter { $0.position == place }.count
    )
    return wholes.0 == wholes.1 ? new.count < old.count : wholes.0 < wholes.1
  }
}

extension JSONValue {
  /// Equal as JSON Schema has it: 1 and 1.0 are the same, and the order of members does not count.
  func means(_ other: JSONValue) -> Bool {
    switch (self, other) {
    case (.integer(let left), .double(let right)), (.double(let right), .integer(let left)):
      return Int64(exactly: right) == left
    case (.array(let left), .array(let right)):
      return left.count == right.count && zip(left, right).allSatisfy { $0.means($1) }
    case (.object(let left), .object(let right)):
      return left.count == right.count && left.allSatisfy { member in other[member.key]?.means(member.value) ?? false }
    default: return self == other
    }
  }

  /// For numbers; whole ones are compared exactly.
  func isLess(than other: JSONValue) -> Bool {
    switch (self, other) {
    case (.integer(let left), .integer(let right)): left < right
    case (.integer(let left), .double(let right)): Double(left) < right
    case (.double(let left), .integer(let right)): left < Double(right)
    case (.double(let left), .double(let right)): left < right
    default: false
    }
  }
}
