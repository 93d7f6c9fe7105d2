import SluiceTopology

/// What the daemon makes of a config by a plugin's schema.
package enum DaemonCheck: Equatable {
  /// What the plugin would be given.
  case delivered(String)
  case refused([String])

  /// `config` in JSON, which is YAML, too.
  package init(_ config: String, schema: String) {
    let yaml = """
      sluice: 1
      streams: { events: {} }
      subscribers: { tested: { plugin: tested, streams: [ events ], config: \(config) } }
      """
    let plugins = OneSchema(schema: PluginSchema(kind: "tested", schemaJSON: schema))
    switch TopologyLoader.load(text: yaml, name: "test", environment: [:], plugins: plugins) {
    case .topology(let topology, _): self = .delivered(topology.subscribers[0].configJSON)
    case .failed(let diagnostics): self = .refused(diagnostics.map(\.message))
    }
  }

  private struct OneSchema: PluginSchemaProvider {
    var schema: PluginSchema
    func describe(
      plugin: String, pluginDirectories: [String], as user: String?
    ) throws(PluginLookupError) -> PluginSchema { schema }
  }
}
