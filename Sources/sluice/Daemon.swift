import ArgumentParser
import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import SluiceHost
import SluiceIdentity
import SluiceIngest
import SluiceJournal
import SluiceTopology

/// Why the daemon did not start, and the exit status that says so.
struct DaemonError: Error {
  var message: String
  var status: ExitCode
}

/// The parts of one topology, joined: the only place where ingest, journal and host meet.
///
/// Starting goes from the far end to the near one (streams, subscribers, sources), so that nothing is taken in that has
/// nowhere to go; stopping goes the other way, so that what was taken in is delivered. `DaemonReload.swift` changes the
/// parts while they run; changes and the end come one after another.
actor Daemon {
  let origin: TopologyOrigin
  let logger: Logger
  let storage: any LogStorage
  let group: MultiThreadedEventLoopGroup
  let view: DaemonView
  var topology: Topology
  var parts = RunningParts()
  /// Of the topology that runs; 0 while the first is started.
  var generation: UInt64 = 0
  /// The last change that was asked for: the next waits for it.
  var lastChange: Task<Void, Never>?
  /// A SIGHUP that no reload has begun to answer.
  var isReloadDue = false
  var isStopping = false
  /// While a reload waits for subscribers to start.
  var starting: StartPatience?
  /// Subscribers that a reload has ended in vain, until their plugins return.
  var leftBehind: [LeftBehind] = []
  /// The next try of each subscriber that could not be brought back.
  var comebackTries: [String: Task<Void, Never>] = [:]
  /// Cursors that a failed reload has made and that a subscriber it left behind holds until its plugin returns, by name.
  var unforgotten: [String: (holder: SubscriberInstance, logs: [StreamLog])] = [:]
  var retirement: Task<Void, Never>?
  var control: ControlServer?
  let watchdog = Watchdog()
  /// From the start on.
  var directory: DataDirectory?
  /// Orphans that the log has told of.
  var toldOrphans: Set<String> = []
  let plugins: [String: LoadedPlugin]
  let identities: IdentityAuthority
  /// Of the first generation; those that run have their own.
  let tls: [String: TLSMaterial]

  init(_ loaded: LoadedTopology, from origin: TopologyOrigin, storage: any LogStorage, logger: Logger) {
    topology = loaded.topology
    plugins = loaded.plugins
    identities = IdentityAuthority(loaded.identities) { logger.notice(refusal: $0) }
    tls = loaded.tls
    self.origin = origin
    view = DaemonView(origin.library)
    self.logger = logger
    self.storage = storage
    group = MultiThreadedEventLoopGroup(numberOfThreads: topology.daemon.eventLoops ?? System.coreCount)
  }

  func start() async throws(DaemonError) {
    logger.info(
      "starting",
      metadata: [
        "version": "\(Version.text)", "topology": "\(topology.file)", "data": "\(topology.daemon.data)",
        "pid": "\(getpid())",
      ])
    EventLoopThreads.name(group, "http")
    try makeDataDirectory()
    let streams = Set(topology.streams.map(\.name))
    try await takeDataDirectory(for: streams)
    for settings in topology.streams { try await open(settings, among: streams) }
    for settings in topology.subscribers {
      guard let plugin = plugins[settings.name] else { preconditionFailure("a checked subscriber has its plugin") }
      parts.subscribers[settings.name] = try await start(settings, plugin)
    }
    for settings in topology.sources {
      let socket = try await socket(on: settings.listen, of: settings.name, settings.socket)
      parts.sources[settings.name] = try await start(settings, on: socket, tls: tls[settings.name])
    }
    let admin = topology.daemon.admin
    parts.admin = try await startAdmin(admin, on: socket(on: admin, of: nil))
    try await startControl()
    generation = 1
    show()
    watchdog.start(view)
    await lookForOrphans()
    logger.info(
      "running",
      metadata: [
        "streams": "\(parts.streams.count)", "subscribers": "\(parts.subscribers.count)",
        "sources": "\(parts.sources.count)",
      ])
  }

  /// `ended`: parts that are gone, whose counts go on with a successor of the same name if there is one.
  func show(ended: [(name: String, part: any MetricSource)] = []) {
    view.show(parts, of: topology, generation: generation, ended: ended)
  }

  /// Stops everything in order. True if nothing was left behind.
  func stop() async -> Bool {
    isStopping = true
    view.setStopping()
    logger.info("stopping")
    // A reload that is under way gives up where it stands.
    starting?.end()
    PluginLibrary.endLooks()
    await lastChange?.value
    await stopControl()
    retirement?.cancel()
    for next in comebackTries.values { next.cancel() }
    var sources = Array(parts.sources.values) + parts.retired + [parts.admin].compactMap(\.self)
    // Nobody is to wait in the queue of a socket that is not accepted on.
    for place in sources.indices { sources[place].socket = nil }
    parts.sources = [:]
    parts.admin = nil
    await drain(sources)
    let clean = await stopSubscribers()
    await close(Array(parts.streams.values))
    // Loops have no connections any more; if they fail to end, the process ends them.
    try? await group.shutdownGracefully()
    await Blocking.run("stop") { [watchdog] () throws(Never) in watchdog.stop() }
    logger.info("stopped")
    return clean
  }

  /// Stops accepting, answers what is pending, and closes; what is left at the end of the time for it is cut.
  func drain(_ sources: [RunningSource]) async {
    await withTaskGroup(of: Void.self) { group in
      for running in sources {
        group.addTask { await running.source.drain(within: .nanoseconds(Limits.drainNanoseconds)) }
      }
    }
  }

  /// Lets subscribers come to the end of their streams, then stops them. True if all did.
  private func stopSubscribers() async -> Bool {
    // In looks and not in time, and each step's time from its own beginning: while the daemon does not get to run, nothing
    // can come nearer to its end.
    var looks = Limits.drainNanoseconds / Limits.drainPollNanoseconds
    await deliverRest {
      looks -= 1
      return looks >= 0
    }
    let deadline = Clock.monotonic() + Limits.drainNanoseconds
    let subscribers = parts.subscribers.values.map(\.instance)
    return await withTaskGroup(of: (String, Bool).self) { group in
      for subscriber in subscribers {
        group.addTask {
          let stopped = await Blocking.run("stop") { () throws(Never) in
            subscriber.stop(deadline: deadline) == .stopped
          }
          return (subscriber.name, stopped)
        }
      }
      var clean = true
      for await (name, stopped) in group where !stopped {
        clean = false
        logger.error("subscriber did not stop in time", metadata: ["subscriber": "\(name)"])
      }
      return clean
    }
  }

  func makeDataDirectory() throws(DaemonError) {
    let data = topology.daemon.data
    var path = data.hasPrefix("/") ? "" : "."
    for part in data.split(separator: "/") {
      path += "/\(part)"
      guard mkdir(path, 0o750) == 0 || errno == EEXIST else {
        throw DaemonError(
          message: "cannot make the data directory \(data): \(String(cString: strerror(errno)))",
          status: ExitStatus.cannotCreate)
      }
    }
    guard access(data, R_OK | W_OK | X_OK) == 0 else {
      throw DaemonError(
        message: "cannot use the data directory \(data): \(String(cString: strerror(errno)))",
        status: ExitStatus.cannotCreate)
    }
  }
}
