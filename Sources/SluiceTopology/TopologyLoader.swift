import SluiceCore

/// What loading gave.
package enum TopologyResult: Sendable {
  case topology(Topology, warnings: [Diagnostic])
  /// Every error that was found (up to `Limits.maxDiagnostics`) and the warnings, by position.
  case failed([Diagnostic])
}

/// YAML → checked topology. Nothing is started, created or written; plugins are only asked for their schemas.
package enum TopologyLoader {
  /// Reads the file at `path` and everything it includes.
  package static func load(
    path: String, environment: [String: String], plugins: any PluginSchemaProvider
  ) -> TopologyResult {
    do {
      let bytes = try FileReading.bytes(of: path, limit: Limits.maxTopologyBytes, regularOnly: false)
      return load(bytes: bytes, name: path, environment: environment, plugins: plugins)
    } catch {
      let start = SourcePosition(file: path, line: 1, column: 1)
      return .failed([Diagnostic(at: start, "the file can't be read: \(error.message)")])
    }
  }

  /// Where the file at `path` says that the daemon keeps its data. What is wrong elsewhere in it does not matter; nil when
  /// it can't be told.
  package static func dataDirectory(path: String, environment: [String: String]) -> String? {
    let sink = DiagnosticSink()
    var includes = Includes(environment: environment, sink: sink)
    guard let bytes = try? FileReading.bytes(of: path, limit: Limits.maxTopologyBytes, regularOnly: false),
      let root = includes.root(bytes, file: path),
      let top = Section(root, path: "the topology", known: [], sink: sink)
    else { return nil }
    return TopologyReader(plugins: NoPlugins(), sink: sink).daemon(top).data
  }

  /// What the file at `path` declares, as far as it can be read, for commands that want its names only: plugins and their
  /// configs are not looked at. Nil when it can't be read at all.
  package static func outline(path: String, environment: [String: String]) -> Topology? {
    let sink = DiagnosticSink()
    var includes = Includes(environment: environment, sink: sink)
    guard let bytes = try? FileReading.bytes(of: path, limit: Limits.maxTopologyBytes, regularOnly: false),
      let root = includes.root(bytes, file: path)
    else { return nil }
    return TopologyReader(plugins: NoPlugins(), sink: sink).read(root, file: path)
  }

  private struct NoPlugins: PluginSchemaProvider {
    func describe(
      plugin kindOrPath: String, pluginDirectories: [String], as user: String?
    ) throws(PluginLookupError) -> PluginSchema {
      throw PluginLookupError(message: "no plugin is looked at")
    }
  }

  /// The same for a text that is in memory; `name` stands for it in diagnostics. Relative paths resolve against
  /// the directory of `name` (the working directory, if it has none).
  package static func load(
    text: String, name: String, environment: [String: String], plugins: any PluginSchemaProvider
  ) -> TopologyResult {
    load(bytes: Array(text.utf8), name: name, environment: environment, plugins: plugins)
  }

  static func load(
    bytes: [UInt8], name: String, environment: [String: String], plugins: any PluginSchemaProvider,
    checksAuthentication: Bool = true
  ) -> TopologyResult {
    let sink = DiagnosticSink()
    var includes = Includes(environment: environment, sink: sink)
    guard let root = includes.root(bytes, file: name) else { return .failed(sink.sorted()) }
    let reader = TopologyReader(plugins: plugins, sink: sink)
    let topology = reader.read(root, file: name)
    if checksAuthentication, let topology { AuthenticationCheck.check(topology, root, sink: sink) }
    guard var topology, !sink.hasErrors else { return .failed(sink.sorted()) }
    topology.files = includes.files + includes.interpolation.files
    topology.texts = sink.texts
    return .topology(topology, warnings: sink.sorted())
  }
}
