import SluiceCore

extension TopologyReader {
  /// `match:` of a subscriber.
  func match(_ node: YAMLNode, _ path: String) -> SubscriberSettings.Match? {
    guard let section = Section(node, path: path, known: ["source", "topic", "json"], sink: sink) else { return nil }
    var match = SubscriberSettings.Match()
    for (name, node) in alternatives("source", section) {
      match.sources.append(name)
      if !sourceNames.contains(name) {
        sink.error(
          at: node.position, "\(path).source names the source \(quoted(name)), which is not declared",
          suggestion: nearestName(to: name, in: sourceNames))
      }
    }
    match.topics = alternatives("topic", section).map(\.0)
    guard let json = section["json"],
      let members = Section(json, path: "\(path).json", known: [], sink: sink)
    else { return match }
    if members.entries.count > Limits.maxMatchMembers {
      sink.error(at: json.position, "\(path).json names more than \(Limits.maxMatchMembers) members")
    }
    match.members = members.entries.map { pair in
      let what = "\(path).json.\(pair.key)"
      if pair.key.utf8.count(where: { $0 == UInt8(ascii: ".") }) >= Limits.maxMatchDepth {
        sink.error(at: pair.keyPosition, "\(what) leads more than \(Limits.maxMatchDepth) members deep")
      }
      return SubscriberSettings.Match.Member(path: pair.key, values: values(of: pair.value, what))
    }
    return match
  }

  /// A string, or a list of them.
  private func alternatives(_ key: String, _ section: Section) -> [(String, YAMLNode)] {
    guard let node = section[key] else { return [] }
    let items: [YAMLNode]
    if case .sequence(let list) = node.content { items = list } else { items = [node] }
    return items.compactMap { item in
      section.text(item, section.path(of: key), expected: "a name, or a list of names").map { ($0, item) }
    }
  }

  /// A scalar, or a list of them, as JSON has them.
  private func values(of node: YAMLNode, _ what: String) -> [JSONValue] {
    let items: [YAMLNode]
    if case .sequence(let list) = node.content { items = list } else { items = [node] }
    return items.compactMap { item in
      if case .scalar(let scalar) = item.content, let value = JSONValue(scalar) { return value }
      sink.error(
        at: item.position, "\(what) can't be \(item.describedKind)",
        expected: "a string, number, boolean or null, or a list of them")
      return nil
    }
  }
}

extension JSONValue {
  /// Nil for what JSON can't say: infinities, NaN, integers beyond 64 bits.
  init?(_ scalar: YAMLScalar) {
    switch scalar.value {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    case .integer(let value): self = .integer(value)
    case .hugeInteger: return nil
    case .double(let value):
      guard value.isFinite else { return nil }
      self = .double(value)
    case .string(let text): self = .string(text)
    }
  }
}
