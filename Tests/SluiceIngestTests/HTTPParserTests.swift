import SluiceCore
import Testing

@testable import SluiceIngest

/// What a connection makes of some bytes.
struct ParseOutcome: Equatable {
  var requests: [HTTPRequest] = []
  var bodies: [String] = []
  var refusal: HTTPRefusal?
}

/// Parses `bytes` as they would come in parts that end at `cuts`, each time from the request's first byte on.
func parse(_ bytes: [UInt8], limits: HTTPLimits = .test, cuts: [Int] = []) -> ParseOutcome {
  var parser = HTTPRequestParser(limits: limits)
  var outcome = ParseOutcome()
  var consumed = 0
  for cut in cuts + [bytes.count] {
    var isMore = false
    while !isMore {
      Array(bytes[consumed..<cut]).withUnsafeBytes { known in
        switch parser.parse(known) {
        case .request(let request):
          outcome.requests.append(request)
          var body = Array(request.rawBody.of(known))
          if request.head.isChunked {
            body = [UInt8](repeating: 0, count: request.bodyBytes)
            body.withUnsafeMutableBytes { request.copyBody(from: known, to: $0) }
          }
          outcome.bodies.append(String(decoding: body, as: UTF8.self))
          consumed += request.consumed
        case .refused(let refusal):
          outcome.refusal = refusal
          isMore = true
        case .needMore, .head: isMore = true
        }
      }
    }
  }
  return outcome
}

func parse(_ text: String, limits: HTTPLimits = .test) -> ParseOutcome { parse(Array(text.utf8), limits: limits) }

extension HTTPLimits {
  static let test = HTTPLimits(
    requestLineBytes: 200, headerBytes: 400, headerCount: 10, bodyBytes: 1000, trailerBytes: 100)
}

@Suite("HTTP requests")
struct HTTPParserTests {
  @Test func aPlainRequestIsUnderstood() throws {
    let text =
      "POST /log?a=b?c HTTP/1.1\r\nHost: x:80\r\nAccept: */*\r\nSluice-Topic:\t a b \t\r\nContent-Length: 2\r\n\r\n{}"
    let outcome = parse(text)
    let request = try #require(outcome.requests.first)
    Array(text.utf8).withUnsafeBytes { bytes in
      #expect(String(decoding: request.head.path.of(bytes), as: UTF8.self) == "/log")
      #expect(String(decoding: request.head.query.of(bytes), as: UTF8.self) == "a=b?c")
      #expect(String(decoding: request.head.topic.of(bytes), as: UTF8.self) == "a b")
      #expect(String(decoding: request.head.accept.of(bytes), as: UTF8.self) == "*/*")
    }
    #expect(request.head.method == .post && request.head.keepAlive && request.head.contentLength == 2)
    #expect(request.consumed == text.utf8.count)
    #expect(outcome.bodies == ["{}"])
  }

  @Test func chunksAreJoined() {
    let outcome = parse(
      "POST /log HTTP/1.1\r\nhost: x\r\ntransfer-encoding: CHUNKED\r\n\r\n5\r\nhello\r\n00A\r\n, world!\r\n\r\n0\r\nA: b\r\n\r\nGET / HT"
    )
    #expect(outcome.refusal == nil)
    #expect(outcome.bodies == ["hello, world!\r\n"])
  }

  @Test func theConnectionHeaderDecidesWithTheVersion() {
    func keepsAlive(_ version: String, _ headers: String) -> Bool? {
      parse("GET / HTTP/\(version)\r\nHost: x\r\n\(headers)\r\n").requests.first?.head.keepAlive
    }
    #expect(keepsAlive("1.1", "") == true)
    #expect(keepsAlive("1.1", "Connection: close\r\n") == false)
    #expect(keepsAlive("1.1", "Connection: foo, CLOSE\r\n") == false)
    #expect(keepsAlive("1.1", "Connection: closed\r\n") == true)
    #expect(keepsAlive("1.0", "") == false)
    #expect(keepsAlive("1.0", "Connection: Keep-Alive\r\n") == true)
    #expect(keepsAlive("1.0", "Connection: close\r\nConnection: keep-alive\r\n") == false)
    #expect(keepsAlive("1.0", "Connection: keep-alive, close\r\n") == false)
  }

  @Test func aTargetMayBeAnURLOrHaveAQuery() throws {
    func path(_ target: String, host: String = "h") -> String? {
      let text = Array("GET \(target) HTTP/1.1\r\nHost: \(host)\r\n\r\n".utf8)
      guard let request = parse(text).requests.first else { return nil }
      return text.withUnsafeBytes { String(decoding: request.head.path.of($0), as: UTF8.self) }
    }
    #expect(path("/log") == "/log")
    #expect(path("/log?") == "/log")
    #expect(path("http://h:1/log?x", host: "H:1") == "/log")
    #expect(path("HTTPS://[::1]/a", host: "[::1]") == "/a")
    #expect(path("http://h") == "")
    #expect(path("http://h?q") == "")
    #expect(path("/%6cog") == "/%6cog")
    for bad in ["*", "host:80", "log", "ftp://h/", "http://", "http:///log", "http://u@h/", "/a#b", "/\u{7F}", "/ä"] {
      #expect(path(bad) == nil, "\(bad)")
    }
  }

  static let refused: [(String, HTTPRefusal)] = [
    ("\u{16}\u{3}\u{1}", .badRequestLine),
    (" GET / HTTP/1.1\r\n", .badRequestLine),
    ("\r\n\r\nGET / HTTP/1.1\r\n", .badRequestLine),
    ("\rGET / HTTP/1.1\r\n", .badRequestLine),
    ("\nGET / HTTP/1.1\r\n", .badRequestLine),
    ("GET\r\n", .badRequestLine),
    ("GET /\r\n", .badRequestLine),
    ("GET  / HTTP/1.1\r\n", .badRequestLine),
    ("G(T / HTTP/1.1\r\n", .badRequestLine),
    ("GET\t/ HTTP/1.1\r\n", .badRequestLine),
    ("GET /\tHTTP/1.1\r\n", .badTarget),
    ("GET /a#b HTTP/1.1\r\n", .badTarget),
    ("GET /  HTTP/1.1\r\n", .badVersion),
    ("GET / HTTP/1.1 \r\n", .badVersion),
    ("GET / http/1.1\r\n", .badVersion),
    ("GET / HTTP/1.1x\r\n", .badVersion),
    ("GET / HTTP/11\r\n", .badVersion),
    ("GET / HTTP/1.2\r\n", .unsupportedVersion),
    ("GET / HTTP/2.0\r\n", .unsupportedVersion),
    ("GET / HTTP/0.9\r\n", .unsupportedVersion),
    ("PRI * HTTP/2.0\r\n", .unsupportedVersion),
    ("GET / HTTP/1.1\n", .bareLineFeed),
    ("GET / HTTP/1.1\r\r\n", .badVersion),
    ("GET /\(String(repeating: "a", count: 200)) HTTP/1.1\r\n", .requestLineTooLong),
    ("GET / HTTP/1.1\r\nHost: x\n\r\n", .bareLineFeed),
    ("GET / HTTP/1.1\r\nHost: x\r\n\n", .bareLineFeed),
    ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", .badHeaderName),
    ("GET / HTTP/1.1\r\nHost\t: x\r\n\r\n", .badHeaderName),
    ("GET / HTTP/1.1\r\n: x\r\n\r\n", .badHeaderName),
    ("GET / HTTP/1.1\r\nHost\r\n\r\n", .badHeaderName),
    ("GET / HTTP/1.1\r\nHo st: x\r\n\r\n", .badHeaderName),
    ("GET / HTTP/1.1\r\nH\u{0}: x\r\n\r\n", .badHeaderName),
    ("GET / HTTP/1.1\r\nX: a\u{0}b\r\n\r\n", .badHeaderValue),
    ("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", .badHeaderValue),
    ("GET / HTTP/1.1\r\nX: a\r\r\n\r\n", .badHeaderValue),
    ("GET / HTTP/1.1\r\nX: 12345678\u{7F}\r\n\r\n", .badHeaderValue),
    ("GET / HTTP/1.1\r\nX: 12345678\u{1F}234567\r\n\r\n", .badHeaderValue),
    ("GET / HTTP/1.1\r\n X: y\r\n\r\n", .foldedHeader),
    ("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", .foldedHeader),
    ("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb\r\n\r\n", .foldedHeader),
    ("GET / HTTP/1.1\r\n\r\n", .missingHost),
    ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", .duplicateHeader),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", .badHost),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", .badHost),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", .badHost),
    ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", .hostMismatch),
    ("GET http://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", .hostMismatch),
    ("GET http://[/ HTTP/1.1\r\nHost: ;\r\n\r\n", .hostMismatch),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", .duplicateHeader),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", .duplicateHeader),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n", .badContentLength),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", .badContentLength),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", .badContentLength),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1 1\r\n\r\n", .badContentLength),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n", .badContentLength),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", .badContentLength),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1.0\r\n\r\n", .badContentLength),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", .bodyTooLarge),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551617\r\n\r\n", .bodyTooLarge),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999999999\r\n\r\n", .bodyTooLarge),
    (chunked("", "Content-Length: 3\r\n"), .lengthAndTransferEncoding),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", .badTransferEncoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", .badTransferEncoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", .badTransferEncoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked,\r\n\r\n", .badTransferEncoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", .badTransferEncoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", .badTransferEncoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \u{B}chunked\r\n\r\n", .badHeaderValue),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", .badHeaderName),
    (chunked("", "Transfer-Encoding: chunked\r\n"), .duplicateHeader),
    ("POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", .unknownExpectation),
    ("GET / HTTP/1.1\r\nSluice-Key: a\r\nSluice-Key: a\r\n\r\n", .duplicateHeader),
    ("GET / HTTP/1.1\r\nX: \(String(repeating: "a", count: 400))\r\n", .headersTooLarge),
    ("GET / HTTP/1.1\r\n\(String(repeating: "X: y\r\n", count: 11))\r\n", .tooManyHeaders),
    (chunked("\r\n"), .badChunk),
    (chunked("g\r\n"), .badChunk),
    (chunked(" 1\r\na\r\n"), .badChunk),
    (chunked("1 \r\na\r\n"), .badChunk),
    (chunked("+1\r\na\r\n"), .badChunk),
    (chunked("0x1\r\na\r\n"), .badChunk),
    (chunked("-1\r\na\r\n"), .badChunk),
    (chunked("1;a=b\r\na\r\n"), .badChunk),
    (chunked("1\na\r\n"), .bareLineFeed),
    (chunked("1\r\nab\r\n"), .badChunk),
    (chunked("2\r\nabc\r\n"), .badChunk),
    (chunked("1\r\na\n"), .badChunk),
    (chunked("1\r\na\rb"), .badChunk),
    (chunked("00000000000000001\r\na\r\n"), .badChunk),
    (chunked("ffffffffffffffff\r\n"), .bodyTooLarge),
    (chunked("3e9\r\n"), .bodyTooLarge),
    (chunked(String(repeating: "0000000000000001\r\na\r\n", count: 300)), .chunkOverhead),
    (chunked("0\r\nA b\r\n\r\n"), .badTrailer),
    (chunked("0\r\nA: \u{1}\r\n\r\n"), .badTrailer),
    (chunked("0\r\n a: b\r\n\r\n"), .badTrailer),
    (chunked("0\r\nContent-length: 1\r\n\r\n"), .badTrailer),
    (chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), .badTrailer),
    (chunked("0\r\nA: b\r\nCONNECTION: close\r\n\r\n"), .badTrailer),
    (chunked("0\r\nhost: x\r\n\r\n"), .badTrailer),
    (chunked("0\r\nA: b\n\r\n"), .bareLineFeed),
    (chunked("0\r\nA: \(String(repeating: "a", count: 120))"), .trailersTooLarge),
    (chunked("0\r\n\(String(repeating: "A: b\r\n", count: 11))"), .trailersTooLarge),
  ]

  static func chunked(_ body: String, _ headers: String = "") -> String {
    "POST /log HTTP/1.1\r\nHost: x\r\n\(headers)Transfer-Encoding: chunked\r\n\r\n\(body)"
  }

  @Test(arguments: refused) func whatIsAmbiguousIsRefused(_ text: String, _ why: HTTPRefusal) {
    let outcome = parse(text)
    #expect(outcome.refusal == why)
    #expect(outcome.requests.isEmpty)
  }

  @Test func everyRefusalIsInTheTableAndHasAStatus() {
    #expect(Set(Self.refused.map(\.1)) == Set(HTTPRefusal.allCases))
    for refusal in HTTPRefusal.allCases { #expect(HTTPStatus(refusal).code == refusal.status) }
  }

  @Test func whatIsWithinTheLimitsPasses() {
    let line = "GET /\(String(repeating: "a", count: 186)) HTTP/1.1\r\n"
    #expect(line.utf8.count == 202)
    #expect(parse(line + "Host: x\r\n\r\n").requests.count == 1)
    #expect(parse("GET / HTTP/1.1\r\nHost: x\r\n\(String(repeating: "X: y\r\n", count: 9))\r\n").requests.count == 1)
    let headers = "Host: x\r\nX: \(String(repeating: "a", count: 386))\r\n"
    #expect(headers.utf8.count == 400)
    #expect(parse("GET / HTTP/1.1\r\n\(headers)\r\n").requests.count == 1)
    let body = String(repeating: "b", count: 1000)
    #expect(parse("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 01000\r\n\r\n\(body)").bodies == [body])
    #expect(parse(Self.chunked("3e8\r\n\(body)\r\n0000000000000000\r\n\r\n")).bodies == [body])
  }

  @Test func namesCompareWithoutCaseAndWithoutConfusion() {
    let name: StaticString = "sluice-time:/0"
    let right = Array("sluice-time:/0".utf8)
    for at in right.indices {
      for byte in UInt8(0x20)...0xFF {
        var bytes = right
        bytes[at] = byte
        let isSame = UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte ? byte + 32 == right[at] : byte == right[at]
        #expect(bytes.withUnsafeBytes { HTTPBytes.equals($0, ignoringCase: name) } == isSame)
      }
    }
  }

  @Test func theByteClassesAreThoseOfTheStandard() {
    let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".utf8)
    let token = Set(Array("!#$%&'*+-.^_`|~".utf8) + letters)
    let host = Set(Array("!$%&'()*+,;=-._~:[]".utf8) + letters)
    for byte in UInt8.min...UInt8.max {
      #expect(HTTPBytes.isToken(byte) == token.contains(byte))
      #expect(HTTPBytes.isHost(byte) == host.contains(byte))
    }
  }
}
