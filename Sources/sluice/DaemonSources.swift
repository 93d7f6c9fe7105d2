import Logging
import NIOPosix
import SluiceCore
import SluiceIdentity
import SluiceIngest
import SluiceTopology

/// What every source is made with.
struct SourceParts {
  /// What the source accepts on; nil for one that listens nowhere. The caller keeps it, so that the next source of this
  /// address can go on accepting on it.
  let socket: ListeningSocket?
  /// For a source whose connections are encrypted.
  let tls: TLSMaterial?
  /// That of the source whose place the next one takes.
  let load: SourceLoad
  let group: MultiThreadedEventLoopGroup
  let endpoints: any ControlEndpoints
  let identities: IdentityAuthority?
  let logger: Logger

  /// Makes the source that `settings` describe, and starts it.
  func start(
    _ settings: SourceSettings, into stream: any IngestStream
  ) async throws(DaemonError) -> any IngestSource {
    switch (settings.kind, settings.framing, socket) {
    case (.http, _, let socket?): try await startHTTP(settings, socket, into: stream)
    case (.tcp, .sluice, let socket?): try await startFramed(settings, socket, into: stream)
    case (.tcp, .lines, let socket?), (.tcp, .syslog, let socket?):
      try await startLines(settings, socket, into: stream)
    case (.udp, _, let socket?): try startDatagrams(settings, socket, into: stream)
    case (.stdin, .lines, _): try startStdin(settings, into: stream)
    default:
      throw DaemonError(
        message: "source \(settings.name): this version does not serve it", status: ExitStatus.unavailable)
    }
  }

  /// What HTTP shows of the daemon, without records.
  func startAdmin(on address: ListenAddress) async throws(DaemonError) -> any IngestSource {
    guard let socket else { preconditionFailure("the admin listener listens") }
    var options = HTTPSourceOptions(name: "admin")
    options.authentication = SourceAuthentication(.optional, identities)
    options.checkedHost = address.host
    options.load = load
    return try await accept(options, on: socket, stream: nil)
  }

  private func failure(_ source: String, _ what: String, _ socket: ListeningSocket, _ error: any Error) -> DaemonError {
    DaemonError(
      message: "source \(source): cannot \(what) \(socket.addressText): \(error)", status: ExitStatus.unavailable)
  }

  private func authentication(of settings: SourceSettings) -> SourceAuthentication {
    switch settings.authentication {
    case .none: .none
    case .optional: SourceAuthentication(.optional, identities)
    case .required: SourceAuthentication(.required, identities)
    }
  }

  private func startHTTP(
    _ settings: SourceSettings, _ socket: ListeningSocket, into stream: any IngestStream
  ) async throws(DaemonError) -> any IngestSource {
    var options = HTTPSourceOptions(
      name: settings.name, defaultTopic: settings.topic, maxBodyBytes: settings.maxBodyBytes)
    options.blockNanoseconds = settings.waitsWhenFull ? settings.blockTimeoutNanoseconds : nil
    options.headerSeconds = HTTPSourceOptions.seconds(settings.headerTimeoutNanoseconds)
    options.bodySeconds = HTTPSourceOptions.seconds(settings.bodyTimeoutNanoseconds)
    options.maxConnections = settings.maxConnections
    options.idleSeconds = HTTPSourceOptions.seconds(settings.idleTimeoutNanoseconds)
    options.authentication = authentication(of: settings)
    options.tls = tls
    options.load = load
    options.lingerSeconds = settings.socket.lingerSeconds
    return try await accept(options, on: socket, stream: stream)
  }

  private func startFramed(
    _ settings: SourceSettings, _ socket: ListeningSocket, into stream: any IngestStream
  ) async throws(DaemonError) -> any IngestSource {
    var options = TCPSourceOptions(name: settings.name)
    options.blocksWhenFull = settings.waitsWhenFull
    options.idleSeconds = HTTPSourceOptions.seconds(settings.idleTimeoutNanoseconds)
    options.maxConnections = settings.maxConnections
    options.authentication = authentication(of: settings)
    options.software = "sluice/\(Version.text)"
    options.tls = tls
    options.load = load
    options.lingerSeconds = settings.socket.lingerSeconds
    let source = TCPSource(options, stream: stream, group: group, logger: logger)
    do {
      _ = try await source.start(on: socket)
    } catch {
      throw failure(options.name, "accept on", socket, error)
    }
    return source
  }

  private func startLines(
    _ settings: SourceSettings, _ socket: ListeningSocket, into stream: any IngestStream
  ) async throws(DaemonError) -> any IngestSource {
    var options = LinesSourceOptions(name: settings.name, topic: settings.topic)
    options.isSyslog = settings.framing == .syslog
    options.idleSeconds = HTTPSourceOptions.seconds(settings.idleTimeoutNanoseconds)
    options.maxConnections = settings.maxConnections
    options.tls = tls
    options.load = load
    let source = LinesSource(options, stream: stream, group: group, logger: logger)
    do {
      _ = try await source.start(on: socket)
    } catch {
      throw failure(options.name, "accept on", socket, error)
    }
    return source
  }

  private func startDatagrams(
    _ settings: SourceSettings, _ socket: ListeningSocket, into stream: any IngestStream
  ) throws(DaemonError) -> any IngestSource {
    var options = DatagramSourceOptions(name: settings.name, topic: settings.topic)
    options.isSyslog = settings.framing == .syslog
    let source = DatagramSource(options, stream: stream, logger: logger)
    do {
      try source.start(on: socket)
    } catch {
      throw failure(options.name, "receive on", socket, error)
    }
    return source
  }

  private func startStdin(
    _ settings: SourceSettings, into stream: any IngestStream
  ) throws(DaemonError) -> any IngestSource {
    let source = StdinSource(name: settings.name, topic: settings.topic, stream: stream, logger: logger)
    do throws(OSThread.Failure) {
      try source.start()
    } catch {
      throw DaemonError(message: "source \(settings.name): \(error)", status: ExitStatus.unavailable)
    }
    return source
  }

  private func accept(
    _ options: HTTPSourceOptions, on socket: ListeningSocket, stream: (any IngestStream)?
  ) async throws(DaemonError) -> any IngestSource {
    let source = HTTPSource(options, stream: stream, group: group, endpoints: endpoints, logger: logger)
    do {
      _ = try await source.start(on: socket)
    } catch {
      throw failure(options.name, "accept on", socket, error)
    }
    return source
  }
}
