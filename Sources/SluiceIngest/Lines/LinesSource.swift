import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Synchronization

/// What a source of lines over TCP is told by the topology.
package struct LinesSourceOptions: Sendable {
  package var name: String
  /// Of every record.
  package var topic: String
  package var idleSeconds = Limits.httpIdleSeconds
  /// Of all loops together; one more is closed at once, and counted.
  package var maxConnections = Limits.defaultMaxConnections
  /// Bytes of unfinished lines that all connections together may make the source hold.
  package var maxHeldBytes = Limits.maxHeldBytes

  package init(name: String, topic: String) {
    self.name = name
    self.topic = topic
  }
}

/// What all loops of one source share: constant but for two atomics.
final class LinesSettings: Sendable {
  let options: LinesSourceOptions
  let stream: any IngestStream
  let format: LineFormat
  let openConnections = Atomic<Int>(0)
  let heldBytes = Atomic<Int>(0)

  init(_ options: LinesSourceOptions, stream: any IngestStream) {
    self.options = options
    self.stream = stream
    format = LineFormat(topic: options.topic, maxRecordBytes: stream.maxRecordBytes)
  }
}

/// A listener for plain text: each line of each connection is a record.
package final class LinesSource: IngestSource {
  package var name: String { settings.options.name }
  private let settings: LinesSettings
  private let group: MultiThreadedEventLoopGroup
  private let logger: Logger
  private let loops: [LinesLoop]
  private let acceptor = Acceptor()

  package init(
    _ options: LinesSourceOptions, stream: any IngestStream, group: MultiThreadedEventLoopGroup, logger: Logger
  ) {
    let settings = LinesSettings(options, stream: stream)
    self.settings = settings
    self.group = group
    self.logger = logger
    loops = group.makeIterator().map { LinesLoop(eventLoop: $0, settings: settings) }
  }

  package var openConnections: Int { settings.openConnections.load(ordering: .relaxed) }

  /// Opens a lane on each loop and accepts on `socket`. Returns its address.
  package func start(on socket: ListeningSocket) async throws -> SocketAddress {
    let loopOf = Dictionary(uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.eventLoop), $0) })
    for loop in loops { try await loop.eventLoop.submit { loop.open() }.get() }
    let bootstrap = ServerBootstrap(group: group)
      .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      // What a paused connection may hold is what one read brings.
      .childChannelOption(
        ChannelOptions.recvAllocator,
        value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 2048, maximum: 16_384)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          guard let loop = loopOf[ObjectIdentifier(channel.eventLoop)] else {
            preconditionFailure("a channel's loop is one of its group's")
          }
          try channel.pipeline.syncOperations.addHandler(LinesConnection(loop: loop))
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
    logger.info("listening", metadata: ["source": "\(name)", "address": "\(socket.addressText)", "framing": "lines"])
    return socket.address
  }

  package func stopAccepting() async { await acceptor.stop() }

  package func drain(within limit: Duration) async {
    await acceptor.drain(loops, within: limit, source: name, logger: logger)
  }

  package func metrics() -> [MetricFamily] {
    LineCounters.families(source: name, loops.map(\.counters), hasConnections: true)
  }
}
