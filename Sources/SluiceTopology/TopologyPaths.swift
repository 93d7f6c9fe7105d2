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
      if var tls = source.tls {
        tls.certificate = made(tls.certificate)
        tls.key = made(tls.key)
        tls.clientCA = tls.clientCA.map(made)
        source.tls = tls
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
