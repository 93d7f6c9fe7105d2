import SluiceCore

extension TopologyReader {
  static let commonSourceKeys = [
    "type", "listen", "stream", "auth", "tls", "topic", "block_timeout", "idle_timeout", "max_connections",
    "socket",
  ]
  static let httpKeys = commonSourceKeys + ["max_body", "header_timeout", "body_timeout"]
  static let tcpKeys = commonSourceKeys + ["framing"]
  static let udpKeys = ["type", "listen", "stream", "auth", "topic", "framing", "socket"]
  static let stdinKeys = ["type", "stream", "topic", "framing", "block_timeout"]
  /// Types that the vocabulary reserves.
  static let reservedTypes = ["file", "nats"]

  /// One entry of `sources:`.
  func source(_ entry: YAMLPair, _ path: String, streams: [StreamSettings]) -> SourceSettings? {
    guard let kind = sourceKind(entry, path) else { return nil }
    let known =
      switch kind {
      case .http: Self.httpKeys
      case .tcp: Self.tcpKeys
      case .udp: Self.udpKeys
      case .stdin: Self.stdinKeys
      }
    guard let section = Section(entry.value, path: path, at: entry.keyPosition, known: known, sink: sink) else {
      return nil
    }
    var listen =
      kind == .stdin
      ? nil : section.required("listen", "127.0.0.1:8080").flatMap { listenAddress($0, section, "\(path).listen") }
    if kind == .udp { listen?.transport = .udp }
    var stream: String?
    if let node = section.required("stream", "the name of a stream"),
      let name = section.text(node, "\(path).stream", expected: "the name of a stream")
    {
      stream = name
      references.add(name, at: node.position, from: "\(path).stream")
    }
    let framing = framing(section, kind)
    var settings = SourceSettings(
      name: entry.key, kind: kind, framing: framing, listen: listen, stream: stream ?? "",
      authentication: authentication(section, kind, listen),
      topic: topic(section) ?? entry.key,
      blockTimeoutNanoseconds: Limits.defaultBlockTimeoutNanoseconds, position: Unequated(entry.keyPosition))
    if kind != .stdin { settings.socket = socketOptions(section, kind, framing) }
    if kind == .http || kind == .tcp, let node = section["tls"] { readTLS(node, into: &settings, "\(path).tls") }
    readLimits(section, into: &settings, stream: streams.first { $0.name == stream })
    return (listen == nil && kind != .stdin) || stream == nil ? nil : settings
  }

  private func framing(_ section: Section, _ kind: SourceSettings.Kind) -> SourceSettings.Framing {
    let allowed: [SourceSettings.Framing] =
      switch kind {
      case .http: [.sluice]
      case .tcp: [.sluice, .lines, .syslog]
      case .udp: [.syslog, .messages]
      case .stdin: [.lines]
      }
    guard kind != .http, let node = section["framing"], let said: SourceSettings.Framing = section.choice("framing")
    else { return allowed[0] }
    if !allowed.contains(said) {
      sink.error(
        at: node.position, "\(section.path(of: "framing")) can't be \(said.rawValue) with type: \(kind.rawValue)",
        expected: allowed.map(\.rawValue).joined(separator: " or "))
    }
    return said
  }

  /// Off loopback anyone could speak a framed protocol, so that it must be said that all may; HTTP has always been open by
  /// default.
  private func authentication(
    _ section: Section, _ kind: SourceSettings.Kind, _ listen: ListenAddress?
  ) -> SourceSettings.Authentication {
    guard kind != .stdin else { return .none }
    guard kind != .udp else { return datagramAuthentication(section, listen) }
    if let said: SourceSettings.Authentication = section.choice("auth") { return said }
    guard kind == .tcp, let listen, !listen.isLoopback else { return .optional }
    return .required
  }

  /// A datagram proves nothing of its sender, so that nothing but `none` can be kept.
  private func datagramAuthentication(
    _ section: Section, _ listen: ListenAddress?
  ) -> SourceSettings.Authentication {
    let said: SourceSettings.Authentication? = section.choice("auth")
    if let said, said != .none, let node = section["auth"] {
      sink.error(
        at: node.position, "\(section.path(of: "auth")) can't be \(said.rawValue): a datagram does not say who sent it",
        expected: "none")
    } else if said == nil, section["auth"] == nil, let listen, !listen.isLoopback, let node = section["listen"] {
      sink.error(
        at: node.position, "\(section.path) is reachable by others, and datagrams can't be authenticated",
        help: "listen on 127.0.0.1, or add `auth: none` if whoever can reach the port may write to the stream")
    }
    return .none
  }

  private func sourceKind(_ entry: YAMLPair, _ path: String) -> SourceSettings.Kind? {
    // What else may stand there depends on the type, so that unknown keys wait until it is known.
    guard let section = Section(entry.value, path: path, at: entry.keyPosition, known: [], sink: sink) else {
      return nil
    }
    guard let type = section.required("type", "http, tcp, udp or stdin") else { return nil }
    if case .scalar(let scalar) = type.content, Self.reservedTypes.contains(scalar.text) {
      sink.error(
        at: type.position, "sources of type \(scalar.text) are known but not served by this version",
        expected: "http, tcp, udp or stdin")
      return nil
    }
    return section.choice("type")
  }

  private func topic(_ section: Section) -> String? {
    guard let node = section["topic"],
      let topic = section.text(node, section.path(of: "topic"), expected: "a topic")
    else { return nil }
    guard topic.utf8.count <= Limits.maxTopicBytes else {
      sink.error(
        at: node.position, "\(section.path(of: "topic")) is too long",
        expected: "at most \(Limits.maxTopicBytes) bytes")
      return nil
    }
    return topic
  }

  private func readLimits(_ section: Section, into settings: inout SourceSettings, stream: StreamSettings?) {
    guard settings.kind != .udp else { return }
    settings.blockTimeoutNanoseconds =
      section.duration("block_timeout", in: Limits.blockTimeoutNanoseconds)
      ?? stream?.blockTimeoutNanoseconds ?? settings.blockTimeoutNanoseconds
    settings.waitsWhenFull = stream?.whenFull == .block
    guard settings.kind != .stdin else { return }
    settings.idleTimeoutNanoseconds =
      section.duration("idle_timeout", in: Limits.sourceTimeoutNanoseconds) ?? settings.idleTimeoutNanoseconds
    settings.maxConnections =
      section.integer("max_connections", in: 1...Limits.maxMaxConnections) ?? settings.maxConnections
    guard settings.kind == .http else { return }
    settings.headerTimeoutNanoseconds =
      section.duration("header_timeout", in: Limits.sourceTimeoutNanoseconds) ?? settings.headerTimeoutNanoseconds
    settings.bodyTimeoutNanoseconds =
      section.duration("body_timeout", in: Limits.sourceTimeoutNanoseconds) ?? settings.bodyTimeoutNanoseconds
    settings.maxBodyBytes =
      section.size("max_body", in: Limits.minMaxRecordBytes...Limits.maxMaxBodyBytes) ?? settings.maxBodyBytes
  }
}
