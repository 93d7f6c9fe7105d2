import SluiceCore

extension TopologyReader {
  /// `config:` of a subscriber, by the schema that its plugin carries.
  func readConfig(
    _ node: YAMLNode?, keyPosition: SourcePosition?, plugin: String, named position: SourcePosition,
    into settings: inout SubscriberSettings
  ) {
    guard let schema = schema(of: plugin, as: settings.isolation.user, at: position) else {
      if let node { blank(node) }
      return
    }
    let path = "subscribers.\(settings.name).config"
    let place = settings.position.value
    var config = ConfigNode(JSONValue.object([]), at: place)
    if let node, !node.isNull { config = ConfigNode(node, keyPosition: keyPosition ?? node.position, sink: sink) }
    // Schemas that don't name a type at the root take mappings only, all the same: a config has keys.
    if case .object = config.value {
    } else {
      if let node { blank(node) }
      sink.error(at: node?.position ?? place, "expected a mapping for \(path), found \(config.described)")
      return
    }
    var check = ConfigCheck(schema)
    let result = check.run(config, path: path)
    for secret in check.secrets { sink.texts.markSecret(secret.span, in: secret.file) }
    for finding in check.findings { sink.add(finding) }
    let text = result.json().canonicalText
    guard text.utf8.count <= Limits.maxPluginConfigBytes else {
      sink.error(at: config.position, "\(path) has more than \(Limits.maxPluginConfigBytes) bytes")
      return
    }
    settings.configJSON = text
    settings.placeholderConfigJSON = result.json(withPlaceholders: true).canonicalText
    result.positions(into: &settings.configPositions.value)
  }

  private func schema(of plugin: String, as user: String?, at position: SourcePosition) -> ConfigSchema? {
    let description: PluginSchema
    do {
      description = try plugins.describe(plugin: plugin, pluginDirectories: pluginDirectories, as: user)
    } catch {
      sink.error(at: position, error.message, suggestion: error.suggestion, help: error.remedy)
      return nil
    }
    do {
      return try ConfigSchema(text: description.schemaJSON)
    } catch {
      sink.error(
        at: position, "the config schema of the plugin \(quoted(description.kind)) \(error.message)",
        help: "that is the plugin's fault; ask its author for a version that keeps to what Sluice knows")
      return nil
    }
  }

  /// Without a schema nobody knows which values are secret: all are taken as such.
  func blank(_ node: YAMLNode) {
    switch node.content {
    case .scalar: sink.texts.markSecret(node.span, in: node.position.file)
    case .sequence(let items): for item in items { blank(item) }
    case .mapping(let pairs): for pair in pairs { blank(pair.value) }
    }
  }
}
