import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Synchronization

/// Why an address can't be listened on.
package struct ListenError: Error, Equatable, Sendable, CustomStringConvertible {
  package var description: String
  package init(_ description: String) { self.description = description }
}

/// A TCP socket that listens, or a UDP socket that receives, apart from the source that uses it: when a source is replaced,
/// the next one accepts on the same socket before the old one stops, and connections that wait in its queue are never
/// refused, nor datagrams lost. It closes when nobody holds it and the last source on it stopped accepting.
package final class ListeningSocket: Sendable {
  package enum Transport: Sendable { case tcp, udp }

  private let descriptor: Int32
  package let transport: Transport
  private let options: Mutex<SocketOptions>
  /// UDP: what the kernel said it had dropped when it was last counted, modulo 2³².
  private let countedDrops = Atomic<UInt32>(0)
  /// As bound.
  package let address: SocketAddress
  /// The same as a topology writes it.
  package var addressText: String {
    let host = address.ipAddress ?? ""
    return "\(host.contains(":") ? "[\(host)]" : host):\(address.port ?? 0)"
  }

  /// Resolves `host` and listens. Blocks while a name is looked up. `port` 0 asks the kernel for a free one.
  package init(
    host: String, port: Int, transport: Transport = .tcp, options: SocketOptions = SocketOptions()
  ) throws(ListenError) {
    let wanted: SocketAddress
    do {
      wanted = try SocketAddress.makeAddressResolvingHost(host, port: port)
    } catch {
      throw ListenError("the host has no address")
    }
    let family = wanted.protocol == .inet6 ? AF_INET6 : AF_INET
    let type = transport == .tcp ? SOCK_STREAM : SOCK_DGRAM
    let made = socket(family, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard made >= 0 else { throw Self.fault() }
    // Two UDP sockets on one port would each get some of the datagrams.
    if transport == .tcp {
      var one: Int32 = 1
      setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    }
    let isBound = wanted.withSockAddr { pointer, count in Glibc.bind(made, pointer, socklen_t(count)) == 0 }
    guard isBound, transport == .udp || listen(made, Int32(options.backlog)) == 0, let bound = Self.name(of: made)
    else {
      let fault = Self.fault()
      close(made)
      throw fault
    }
    descriptor = made
    address = bound
    self.transport = transport
    self.options = Mutex(options)
    // What is refused is refused before anything waits: a source starts with what it was told or not at all.
    if let refused = tell(options) { throw refused }
  }

  /// From now on connections come under these options. Datagrams: the receive buffer.
  package func configure(_ options: SocketOptions) throws(ListenError) {
    let earlier = self.options.withLock { $0 }
    if let refused = tell(options) { throw refused }
    if transport == .tcp, !options.releaseBuffers(ofListener: descriptor, fixedBy: earlier) {
      throw ListenError(
        "the kernel can't take socket.receive_buffer and socket.send_buffer back: \(Self.fault()); "
          + "give them a size, or restart the daemon (SO_BUF_LOCK is needed, which Linux has since 5.14)")
    }
    if transport == .tcp { _ = listen(descriptor, Int32(options.backlog)) }
    self.options.withLock { $0 = options }
  }

  private func tell(_ options: SocketOptions) -> ListenError? {
    switch transport {
    case .tcp:
      guard let refused = options.apply(toListener: descriptor) else { return nil }
      return ListenError("the kernel refuses socket.\(refused): \(Self.fault())")
    case .udp:
      let wanted = options.receiveBufferBytes ?? Limits.datagramReceiveBufferBytes
      guard DatagramBatch.prepare(descriptor, receiveBufferBytes: wanted) != nil else {
        return ListenError("the kernel refuses socket.receive_buffer: \(Self.fault())")
      }
      return nil
    }
  }

  /// A descriptor of one's own for receiving datagrams; the caller closes it.
  func duplicate() -> Int32? {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    return copy < 0 ? nil : copy
  }

  /// Bytes that the kernel holds for who is slow to receive.
  var receiveBufferBytes: Int { bufferBytes(SO_RCVBUF) }

  private func bufferBytes(_ name: Int32) -> Int {
    var value: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, name, &value, &size) == 0 else { return 0 }
    // The kernel doubles what it is told, for its own bookkeeping.
    return Int(value) / 2
  }

  /// What the line `listening` says of the socket: its address, and of the buffers that the topology fixes what the kernel
  /// granted, which may be less.
  var logMetadata: Logger.Metadata {
    var metadata: Logger.Metadata = ["address": "\(addressText)"]
    let options = options.withLock { $0 }
    if transport == .udp || options.receiveBufferBytes != nil {
      metadata["receive_buffer"] = "\(receiveBufferBytes)"
    }
    if transport == .tcp, options.sendBufferBytes != nil { metadata["send_buffer"] = "\(bufferBytes(SO_SNDBUF))" }
    return metadata
  }

  /// UDP: what the kernel had dropped when it was last counted, modulo 2³².
  var drops: UInt32 { countedDrops.load(ordering: .relaxed) }

  /// UDP: how many of `total` dropped datagrams nobody has counted yet. The kernel counts for the socket, whoever reads it.
  func takeDrops(total: UInt32) -> Int {
    var seen = countedDrops.load(ordering: .relaxed)
    while true {
      let more = Int32(bitPattern: total &- seen)
      guard more > 0 else { return 0 }
      let (exchanged, original) = countedDrops.compareExchange(expected: seen, desired: total, ordering: .relaxed)
      if exchanged { return Int(more) }
      seen = original
    }
  }

  deinit { close(descriptor) }

  /// A channel that accepts on this socket, beside others that may.
  package func accept(
    with bootstrap: ServerBootstrap, on group: any EventLoopGroup
  ) -> EventLoopFuture<any Channel> {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { return group.next().makeFailedFuture(Self.fault()) }
    // NIO turns Nagle's algorithm off for what it accepts, whatever the listening socket says; and it listens once more as
    // it takes the socket, with a backlog of 128.
    let options = options.withLock { $0 }
    return bootstrap.childChannelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: options.noDelay ? 1 : 0)
      .withBoundSocket(copy)
      .map { channel in
        _ = listen(self.descriptor, Int32(options.backlog))
        return channel
      }
  }

  private static func name(of descriptor: Int32) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        guard getsockname(descriptor, address, &length) == 0 else { return nil }
        // Told apart by their sizes: whose `sa_family` the field is (the C library's, or the one that NIO exports) depends on the
        // order in which files are compiled.
        return length == socklen_t(MemoryLayout<sockaddr_in6>.size)
          ? address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { SocketAddress($0.pointee, host: "") }
          : address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { SocketAddress($0.pointee, host: "") }
      }
    }
  }

  private static func fault() -> ListenError {
    let code = errno
    let text = String(cString: strerror(code))
    return ListenError(
      code == EADDRINUSE ? "\(text); stop what listens there, or choose another address" : text)
  }
}
