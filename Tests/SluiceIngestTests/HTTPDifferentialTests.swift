import Glibc
import NIOCore
import NIOEmbedded
import NIOHTTP1
import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

/// Our parser against swift-nio's (llhttp) over generated and damaged requests. What it refuses we refuse; where both
/// accept, both see the same requests with the same bodies, and so the same boundaries. We refuse more.
///
/// `SLUICE_HTTP_SEED` repeats a run with another seed; `SLUICE_FULL=1` runs ten times as many requests, with a seed of
/// chance unless there is one.
@Suite("HTTP against swift-nio")
struct HTTPDifferentialTests {
  /// One request as either of them sees it.
  struct Request: Equatable, CustomStringConvertible {
    var method: String
    var target: String
    var minorVersion: Int
    var topic: String
    var keepsAlive: Bool
    var body: [UInt8]

    var description: String { "\(method) \(target) 1.\(minorVersion) [\(topic)] \(keepsAlive) \(body.count) bytes" }
  }

  struct Seen {
    var requests: [Request] = []
    /// Why nothing that follows is understood.
    var refusal: String?
    /// A request has ended the connection: what follows is not looked at.
    var isClosed = false
    /// What was looked at, and ends that could make a request of what is left of it. Of ours only.
    var bytes: [UInt8] = []
    var ends: [[UInt8]] = []
  }

  /// What we take and swift-nio refuses, or sees another way, and why that is right.
  enum Exception: String, CaseIterable {
    case method = "llhttp knows a list of methods; we take any token, and answer 405"
    case upgrade = "llhttp reads no further behind CONNECT and Upgrade; we change to no protocol"
    case proxyConnection = "llhttp heeds Proxy-Connection, which no standard has; we don't"
    case both = "with close and keep-alive on HTTP/1.0 swift-nio keeps the connection; we close it"
    case tab = "llhttp takes a tab behind a value for a part of it; RFC 9110 calls it white space, and we drop it"

    static func of(ours: Request, theirs: Request?) -> Exception? {
      if ours.method == "CONNECT" { return .upgrade }
      guard let theirs else {
        return Self.methods.contains(ours.method) ? nil : .method
      }
      var same = theirs
      same.keepsAlive = ours.keepsAlive
      guard same == ours else { return nil }
      if ours.keepsAlive { return .proxyConnection }
      return ours.minorVersion == 0 ? .both : nil
    }

    static let methods: Set<String> = [
      "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "M-SEARCH",
    ]
  }

  struct Statistics {
    var requests = 0
    var bothAccept = 0
    var bothRefuse = 0
    var onlyWe: [String: Int] = [:]
    /// They refuse at once what we refuse whatever its end is.
    var later = 0
    var exceptions: [Exception: Int] = [:]

    var pipelines: Int {
      bothAccept + bothRefuse + onlyWe.values.reduce(0, +) + later + exceptions.values.reduce(0, +)
    }
  }

  static let limits = HTTPLimits(
    requestLineBytes: 8192, headerBytes: 16_384, headerCount: 100, bodyBytes: 1 << 20, trailerBytes: 4096)

  @Test func bothSeeTheSameRequests() throws {
    let isFull = getenv("SLUICE_FULL") != nil
    let given = getenv("SLUICE_HTTP_SEED").flatMap { UInt64(String(cString: $0)) }
    let seed = given ?? (isFull ? UInt64.random(in: 0...UInt64.max) : 20_260_131)
    let wanted = isFull ? 1_000_000 : 100_000
    var generator = HTTPRequestGenerator(seed: seed)
    var statistics = Statistics()
    while statistics.requests < wanted {
      let (bytes, count) = generator.pipeline()
      statistics.requests += count
      let cuts = generator.cuts(of: bytes.count)
      guard let difference = compare(ours(bytes, cuts), theirs(bytes), &statistics) else { continue }
      guard !bytes.contains(0x09) || !agreeWithoutTabs(bytes, cuts) else {
        statistics.exceptions[.tab, default: 0] += 1
        continue
      }
      Issue.record(
        "seed \(seed): \(difference)\n\(String(decoding: bytes, as: UTF8.self).debugDescription)\ncuts \(cuts)")
    }
    let all = statistics.pipelines
    print(
      "HTTP against swift-nio, seed \(seed): \(statistics.requests) requests in \(all) pipelines; both accept",
      "\(statistics.bothAccept), both refuse \(statistics.bothRefuse), we later \(statistics.later), only we refuse",
      statistics.onlyWe.sorted { $0.value > $1.value }.map { "\($0.key) \($0.value)" }.joined(separator: ", ") + ";",
      statistics.exceptions.map { "\($0.key) \($0.value)" }.sorted().joined(separator: ", "))
    #expect(statistics.bothAccept * 5 >= all, "too little is accepted by both to say much")
    #expect(statistics.bothRefuse * 20 >= all)
    #expect(statistics.later > 0)
  }

  // MARK: Comparing

  /// What is different and may not be.
  func compare(_ ours: Seen, _ theirs: Seen, _ statistics: inout Statistics) -> String? {
    for index in 0..<max(ours.requests.count, theirs.requests.count) {
      if index > 0, ours.requests[index - 1].method == "CONNECT" { return except(.upgrade, &statistics) }
      guard index < ours.requests.count else {
        // Of which we still await the body, that they don't look for.
        if theirs.requests[index].method == "CONNECT" { return except(.upgrade, &statistics) }
        guard ours.refusal != nil || ours.isClosed else { return "they see a request more: \(theirs.requests[index])" }
        break
      }
      let other = index < theirs.requests.count ? theirs.requests[index] : nil
      guard ours.requests[index] != other else { continue }
      if let exception = Exception.of(ours: ours.requests[index], theirs: other) {
        return except(exception, &statistics)
      }
      let theirWord = other.map { "\($0)" } ?? theirs.refusal ?? "nothing"
      return "request \(index) is \(ours.requests[index]) to us, to them \(theirWord)"
    }
    switch (ours.refusal, theirs.refusal) {
    case (nil, nil): statistics.bothAccept += 1
    case (nil, _?) where ours.isClosed: statistics.bothAccept += 1
    case (nil, _?):
      if let difference = compareEnds(ours, theirs) { return difference }
      statistics.later += 1
    case (_?, _?): statistics.bothRefuse += 1
    case (let refusal?, nil): statistics.onlyWe[refusal, default: 0] += 1
    }
    return nil
  }

  /// They have refused what we wait for the end of. Whatever that is, we must refuse too, or differ for a reason that has a
  /// name; and one of the ends must be an end.
  private func compareEnds(_ ours: Seen, _ theirs: Seen) -> String? {
    var isDecided = false
    for end in ours.ends {
      let ended = self.ours(ours.bytes + end, [])
      let accepts = ended.requests.count > ours.requests.count
      var unused = Statistics()
      if accepts, let difference = compare(ended, theirs, &unused) {
        return "\(difference), with \(String(decoding: end, as: UTF8.self).debugDescription) behind it"
      }
      isDecided = isDecided || accepts || ended.refusal != nil
    }
    return isDecided ? nil : "they refuse what we wait for no end of: \(theirs.refusal ?? "")"
  }

  /// Ends of every kind that fit where the parser stands, `count` bytes behind the request's first one.
  private func ends(_ parser: borrowing HTTPRequestParser, _ count: Int) -> [[UInt8]] {
    func suffixes(_ text: String) -> [[UInt8]] { (0..<text.utf8.count).map { Array(text.utf8.dropFirst($0)) } }
    func filler(_ count: Int) -> [UInt8] { [UInt8](repeating: 0x78, count: max(0, count)) }
    return switch parser.phase {
    case .start, .requestLine, .headers: suffixes("GET / HTTP/1.1\r\nHost: x\r\n\r\n") + suffixes("X: y\r\n\r\n")
    case .fixedBody: [filler(parser.bodyStart + parser.head.contentLength - count)]
    case .chunkSize: suffixes("1\r\nx\r\n0\r\n\r\n")
    case .chunkData: suffixes("\r\n0\r\n\r\n").map { filler(parser.line + parser.chunkBytes - count) + $0 }
    case .trailers: suffixes("X: y\r\n\r\n")
    case .refused: []
    }
  }

  private func except(_ exception: Exception, _ statistics: inout Statistics) -> String? {
    statistics.exceptions[exception, default: 0] += 1
    return nil
  }

  /// Whether there is no difference once tabs are spaces.
  private func agreeWithoutTabs(_ bytes: [UInt8], _ cuts: [Int]) -> Bool {
    let spaces = bytes.map { $0 == 0x09 ? 0x20 : $0 }
    var unused = Statistics()
    return compare(ours(spaces, cuts), theirs(spaces), &unused) == nil
  }

  func ours(_ bytes: [UInt8], _ cuts: [Int]) -> Seen {
    var parser = HTTPRequestParser(limits: Self.limits)
    var seen = Seen()
    bytes.withUnsafeBytes { all in
      var consumed = 0
      for cut in cuts + [bytes.count] {
        while !seen.isClosed, seen.refusal == nil, cut >= consumed {
          let known = UnsafeRawBufferPointer(rebasing: all[consumed..<cut])
          let parsed = parser.parse(known)
          if case .refused(let refusal) = parsed { seen.refusal = "\(refusal)" }
          guard case .request(let request) = parsed else { break }
          seen.requests.append(self.request(request, known))
          seen.isClosed = !request.head.keepAlive
          consumed += request.consumed
        }
      }
      if seen.refusal == nil, !seen.isClosed, consumed < bytes.count {
        seen.ends = ends(parser, bytes.count - consumed)
      }
    }
    seen.bytes = bytes
    return seen
  }

  private func request(_ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) -> Request {
    let head = request.head
    func text(_ span: ByteSpan) -> String { String(decoding: span.of(bytes), as: UTF8.self) }
    var start = 0
    while bytes[start] == 0x0D || bytes[start] == 0x0A { start += 1 }
    let line = bytes[start...].prefix { $0 != 0x0D }.split(separator: 0x20)
    var body = Array(request.rawBody.of(bytes))
    if head.isChunked {
      body = [UInt8](repeating: 0, count: request.bodyBytes)
      body.withUnsafeMutableBytes { request.copyBody(from: bytes, to: $0) }
    }
    // The target as sent, which has the path and the query that the head points to.
    let target = String(decoding: line[1], as: UTF8.self)
    let tail = text(head.path) + (head.query.start > 0 ? "?" + text(head.query) : "")
    return Request(
      method: String(decoding: line[0], as: UTF8.self), target: target.hasSuffix(tail) ? target : "not \(tail)",
      minorVersion: Int(head.minorVersion), topic: text(head.topic), keepsAlive: head.keepAlive, body: body)
  }

  /// swift-nio calls M-SEARCH by the name of its case.
  private func name(of method: NIOHTTP1.HTTPMethod) -> String { method == .MSEARCH ? "M-SEARCH" : method.rawValue }

  /// swift-nio keeps the blanks behind a value.
  private func trimmed(_ value: String) -> String {
    String(value.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
  }

  func theirs(_ bytes: [UInt8]) -> Seen {
    let channel = EmbeddedChannel(handler: ByteToMessageHandler(HTTPRequestDecoder()))
    var seen = Seen()
    do {
      try channel.writeInbound(ByteBuffer(bytes: bytes))
    } catch {
      seen.refusal = "\(error)"
    }
    var open: Request?
    while let part = (try? channel.readInbound(as: HTTPServerRequestPart.self)) ?? nil {
      switch part {
      case .head(let head):
        open = Request(
          method: name(of: head.method), target: head.uri, minorVersion: head.version.minor,
          topic: trimmed(head.headers["sluice-topic"].first ?? ""), keepsAlive: head.isKeepAlive, body: [])
      case .body(let body): open?.body += body.readableBytesView
      case .end:
        if let request = open { seen.requests.append(request) }
        open = nil
      }
    }
    _ = try? channel.finish()
    return seen
  }
}
