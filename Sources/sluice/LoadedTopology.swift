import ArgumentParser
import Glibc
import SluiceCore
import SluiceHost
import SluiceIngest
import SluiceTopology

/// A topology that passed every check, its plugins' own included, and the plugins it names.
struct LoadedTopology: Sendable {
  var topology: Topology
  /// By the subscriber's name.
  var plugins: [String: LoadedPlugin]
  /// Who there is, if the topology names a file of them.
  var identities: [IdentityDefinition] = []
  /// By the source's name: those that are encrypted.
  var tls: [String: TLSMaterial] = [:]
  var warnings: [Diagnostic]

  enum Failure: Error {
    /// The file can't be read at all.
    case unreadable(String)
    case mistakes([Diagnostic])
  }

  /// Reads and checks `path`, or the built-in topology when it is nil. What `library` has loaded before is not loaded
  /// again. With `isLoading` false no plugin's code runs: the topology can be looked at and not be run.
  static func load(
    path: String?, environment: [String: String], library: PluginLibrary = PluginLibrary(stateDirectory: nil),
    isLoading: Bool = true
  ) throws(Failure) -> LoadedTopology {
    let plugins: any PluginSchemaProvider = isLoading ? library : UnloadedPlugins(library)
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
    return try load(result, library: isLoading ? library : nil)
  }

  /// Goes on behind what the loader found. No `library`: no plugin is loaded.
  static func load(_ result: TopologyResult, library: PluginLibrary?) throws(Failure) -> LoadedTopology {
    switch result {
    case .failed(let diagnostics): throw .mistakes(diagnostics)
    case .topology(var topology, var warnings):
      var plugins: [String: LoadedPlugin] = [:]
      var findings: [Diagnostic] = []
      for settings in topology.subscribers {
        findings += isolationProblem(settings, in: topology)
        if let library { plugins[settings.name] = load(settings, library, in: topology, &findings) }
      }
      var identities: [IdentityDefinition] = []
      switch topology.identities.map({ IdentitiesFile.load($0) }) {
      case .identities(let found): identities = found
      case .failed(let mistakes): findings += mistakes
      case nil: break
      }
      let tls = SourceTLS.load(&topology, &findings)
      warnings += findings.filter { $0.severity != .error }
      let errors = findings.filter { $0.severity == .error }
      if !errors.isEmpty { throw .mistakes(errors + warnings) }
      return LoadedTopology(
        topology: topology, plugins: plugins, identities: identities, tls: tls, warnings: warnings)
    }
  }

  /// Nil when it can't be, which stands in the findings.
  private static func load(
    _ settings: SubscriberSettings, _ library: PluginLibrary, in topology: Topology, _ findings: inout [Diagnostic]
  ) -> LoadedPlugin? {
    do {
      var place = try place(of: settings, library, topology)
      if place == .thread, library.lookingPlace == .process,
        let confusion = try library.confusion(settings.plugin, pluginDirectories: topology.daemon.plugins)
      {
        place = .process
        findings.append(warning(of: confusion, settings, topology))
      }
      let user = settings.isolation.user
      let plugin = try library.load(
        settings.plugin, pluginDirectories: topology.daemon.plugins, place: place, as: user)
      findings += publishProblems(settings, plugin, in: topology)
      // What it says of a config is asked in a process that may crash, or take too long.
      let judge = try library.load(
        settings.plugin, pluginDirectories: topology.daemon.plugins, place: library.lookingPlace, as: user)
      findings += validate(settings, judge, in: topology)
      return plugin
    } catch {
      findings.append(topology.diagnostic(at: settings.position.value, .error, "\(error)"))
      return nil
    }
  }

  private static func warning(
    of confusion: PluginLibrary.Confusion, _ settings: SubscriberSettings, _ topology: Topology
  ) -> Diagnostic {
    let text =
      switch confusion {
      case .replaced:
        "the file of plugin \(settings.plugin) was replaced, and two generations of it can't be told apart in one process: "
          + "it has retroactive conformances. The new one runs in a process of its own until the daemon is restarted"
      case .alike(let path):
        "plugin \(settings.plugin) and \(path), which is in the daemon's process, both have retroactive conformances, and "
          + "if they have the same one it can't be told apart in one process. This one runs in a process of its own"
      }
    return topology.diagnostic(
      at: settings.position.value, .warning, text, help: "leave `@retroactive` conformances out of a Swift plugin")
  }

  /// What the plugin itself says of its config, at the places where the values stand.
  private static func validate(_ settings: SubscriberSettings, _ plugin: LoadedPlugin, in topology: Topology)
    -> [Diagnostic]
  {
    plugin.validate(configJSON: settings.placeholderConfigJSON, as: settings.isolation.user).map { finding in
      topology.diagnostic(
        at: settings.position(ofPointer: finding.pointer), finding.severity == .error ? .error : .warning,
        finding.text)
    }
  }

  /// Where a subscriber's plugin runs: as the topology says, else in a process unless it is an installed one that does not
  /// ask for one.
  private static func place(
    of settings: SubscriberSettings, _ library: PluginLibrary, _ topology: Topology
  ) throws(PluginLoadError) -> PluginPlace {
    switch settings.isolation {
    case .thread: return .thread
    case .process: return .process
    case .automatic:
      guard library.lookingPlace == .process else { return .thread }
      let plugin = try library.load(
        settings.plugin, pluginDirectories: topology.daemon.plugins, place: library.lookingPlace)
      return plugin.needsOwnProcess || !PluginLibrary.isInstalled(plugin.path) ? .process : .thread
    }
  }

  /// Outputs that the plugin does not have.
  private static func publishProblems(_ settings: SubscriberSettings, _ plugin: LoadedPlugin, in topology: Topology)
    -> [Diagnostic]
  {
    settings.publish.filter { !plugin.outputs.contains($0.output) }.map { publication in
      let has = plugin.outputs.isEmpty ? "none" : plugin.outputs.joined(separator: ", ")
      return topology.diagnostic(
        at: publication.position.value ?? settings.position.value, .error,
        "plugin \(plugin.kind) has no output '\(publication.output)'",
        suggestion: nearestName(to: publication.output, in: plugin.outputs), help: "its outputs: \(has)")
    }
  }

  /// What speaks against a process of another user.
  private static func isolationProblem(_ settings: SubscriberSettings, in topology: Topology) -> [Diagnostic] {
    let place = settings.position.value
    guard let user = settings.isolation.user else { return [] }
    guard let account = UserAccount(named: user) else {
      return [topology.diagnostic(at: place, .error, "isolation.process.user: there is no user '\(user)' here")]
    }
    guard geteuid() == 0 || account.user == geteuid() else {
      return [
        topology.diagnostic(
          at: place, .error, "isolation.process.user: only a daemon that runs as root can start processes of '\(user)'",
          help: "run the daemon as root, or leave `user` out")
      ]
    }
    return []
  }

  /// Throws the exit status, after it has said why.
  static func orExit(_ load: () throws(Failure) -> LoadedTopology) throws -> LoadedTopology {
    do throws(Failure) {
      return try load()
    } catch {
      switch error {
      case .unreadable(let why):
        StandardError.print("\(why)")
        throw ExitStatus.noInput
      case .mistakes(let diagnostics):
        report(diagnostics)
        throw ExitStatus.configuration
      }
    }
  }

  /// Prints what is wrong as a compiler would, and counts it.
  static func report(_ diagnostics: [Diagnostic]) {
    for diagnostic in diagnostics { StandardError.print(diagnostic.rendered(colour: StandardError.isTerminal)) }
    let errors = diagnostics.filter { $0.severity == .error }.count
    if errors > 0 { StandardError.print("\(errors) \(errors == 1 ? "error" : "errors")") }
  }
}

/// Where a daemon's topology comes from, so that it can be read again wherever the process stands by then.
struct TopologyOrigin: Sendable {
  /// Nil for the built-in topology.
  let path: String?
  /// The one that the daemon was started in.
  let workingDirectory: String
  let environment: [String: String]
  let library: PluginLibrary

  /// `runs`: it is for a daemon, which takes the data directory.
  init(path: String?, workingDirectory directory: String, runs: Bool) {
    // Of the root nothing goes in front of a slash, so that a path is written the same whichever way it was made.
    let directory = directory == "/" ? "" : directory
    self.path = path.map { $0.hasPrefix("/") ? $0 : "\(directory)/\($0)" }
    workingDirectory = directory
    environment = Environment.current
    library = PluginLibrary(stateDirectory: nil, usesData: runs)
  }

  /// Once more, for a reload, which a pipe could keep waiting for ever.
  func reload() throws(LoadedTopology.Failure) -> LoadedTopology {
    if let path {
      var status = stat()
      guard stat(path, &status) == 0 else { throw .unreadable("\(path): \(String(cString: strerror(errno)))") }
      guard status.st_mode & S_IFMT == S_IFREG else {
        throw .unreadable("\(path) is not a regular file, and can't be read again")
      }
    }
    return try load(calling: path)
  }

  /// `shown`: how messages call the file.
  func load(calling shown: String?) throws(LoadedTopology.Failure) -> LoadedTopology {
    var loaded = try LoadedTopology.load(path: shown, environment: environment, library: library)
    loaded.topology = loaded.topology.absolute(from: workingDirectory)
    return loaded
  }
}
