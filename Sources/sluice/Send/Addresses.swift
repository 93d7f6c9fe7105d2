import Glibc
import NIOCore

/// Names of hosts → addresses.
enum Addresses {
  /// Every address of the host, in the order in which they are to be tried. Waits for name servers.
  static func resolve(host: String, port: Int) throws(SendFailure) -> [SocketAddress] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let rc = getaddrinfo(host, "\(port)", &hints, &list)
    defer { if let list { freeaddrinfo(list) } }
    guard rc == 0 else {
      throw SendFailure(
        status: ExitStatus.noHost, message: "cannot find the host \(host): \(String(cString: gai_strerror(rc)))")
    }
    var addresses: [SocketAddress] = []
    var next = list
    while let entry = next?.pointee {
      if let text = numeric(entry), let address = try? SocketAddress(ipAddress: text, port: port) {
        addresses.append(address)
      }
      next = entry.ai_next
    }
    guard !addresses.isEmpty else {
      throw SendFailure(status: ExitStatus.noHost, message: "the host \(host) has no address")
    }
    return addresses
  }

  private static func numeric(_ entry: addrinfo) -> String? {
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let rc = getnameinfo(entry.ai_addr, entry.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
    guard rc == 0 else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
