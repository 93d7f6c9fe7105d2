import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Synchronization

/// An HTTP listener: `POST /log` into a stream, and what the daemon shows of itself. Without a stream it is an admin
/// listener, which shows only.
package final class HTTPSource: IngestSource {
  package var name: String { settings.name }
  private let settings: HTTPSettings
  private let group: MultiThreadedEventLoopGroup
  private let logger: Logger
  private let loops: [HTTPLoop]
  private let acceptor = Acceptor()
  private let tls: ServerTLS?

  package init(
    _ options: HTTPSourceOptions, stream: (any IngestStream)?, group: MultiThreadedEventLoopGroup,
    endpoints: any ControlEndpoints, logger: Logger
  ) {
    let settings = HTTPSettings(options, stream: stream, endpoints: endpoints)
    self.settings = settings
    self.group = group
    self.logger = logger
    tls = options.tls.map { ServerTLS($0, handshakeNanoseconds: Int64(options.headerSeconds) * 1_000_000_000) }
    loops = group.makeIterator().map { HTTPLoop(eventLoop: $0, settings: settings, counters: HTTPCounters()) }
  }

  package var openConnections: Int { settings.openConnections.load(ordering: .relaxed) }

  /// Opens a lane on each loop and accepts on `socket`. Returns its address.
  package func start(on socket: ListeningSocket) async throws -> SocketAddress {
    let loopOf = Dictionary(uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.eventLoop), $0) })
    for loop in loops { try await loop.eventLoop.submit { loop.open() }.get() }
    let tls = tls
    let bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(ChannelOptions.maxMessagesPerRead, value: 64)
      .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      // A connection keeps one receive buffer: small while requests are, which thousands of idle ones add up to.
      .childChannelOption(
        ChannelOptions.recvAllocator,
        value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 1024, maximum: 65_536)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          guard let loop = loopOf[ObjectIdentifier(channel.eventLoop)] else {
            preconditionFailure("a channel's loop is one of its group's")
          }
          let connection = HTTPConnection(loop: loop)
          try tls?.secure(channel, for: connection)
          try channel.pipeline.syncOperations.addHandler(connection)
        }
      }
    let channel: any Channel
    do {
      channel = try await socket.accept(with: bootstrap, on: group).get()
    } catch {
      await drain(within: .zero)
      throw error
    }
    acceptor.accept(on: channel)
    logger.info(
      "listening",
      metadata: socket.logMetadata.merging(["source": "\(settings.name)", "loops": "\(loops.count)"]) { $1 })
    return socket.address
  }

  package func renew(_ tls: TLSMaterial) { self.tls?.renew(tls) }

  package func stopAccepting() async { await acceptor.stop() }

  package func drain(within limit: Duration) async {
    await acceptor.drain(loops, within: limit, source: name, logger: logger)
  }

  package func metrics() -> [MetricFamily] {
    HTTPCounters.families(source: settings.name, loops.map(\.counters))
      + [tls?.counters.family(source: name)].compactMap(\.self)
  }
}
