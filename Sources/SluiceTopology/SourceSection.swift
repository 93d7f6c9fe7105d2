import SluiceCore

extension TopologyReader {
  static let commonSourceKeys = [
    "type", "listen", "stream", "auth", "tls", "topic", "block_timeout", "idle_timeout", "max_connections",
  ]
  static let httpKeys = commonSourceKeys + ["max_body", "header_timeout"]
  static let tcpKeys = commonSourceKeys + ["framing"]
  /// Types and framings that the vocabulary reserves.
  static let reservedTypes = ["udp", "file", "stdin", "nats"]
  static let framings = ["sluice", "lines", "syslog"]

  /// One entry of `sources:`.
  func source(_ entry: YAMLPair, _ path: String, streams: [StreamSettings]) -> SourceSettings? {
    guard let kind = sourceKind(entry, path) else { return nil }
    let known = kind == .http ? Self.httpKeys : Self.tcpKeys
    guard let section = Section(entry.value, path: path, at: entry.keyPosition, known: known, sink: sink) else {
      return nil
    }
    let listen = section.required("listen", "127.0.0.1:8080").flatMap { listenAddress($0, section, "\(path).listen") }
    var stream: String?
    if let node = section.required("stream", "the name of a stream"),
      let name = section.text(node, "\(path).stream", expected: "the name of a stream")
    {
      stream = name
      references.add(name, at: node.position, from: "\(path).stream")
    }
    if kind == .tcp, let framing = section["framing"] {
      _ = section.word(framing, "\(path).framing", of: Self.framings)
    }
    let address = listen ?? ListenAddress(host: "127.0.0.1", port: 0)
    // Off loopback anyone could speak the framed protocol; HTTP has always been open by default.
    let standard: SourceSettings.Authentication = kind == .tcp && !address.isLoopback ? .required : .optional
    var settings = SourceSettings(
      name: entry.key, kind: kind, listen: address, stream: stream ?? "",
      authentication: section.choice("auth") ?? standard, tls: section["tls"].flatMap { tls($0, path) },
      topic: topic(section) ?? entry.key, blockTimeoutNanoseconds: Limits.defaultBlockTimeoutNanoseconds,
      position: Unequated(entry.keyPosition))
    readLimits(section, into: &settings, stream: streams.first { $0.name == stream })
    return listen == nil || stream == nil ? nil : settings
  }

  private func sourceKind(_ entry: YAMLPair, _ path: String) -> SourceSettings.Kind? {
    // What else may stand there depends on the type, so that unknown keys wait until it is known.
    guard let section = Section(entry.value, path: path, at: entry.keyPosition, known: [], sink: sink) else {
      return nil
    }
    guard let type = section.required("type", "http or tcp") else { return nil }
    if case .scalar(let scalar) = type.content, Self.reservedTypes.contains(scalar.text) {
      sink.error(
        at: type.position, "sources of type \(scalar.text) are known but not served by this version",
        expected: "http or tcp")
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
