import ArgumentParser
import Glibc
import SluiceHost
import SluiceTopology

/// A topology that passed every check, its plugins' own included, and the plugins it names.
struct LoadedTopology {
  var topology: Topology
  var plugins: PluginLibrary
  var warnings: [Diagnostic]

  enum Failure: Error {
    /// The file can't be read at all.
    case unreadable(String)
    case mistakes([Diagnostic])
  }

  /// Reads and checks `path`, or the built-in topology when it is nil.
  static func load(path: String?, environment: [String: String]) throws(Failure) -> LoadedTopology {
    let plugins = PluginLibrary(stateDirectory: nil)
    let result: TopologyResult
    if let path {
      guard access(path, R_OK) == 0 else {
        throw .unreadable("\(path): \(String(cString: strerror(errno)))")
      }
      result = TopologyLoader.load(path: path, environment: environment, plugins: plugins)
    } else {
      result = TopologyLoader.load(
        text: BuiltinTopology.yaml(environment: environment), name: BuiltinTopology.name, environment: environment,
        plugins: plugins)
    }
    switch result {
    case .failed(let diagnostics): throw .mistakes(diagnostics)
    case .topology(let topology, var warnings):
      let findings = topology.subscribers.flatMap { validate($0, in: topology, with: plugins) }
      warnings += findings.filter { $0.severity != .error }
      let errors = findings.filter { $0.severity == .error }
      if !errors.isEmpty { throw .mistakes(errors + warnings) }
      return LoadedTopology(topology: topology, plugins: plugins, warnings: warnings)
    }
  }

  /// What the plugin itself says of its config, at the places where the values stand.
  private static func validate(_ settings: SubscriberSettings, in topology: Topology, with plugins: PluginLibrary)
    -> [Diagnostic]
  {
    do {
      let plugin = try plugins.load(settings.plugin, pluginDirectories: topology.daemon.plugins)
      return plugin.validate(configJSON: settings.configJSON).map { finding in
        topology.diagnostic(
          at: settings.position(ofPointer: finding.pointer), finding.severity == .error ? .error : .warning,
          finding.text)
      }
    } catch {
      return [topology.diagnostic(at: settings.position.value, .error, "\(error)")]
    }
  }

  /// Prints what is wrong as a compiler would, and counts it.
  static func report(_ diagnostics: [Diagnostic]) {
    for diagnostic in diagnostics { StandardError.print(diagnostic.rendered(colour: StandardError.isTerminal)) }
    let errors = diagnostics.filter { $0.severity == .error }.count
    if errors > 0 { StandardError.print("\(errors) \(errors == 1 ? "error" : "errors")") }
  }
}
