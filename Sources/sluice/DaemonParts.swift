// How each part is made, for the first generation and for those that a reload brings.

import Glibc
import Logging
import SluiceCore
import SluiceHost
import SluiceIngest
import SluiceJournal
import SluiceTopology

extension Daemon {
  // MARK: Streams

  /// `streams`: all that are open or are to be.
  func open(_ settings: StreamSettings, among streams: Set<String>) async throws(DaemonError) {
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
        ])
    } catch {
      let isData = error.kind == .damaged || error.kind == .foreign
      throw DaemonError(
        message: "stream \(settings.name): \(error)", status: isData ? ExitStatus.dataError : ExitStatus.ioError)
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

  /// Takes the subscriber's cursors and makes its instance. Nothing of it is left when that fails. `isReplayed`: it is to
  /// be given what is replayed to it and nothing else, and its cursors are let be.
  func start(
    _ settings: SubscriberSettings, _ plugin: LoadedPlugin, isReplayed: Bool = false
  ) async throws(DaemonError) -> RunningSubscriber {
    let logs = isReplayed ? [] : settings.streams.map { log(named: $0) }
    let (data, logger, next) = (topology.daemon.data, logger, generation + 1)
    try await openLetters(in: settings.deadLetter)
    let deadLetters = StreamDeadLetterSink(log(named: settings.deadLetter))
    let targets = settings.publish.map { PublishTarget(output: $0.output, log: log(named: $0.stream)) }
    let instance = try await Blocking.run("create") { () throws(DaemonError) in
      do {
        var readers: [any StreamReader] = []
        for log in logs {
          readers.append(
            try log.openReader(subscriber: settings.name, start: settings.start, maxLag: settings.maxLag))
        }
        let instance = SubscriberInstance(
          settings: settings, plugin: plugin, readers: readers, publishTargets: targets, dataDirectory: data,
          deadLetters: deadLetters,
          hostVersion: Version.text, generation: next, logger: logger)
        try instance.start()
        return instance
      } catch let error as HostError {
        throw DaemonError(message: "\(error)", status: ExitStatus.unavailable)
      } catch {
        throw DaemonError(message: "subscriber \(settings.name): \(error)", status: ExitStatus.unavailable)
      }
    }
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

  // MARK: Sources

  /// What the source of this name is to accept on: what holds the address already, or a new one.
  func socket(on address: ListenAddress?, of name: String?) async throws(DaemonError) -> ListeningSocket? {
    guard let address else { return nil }
    if let held = parts.socket(on: address, of: name) { return held }
    do {
      return try await Blocking.run("listen") { () throws(ListenError) in
        try ListeningSocket(host: address.host, port: address.port)
      }
    } catch {
      throw DaemonError(
        message: "source \(name ?? "admin"): cannot listen on \(address): \(error)", status: ExitStatus.unavailable)
    }
  }

  func start(_ settings: SourceSettings) async throws(DaemonError) -> RunningSource {
    let socket = try await socket(on: settings.listen, of: settings.name)
    let parts = SourceParts(socket: socket, group: group, endpoints: view, logger: logger)
    let source = try await parts.start(settings, into: log(named: settings.stream))
    if let input = source as? StdinSource { stopAtEnd(of: input) }
    return RunningSource(
      settings: settings, source: source, listen: settings.listen, socket: socket, generation: generation + 1)
  }

  /// When standard input was all that could come, its end is the end of the daemon's work.
  private func stopAtEnd(of input: StdinSource) {
    Task {
      guard await input.ended, !isStopping, topology.sources.allSatisfy({ $0.kind == .stdin }) else { return }
      logger.info("all input has ended")
      Signals.requestStop()
    }
  }

  /// The same answers without `POST /log`.
  func startAdmin(_ address: ListenAddress?) async throws(DaemonError) -> RunningSource? {
    guard let address, let socket = try await socket(on: address, of: nil) else { return nil }
    let parts = SourceParts(socket: socket, group: group, endpoints: view, logger: logger)
    return RunningSource(
      settings: nil, source: try await parts.startAdmin(), listen: address, socket: socket,
      generation: generation + 1)
  }
}
