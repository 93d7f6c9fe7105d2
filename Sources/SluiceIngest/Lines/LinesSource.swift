import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Synchronization

/// What a source of lines over TCP is told by the topology.
package struct LinesSourceOptions: Sendable {
  package var name: String
  /// Of every record; with syslog of those that say none.
  package var topic: String
  /// The lines are syslog messages, counted ones among them.
  package var isSyslog = false
  package var idleSeconds = Limits.httpIdleSeconds
  /// Of all loops together; one more is closed at once, and counted.
  package var maxConnections = Limits.defaultMaxConnections
  /// Bytes of unfinished lines that all connections together may make the source hold, and as many of waiting ones.
  package var maxHeldBytes = Limits.maxHeldBytes
  /// Nil: connections are plain.
  package var tls: TLSMaterial?
  package var tlsHandshakeNanoseconds = Limits.tlsHandshakeNanoseconds
  /// That of the source whose place this one takes.
  package var load = SourceLoad()

  package init(name: String, topic: String) {
    self.name = name
    self.topic = topic
  }
}

/// What all loops of one source share: constant but for an atomic.
final class LinesSettings: Sendable {
  let options: LinesSourceOptions
  let stream: any IngestStream
  let format: LineFormat
  /// Of a line or a message, now.
  var maxBytes: Int {
    let record = stream.maxRecordBytes
    return options.isSyslog
      ? SyslogFormat.maxMessageBytes(maxRecordBytes: record) : format.maxLineBytes(maxRecordBytes: record)
  }
  /// Of this source alone, without the one before.
  let openConnections = Atomic<Int>(0)
  var load: SourceLoad { options.load }

  init(_ options: LinesSourceOptions, stream: any IngestStream) {
    self.options = options
    self.stream = stream
    format = LineFormat(topic: options.topic)
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
  private let tls: ServerTLS?

  package init(
    _ options: LinesSourceOptions, stream: any IngestStream, group: MultiThreadedEventLoopGroup, logger: Logger
  ) {
    let settings = LinesSettings(options, stream: stream)
    self.settings = settings
    self.group = group
    self.logger = logger
    tls = options.tls.map { ServerTLS($0, handshakeNanoseconds: options.tlsHandshakeNanoseconds) }
    loops = group.makeIterator().map { LinesLoop(eventLoop: $0, settings: settings) }
  }

  package var openConnections: Int { settings.openConnections.load(ordering: .relaxed) }

  /// Opens a lane on each loop and accepts on `socket`. Returns its address.
  package func start(on socket: ListeningSocket) async throws -> SocketAddress {
    let loopOf = Dictionary(uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.eventLoop), $0) })
    for loop in loops { try await loop.eventLoop.submit { loop.open() }.get() }
    let tls = tls
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
          try tls?.secure(channel, for: nil)
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
    let framing = settings.options.isSyslog ? "syslog" : "lines"
    logger.info(
      "listening", metadata: socket.logMetadata.merging(["source": "\(name)", "framing": "\(framing)"]) { $1 })
    return socket.address
  }

  package func renew(_ tls: TLSMaterial) { self.tls?.renew(tls) }

  package func stopAccepting() async { await acceptor.stop() }

  package func drain(within limit: Duration) async {
    await acceptor.drain(loops, within: limit, source: name, logger: logger)
  }

  package func metrics() -> [MetricFamily] {
    LineCounters.families(source: name, loops.map(\.counters), .connections, isSyslog: settings.options.isSyslog)
      + [tls?.counters.family(source: name)].compactMap(\.self)
  }
}
