import SluiceCore

/// The bytes of one file → its tree.
///
/// What YAML allows and a topology does not: more than one document, tags (but `!!str`), keys that are not scalars,
/// the same key twice in a mapping. Aliases are expanded; how many, how deep and how large the tree becomes by them is
/// bounded (`Limits.maxTopologyAliases`, `…Depth`, `…Nodes`), and an alias inside its own anchor is unknown, so that no
/// input makes the tree endless.
struct YAMLReader {
  private struct Built {
    var node: YAMLNode
    var nodes = 1
    var height = 1
  }

  private let file: String
  private let events: YAMLEvents
  private let sink: DiagnosticSink
  private var anchors: [String: Built] = [:]
  private var aliases = 0
  private var nodes = 0

  /// The document's root; nil for an empty file. Syntax errors go to the sink, and nil comes back.
  static func read(_ bytes: [UInt8], file: String, sink: DiagnosticSink) -> YAMLNode? {
    guard bytes.count <= Limits.maxTopologyBytes else {
      sink.error(
        at: SourcePosition(file: file, line: 1, column: 1),
        "the file has more than \(Limits.maxTopologyBytes) bytes", help: "split it with include:")
      return nil
    }
    sink.texts.add(file, text: String(decoding: bytes, as: UTF8.self))
    var reader = YAMLReader(file: file, events: YAMLEvents(bytes, file: file), sink: sink)
    do {
      return try reader.document()
    } catch {
      sink.add(error)
      return nil
    }
  }

  private init(file: String, events: YAMLEvents, sink: DiagnosticSink) {
    self.file = file
    self.events = events
    self.sink = sink
  }

  private mutating func document() throws(Diagnostic) -> YAMLNode? {
    _ = try events.next()
    guard case .documentStart = try events.next().kind else { return nil }
    let root = try build(events.next(), depth: 1).node
    _ = try events.next()
    let after = try events.next()
    if case .documentStart = after.kind {
      throw Diagnostic(
        at: position(after), "a second document begins here", expected: "one document in a file",
        help: "remove the '---', or put the rest into a file of its own and include: it")
    }
    return root
  }

  private func position(_ event: YAMLEvents.Event) -> SourcePosition {
    let sameLine = event.start.line == event.end.line
    return SourcePosition(
      file: file, line: event.start.line, column: event.start.column,
      length: sameLine ? event.end.column - event.start.column : 1)
  }

  private mutating func build(_ event: YAMLEvents.Event, depth: Int) throws(Diagnostic) -> Built {
    try count(1, at: event)
    guard depth <= Limits.maxTopologyDepth else { throw tooDeep(at: event) }
    var built: Built
    switch event.kind {
    case .alias(let name): return try expand(name, at: event, depth: depth)
    case .scalar(let scalar): built = Built(node: try self.scalar(scalar, of: event))
    case .sequenceStart: built = try sequence(event, depth: depth)
    case .mappingStart: built = try mapping(event, depth: depth)
    case .streamStart, .streamEnd, .documentStart, .documentEnd, .sequenceEnd, .mappingEnd:
      preconditionFailure("libyaml gave an event that begins no node where a node begins")
    }
    if let anchor = event.anchor { anchors[anchor] = built }
    return built
  }

  private func node(_ content: YAMLNode.Content, _ event: YAMLEvents.Event, end: YAMLEvents.Mark) -> YAMLNode {
    YAMLNode(content: content, position: position(event), endLine: end.line, endColumn: end.column)
  }

  private func scalar(_ scalar: YAMLScalar, of event: YAMLEvents.Event) throws(Diagnostic) -> YAMLNode {
    var scalar = scalar
    switch event.tag {
    case nil: break
    case "!", "tag:yaml.org,2002:str": if scalar.style == .plain { scalar.style = .quoted }
    default: throw tagRefused(event)
    }
    return node(.scalar(scalar), event, end: event.end)
  }

  private func tagRefused(_ event: YAMLEvents.Event) -> Diagnostic {
    Diagnostic(
      at: position(event), "the tag \(quoted(event.tag ?? "")) is not used in a topology",
      expected: "a value without a tag", help: "only !!str is known; quotes do the same")
  }

  private mutating func sequence(_ event: YAMLEvents.Event, depth: Int) throws(Diagnostic) -> Built {
    guard event.tag == nil else { throw tagRefused(event) }
    var items: [YAMLNode] = []
    var total = 1
    var height = 0
    while true {
      let next = try events.next()
      if case .sequenceEnd = next.kind {
        return Built(node: node(.sequence(items), event, end: next.end), nodes: total, height: height + 1)
      }
      let item = try build(next, depth: depth + 1)
      items.append(item.node)
      total += item.nodes
      height = max(height, item.height)
    }
  }

  private mutating func mapping(_ event: YAMLEvents.Event, depth: Int) throws(Diagnostic) -> Built {
    guard event.tag == nil else { throw tagRefused(event) }
    var pairs: [YAMLPair] = []
    var first: [String: SourcePosition] = [:]
    var total = 1
    var height = 0
    while true {
      let next = try events.next()
      if case .mappingEnd = next.kind {
        return Built(node: node(.mapping(pairs), event, end: next.end), nodes: total, height: height + 1)
      }
      let (key, place) = try self.key(next)
      let value = try build(events.next(), depth: depth + 1)
      total += value.nodes + 1
      height = max(height, value.height)
      if let earlier = first[key] {
        sink.error(
          at: place, "the key \(quoted(key)) stands twice in this mapping",
          help: "it is already in line \(earlier.line); keep one of them")
      } else {
        first[key] = place
        pairs.append(YAMLPair(key: key, keyPosition: place, value: value.node))
      }
    }
  }

  private mutating func key(_ event: YAMLEvents.Event) throws(Diagnostic) -> (String, SourcePosition) {
    var event = event
    if case .alias(let name) = event.kind {
      guard case .scalar(let scalar) = try expand(name, at: event, depth: 1).node.content else {
        throw keyRefused(event)
      }
      event.kind = .scalar(scalar)
    }
    guard case .scalar(let scalar) = event.kind else { throw keyRefused(event) }
    try count(1, at: event)
    if let anchor = event.anchor { anchors[anchor] = Built(node: node(.scalar(scalar), event, end: event.end)) }
    return (scalar.text, position(event))
  }

  private func keyRefused(_ event: YAMLEvents.Event) -> Diagnostic {
    Diagnostic(at: position(event), "a mapping or list stands where a key should", expected: "a name")
  }

  private mutating func expand(_ name: String, at event: YAMLEvents.Event, depth: Int) throws(Diagnostic) -> Built {
    aliases += 1
    guard aliases <= Limits.maxTopologyAliases else {
      throw Diagnostic(at: position(event), "more than \(Limits.maxTopologyAliases) aliases")
    }
    guard let anchored = anchors[name] else {
      throw Diagnostic(
        at: position(event), "the alias \(quoted("*" + name)) has no finished anchor before it",
        suggestion: nearestName(to: name, in: anchors.keys.sorted()), help: "define it earlier as &\(name)")
    }
    try count(anchored.nodes, at: event)
    guard depth + anchored.height - 1 <= Limits.maxTopologyDepth else { throw tooDeep(at: event) }
    return anchored
  }

  private mutating func count(_ more: Int, at event: YAMLEvents.Event) throws(Diagnostic) {
    nodes += more
    guard nodes <= Limits.maxTopologyNodes else {
      throw Diagnostic(at: position(event), "the file grows beyond \(Limits.maxTopologyNodes) values with its aliases")
    }
  }

  private func tooDeep(at event: YAMLEvents.Event) -> Diagnostic {
    Diagnostic(at: position(event), "nested more than \(Limits.maxTopologyDepth) levels deep")
  }
}
