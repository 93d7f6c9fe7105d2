import Foundation
import SluiceCore
import Synchronization

/// Passes one connection after another on to a server, and hangs up instead of passing on an answer it is told to lose.
final class Proxy: Sendable {
  let port: Int
  private let listener: Int32
  private let lost = Mutex<[UInt8]>([])
  private let hangUps = Mutex(0)

  /// `server`: a port on loopback.
  init(to server: Int) {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = Proxy.loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let listener = listener
    let failed = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, length) != 0 || listen(listener, 8) != 0 || getsockname(listener, $0, &length) != 0
      }
    }
    precondition(!failed, "no proxy: errno \(errno)")
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread.detachNewThread { [weak self] in
      while true {
        let client = LinuxCalls.accept(listener)
        guard client >= 0 else { return }
        self?.serve(client, server)
      }
    }
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  /// Loses the next answer with these bytes in it, and the connection.
  func lose(_ answer: String) { lost.withLock { $0 = Array(answer.utf8) } }
  var hangUpCount: Int { hangUps.withLock { $0 } }

  private func serve(_ client: Int32, _ port: Int) {
    let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = Proxy.loopback(port)
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard connected else {
      close(client)
      close(server)
      return
    }
    Thread.detachNewThread { Proxy.pass(from: client, to: server) { _ in true } }
    Thread.detachNewThread {
      Proxy.pass(from: server, to: client) { bytes in
        self.lost.withLock { lost in
          guard !lost.isEmpty, Data(bytes).range(of: Data(lost)) != nil else { return true }
          lost = []
          self.hangUps.withLock { $0 += 1 }
          return false
        }
      }
    }
  }

  private static func pass(from: Int32, to: Int32, while allowed: ([UInt8]) -> Bool) {
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = recv(from, &buffer, buffer.count, 0)
      guard count > 0, allowed(Array(buffer[..<count])) else { break }
      var sent = 0
      while sent < count {
        let n = buffer.withUnsafeBytes { send(to, $0.baseAddress! + sent, count - sent, Int32(MSG_NOSIGNAL)) }
        guard n > 0 else { break }
        sent += n
      }
      guard sent == count else { break }
    }
    // Each descriptor is read by one of the two passes, which closes neither: both see the end.
    shutdown(from, Int32(SHUT_RDWR))
    shutdown(to, Int32(SHUT_RDWR))
  }

  private static func loopback(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
  }
}
