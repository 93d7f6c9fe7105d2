import ArgumentParser
import Glibc
import SluiceCore
import SluiceHost
import SluiceTopology

/// A topology that passed every check, its plugins' own included, and the plugins it names.
struct LoadedTopology: Sendable {
  var topology: Topology
  /// By the subscriber's name.
  var plugins: [String: LoadedPlugin]
  var warnings: [Diagnostic]

  enum Failure: Error {
    /// The file can't be read at all.
    case unreadable(String)
    case mistakes([Diagnostic])
  }

  /// Reads and checks `path`, or the built-in topology when it is nil. What `library` has loaded before is not loaded
  /// again.
  static func load(
    path: String?, environment: [String: String], library: PluginLibrary = PluginLibrary(stateDirectory: nil)
  ) throws(Failure) -> LoadedTopology {
    let result: TopologyResult
    if let path {
      guard access(path, R_OK) == 0 else {
        throw .unreadable("\(path): \(String(cString: strerror(errno)))")
      }
      result = TopologyLoader.load(path: path, environment: environment, plugins: library)
    } else {
      result = TopologyLoader.load(
        text: BuiltinTopology.yaml(environment: environment), name: BuiltinTopology.name, environment: environment,
        plugins: library)
    }
    return try load(result, library: library)
  }

  /// Goes on behind what the loader found.
  static func load(_ result: TopologyResult, library: PluginLibrary) throws(Failure) -> LoadedTopology {
    switch result {
    case .failed(let diagnostics): throw .mistakes(diagnostics)
    case .topology(let topology, var warnings):
      var plugins: [String: LoadedPlugin] = [:]
      var findings: [Diagnostic] = []
      for settings in topology.subscribers {
        do {
          var place = try place(of: settings, library, topology)
          if place == .thread, library.lookingPlace == .process,
            try library.isUnsoundSwap(settings.plugin, pluginDirectories: topology.daemon.plugins)
          {
            place = .process
            findings.append(swapWarning(settings, topology))
          }
          let plugin = try library.load(
            settings.plugin, pluginDirectories: topology.daemon.plugins, place: place)
          plugins[settings.name] = plugin
          findings += validate(settings, plugin, in: topology)
        } catch {
          findings.append(topology.diagnostic(at: settings.position.value, .error, "\(error)"))
        }
      }
      warnings += findings.filter { $0.severity != .error }
      let errors = findings.filter { $0.severity == .error }
      if !errors.isEmpty { throw .mistakes(errors + warnings) }
      return LoadedTopology(topology: topology, plugins: plugins, warnings: warnings)
    }
  }

  private static func swapWarning(_ settings: SubscriberSettings, _ topology: Topology) -> Diagnostic {
    topology.diagnostic(
      at: settings.position.value, .warning,
      "the file of plugin \(settings.plugin) was replaced, and two generations of it can't be told apart in one process: "
        + "it has retroactive conformances. The new one runs in a process of its own until the daemon is restarted",
      help: "leave `@retroactive` conformances out of a Swift plugin")
  }

  /// What the plugin itself says of its config, at the places where the values stand.
  private static func validate(_ settings: SubscriberSettings, _ plugin: LoadedPlugin, in topology: Topology)
    -> [Diagnostic]
  {
    isolationProblem(settings, plugin, in: topology) + publishProblems(settings, plugin, in: topology)
      + plugin.validate(configJSON: settings.configJSON).map { finding in
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
  private static func isolationProblem(_ settings: SubscriberSettings, _ plugin: LoadedPlugin, in topology: Topology)
    -> [Diagnostic]
  {
    let place = settings.position.value
    guard case .process(let user?, _) = settings.isolation else { return [] }
    guard let entry = getpwnam(user) else {
      return [topology.diagnostic(at: place, .error, "isolation.process.user: there is no user '\(user)' here")]
    }
    guard geteuid() == 0 || entry.pointee.pw_uid == geteuid() else {
      return [
        topology.diagnostic(
          at: place, .error, "isolation.process.user: only a daemon that runs as root can start processes of '\(user)'",
          help: "run the daemon as root, or leave `user` out")
      ]
    }
    return []
  }

  /// From now on a crash of this process is told with the plugins that are in it.
  func reportCrashes() {
    let here = Set(plugins.values.filter { !$0.isIsolated }.map(\.path)).sorted()
    CrashReport.noteProcess(
      here.isEmpty
        ? "sluice: a crash, and no plugin is in this process.\n"
        : "sluice: a crash. Plugins in this process: \(here.joined(separator: ", ")). "
          + "With `isolation: process` each has a process of its own.\n")
    CrashReport.install()
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

  init(path: String?, workingDirectory directory: String) {
    // Of the root nothing goes in front of a slash, so that a path is written the same whichever way it was made.
    let directory = directory == "/" ? "" : directory
    self.path = path.map { $0.hasPrefix("/") ? $0 : "\(directory)/\($0)" }
    workingDirectory = directory
    environment = Environment.current
    library = PluginLibrary(stateDirectory: nil)
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
