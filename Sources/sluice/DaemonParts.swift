// How each part is made, for the first generation and for those that a reload brings.

import Glibc
import Logging
import SluiceCore
import SluiceHost
import SluiceIdentity
import SluiceIngest
import SluiceJournal
import SluiceTopology

extension Daemon {
  // MARK: Streams

  /// `streams`: all that are open or are to be. True if nobody had anything of the stream.
  @discardableResult
  func open(_ settings: StreamSettings, among streams: Set<String>) async throws(DaemonError) -> Bool {
    guard let directory else { preconditionFailure("the data directory is taken first") }
    let options = options(of: settings)
    let observer = LogReporter(stream: settings.name, logger: logger)
    let storage = storage
    do {
      let (log, admission, unsaved) = try await Blocking.run("recover") { () throws(JournalError) in
        let admission = try directory.admit(options.name, among: streams, onCorruption: options.onCorruption)
        var options = options
        options.knownLSN = admission.knownLSN
        let log = try StreamLog.open(options, observer: observer, storage: storage)
        return (log, admission, directory.opened(options.name, log.uuid))
      }
      parts.streams[settings.name] = RunningStream(settings: settings, log: log)
      tell(admission.standing, of: log)
      if let unsaved { tellUnsaved(unsaved) }
      let report = log.recovery
      logger.info(
        "recovered",
        metadata: [
          "stream": "\(settings.name)", "log": "\(log.uuid)", "next_lsn": "\(report.nextLSN)",
          "tail": "\(report.tail.rawValue)", "segments": "\(report.segments)",
          "recovery_ms": "\(Double(report.nanoseconds / 10_000) / 100)",
          "recovery_cpu_ms": "\(Double(report.cpuNanoseconds / 10_000) / 100)",
        ])
      return admission.isFresh
    } catch {
      let status =
        switch error.kind {
        case .damaged, .foreign: ExitStatus.dataError
        case .limit: ExitStatus.unavailable
        default: ExitStatus.ioError
        }
      throw DaemonError(message: "stream \(settings.name): \(error)", status: status)
    }
  }

  /// Tells an open stream what may change while it is.
  func reconfigure(_ settings: StreamSettings) throws(DaemonError) {
    do {
      try log(named: settings.name).reconfigure(options(of: settings))
      parts.streams[settings.name]?.settings = settings
    } catch {
      throw DaemonError(message: "stream \(settings.name): \(error)", status: ExitStatus.unavailable)
    }
  }

  private func options(of settings: StreamSettings) -> StreamOptions {
    var options = StreamOptions(
      name: settings.name, directory: "\(topology.daemon.data)/streams/\(settings.name)")
    options.durability = settings.durability
    options.ringBytes = settings.ringBytes
    options.segmentBytes = settings.segmentBytes
    options.retainBytes = settings.retainBytes
    options.retainAgeNanoseconds = settings.retainAgeNanoseconds
    options.maxRecordBytes = settings.maxRecordBytes
    options.lingerNanoseconds = settings.commitLingerNanoseconds
    options.cursorExpiryNanoseconds = settings.cursorExpiryNanoseconds
    options.onCorruption = settings.onCorruption == .halt ? .halt : .gap
    options.whenFull =
      switch settings.whenFull {
      case .reject: .reject
      case .block: .block
      case .dropOldest: .dropOldest
      }
    options.diskReserveBytes = diskReserve()
    return options
  }

  /// The free space that is left alone: a small part of the disk, so that a small disk can be used at all.
  private func diskReserve() -> Int {
    var info = statvfs()
    guard statvfs(topology.daemon.data, &info) == 0 else { return Limits.diskReserveBytes }
    let disk = Int(info.f_blocks) * Int(info.f_frsize)
    return min(Limits.diskReserveBytes, disk / Limits.diskReserveDivisor)
  }

  func close(stream name: String) async {
    guard let stream = parts.streams.removeValue(forKey: name) else { return }
    await close([stream])
  }

  /// Undoes that a stream was opened. One that was `fresh` and in which nothing was stored is as if it had not been.
  func takeBack(stream name: String, fresh: Bool) async {
    guard let stream = parts.streams[name] else { return }
    await close(stream: name)
    guard fresh, stream.log.submittedLSN == 0, let directory else { return }
    let fault = await Blocking.run("close") { () throws(Never) in directory.unmake(name, stream.log.uuid) }
    if let fault { logger.warning("an empty stream was left: \(fault)", metadata: ["stream": "\(name)"]) }
  }

  /// Orderly, one after the other. The registry then says where they ended.
  func close(_ streams: [RunningStream]) async {
    let directory = directory
    let unsaved = await Blocking.run("close") { () throws(Never) in
      for stream in streams {
        stream.letters?.close()
        stream.log.close()
        if stream.log.status.state == .closed {
          directory?.closed(stream.log.streamName, stream.log.uuid, lastLSN: stream.log.durableLSN)
        }
      }
      return streams.isEmpty ? nil : directory?.save()
    }
    if let unsaved { tellUnsaved(unsaved) }
  }

  /// Opens the dead letters of a stream, which holds them until they are settled.
  private func openLetters(in name: String) async throws(DaemonError) {
    guard parts.streams[name]?.letters == nil else { return }
    let log = log(named: name)
    do {
      parts.streams[name]?.letters = try await Blocking.run("recover") { () throws(JournalError) in
        try DeadLetterDoor(log)
      }
    } catch {
      throw DaemonError(message: "the dead letters of stream \(name): \(error)", status: ExitStatus.ioError)
    }
  }

  func log(named name: String) -> StreamLog {
    guard let stream = parts.streams[name] else {
      preconditionFailure("the topology checks that stream \(name) exists")
    }
    return stream.log
  }

  // MARK: Subscribers

  /// Makes the subscriber's instance and gives it its cursors. Nothing of it is left when that fails. What the plugin's
  /// `start` needs of the world may come later. `generation`: of the topology that it came with; nil: that is about to be.
  func start(
    _ settings: SubscriberSettings, _ plugin: LoadedPlugin, generation: UInt64? = nil
  ) async throws(DaemonError) -> RunningSubscriber {
    let subscriber = try await make(settings, plugin, generation)
    try await admit(subscriber)
    try await begin(subscriber)
    return subscriber
  }

  /// Makes the instance of one that has its cursors.
  func begin(_ subscriber: RunningSubscriber) async throws(DaemonError) {
    try await work("create", of: subscriber.settings) { try subscriber.instance.start() }
  }

  /// Has the plugin of one that was made start, without anything to deliver. Nothing of it is left when that fails, or is
  /// given up.
  func prepare(_ subscriber: RunningSubscriber, _ patience: StartPatience) async throws(DaemonError) -> FirstStart {
    try await work("create", of: subscriber.settings) {
      try subscriber.instance.start(patience: patience)
      return try subscriber.instance.awaitStart(patience: patience)
    }
  }

  /// Gives one that was made, or prepared, its cursors, which nobody else has by now. `isReplayed`: as `make` was told.
  func admit(_ subscriber: RunningSubscriber, isReplayed: Bool = false) async throws(DaemonError) {
    try await work("create", of: subscriber.settings) { [logs = isReplayed ? [] : logs(of: subscriber.settings)] in
      try Self.admit(subscriber, to: logs)
    }
  }

  private static func admit(_ subscriber: RunningSubscriber, to logs: [StreamLog]) throws {
    let settings = subscriber.settings
    var readers: [any StreamReader] = []
    for log in logs {
      readers.append(try log.openReader(subscriber: settings.name, start: settings.start, maxLag: settings.maxLag))
    }
    subscriber.instance.admit(readers)
  }

  private func logs(of settings: SubscriberSettings) -> [StreamLog] { settings.streams.map { log(named: $0) } }

  /// What waits for a disk or a plugin, with the subscriber's name on what it throws.
  private func work<Result: Sendable>(
    _ name: String, of settings: SubscriberSettings, _ body: @escaping @Sendable () throws -> Result
  ) async throws(DaemonError) -> Result {
    try await Blocking.run(name) { () throws(DaemonError) in
      do {
        return try body()
      } catch let error as HostError {
        throw DaemonError(message: "\(error)", status: ExitStatus.unavailable)
      } catch {
        throw DaemonError(message: "subscriber \(settings.name): \(error)", status: ExitStatus.unavailable)
      }
    }
  }

  /// `isReplayed`: it is to be given what is replayed to it and nothing else, and its cursors are let be.
  func make(
    _ settings: SubscriberSettings, _ plugin: LoadedPlugin, isReplayed: Bool = false, _ itsGeneration: UInt64? = nil
  ) async throws(DaemonError) -> RunningSubscriber {
    try await openLetters(in: settings.deadLetter)
    let instance = SubscriberInstance(
      settings: settings, plugin: plugin,
      streams: isReplayed ? [] : logs(of: settings).map { ($0.streamName, $0.uuid) },
      publishTargets: settings.publish.map { PublishTarget(output: $0.output, log: log(named: $0.stream)) },
      dataDirectory: topology.daemon.data, deadLetters: StreamDeadLetterSink(log(named: settings.deadLetter)),
      hostVersion: Version.text, generation: itsGeneration ?? generation + 1, logger: logger)
    return RunningSubscriber(settings: settings, plugin: plugin, instance: instance)
  }

  /// Ends it behind the batch in its plugin's hands. False: the plugin did not return, and was left behind with its
  /// cursors.
  func end(_ subscriber: RunningSubscriber) async -> Bool {
    let outcome = await Blocking.run("stop") { () throws(Never) in
      subscriber.instance.stop(deadline: Clock.monotonic() + Limits.drainNanoseconds)
    }
    return outcome == .stopped
  }

  /// The same for several at once. True: all have ended.
  @discardableResult
  func end(_ subscribers: [RunningSubscriber]) async -> Bool {
    await withTaskGroup(of: (String, Bool).self) { group in
      for subscriber in subscribers { group.addTask { (subscriber.settings.name, await self.end(subscriber)) } }
      var allEnded = true
      for await (name, hasEnded) in group where !hasEnded {
        allEnded = false
        logger.error("subscriber did not stop in time", metadata: ["subscriber": "\(name)"])
      }
      return allEnded
    }
  }

  // MARK: Sources

  /// What the source of this name is to accept on: what holds the address already, or a new one.
  func socket(
    on address: ListenAddress?, of name: String?, _ options: SocketOptions = SocketOptions()
  ) async throws(DaemonError) -> ListeningSocket? {
    guard let address else { return nil }
    do {
      if let held = parts.socket(on: address, of: name) {
        try held.configure(options)
        return held
      }
      return try await Blocking.run("listen") { () throws(ListenError) in
        try ListeningSocket(
          host: address.host, port: address.port, transport: address.transport == .udp ? .udp : .tcp, options: options)
      }
    } catch {
      throw DaemonError(
        message: "source \(name ?? "admin"): cannot listen on \(address): \(error)", status: ExitStatus.unavailable)
    }
  }

  /// `tls`: for a source that is encrypted. `socket`: what it is to accept on.
  func start(
    _ settings: SourceSettings, on socket: ListeningSocket?, tls: TLSMaterial?
  ) async throws(DaemonError) -> RunningSource {
    let load = parts.sources[settings.name]?.load ?? SourceLoad()
    let maker = SourceParts(
      socket: socket, tls: tls, load: load, group: group, endpoints: view, identities: authority, logger: logger)
    let source = try await maker.start(settings, into: log(named: settings.stream))
    if let input = source as? StdinSource { stopAtEnd(of: input) }
    return RunningSource(
      settings: settings, source: source, load: load, listen: settings.listen, socket: socket,
      generation: generation + 1)
  }

  /// When standard input was all that could come, its end is the end of the daemon's work.
  private func stopAtEnd(of input: StdinSource) {
    Task {
      guard await input.ended, hasInputEnded else { return }
      logger.info("all input has ended")
      // Nobody waits for a daemon whose input has ended by itself: subscribers have all the time that they make use of.
      await deliverRest { !isStopping }
      // A reload may have brought another way in meanwhile.
      if hasInputEnded { Signals.requestStop() }
    }
  }

  private var hasInputEnded: Bool { !isStopping && topology.sources.allSatisfy { $0.kind == .stdin } }

  /// Nil: the topology names no identities, and can't come to while the daemon runs.
  private var authority: IdentityAuthority? { topology.identities == nil ? nil : identities }

  /// The same answers without `POST /log`. `socket`: of the address.
  func startAdmin(
    _ address: ListenAddress?, on socket: ListeningSocket?
  ) async throws(DaemonError) -> RunningSource? {
    guard let address, let socket else { return nil }
    let load = parts.admin?.load ?? SourceLoad()
    let maker = SourceParts(
      socket: socket, tls: nil, load: load, group: group, endpoints: view, identities: authority, logger: logger)
    return RunningSource(
      settings: nil, source: try await maker.startAdmin(on: address), load: load, listen: address, socket: socket,
      generation: generation + 1)
  }
}
