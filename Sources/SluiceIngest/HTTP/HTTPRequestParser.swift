// HTTP/1.x requests (RFC 9112), strictly: what two parsers could understand differently is refused, and with it
// everything that follows on the connection. Imports only the C library: the fuzz targets compile it alone.
//
//   request   = [CRLF] method SP target SP "HTTP/1." ("0" | "1") CRLF *(field CRLF) CRLF body
//   target    = "/" … | "http://" authority ["/" …]      visible ASCII without "#"; split at the first "?"
//   field     = token ":" OWS value OWS                  no control character but HTAB; never folded
//   body      = Content-Length bytes | chunks | nothing
//   chunk     = 1*16HEXDIG CRLF bytes CRLF               no extensions
//   last      = 1*16"0" CRLF *(field CRLF) CRLF          trailers are checked, bounded and dropped
//
// Refused, among others: LF without CR, CR inside a line, white space before a colon, folding, a repeated
// Content-Length, Transfer-Encoding or Host even if equal, both of the first two, Transfer-Encoding on HTTP/1.0 or
// with any value but `chunked`, a Content-Length with sign, space or list, HTTP/1.1 without Host, a Host that is not that
// of an URL in the request line.
//
// The parser is a state machine over a prefix that only grows: `parse` is given the bytes from the request's first
// one on, and continues where it stopped. Each decision is made from a fixed prefix of the request, so how the bytes
// were cut into reads cannot change the answer. Bytes are only read; a body in chunks is joined by `copyBody` once
// the request is whole. Nothing is allocated. A parser that `stopsBeforeBodies` says `head` in between, so that a request
// can be refused before its body has come, and `abandon` lets go of it.
//
//   start ──► requestLine ──► headers ─┬─► fixedBody ─────────────► request
//                                      └─► chunkSize ⇄ chunkData
//                                              └──► trailers ─────► request
//   every state ──► refused, which stays

import Glibc

package struct HTTPRequestParser: ~Copyable {
  enum Phase: UInt8 {
    case start, requestLine, headers, fixedBody, chunkSize, chunkData, trailers, refused
  }

  package let limits: HTTPLimits
  package let stopsBeforeBodies: Bool
  /// Valid from the end of the head on.
  package internal(set) var head = HTTPRequestHead()
  var phase = Phase.start
  var refusal = HTTPRefusal.badRequestLine
  /// Where the line (or body) begins that is read next, and up to where its end was looked for.
  var line = 0
  var searched = 0
  /// First byte after the request line, the head, the last chunk.
  var headersStart = 0
  var bodyStart = 0
  var trailersStart = 0
  var fieldCount = 0
  var seen: SeenFields = []
  /// Of an URL in the request line.
  var authority = ByteSpan.none
  /// Bytes of the chunk at hand, of all chunks, and of all framing so far.
  var chunkBytes = 0
  var decodedBytes = 0
  var framingBytes = 0

  package init(limits: HTTPLimits, stopsBeforeBodies: Bool = false) {
    self.limits = limits
    self.stopsBeforeBodies = stopsBeforeBodies
  }

  /// Whether a request has begun.
  package var isMidRequest: Bool { phase != .start || searched > 0 }
  /// Whether the head is complete and the body is awaited.
  package var isInBody: Bool {
    switch phase {
    case .fixedBody, .chunkSize, .chunkData, .trailers: true
    case .start, .requestLine, .headers, .refused: false
    }
  }

  /// Continues with `bytes`: everything from the request's first byte on, at least as long as the time before.
  /// After `.request` the next call begins a new one, behind `consumed`; after `.refused` the connection is over.
  package mutating func parse(_ bytes: UnsafeRawBufferPointer) -> HTTPParse {
    guard let base = bytes.baseAddress else { return phase == .refused ? .refused(refusal) : .needMore }
    while true {
      let step: Step
      switch phase {
      case .start: step = skipEmptyLine(base, bytes.count)
      case .requestLine: step = requestLine(base, bytes.count)
      case .headers: step = header(base, bytes.count)
      case .fixedBody: step = bytes.count - bodyStart >= head.contentLength ? .done : .more
      case .chunkSize: step = chunkSize(base, bytes.count)
      case .chunkData: step = chunkData(base, bytes.count)
      case .trailers: step = trailer(base, bytes.count)
      case .refused: return .refused(refusal)
      }
      switch step {
      case .next: continue
      case .more: return .needMore
      case .head: return .head
      case .done: return .request(finish())
      case .refuse(let why):
        refusal = why
        phase = .refused
        return .refused(why)
      }
    }
  }

  enum Step {
    case next, more, head, done
    case refuse(HTTPRefusal)
  }

  private mutating func finish() -> HTTPRequest {
    let isChunked = head.isChunked
    let length = max(head.contentLength, 0)
    let request = HTTPRequest(
      head: head,
      rawBody: ByteSpan(bodyStart, isChunked ? trailersStart - bodyStart : length),
      bodyBytes: isChunked ? decodedBytes : length,
      consumed: isChunked ? line : bodyStart + length)
    abandon()
    return request
  }

  /// The next call begins a new request.
  package mutating func abandon() {
    phase = .start
    line = 0
    searched = 0
  }

  // MARK: Lines

  enum Line {
    /// The offset of the line's CR; the next line begins 2 bytes later.
    case end(Int)
    case more, tooLong, bareLineFeed
  }

  /// Looks for the end of the line at `line`, whose LF must stand before `bound`.
  @inline(__always)
  mutating func findLine(_ base: UnsafeRawPointer, _ count: Int, bound: Int) -> Line {
    let end = min(count, bound)
    if searched < end, let found = memchr(base + searched, 0x0A, end - searched) {
      let feed = UnsafeRawPointer(found) - base
      searched = feed + 1
      guard feed > line, base.load(fromByteOffset: feed - 1, as: UInt8.self) == 0x0D else { return .bareLineFeed }
      return .end(feed - 1)
    }
    searched = max(searched, end)
    return end == bound ? .tooLong : .more
  }

  private mutating func skipEmptyLine(_ base: UnsafeRawPointer, _ count: Int) -> Step {
    guard count > 0 else { return .more }
    let first = base.load(as: UInt8.self)
    if first == 0x0D {
      searched = 1
      guard count > 1 else { return .more }
      guard base.load(fromByteOffset: 1, as: UInt8.self) == 0x0A else { return .refuse(.badRequestLine) }
      line = 2
      searched = 2
      guard count > 2 else { return .more }
    }
    // A byte that no method begins with needs no line end to be refused: a TLS hello, for one.
    guard HTTPBytes.isToken(base.load(fromByteOffset: line, as: UInt8.self)) else { return .refuse(.badRequestLine) }
    head = HTTPRequestHead()
    fieldCount = 0
    seen = []
    authority = .none
    phase = .requestLine
    return .next
  }

  // MARK: Request line

  private mutating func requestLine(_ base: UnsafeRawPointer, _ count: Int) -> Step {
    let end: Int
    switch findLine(base, count, bound: line + limits.requestLineBytes + 2) {
    case .end(let at): end = at
    case .more: return .more
    case .tooLong: return .refuse(.requestLineTooLong)
    case .bareLineFeed: return .refuse(.bareLineFeed)
    }
    var at = line
    while at < end, HTTPBytes.isToken(base.load(fromByteOffset: at, as: UInt8.self)) { at += 1 }
    guard at < end, base.load(fromByteOffset: at, as: UInt8.self) == 0x20 else { return .refuse(.badRequestLine) }
    let method = UnsafeRawBufferPointer(start: base + line, count: at - line)
    let targetStart = at + 1
    at = targetStart
    while at < end, HTTPBytes.isTarget(base.load(fromByteOffset: at, as: UInt8.self)) { at += 1 }
    guard at > targetStart, at < end else { return .refuse(.badRequestLine) }
    guard base.load(fromByteOffset: at, as: UInt8.self) == 0x20 else { return .refuse(.badTarget) }
    if HTTPBytes.equals(method, "POST") {
      head.method = .post
    } else if HTTPBytes.equals(method, "GET") {
      head.method = .get
    } else if HTTPBytes.equals(method, "HEAD") {
      head.method = .head
    }
    if let why = version(UnsafeRawBufferPointer(start: base + at + 1, count: end - at - 1)) { return .refuse(why) }
    guard target(base, from: targetStart, to: at) else { return .refuse(.badTarget) }
    line = end + 2
    headersStart = line
    phase = .headers
    return .next
  }

  private mutating func version(_ text: UnsafeRawBufferPointer) -> HTTPRefusal? {
    guard text.count == 8, HTTPBytes.equals(UnsafeRawBufferPointer(rebasing: text[..<5]), "HTTP/"), text[6] == 0x2E,
      isDigit(text[5]), isDigit(text[7])
    else { return .badVersion }
    guard text[5] == UInt8(ascii: "1"), text[7] <= UInt8(ascii: "1") else { return .unsupportedVersion }
    head.minorVersion = text[7] - UInt8(ascii: "0")
    head.keepAlive = head.minorVersion == 1
    return nil
  }

  /// Splits the target at its first `?`. An URL's scheme and authority are checked and passed over.
  private mutating func target(_ base: UnsafeRawPointer, from start: Int, to end: Int) -> Bool {
    var pathStart = start
    if base.load(fromByteOffset: start, as: UInt8.self) != UInt8(ascii: "/") {
      let text = UnsafeRawBufferPointer(start: base + start, count: end - start)
      let scheme: Int
      if text.count > 7, HTTPBytes.equals(.init(rebasing: text[..<7]), ignoringCase: "http://") {
        scheme = 7
      } else if text.count > 8, HTTPBytes.equals(.init(rebasing: text[..<8]), ignoringCase: "https://") {
        scheme = 8
      } else {
        // `*` and `host:port` are for OPTIONS and CONNECT, which are not served.
        return false
      }
      pathStart = start + scheme
      while pathStart < end, HTTPBytes.isHost(base.load(fromByteOffset: pathStart, as: UInt8.self)) { pathStart += 1 }
      guard pathStart > start + scheme else { return false }
      authority = ByteSpan(start + scheme, pathStart - start - scheme)
      if pathStart < end {
        let next = base.load(fromByteOffset: pathStart, as: UInt8.self)
        guard next == UInt8(ascii: "/") || next == UInt8(ascii: "?") else { return false }
      }
    }
    var pathEnd = pathStart
    while pathEnd < end, base.load(fromByteOffset: pathEnd, as: UInt8.self) != UInt8(ascii: "?") { pathEnd += 1 }
    head.path = ByteSpan(pathStart, pathEnd - pathStart)
    head.query = pathEnd < end ? ByteSpan(pathEnd + 1, end - pathEnd - 1) : .none
    return true
  }

  // MARK: Headers

  private mutating func header(_ base: UnsafeRawPointer, _ count: Int) -> Step {
    let end: Int
    switch findLine(base, count, bound: headersStart + limits.headerBytes + 2) {
    case .end(let at): end = at
    case .more: return .more
    case .tooLong: return .refuse(.headersTooLarge)
    case .bareLineFeed: return .refuse(.bareLineFeed)
    }
    guard end > line else {
      line = end + 2
      return endOfHead(base)
    }
    fieldCount += 1
    guard fieldCount <= limits.headerCount else { return .refuse(.tooManyHeaders) }
    switch field(base, to: end) {
    case .refused(let why): return .refuse(why)
    case .name(let colon, let value):
      let name = UnsafeRawBufferPointer(start: base + line, count: colon - line)
      if let why = note(name, value, base) { return .refuse(why) }
    }
    line = end + 2
    return .next
  }

  private mutating func endOfHead(_ base: UnsafeRawPointer) -> Step {
    guard seen.contains(.host) || head.minorVersion == 0 else { return .refuse(.missingHost) }
    if !authority.isEmpty, seen.contains(.host), !namesOneHost(base) { return .refuse(.hostMismatch) }
    guard !(head.isChunked && seen.contains(.contentLength)) else { return .refuse(.lengthAndTransferEncoding) }
    guard !(head.isChunked && head.minorVersion == 0) else { return .refuse(.badTransferEncoding) }
    guard head.contentLength <= limits.bodyBytes else { return .refuse(.bodyTooLarge) }
    bodyStart = line
    searched = line
    chunkBytes = 0
    decodedBytes = 0
    framingBytes = 0
    phase = head.isChunked ? .chunkSize : .fixedBody
    return stopsBeforeBodies && head.bringsBody ? .head : .next
  }

  /// Whether the URL and `Host` have the same authority. A default port that only one of them has makes them differ.
  private func namesOneHost(_ base: UnsafeRawPointer) -> Bool {
    guard head.host.count == authority.count else { return false }
    for index in 0..<Int(head.host.count) {
      let one = base.load(fromByteOffset: Int(head.host.start) + index, as: UInt8.self)
      let other = base.load(fromByteOffset: Int(authority.start) + index, as: UInt8.self)
      guard one == other || (one | 0x20 == other | 0x20 && one | 0x20 >= 0x61 && one | 0x20 <= 0x7A) else {
        return false
      }
    }
    return true
  }

  enum Field {
    case name(colon: Int, value: ByteSpan)
    case refused(HTTPRefusal)
  }

  /// The name and the trimmed value of the field line that ends at `end`.
  @inline(__always)
  func field(_ base: UnsafeRawPointer, to end: Int) -> Field {
    var colon = line
    while colon < end, HTTPBytes.isToken(base.load(fromByteOffset: colon, as: UInt8.self)) { colon += 1 }
    guard colon > line, colon < end, base.load(fromByteOffset: colon, as: UInt8.self) == UInt8(ascii: ":") else {
      return .refused(isBlank(base.load(fromByteOffset: line, as: UInt8.self)) ? .foldedHeader : .badHeaderName)
    }
    var first = colon + 1
    var last = end
    while first < last, isBlank(base.load(fromByteOffset: first, as: UInt8.self)) { first += 1 }
    while last > first, isBlank(base.load(fromByteOffset: last - 1, as: UInt8.self)) { last -= 1 }
    guard HTTPBytes.firstControl(base, from: first, to: last) == last else { return .refused(.badHeaderValue) }
    return .name(colon: colon, value: ByteSpan(first, last - first))
  }

  @inline(__always) func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
  @inline(__always) func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }
}
