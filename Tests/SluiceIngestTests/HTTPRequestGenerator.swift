import TestSupport

/// Pipelines of requests as clients, careless clients and attackers write them. Most are well-formed, many have one
/// oddity, and some are damaged byte by byte.
struct HTTPRequestGenerator {
  var random: SeededGenerator

  init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  /// One to four requests, and how many they were before they were damaged.
  mutating func pipeline() -> (bytes: [UInt8], requests: Int) {
    let isOdd = chance(40)
    let count = Int.random(in: 1...4, using: &random)
    let oddOne = isOdd ? Int.random(in: 0..<count, using: &random) : -1
    var bytes: [UInt8] = []
    for index in 0..<count { bytes += request(isOdd: index == oddOne) }
    if chance(20) { for _ in 0..<Int.random(in: 1...3, using: &random) { damage(&bytes) } }
    return (bytes, count)
  }

  /// Where the bytes are cut into reads.
  mutating func cuts(of count: Int) -> [Int] {
    (0..<Int.random(in: 0...3, using: &random)).map { _ in Int.random(in: 0...count, using: &random) }.sorted()
  }

  // MARK: Requests

  private enum Part: CaseIterable { case line, field, host, length, encoding, chunk, end, connection }

  private mutating func request(isOdd: Bool) -> [UInt8] {
    let odd = isOdd ? Part.allCases.randomElement(using: &random) : nil
    let isOld = chance(8)
    var head = pick(Self.emptyLines, odd == .line, Self.oddEmptyLines)
    head += line(isOld: isOld, isOdd: odd == .line)
    var fields: [String] = []
    if !isOld || chance(50) { fields.append(pick(["Host: x", "host:x", "HOST: x "], odd == .host, Self.oddHosts)) }
    for _ in 0..<Int.random(in: 0...3, using: &random) { fields.append(pick(Self.fields, false, [])) }
    if odd == .field { fields.append(pick(Self.oddFields, false, [])) }
    if chance(15) || odd == .connection {
      fields.append(pick(Self.connections, odd == .connection, Self.oddConnections))
    }
    var body: [UInt8] = []
    if odd == .length || odd == .encoding || odd == .chunk || chance(60) {
      if odd == .encoding || odd == .chunk || (odd != .length && !isOld && chance(40)) {
        fields.append(pick(Self.encodings, odd == .encoding, Self.oddEncodings))
        body = chunks(isOdd: odd == .chunk)
      } else {
        body = content()
        fields.append("Content-Length: \(body.count)")
        if odd == .length { fields[fields.count - 1] = oddLength(body.count) }
      }
    }
    fields.shuffle(using: &random)
    for field in fields { head += field + (odd == .end && chance(30) ? pick(Self.oddEnds, false, []) : "\r\n") }
    head += odd == .end && chance(50) ? pick(Self.oddEnds, false, []) : "\r\n"
    return Array(head.utf8) + body
  }

  private mutating func line(isOld: Bool, isOdd: Bool) -> String {
    guard isOdd else {
      return "\(pick(Self.methods, false, [])) \(pick(Self.targets, false, [])) HTTP/1.\(isOld ? 0 : 1)\r\n"
    }
    let method = pick(Self.methods, chance(30), Self.oddMethods)
    let target = pick(Self.targets, chance(40), Self.oddTargets)
    let version = pick(["HTTP/1.1"], chance(40), Self.oddVersions)
    return method + pick([" "], chance(20), ["  ", "\t", ""]) + target + pick([" "], chance(20), ["  ", "\t", ""])
      + version
      + pick(["\r\n"], chance(20), Self.oddEnds)
  }

  private mutating func oddLength(_ count: Int) -> String {
    let field = "Content-Length"
    return pick(
      [
        "\(field): \(count)\r\n\(field): \(count)", "\(field): \(count)\r\n\(field): \(count + 1)",
        "\(field): \(count), \(count)", "\(field): +\(count)", "\(field): -\(count)", "\(field): \(count) 0",
        "\(field) : \(count)", "\(field): 0\(count)", "\(field): 0x\(String(count, radix: 16))", "\(field):",
        "\(field): 18446744073709551616", "\(field): \(count).0", "\(field):\t\(count)\t", "\(field): \(count);",
        "\(field): \(count + 1)", "\(field): \(max(0, count - 1))", "\(field): \(count)\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\n\(field): \(count)", "\(field): 000000000000000000000\(count)", "\(field): ",
        "\(field):\u{B}\(count)", "\(field)\u{0}: \(count)", "\(field): \"\(count)\"", "\(field):\r\n \(count)",
      ], false, [])
  }

  private mutating func content() -> [UInt8] {
    switch Int.random(in: 0..<6, using: &random) {
    case 0: return []
    case 1: return Array(#"{"message":"hello"}"#.utf8)
    case 2: return Array("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
    case 3: return Array("0\r\n\r\n".utf8)
    case 4: return [UInt8](repeating: 0x61, count: Int.random(in: 0...600, using: &random))
    default: return random.bytes(upTo: 40)
    }
  }

  private mutating func chunks(isOdd: Bool) -> [UInt8] {
    var all: [UInt8] = []
    let count = Int.random(in: 0...3, using: &random)
    let oddOne = isOdd ? Int.random(in: 0...count, using: &random) : -1
    for index in 0..<count {
      let data = content()
      guard !data.isEmpty else { continue }
      let size = pick(
        [
          String(data.count, radix: 16), String(data.count, radix: 16).uppercased(),
          "00" + String(data.count, radix: 16),
        ], false, [])
      if index == oddOne {
        all += oddChunk(size, data)
      } else {
        all += Array("\(size)\r\n".utf8) + data + [0x0D, 0x0A]
      }
    }
    let last = pick(
      ["0\r\n", "0\r\n", "000\r\n"], isOdd && oddOne == count,
      ["0;a=b\r\n", "0\n", " 0\r\n", "0 \r\n", "\r\n", "x\r\n"])
    let trailers = pick(
      ["", "", "A: b\r\n", "A: b\r\nC:\r\n"], isOdd && chance(30), [" a: b\r\n", "a b\r\n", "A: b\n", ": b\r\n"])
    return all + Array((last + trailers + "\r\n").utf8)
  }

  private mutating func oddChunk(_ size: String, _ data: [UInt8]) -> [UInt8] {
    let form = pick(
      [
        "\(size);a=b\r\n", "\(size);\r\n", "\(size) \r\n", " \(size)\r\n", "\(size)\n", "\(size)\r", "+\(size)\r\n",
        "-\(size)\r\n",
        "0x\(size)\r\n", "\(size)_\r\n", "0000000000000000\(size)\r\n", "1\(size)\r\n", "\r\n", "\(size)\t\r\n",
        "ffffffffffffffff\r\n", "10000000000000000\r\n", "\(size)\u{0}\r\n", "\(size)g\r\n",
      ], false, [])
    return Array(form.utf8) + data + Array(pick(["\r\n", "\r\n", "\n", "", "\r", "\r\n\r\n"], false, []).utf8)
  }

  // MARK: Damage

  private mutating func damage(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else { return }
    let at = Int.random(in: 0..<bytes.count, using: &random)
    let special: [UInt8] = [0, 9, 10, 11, 13, 32, 34, 44, 45, 48, 58, 59, 127, 128, 255]
    let byte = chance(70) ? special.randomElement(using: &random) ?? 0 : UInt8.random(in: 0...255, using: &random)
    switch Int.random(in: 0..<7, using: &random) {
    case 0: bytes[at] = byte
    case 1: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2: bytes.insert(byte, at: at)
    case 3: bytes.remove(at: at)
    case 4: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...20, using: &random)))
    case 5: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + Int.random(in: 1...20, using: &random))], at: at)
    default: bytes.removeSubrange(at...)
    }
  }

  // MARK: Choices

  private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

  private mutating func pick(_ plain: [String], _ isOdd: Bool, _ odd: [String]) -> String {
    (isOdd ? odd : plain).randomElement(using: &random) ?? ""
  }

  private static let methods = ["GET", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]
  private static let oddMethods = [
    "get", "BREW", "G", "P(ST", "", "CONNECT", "PRI", "GET\u{0}", "ÄT", "POST:", "M-SEARCH",
  ]
  private static let targets = [
    "/log", "/logs", "/", "/a/b?c=d&e", "/log?", "/%00%zz", "http://x/log", "http://x?q", "/a;b=c,d~!$&'()*+@",
    "/[]{}|^\"<>",
  ]
  private static let oddTargets = [
    "*", "log", "", "/a b", "/a#b", "/ä", "/\u{7F}", "/\u{0}", "x:80", "ftp://x/", "http://", "http:///log",
    "http://y/", "HTTP://x/",
    "http://u@x/", "//log", "/\\", "http://x#", "/a\tb", "http://x:80/log",
  ]
  private static let oddVersions = [
    "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "HTTP/1", "HTTP/11", "HTTP/1.10", "HTTP /1.1", "",
    "ICE/1.0", "RTSP/1.0",
    "HTTP/1,1", "XHTTP/1.1",
  ]
  private static let emptyLines = ["", "", "", "", "", "", "", "\r\n"]
  private static let oddEmptyLines = ["\r\n\r\n", "\n", "\r", " ", "\r\n ", ""]
  private static let oddEnds = ["\n", "\r", "\r\r\n", "\n\r\n", " \r\n", "\r\n ", "\r\n\t", "\u{0}\r\n", "\u{85}"]
  private static let oddHosts = [
    "Host: x\r\nHost: x", "Host: x\r\nHost: y", "Host:", "Host: a b", "Host: a/b", "Host: u@x", "Host : x", "X: y",
    "Host: x,y", "Host: [::1]:80",
    "Host: \u{0}", "Host: ä",
  ]
  private static let fields = [
    "Accept: */*", "X: y", "x-empty:", "X-Tabs:\ta\tb\t", "X-Spaces:   a  b   ", "Sluice-Topic: a.b",
    "sluice-topic:\t c d  ", "X-Text: grüße",
    "X-Quotes: \"a, b\"", "X!#$%&'*+-.^_`|~0: 1", "Content-Type: application/json", "Content-Encoding: identity",
    "Cookie: a=b; c=d",
    "X-Colons: a:b::", "Sluice-Key: k", "TE: trailers", "Keep-Alive: 5",
  ]
  private static let oddFields = [
    "Sluice-Topic: c d \t",
    "X : y", "X\t: y", ": y", "X", " X: y", "\tX: y", "X: a\r\n b", "X: a\u{0}b", "X: a\u{1}b", "X: a\u{7F}b",
    "X: a\rb", "X: a\nb", "X(: y",
    "X Y: z", "X\u{0}: y", "Ä: y", "X: a\r\n\tb", "Sluice-Topic: a\r\nSluice-Topic: b", "Expect: 100-continue",
    "Expect: more", "\"X\": y",
    "X/Y: z", "X: \u{B}", "Transfer-Encoding: identity", "Content-Length: 0",
  ]
  private static let connections = [
    "Connection: keep-alive", "Connection: close", "Connection: Keep-Alive, X", "connection:close",
  ]
  private static let oddConnections = [
    "Connection: keep-alive\r\nConnection: close", "Connection: close, keep-alive", "Connection:", "Connection: ,close",
    "Connection: closed",
    "Connection: clo se", "Connection: keep-alive\t", "Connection: \"close\"", "Proxy-Connection: close",
  ]
  private static let encodings = [
    "Transfer-Encoding: chunked", "transfer-encoding:chunked", "Transfer-Encoding: Chunked ",
  ]
  private static let oddEncodings = [
    "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx", "Transfer-Encoding : chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: \u{B}chunked", "Transfer-Encoding: chunked;a=b", "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:", "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,", "Transfer-Encoding: identity", "Transfer-Encoding: chunked\u{0}",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked", "Transfer_Encoding: chunked", "Content-Length: 3\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 3",
  ]
}
