import Glibc
import NIOCore
import NIOPosix
import SluiceCore

/// Why an address can't be listened on.
package struct ListenError: Error, Equatable, Sendable, CustomStringConvertible {
  package var description: String
  package init(_ description: String) { self.description = description }
}

/// A TCP socket that listens, apart from the source that accepts on it: when a source is replaced, the next one accepts on
/// the same socket before the old one stops, and connections that wait in its queue are never refused. It closes when
/// nobody holds it and the last source on it stopped accepting.
package final class ListeningSocket: Sendable {
  private let descriptor: Int32
  /// As bound.
  package let address: SocketAddress
  /// The same as a topology writes it.
  package var addressText: String {
    let host = address.ipAddress ?? ""
    return "\(host.contains(":") ? "[\(host)]" : host):\(address.port ?? 0)"
  }

  /// Resolves `host` and listens. Blocks while a name is looked up. `port` 0 asks the kernel for a free one.
  package init(host: String, port: Int) throws(ListenError) {
    let wanted: SocketAddress
    do {
      wanted = try SocketAddress.makeAddressResolvingHost(host, port: port)
    } catch {
      throw ListenError("the host has no address")
    }
    let family = wanted.protocol == .inet6 ? AF_INET6 : AF_INET
    let made = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard made >= 0 else { throw Self.fault() }
    var one: Int32 = 1
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    let isBound = wanted.withSockAddr { pointer, count in Glibc.bind(made, pointer, socklen_t(count)) == 0 }
    guard isBound, listen(made, Int32(Limits.listenBacklog)) == 0, let bound = Self.name(of: made) else {
      let fault = Self.fault()
      close(made)
      throw fault
    }
    descriptor = made
    address = bound
  }

  deinit { close(descriptor) }

  /// A channel that accepts on this socket, beside others that may.
  package func accept(
    with bootstrap: ServerBootstrap, on group: any EventLoopGroup
  ) -> EventLoopFuture<any Channel> {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { return group.next().makeFailedFuture(Self.fault()) }
    return bootstrap.withBoundSocket(copy)
  }

  private static func name(of descriptor: Int32) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        guard getsockname(descriptor, address, &length) == 0 else { return nil }
        return address.pointee.sa_family == sa_family_t(AF_INET6)
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
