import SluiceCore

/// The merged tree → settings. Goes on after every error, so that all are found at once; what it gives back counts only
/// when the sink has no errors.
final class TopologyReader {
  static let topKeys = ["sluice", "include", "daemon", "identities", "streams", "sources", "subscribers"]

  let sink: DiagnosticSink
  let plugins: any PluginSchemaProvider
  var pluginDirectories: [String] = []
  /// What is declared, whether or not it is right: so that one error does not make a second of every reference.
  var streamNames: [String] = []
  var sourceNames: [String] = []
  var references = StreamReferences()

  init(plugins: any PluginSchemaProvider, sink: DiagnosticSink) {
    self.plugins = plugins
    self.sink = sink
  }

  func read(_ root: YAMLNode, file: String) -> Topology? {
    let start = SourcePosition(file: file, line: 1, column: 1)
    guard let top = Section(root, path: "the topology", at: start, known: Self.topKeys, sink: sink) else { return nil }
    if let version = top.required("sluice", "1") { checkVersion(version) }
    let daemon = self.daemon(top)
    plugins.note(data: daemon.data)
    let identities = top["identities"].flatMap { top.path($0, "identities") }
    streamNames = names(top["streams"])
    sourceNames = names(top["sources"]) + publishers(top["subscribers"])
    var streams = collection(top, "streams", example: "events: { durability: fsync }", stream)
    let sources = collection(top, "sources", example: "api: { type: http, listen: …, stream: … }") { entry, path in
      source(entry, path, streams: streams)
    }
    let subscribers = collection(top, "subscribers", example: "archive: { plugin: …, streams: […] }", subscriber)
    references.check(declared: streamNames, sink: sink)
    if let dead = builtinDead(for: subscribers, beside: streams) { streams.append(dead) }
    checkDeadLetters(subscribers, streams, root)
    checkListeners(sources, admin: daemon.admin, top)
    checkPublishers(subscribers, sources)
    return Topology(
      file: file, daemon: daemon, identities: identities, streams: streams, sources: sources, subscribers: subscribers,
      texts: sink.texts)
  }

  private func checkVersion(_ node: YAMLNode) {
    if case .scalar(let scalar) = node.content, scalar.value == .integer(1) { return }
    sink.error(
      at: node.position, "the topology's format version can't be \(node.describedKind)", expected: "1",
      help: "this version of sluice reads version 1 only")
  }

  private func names(_ node: YAMLNode?) -> [String] {
    guard case .mapping(let pairs) = node?.content else { return [] }
    return pairs.map(\.key)
  }

  /// Subscribers that publish: records have them as their source.
  private func publishers(_ node: YAMLNode?) -> [String] {
    guard case .mapping(let pairs) = node?.content else { return [] }
    return pairs.filter { $0.value["publish"] != nil }.map(\.key)
  }

  /// Reads every entry of a top-level collection of named things.
  private func collection<Settings>(
    _ top: Section, _ key: String, example: String, _ read: (YAMLPair, String) -> Settings?
  ) -> [Settings] {
    guard let node = top[key],
      let section = Section(node, path: key, known: [], allowsNothing: true, sink: sink)
    else { return [] }
    guard section.entries.count <= Limits.maxTopologyEntries else {
      sink.error(at: node.position, "more than \(Limits.maxTopologyEntries) \(key)")
      return []
    }
    return section.entries.compactMap { entry in
      if !isValidName(entry.key) {
        sink.error(
          at: entry.keyPosition, "\(quoted(entry.key)) is not a name",
          expected: "a-z first, then a-z, 0-9, _ and -; at most \(Limits.maxNameCharacters) characters",
          suggestion: isValidName(entry.key.lowercased()) ? entry.key.lowercased() : nil)
      }
      return read(entry, "\(key).\(entry.key)")
    }
  }

  // MARK: daemon

  func daemon(_ top: Section) -> DaemonSettings {
    var settings = DaemonSettings()
    settings.data = FileReading.resolve("data", from: top.position.file)
    guard let node = top["daemon"],
      let section = Section(
        node, path: "daemon", known: ["data", "plugins", "admin", "event_loops", "log"], allowsNothing: true, sink: sink
      )
    else { return settings }
    if let data = section["data"], let path = section.path(data, "daemon.data") { settings.data = path }
    settings.plugins = (section.strings("plugins", example: "[ ./plugins ]") ?? []).map { item in
      FileReading.resolve(item.text, from: item.node.position.file)
    }
    pluginDirectories = settings.plugins
    settings.admin = section["admin"].flatMap { listenAddress($0, section, "daemon.admin") }
    if let loops = section["event_loops"] {
      if case .scalar(let scalar) = loops.content, scalar.text == "auto" {
        settings.eventLoops = nil
      } else {
        settings.eventLoops = section.integer("event_loops", in: 1...Limits.maxEventLoops)
      }
    }
    if let log = section["log"] { readLog(log, into: &settings) }
    return settings
  }

  private func readLog(_ node: YAMLNode, into settings: inout DaemonSettings) {
    guard let section = Section(node, path: "daemon.log", known: ["level", "format", "to"], sink: sink) else { return }
    settings.logLevel = section.choice("level") ?? .info
    settings.logFormat = section.choice("format") ?? .text
    guard let to = section["to"] else { return }
    if case .mapping = to.content {
      guard let target = Section(to, path: "daemon.log.to", known: ["file"], sink: sink),
        let file = target.required("file", "./sluice.log"), let path = target.path(file, "daemon.log.to.file")
      else { return }
      settings.logTarget = .file(path)
    } else if let word = section.word(to, "daemon.log.to", of: ["stdout", "stderr", "{ file: … }"]) {
      settings.logTarget = word == "stderr" ? .stderr : .stdout
    }
  }

  // MARK: addresses

  func listenAddress(_ node: YAMLNode, _ section: Section, _ what: String) -> ListenAddress? {
    if case .scalar(let scalar) = node.content, case .string(let text) = scalar.value,
      let address = ListenAddress(parsing: text)
    {
      return address
    }
    var help: String?
    if case .scalar(let scalar) = node.content, case .integer = scalar.value, scalar.origin != .secretFile {
      help = "for that port on every interface, write :\(scalar.text)"
    }
    sink.error(
      at: node.position, "\(what) can't be \(node.describedKind)", expected: ListenAddress.examples, help: help)
    return nil
  }

  /// Two listeners on one port of one address would fail at bind, after everything else was started; two readers of
  /// standard input would not even fail.
  private func checkListeners(_ sources: [SourceSettings], admin: ListenAddress?, _ top: Section) {
    var taken: [(address: ListenAddress, who: String, position: SourcePosition)] = []
    if let admin, let node = top["daemon"]?["admin"] { taken.append((admin, "daemon.admin", node.position)) }
    for source in sources {
      guard let listen = source.listen, listen.port != 0 else { continue }
      let node = top["sources"]?[source.name]?["listen"]
      let position = node?.position ?? source.position.value
      if let other = taken.first(where: { $0.address.collides(with: listen) }) {
        sink.error(
          at: position, "sources.\(source.name) listens on \(listen), which \(other.who) has already",
          help: "give one of them another port; \(other.who) is at \(other.position)")
      }
      taken.append((listen, "sources.\(source.name)", position))
    }
    let readers = sources.filter { $0.kind == .stdin }
    for reader in readers.dropFirst() {
      sink.error(
        at: reader.position.value,
        "sources.\(reader.name) reads standard input, which sources.\(readers[0].name) does already",
        help: "it can be read once; each would get some of the lines")
    }
  }

  /// What a subscriber publishes is known by its name, where sources have theirs: a source of that name could pass
  /// records off as the subscriber's.
  private func checkPublishers(_ subscribers: [SubscriberSettings], _ sources: [SourceSettings]) {
    for subscriber in subscribers where !subscriber.publish.isEmpty {
      guard sources.contains(where: { $0.name == subscriber.name }) else { continue }
      sink.error(
        at: subscriber.position.value,
        "subscribers.\(subscriber.name) publishes, and a source has the same name",
        help: "give one of them another name: records carry it as their source")
    }
  }
}

extension ListenAddress {
  static let examples = "host:port, [::1]:8080, or :8080 for every interface"

  /// `host:port`, `[v6]:port` or `:port`.
  package init?(parsing text: String) {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    guard !digits.isEmpty, digits.utf8.count <= 5, digits.allSatisfy({ $0.isASCII && $0.isWholeNumber }),
      let port = Int(digits), port <= 65_535
    else { return nil }
    let host = text[..<colon]
    if host.isEmpty {
      self.init(host: "0.0.0.0", port: port)
    } else if host.hasPrefix("["), host.hasSuffix("]"), host.count > 2 {
      let inner = host.dropFirst().dropLast()
      let isAddress = inner.split(separator: "%", maxSplits: 1).first?.allSatisfy { character in
        character.isASCII && (character.isHexDigit || character == ":" || character == ".")
      }
      guard isAddress == true, inner.contains(":") else { return nil }
      self.init(host: String(inner), port: port)
    } else {
      let isName = host.utf8.allSatisfy { byte in
        byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
          || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
      }
      guard isName, host.utf8.count <= 253 else { return nil }
      self.init(host: String(host), port: port)
    }
  }

  /// Whether both can't be bound at once.
  func collides(with other: ListenAddress) -> Bool {
    transport == other.transport && port == other.port && port != 0
      && (host == other.host || isWildcard || other.isWildcard)
  }
}
