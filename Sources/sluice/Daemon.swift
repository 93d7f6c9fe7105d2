import ArgumentParser
import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import SluiceHost
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
/// nowhere to go; stopping goes the other way, so that what was taken in is delivered.
actor Daemon {
  private let topology: Topology
  private let plugins: PluginLibrary
  private let logger: Logger
  private let group: MultiThreadedEventLoopGroup
  private let view: DaemonView
  private var streams: [StreamLog] = []
  private var subscribers: [SubscriberInstance] = []
  private var sources: [any IngestSource] = []

  init(_ loaded: LoadedTopology, logger: Logger) {
    topology = loaded.topology
    plugins = loaded.plugins
    self.logger = logger
    group = MultiThreadedEventLoopGroup(numberOfThreads: topology.daemon.eventLoops ?? System.coreCount)
    view = DaemonView()
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
    for settings in topology.streams { try await open(settings) }
    view.setStreams(streams)
    for settings in topology.subscribers { try await start(settings) }
    for settings in topology.sources { try await start(settings) }
    if let admin = topology.daemon.admin { try await startAdmin(admin) }
    logger.info(
      "running",
      metadata: [
        "streams": "\(streams.count)", "subscribers": "\(subscribers.count)", "sources": "\(topology.sources.count)",
      ])
  }

  /// Stops everything in order. True if nothing was left behind.
  func stop() async -> Bool {
    logger.info("stopping")
    view.setStopping()
    var clean = true
    for source in sources { await source.drain(within: .nanoseconds(Limits.drainNanoseconds)) }
    let deadline = Clock.monotonic() + Limits.drainNanoseconds
    await withTaskGroup(of: (String, Bool).self) { group in
      for subscriber in subscribers {
        group.addTask {
          let stopped = await Blocking.run("stop") { () throws(Never) in
            Daemon.deliverRest(of: subscriber, until: deadline)
            return subscriber.stop(deadline: deadline + Limits.drainNanoseconds) == .stopped
          }
          return (subscriber.name, stopped)
        }
      }
      for await (name, stopped) in group where !stopped {
        clean = false
        logger.error("subscriber did not stop in time", metadata: ["subscriber": "\(name)"])
      }
    }
    for stream in streams { await Blocking.run("close") { () throws(Never) in stream.close() } }
    // Loops have no connections any more; if they fail to end, the process ends them.
    try? await group.shutdownGracefully()
    logger.info("stopped")
    return clean
  }

  // MARK: Starting

  private func makeDataDirectory() throws(DaemonError) {
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

  private func open(_ settings: StreamSettings) async throws(DaemonError) {
    var options = StreamOptions(
      name: settings.name, directory: "\(topology.daemon.data)/streams/\(settings.name)")
    options.durability = settings.durability
    options.ringBytes = settings.ringBytes
    options.segmentBytes = settings.segmentBytes
    options.retainBytes = settings.retainBytes
    options.retainAgeNanoseconds = settings.retainAgeNanoseconds
    options.maxRecordBytes = settings.maxRecordBytes
    options.diskReserveBytes = diskReserve()
    let observer = LogReporter(stream: settings.name, logger: logger)
    let chosen = options
    do {
      let log = try await Blocking.run("recover") { () throws(JournalError) in
        try StreamLog.open(chosen, observer: observer)
      }
      streams.append(log)
      let report = log.recovery
      logger.info(
        "recovered",
        metadata: [
          "stream": "\(settings.name)", "log": "\(log.uuid)", "next_lsn": "\(report.nextLSN)",
          "tail": "\(report.tail.rawValue)", "segments": "\(report.segments)",
          "recovery_ms": "\(Double(report.nanoseconds / 10_000) / 100)",
        ])
    } catch {
      throw DaemonError(message: "stream \(settings.name): \(error)", status: ExitStatus.ioError)
    }
  }

  /// The free space that is left alone: a small part of the disk, so that a small disk can be used at all.
  private func diskReserve() -> Int {
    var info = statvfs()
    guard statvfs(topology.daemon.data, &info) == 0 else { return Limits.diskReserveBytes }
    let disk = Int(info.f_blocks) * Int(info.f_frsize)
    return min(Limits.diskReserveBytes, disk / Limits.diskReserveDivisor)
  }

  private func start(_ settings: SubscriberSettings) async throws(DaemonError) {
    do {
      let plugin = try plugins.load(settings.plugin, pluginDirectories: topology.daemon.plugins)
      var readers: [any StreamReader] = []
      for name in settings.streams {
        guard let stream = streams.first(where: { $0.streamName == name }) else {
          preconditionFailure("the topology checks that stream \(name) exists")
        }
        readers.append(try stream.openReader(subscriber: settings.name, start: settings.start))
      }
      guard let dead = streams.first(where: { $0.streamName == settings.deadLetter }) else {
        preconditionFailure("the topology checks that stream \(settings.deadLetter) exists")
      }
      let instance = SubscriberInstance(
        settings: settings, plugin: plugin, readers: readers, dataDirectory: topology.daemon.data,
        deadLetters: StreamDeadLetterSink(dead), hostVersion: Version.text, logger: logger)
      try await Blocking.run("create") { () throws(HostError) in try instance.start() }
      subscribers.append(instance)
      view.setSubscribers(subscribers)
    } catch let error as HostError {
      throw DaemonError(message: "\(error)", status: ExitStatus.unavailable)
    } catch {
      throw DaemonError(message: "subscriber \(settings.name): \(error)", status: ExitStatus.unavailable)
    }
  }

  private func start(_ settings: SourceSettings) async throws(DaemonError) {
    guard let stream = streams.first(where: { $0.streamName == settings.stream }) else {
      preconditionFailure("the topology checks that stream \(settings.stream) exists")
    }
    let parts = SourceParts(group: group, endpoints: view, logger: logger)
    sources.append(try await parts.start(settings, into: stream))
    view.setSources(sources)
  }

  /// The same answers without `POST /log`.
  private func startAdmin(_ address: ListenAddress) async throws(DaemonError) {
    let parts = SourceParts(group: group, endpoints: view, logger: logger)
    sources.append(try await parts.startAdmin(address))
    view.setSources(sources)
  }

  // MARK: Stopping

  /// Waits while the subscriber gets nearer to the end of its streams; one that makes no progress is not waited for.
  private static func deliverRest(of subscriber: SubscriberInstance, until deadline: Int64) {
    let pause = Doorbell()
    var last = UInt64.max
    while Clock.monotonic() < deadline {
      let left = subscriber.status.streams.reduce(0) { $0 + $1.lag.records }
      guard left > 0, left < last else { return }
      last = left
      pause.wait(until: Clock.monotonic() + Limits.drainPollNanoseconds)
    }
  }
}
