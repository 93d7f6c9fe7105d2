import Glibc
import SluiceCore

/// Where records are sent.
enum SendTarget: Equatable, Sendable {
  /// `path`: in front of `/log` and `/logs`; mostly empty.
  case http(host: String, port: Int, path: String)
  case tcp(host: String, port: Int)

  var host: String {
    switch self {
    case .http(let host, _, _), .tcp(let host, _): host
    }
  }

  var port: Int {
    switch self {
    case .http(_, let port, _), .tcp(_, let port): port
    }
  }

  /// Whether what is sent to this host stays on this machine: `localhost`, or an address of the loopback as it is written out. Of
  /// other names nobody knows where they lead to.
  static func isThisMachine(_ host: String) -> Bool {
    if host.lowercased() == "localhost" { return true }
    var four = [UInt8](repeating: 0, count: 4)
    if inet_pton(AF_INET, host, &four) == 1 { return four[0] == 127 }
    var six = [UInt8](repeating: 0, count: 16)
    return inet_pton(AF_INET6, host, &six) == 1 && six.last == 1 && six.dropLast().allSatisfy { $0 == 0 }
  }

  static func isHTTPS(_ text: String) -> Bool { text.lowercased().hasPrefix("https://") }

  /// `http://HOST[:PORT][/PATH]` or `https://…`; the scheme may be left out, and the path may be that of the request itself.
  init?(http text: String) {
    var rest = text[...]
    if Self.isHTTPS(text) {
      rest = rest.dropFirst(8)
    } else if rest.lowercased().hasPrefix("http://") {
      rest = rest.dropFirst(7)
    } else if rest.contains("://") {
      return nil
    }
    guard !rest.contains(where: { $0 == "?" || $0 == "#" || $0 == "@" || $0.isWhitespace || !$0.isASCII }) else {
      return nil
    }
    let authority = rest.prefix { $0 != "/" }
    var path = rest.dropFirst(authority.count)
    for ending in ["/", "/log", "/logs"] where path.hasSuffix(ending) {
      path = path.dropLast(ending.count)
      break
    }
    guard let (host, port) = Self.address(authority, port: Self.isHTTPS(text) ? 443 : 80) else { return nil }
    self = .http(host: host, port: port, path: String(path))
  }

  /// `HOST[:PORT]`.
  init?(tcp text: String) {
    guard let (host, port) = Self.address(text[...], port: 7400) else { return nil }
    self = .tcp(host: host, port: port)
  }

  /// A host, one in brackets if it is an IPv6 address, and a port.
  private static func address(_ text: Substring, port usual: Int) -> (host: String, port: Int)? {
    var host = text
    var rest = Substring()
    if text.first == "[" {
      guard let end = text.firstIndex(of: "]") else { return nil }
      host = text[text.index(after: text.startIndex)..<end]
      rest = text[text.index(after: end)...]
    } else if let colon = text.firstIndex(of: ":") {
      host = text[..<colon]
      rest = text[colon...]
    }
    guard !host.isEmpty, !host.contains("/") else { return nil }
    if rest.isEmpty { return (String(host), usual) }
    guard rest.first == ":", let port = UInt16(rest.dropFirst()), port > 0 else { return nil }
    return (String(host), Int(port))
  }
}

/// What a run does, checked.
struct SendPlan: Sendable {
  enum Input: Equatable, Sendable {
    /// `-`: standard input.
    case file(String)
    case generated(count: UInt64?, size: Int)
  }

  var target: SendTarget
  var input: Input
  var isJSON = false
  /// Records per second over all connections.
  var rate: Double?
  var duration: Int64?
  var connections = 1
  /// Requests, or records of a framed connection, that may be on their way.
  var inFlight = 1
  var batch = 1
  var topic = ""
  var token = ""
  var fingerprint = ""
  /// Nil: anonymous.
  var producer: String?
  var retries = true
  /// Nil: plain connections.
  var tls: SendTLS.Options?
  /// How long nothing may be acknowledged while something waits for it; nil: for ever.
  var timeout: Int64? = Limits.defaultSendTimeoutNanoseconds

  /// The name under which connection `index` numbers its records: sequence n is its line n, so the number of
  /// connections is part of it. An identity may write as what lies below its own name.
  func producer(of index: Int) -> String? {
    guard let producer, connections > 1 else { return producer }
    return "\(producer)/\(index + 1)of\(connections)"
  }

  /// The protocol machine of a connection.
  func machine(_ index: Int) -> any SendMachine {
    switch target {
    case .http(let host, let port, let path):
      let name = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
      var head = "POST \(path)/\(batch > 1 ? "logs" : "log") HTTP/1.1\r\nHost: \(name)\r\n"
      head += "User-Agent: sluice-send/\(Version.text)\r\n"
      head += "Content-Type: application/\(batch > 1 ? "x-ndjson" : "json")\r\n"
      if !topic.isEmpty { head += "Sluice-Topic: \(topic)\r\n" }
      if !token.isEmpty { head += "Authorization: Bearer \(token)\r\n" }
      if !fingerprint.isEmpty { head += "Sluice-Fingerprint: \(fingerprint)\r\n" }
      let isJSON = if case .generated = input { true } else { isJSON }
      return HTTPProducer(
        .init(
          head: head, producer: producer(of: index), epoch: 1, batch: batch, inFlight: inFlight, isJSON: isJSON,
          retries: retries))
    case .tcp:
      return WireProducer(
        .init(
          producer: producer(of: index) ?? "", epoch: 1,
          credential: WireCredential(token: token, fingerprint: fingerprint, host: target.host),
          topic: Array(topic.utf8),
          software: "sluice-send/\(Version.text)", inFlight: inFlight, retries: retries))
    }
  }
}
