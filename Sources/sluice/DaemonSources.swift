import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import SluiceIngest
import SluiceTopology

/// What every source is made with.
struct SourceParts {
  let group: MultiThreadedEventLoopGroup
  let endpoints: any ControlEndpoints
  let logger: Logger

  /// Makes the source that `settings` describe, and starts it.
  func start(
    _ settings: SourceSettings, into stream: any IngestStream
  ) async throws(DaemonError) -> any IngestSource {
    switch (settings.kind, settings.framing, settings.listen) {
    case (.http, _, let address?): try await startHTTP(settings, address, into: stream)
    default:
      throw DaemonError(
        message: "source \(settings.name): this version does not serve it", status: ExitStatus.unavailable)
    }
  }

  /// What HTTP shows of the daemon, without records.
  func startAdmin(_ address: ListenAddress) async throws(DaemonError) -> any IngestSource {
    try await listen(HTTPSourceOptions(name: "admin", host: address.host, port: address.port), stream: nil)
  }

  private func startHTTP(
    _ settings: SourceSettings, _ address: ListenAddress, into stream: any IngestStream
  ) async throws(DaemonError) -> any IngestSource {
    var options = HTTPSourceOptions(
      name: settings.name, host: address.host, port: address.port, defaultTopic: settings.topic,
      maxBodyBytes: settings.maxBodyBytes)
    options.blockNanoseconds = settings.waitsWhenFull ? settings.blockTimeoutNanoseconds : nil
    options.headerSeconds = HTTPSourceOptions.seconds(settings.headerTimeoutNanoseconds)
    options.maxConnections = settings.maxConnections
    options.idleSeconds = HTTPSourceOptions.seconds(settings.idleTimeoutNanoseconds)
    return try await listen(options, stream: stream)
  }

  private func listen(
    _ options: HTTPSourceOptions, stream: (any IngestStream)?
  ) async throws(DaemonError) -> any IngestSource {
    let source = HTTPSource(options, stream: stream, group: group, endpoints: endpoints, logger: logger)
    do {
      _ = try await source.start()
    } catch {
      throw DaemonError(
        message: "source \(options.name): cannot listen on \(options.host):\(options.port): \(Self.reason(error))",
        status: ExitStatus.unavailable)
    }
    return source
  }

  private static func reason(_ error: any Error) -> String {
    guard let fault = error as? IOError else { return "\(error)" }
    let text = String(cString: strerror(fault.errnoCode))
    return fault.errnoCode == EADDRINUSE
      ? "\(text); stop what listens there, or choose another address" : text
  }
}
