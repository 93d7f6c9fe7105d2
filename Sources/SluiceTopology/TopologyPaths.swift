extension Topology {
  /// The directory of the file, which relative paths resolve against; the working directory for the built-in one.
  package var directory: String {
    guard let slash = file.lastIndex(of: "/") else { return "." }
    return slash == file.startIndex ? "/" : String(file[..<slash])
  }

  /// The same topology with every path absolute, so that it stays true when the process changes its working directory.
  package func absolute(from workingDirectory: String) -> Topology {
    func made(_ path: String) -> String { path.hasPrefix("/") ? path : "\(workingDirectory)/\(path)" }
    var topology = self
    topology.daemon.data = made(daemon.data)
    topology.daemon.plugins = daemon.plugins.map(made)
    if case .file(let path) = daemon.logTarget { topology.daemon.logTarget = .file(made(path)) }
    topology.identities = identities.map(made)
    topology.sources = sources.map { source in
      var source = source
      if var files = source.tlsFiles {
        files.certificate = made(files.certificate)
        files.key = made(files.key)
        files.clientCA = files.clientCA.map(made)
        source.tlsFiles = files
      }
      return source
    }
    topology.subscribers = subscribers.map { subscriber in
      var subscriber = subscriber
      if subscriber.pluginIsPath { subscriber.plugin = made(subscriber.plugin) }
      return subscriber
    }
    return topology
  }
}
