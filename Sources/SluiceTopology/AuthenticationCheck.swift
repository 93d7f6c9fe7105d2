/// Whether the sources that ask who sends can be told, found out when the rest of the topology is read.
enum AuthenticationCheck {
  static func check(_ topology: Topology, _ root: YAMLNode, sink: DiagnosticSink) {
    for source in topology.sources where source.authentication == .required {
      let node = root["sources"]?[source.name]
      let name = "sources.\(source.name)"
      guard source.kind == .http || source.framing == .sluice else {
        refuse(name, node, source, sink)
        continue
      }
      guard topology.identities == nil else { continue }
      if let said = node?["auth"] {
        sink.error(
          at: said.position, "\(name) asks who sends, and the topology has no identities",
          help: "add `identities: ./identities.yaml`, and make one with `sluice identity add`")
      } else {
        sink.error(
          at: node?["listen"]?.position ?? source.position.value,
          "\(name) is reachable by others and so asks who sends, and the topology has no identities",
          help:
            "listen on 127.0.0.1, add `identities: ./identities.yaml` (`sluice identity add` makes it), or `auth: none` "
            + "if whoever can reach the port may write to the stream")
      }
    }
  }

  private static func refuse(
    _ name: String, _ node: YAMLNode?, _ source: SourceSettings, _ sink: DiagnosticSink
  ) {
    if let said = node?["auth"] {
      sink.error(
        at: said.position, "\(name) can't ask who sends: \(form(of: source)) can't say it", expected: "none",
        help: "use `framing: sluice` or `type: http` where that matters")
    } else {
      sink.error(
        at: node?["listen"]?.position ?? source.position.value,
        "\(name) is reachable by others, and \(form(of: source)) can't say who sends them",
        help: "listen on 127.0.0.1, or add `auth: none` if whoever can reach the port may write to the stream")
    }
  }

  private static func form(of source: SourceSettings) -> String {
    source.framing == .syslog ? "syslog messages" : "lines"
  }
}
