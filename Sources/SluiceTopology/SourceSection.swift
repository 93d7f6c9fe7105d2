import SluiceCore

extension TopologyReader {
  static let commonSourceKeys = [
    "type", "listen", "stream", "auth", "tls", "topic", "block_timeout", "idle_timeout", "max_connections",
  ]
  static let httpKeys = commonSourceKeys + ["max_body", "header_timeout"]
  static let tcpKeys = commonSourceKeys + ["framing"]
  static let stdinKeys = ["type", "stream", "topic", "framing", "block_timeout"]
  /// Types that the vocabulary reserves.
  static let reservedTypes = ["udp", "file", "nats"]

  /// One entry of `sources:`.
  func source(_ entry: YAMLPair, _ path: String, streams: [StreamSettings]) -> SourceSettings? {
    guard let kind = sourceKind(entry, path) else { return nil }
    let known =
      switch kind {
      case .http: Self.httpKeys
      case .tcp: Self.tcpKeys
      case .stdin: Self.stdinKeys
      }
    guard let section = Section(entry.value, path: path, at: entry.keyPosition, known: known, sink: sink) else {
      return nil
    }
    let listen =
      kind == .stdin
      ? nil : section.required("listen", "127.0.0.1:8080").flatMap { listenAddress($0, section, "\(path).listen") }
    var stream: String?
    if let node = section.required("stream", "the name of a stream"),
      let name = section.text(node, "\(path).stream", expected: "the name of a stream")
    {
      stream = name
      references.add(name, at: node.position, from: "\(path).stream")
    }
    let standard = kind == .stdin ? SourceSettings.Framing.lines : .sluice
    let framing = kind == .http ? standard : section.choice("framing") ?? standard
    if kind == .stdin, framing != .lines, let node = section["framing"] {
      sink.error(at: node.position, "\(path).framing can't be \(framing.rawValue) on stdin", expected: "lines")
    }
    var settings = SourceSettings(
      name: entry.key, kind: kind, framing: framing, listen: listen, stream: stream ?? "",
      authentication: authentication(section, kind, listen),
      tls: kind == .stdin ? nil : section["tls"].flatMap { tls($0, path) }, topic: topic(section) ?? entry.key,
      blockTimeoutNanoseconds: Limits.defaultBlockTimeoutNanoseconds, position: Unequated(entry.keyPosition))
    readLimits(section, into: &settings, stream: streams.first { $0.name == stream })
    return (listen == nil && kind != .stdin) || stream == nil ? nil : settings
  }

  /// Off loopback anyone could speak a framed protocol, so that it must be said that all may; HTTP has always been open by
  /// default.
  private func authentication(
    _ section: Section, _ kind: SourceSettings.Kind, _ listen: ListenAddress?
  ) -> SourceSettings.Authentication {
    guard kind != .stdin else { return .none }
    if let said: SourceSettings.Authentication = section.choice("auth") { return said }
    guard kind == .tcp, let listen, !listen.isLoopback else { return .optional }
    return .required
  }

  private func sourceKind(_ entry: YAMLPair, _ path: String) -> SourceSettings.Kind? {
    // What else may stand there depends on the type, so that unknown keys wait until it is known.
    guard let section = Section(entry.value, path: path, at: entry.keyPosition, known: [], sink: sink) else {
      return nil
    }
    guard let type = section.required("type", "http, tcp or stdin") else { return nil }
    if case .scalar(let scalar) = type.content, Self.reservedTypes.contains(scalar.text) {
      sink.error(
        at: type.position, "sources of type \(scalar.text) are known but not served by this version",
        expected: "http, tcp or stdin")
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

  private func tls(_ node: YAMLNode, _ path: String) -> SourceSettings.TLS? {
    guard let section = Section(node, path: "\(path).tls", known: ["cert", "key", "client_ca"], sink: sink) else {
      return nil
    }
    let certificate = section.required("cert", "a PEM file").flatMap { section.path($0, "\(path).tls.cert") }
    let key = section.required("key", "a PEM file").flatMap { section.path($0, "\(path).tls.key") }
    let clientCA = section["client_ca"].flatMap { section.path($0, "\(path).tls.client_ca") }
    guard let certificate, let key else { return nil }
    return SourceSettings.TLS(certificate: certificate, key: key, clientCA: clientCA)
  }

  private func readLimits(_ section: Section, into settings: inout SourceSettings, stream: StreamSettings?) {
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
    settings.maxBodyBytes =
      section.size("max_body", in: Limits.minMaxRecordBytes...Limits.maxMaxBodyBytes) ?? settings.maxBodyBytes
  }
}
