import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

/// Connections of one loop without sockets; time stands still unless the test moves it.
final class HTTPHarness {
  let stream: FakeStream
  let loop: HTTPLoop
  let eventLoop = EmbeddedEventLoop()
  let counters = HTTPCounters()
  let clock = TestClock()

  init(
    _ durability: Durability = .memory, maxRecordBytes: Int = 1 << 20, isAdmin: Bool = false, isReady: Bool = true,
    endpoints: (any ControlEndpoints)? = nil, adjust: (inout HTTPSourceOptions) -> Void = { _ in }
  ) {
    stream = FakeStream(durability, maxRecordBytes: maxRecordBytes)
    var options = HTTPSourceOptions(name: "api", defaultTopic: "web", maxBodyBytes: 4096)
    options.clock = clock.source
    adjust(&options)
    let settings = HTTPSettings(
      options, stream: isAdmin ? nil : stream, endpoints: endpoints ?? FakeEndpoints(isReady: isReady))
    loop = HTTPLoop(eventLoop: eventLoop, settings: settings, counters: counters)
    loop.open()
  }

  /// Another loop of the same source.
  init(on stream: FakeStream) {
    self.stream = stream
    let options = HTTPSourceOptions(name: "api", defaultTopic: "web", maxBodyBytes: 4096)
    let settings = HTTPSettings(options, stream: stream, endpoints: FakeEndpoints())
    loop = HTTPLoop(eventLoop: eventLoop, settings: settings, counters: counters)
    loop.open()
  }

  /// A metric of this loop, with the label that tells it from others of its name.
  func value(_ name: String, _ label: String? = nil) -> Double? {
    let family = HTTPCounters.families(source: "api", [counters]).first { $0.name == name }
    return family?.samples.first { label == nil || $0.labels.last?.1 == label }?.value
  }

  func connect(from address: String = "127.0.0.1", security: ConnectionSecurity = .plain) throws -> TestConnection {
    let channel = EmbeddedChannel(loop: eventLoop)
    let connection = HTTPConnection(loop: loop)
    connection.security = security
    try channel.pipeline.syncOperations.addHandler(connection)
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    channel.remoteAddress = try SocketAddress(ipAddress: address, port: 1)
    return TestConnection(channel: channel)
  }

  /// Makes what was submitted durable and lets the loop notice.
  func commit() {
    stream.commit()
    eventLoop.run()
  }
}

struct TestConnection {
  let channel: EmbeddedChannel

  /// Bytes arrive in one read, and the tick ends.
  func receive(_ text: String) throws { try receive(Array(text.utf8)) }

  func receive(_ bytes: [UInt8]) throws {
    try push(bytes)
    channel.embeddedEventLoop.run()
  }

  /// Bytes arrive in one read; the tick goes on.
  func push(_ bytes: [UInt8]) throws {
    channel.pipeline.fireChannelRead(ByteBuffer(bytes: bytes))
    channel.pipeline.fireChannelReadComplete()
  }

  /// Everything that was sent since the last call.
  func sent() throws -> String {
    var all = ByteBuffer()
    while var next = try channel.readOutbound(as: ByteBuffer.self) { all.writeBuffer(&next) }
    return String(buffer: all)
  }

  /// The same as responses.
  func responses() throws -> [TestResponse] { try TestResponse.parse(sent()) }
  var isOpen: Bool { channel.isActive }
}

/// Shuts the output alone, as a socket can and an `EmbeddedChannel` can't.
final class OutputCloser: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard mode == .output else { return context.close(mode: mode, promise: promise) }
    promise?.succeed(())
  }
}

/// A well-formed `POST /log`.
func post(_ body: String, headers: String = "", path: String = "/log") -> String {
  "POST \(path) HTTP/1.1\r\nHost: x\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}
