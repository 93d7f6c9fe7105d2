/// What the vocabulary has and this version does not serve yet. Each of these would silently weaken a promise if it
/// were read and ignored, so that it is an error. Rows go as features come.
enum UnservedFeatures {
  struct Feature: Sendable {
    /// Keys with dots between; `*` is any key.
    var key: String
    /// The values that are not served; empty: any. `!x` means every value but x.
    var values: [String]
    var what: String

    init(_ key: String, _ values: [String] = [], _ what: String) {
      self.key = key
      self.values = values
      self.what = what
    }
  }

  static let all: [Feature] = [
    Feature("identities", "identities"),
    Feature("sources.*.framing", ["syslog"], "this framing"),
    Feature("sources.*.auth", ["required"], "authentication"),
    Feature("sources.*.tls", "TLS"),
  ]

  static func check(_ root: YAMLNode, against features: [Feature] = all, sink: DiagnosticSink) {
    for feature in features {
      find(feature.key.split(separator: ".")[...], root, "") { node, path in
        guard applies(feature, to: node), !sink.hasError(at: node.position) else { return }
        let shown = feature.values.isEmpty ? path : "\(path) as \(node.describedKind)"
        sink.error(
          at: node.position, "\(shown) is not served by this version: \(feature.what)",
          help: "remove it; leaving it out of account would promise what is not kept")
      }
    }
  }

  /// What a topology asks for by leaving it out: off loopback a framed source asks for authentication.
  static func checkDefaults(_ topology: Topology, _ root: YAMLNode, sink: DiagnosticSink) {
    for source in topology.sources where source.kind == .tcp && source.authentication == .required {
      let node = root["sources"]?[source.name]
      guard node?["auth"] == nil else { continue }
      sink.error(
        at: node?["listen"]?.position ?? source.position.value,
        "sources.\(source.name) is reachable by others, and this version does not serve authentication for type: tcp",
        help: "listen on 127.0.0.1, or add `auth: none` if whoever can reach the port may write to the stream")
    }
  }

  private static func find(
    _ keys: ArraySlice<Substring>, _ node: YAMLNode, _ path: String, _ found: (YAMLNode, String) -> Void
  ) {
    guard let key = keys.first else { return found(node, path) }
    guard case .mapping(let pairs) = node.content else { return }
    for pair in pairs where key == "*" || pair.key == key {
      find(keys.dropFirst(), pair.value, path.isEmpty ? pair.key : "\(path).\(pair.key)", found)
    }
  }

  private static func applies(_ feature: Feature, to node: YAMLNode) -> Bool {
    if feature.values.isEmpty { return true }
    guard let text = text(of: node) else { return false }
    let excepted = feature.values.filter { $0.hasPrefix("!") }.map { $0.dropFirst() }
    return excepted.isEmpty ? feature.values.contains(text) : !excepted.contains(text[...])
  }

  private static func text(of node: YAMLNode) -> String? {
    if case .scalar(let scalar) = node.content { return scalar.text }
    return nil
  }
}

extension UnservedFeatures.Feature {
  init(_ key: String, _ what: String) { self.init(key, [], what) }
}
