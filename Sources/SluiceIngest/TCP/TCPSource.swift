import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Synchronization

/// A framed TCP listener: the wire protocol into a stream.
package final class TCPSource: IngestSource {
  package var name: String { settings.options.name }
  private let settings: TCPSettings
  private let group: MultiThreadedEventLoopGroup
  private let logger: Logger
  private let loops: [TCPLoop]
  private let acceptor = Acceptor()
  private let tls: ServerTLS?

  package init(
    _ options: TCPSourceOptions, stream: any IngestStream, group: MultiThreadedEventLoopGroup, logger: Logger
  ) {
    let settings = TCPSettings(options, stream: stream)
    self.settings = settings
    self.group = group
    self.logger = logger
    tls = options.tls.map { ServerTLS($0, handshakeNanoseconds: options.tlsHandshakeNanoseconds) }
    loops = group.makeIterator().map { TCPLoop(eventLoop: $0, settings: settings, counters: TCPCounters()) }
  }

  /// Connections that are open now.
  package var openConnections: Int { settings.openConnections.load(ordering: .relaxed) }

  /// Opens a lane on each loop and accepts on `socket`. Returns its address.
  package func start(on socket: ListeningSocket) async throws -> SocketAddress {
    for loop in loops { try await loop.eventLoop.submit { loop.open() }.get() }
    let channel: any Channel
    do {
      channel = try await socket.accept(with: bootstrap(), on: group).get()
    } catch {
      await drain(within: .zero)
      throw error
    }
    acceptor.accept(on: channel)
    logger.info(
      "listening",
      metadata: socket.logMetadata.merging(["source": "\(name)", "loops": "\(loops.count)"]) { $1 })
    return socket.address
  }

  private func bootstrap() -> ServerBootstrap {
    let loopOf = Dictionary(uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.eventLoop), $0) })
    let tls = tls
    return ServerBootstrap(group: group)
      .serverChannelOption(ChannelOptions.maxMessagesPerRead, value: 64)
      .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      // One large read each time that there is something, into a buffer that the loop's connections share.
      .childChannelOption(ChannelOptions.maxMessagesPerRead, value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          guard let loop = loopOf[ObjectIdentifier(channel.eventLoop)] else {
            preconditionFailure("a channel's loop is one of its group's")
          }
          let connection = TCPConnection(loop: loop)
          try channel.syncOptions?.setOption(.recvAllocator, value: SharedReceiveAllocator(loop.receiveBuffer))
          try tls?.secure(channel, for: connection)
          try channel.pipeline.syncOperations.addHandler(connection)
        }
      }
  }

  package func renew(_ tls: TLSMaterial) { self.tls?.renew(tls) }

  package func stopAccepting() async { await acceptor.stop() }

  package func drain(within limit: Duration) async {
    await acceptor.drain(loops, within: limit, source: name, logger: logger)
  }

  package func metrics() -> [MetricFamily] {
    TCPCounters.families(source: name, loops.map(\.counters))
      + [tls?.counters.family(source: name)].compactMap(\.self)
  }
}
