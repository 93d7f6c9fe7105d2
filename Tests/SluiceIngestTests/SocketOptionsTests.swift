import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Synchronization
import Testing

@testable import SluiceIngest

@Suite("Socket options")
struct SocketOptionsTests {
  /// What is in force on a connection that a source's channel accepted.
  struct InForce: Equatable, Sendable {
    var noDelay: Int32 = -1
    var keepalive: Int32 = -1
    var idle: Int32 = -1
    var interval: Int32 = -1
    var probes: Int32 = -1
    var userTimeout: Int32 = -1
    var lingers: Int32 = -1
    var receiveBuffer: Int32 = -1
    var sendBuffer: Int32 = -1
  }

  /// Reads the options of each channel with `getsockopt` and tells them.
  final class Reader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    let told: EventLoopPromise<InForce>
    init(told: EventLoopPromise<InForce>) { self.told = told }

    func channelActive(context: ChannelHandlerContext) {
      guard let channel = context.channel as? any SocketOptionProvider else { return }
      func read(_ level: Int32, _ name: Int32) -> EventLoopFuture<Int32> {
        channel.unsafeGetSocketOption(level: .init(rawValue: CInt(level)), name: .init(rawValue: CInt(name)))
      }
      let tcp = Int32(IPPROTO_TCP)
      let linger: EventLoopFuture<Glibc.linger> = channel.unsafeGetSocketOption(level: .socket, name: .so_linger)
      let all = [
        read(tcp, TCP_NODELAY), read(SOL_SOCKET, SO_KEEPALIVE), read(tcp, TCP_KEEPIDLE), read(tcp, TCP_KEEPINTVL),
        read(tcp, TCP_KEEPCNT), read(tcp, TCP_USER_TIMEOUT), linger.map { Int32($0.l_onoff) },
        read(SOL_SOCKET, SO_RCVBUF), read(SOL_SOCKET, SO_SNDBUF),
      ]
      EventLoopFuture.whenAllSucceed(all, on: context.eventLoop).map { values in
        InForce(
          noDelay: values[0], keepalive: values[1], idle: values[2], interval: values[3], probes: values[4],
          userTimeout: values[5], lingers: values[6], receiveBuffer: values[7], sendBuffer: values[8])
      }.cascade(to: told)
    }
  }

  private func inForce(on socket: ListeningSocket) async throws -> InForce {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let told = group.next().makePromise(of: InForce.self)
    let bootstrap = ServerBootstrap(group: group).childChannelInitializer { channel in
      channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Reader(told: told)) }
    }
    let listener = try await socket.accept(with: bootstrap, on: group).get()
    let client = try BlockingClient(port: try #require(socket.address.port))
    let found = try await told.futureResult.get()
    withExtendedLifetime(client) {}
    try await listener.close().get()
    try await group.shutdownGracefully()
    return found
  }

  @Test func theDefaultsAreInForceOnWhatIsAccepted() async throws {
    let found = try await inForce(on: ListeningSocket(host: "127.0.0.1", port: 0))
    #expect(found.noDelay == 1 && found.keepalive == 1 && found.lingers == 0)
    #expect(found.idle == 60 && found.interval == 10 && found.probes == 6 && found.userTimeout == 0)
  }

  @Test func whatATopologySaysIsInForceAndAReloadChangesTheNextConnections() async throws {
    var options = SocketOptions()
    options.noDelay = false
    options.keepalive?.idleSeconds = 7
    options.keepalive?.intervalSeconds = 3
    options.keepalive?.probes = 2
    options.userTimeoutMilliseconds = 45_000
    options.receiveBufferBytes = 64 << 10
    options.sendBufferBytes = 32 << 10
    options.backlog = 3
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0, options: options)
    // The kernel doubles what buffers are told, for its own bookkeeping.
    #expect(
      try await inForce(on: socket)
        == InForce(
          noDelay: 0, keepalive: 1, idle: 7, interval: 3, probes: 2, userTimeout: 45_000, lingers: 0,
          receiveBuffer: 128 << 10, sendBuffer: 64 << 10))
    #expect(try backlog(of: socket) == 3)
    options = SocketOptions()
    options.keepalive = nil
    options.backlog = 5
    try socket.configure(options)
    let found = try await inForce(on: socket)
    #expect(found.noDelay == 1 && found.keepalive == 0 && found.userTimeout == 0)
    #expect(try backlog(of: socket) == 5)
    let new = try await inForce(on: ListeningSocket(host: "127.0.0.1", port: 0))
    #expect(found.receiveBuffer == new.receiveBuffer && found.sendBuffer == new.sendBuffer, "the kernel's again")
    #expect(try fixedBuffers(of: socket) == 0, "and the kernel may tune them")
  }

  @Test func aBufferThatIsStillFixedStaysSoWhenTheOtherIsGivenBack() throws {
    var options = SocketOptions()
    options.receiveBufferBytes = 64 << 10
    options.sendBufferBytes = 32 << 10
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0, options: options)
    #expect(try fixedBuffers(of: socket) == 3)
    options.receiveBufferBytes = nil
    try socket.configure(options)
    #expect(try fixedBuffers(of: socket) == 1 && socket.logMetadata["send_buffer"] == "\(32 << 10)")
    #expect(socket.logMetadata["receive_buffer"] == nil)
  }

  @Test func whatTheKernelGrantsOfABufferIsToldWhereTheSourceListens() throws {
    var options = SocketOptions()
    options.receiveBufferBytes = 1 << 30
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0, options: options)
    let granted = socket.receiveBufferBytes
    #expect(granted < 1 << 30 && socket.logMetadata["receive_buffer"] == "\(granted)")
  }

  /// As SO_BUF_LOCK has it: 1 of sending, 2 of receiving.
  private func fixedBuffers(of socket: ListeningSocket) throws -> Int32 {
    let descriptor = try #require(socket.duplicate())
    defer { close(descriptor) }
    var fixed: Int32 = -1
    var size = socklen_t(MemoryLayout<Int32>.size)
    try #require(getsockopt(descriptor, SOL_SOCKET, SocketOptions.bufferLock, &fixed, &size) == 0)
    return fixed
  }

  /// Of a listening socket TCP_INFO has the backlog where another has what it lost (`tcpi_sacked`).
  private func backlog(of socket: ListeningSocket) throws -> UInt32 {
    let descriptor = try #require(socket.duplicate())
    defer { close(descriptor) }
    var info = [UInt32](repeating: 0, count: 64)
    var size = socklen_t(info.count * 4)
    try #require(getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &size) == 0)
    // Eight bytes, then rto, ato, snd_mss, rcv_mss, unacked, sacked.
    return info[7]
  }

  @Test func aDatagramSocketHasTheBufferThatItAskedFor() throws {
    var options = SocketOptions()
    options.receiveBufferBytes = 96 << 10
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0, transport: .udp, options: options)
    #expect(socket.receiveBufferBytes == 96 << 10)
    options.receiveBufferBytes = 128 << 10
    try socket.configure(options)
    #expect(socket.receiveBufferBytes == 128 << 10)
  }
}
