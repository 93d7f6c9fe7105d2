import Glibc

/// A TCP port of 127.0.0.1 for servers that a test starts, one after the other: as long as this lives the kernel gives it to
/// nobody who asks for any port, or connects from any. A port that is only looked for, or that a server had before it was
/// stopped, can be anybody's by the time it is listened on.
///
/// Bound, but not listened on: whoever asks for exactly this port, with SO_REUSEADDR as servers do, gets it.
package final class HeldPort: Sendable {
  package struct Failure: Error {
    package let code: Int32
  }

  package let number: Int
  private let descriptor: Int32

  package init() throws(Failure) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var one: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = descriptor
    let failed = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) != 0 || getsockname(descriptor, $0, &length) != 0
      }
    }
    number = Int(UInt16(bigEndian: address.sin_port))
    if failed {
      let code = errno
      close(descriptor)
      throw Failure(code: code)
    }
  }

  deinit { close(descriptor) }
}
