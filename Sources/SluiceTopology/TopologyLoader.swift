/// What loading gave.
package enum TopologyResult: Sendable {
  case topology(Topology, warnings: [Diagnostic])
  /// Every error that was found (up to `Limits.maxDiagnostics`) and the warnings, by position.
  case failed([Diagnostic])
}

/// YAML → checked topology.
package enum TopologyLoader {
  /// Reads the file at `path` and everything it includes.
  package static func load(
    path: String, environment: [String: String], plugins: any PluginSchemaProvider
  ) -> TopologyResult {
    .failed([])
  }

  /// The same for a text that is in memory; `name` stands for it in diagnostics. Relative paths resolve against
  /// the directory of `name` (the working directory, if it has none).
  package static func load(
    text: String, name: String, environment: [String: String], plugins: any PluginSchemaProvider
  ) -> TopologyResult {
    .failed([])
  }
}
