import Foundation

/// A blocking HTTP client over one loopback connection, just enough to see exact bytes.
package final class HTTPConnection {
  private let descriptor: Int32
  private var received: [UInt8] = []

  package init?(port: Int) {
    guard let descriptor = connectToLoopback(port, seconds: 120) else { return nil }
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  package func send(_ text: String) -> Bool {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let n = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else { return false }
      bytes = bytes.dropFirst(n)
    }
    return true
  }

  /// One response: status, head, body. Nil when the connection ends first.
  package func response() -> (status: Int, head: String, body: String)? {
    while true {
      if let end = headEnd() {
        let head = String(decoding: received[..<end], as: UTF8.self)
        let length =
          head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
          .flatMap { Int($0.split(separator: ":")[1].trimmingCharacters(in: .whitespaces)) } ?? 0
        if received.count >= end + 4 + length {
          let body = String(decoding: received[(end + 4)..<(end + 4 + length)], as: UTF8.self)
          received.removeSubrange(..<(end + 4 + length))
          return (Int(head.split(separator: " ")[1]) ?? 0, head, body)
        }
      }
      var buffer = [UInt8](repeating: 0, count: 16384)
      let n = recv(descriptor, &buffer, buffer.count, 0)
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else { return nil }
      received.append(contentsOf: buffer[..<n])
    }
  }

  private func headEnd() -> Int? {
    guard received.count >= 4 else { return nil }
    for i in 0...(received.count - 4)
    where received[i] == 13 && received[i + 1] == 10 && received[i + 2] == 13 && received[i + 3] == 10 {
      return i
    }
    return nil
  }

  package func post(_ body: String, path: String = "/log", headers: String = "") -> (
    status: Int, head: String, body: String
  )? {
    guard
      send(
        "POST \(path) HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\(headers)"
          + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    else { return nil }
    return response()
  }

  package func get(_ path: String, accept: String? = nil) -> (status: Int, head: String, body: String)? {
    guard send("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(accept.map { "Accept: \($0)\r\n" } ?? "")\r\n") else {
      return nil
    }
    return response()
  }
}
