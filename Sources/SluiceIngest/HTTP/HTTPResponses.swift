import NIOCore
import SluiceCore

/// One answer, on its way to its turn.
struct HTTPResponse {
  var status: HTTPStatus
  var bytes: ByteBuffer
}

/// What a problem details answer says beyond the members that all of them have.
enum HTTPProblemMember {
  /// `offset`, `expected` or `epoch`.
  case number(String, Int)
  /// What is wrong, one by one.
  case problems([String])

  var json: String {
    switch self {
    case .number(let name, let value): "\(name.jsonQuoted):\(value)"
    case .problems(let all): #""problems":[\#(all.map(\.jsonQuoted).joined(separator: ","))]"#
    }
  }
}

/// What becomes of the connection after an answer, as its head says it.
enum HTTPPersistence {
  /// HTTP/1.1's default, said by saying nothing.
  case implied
  /// HTTP/1.0 asked for it and is told.
  case announced
  case close
}

/// The answers that are given under load, ready to be written, and the making of the others. One per loop; the `Date`
/// in them is renewed at most once a second, by the first request that notices.
struct HTTPResponses {
  private let allocator = ByteBufferAllocator()
  private var second = Int.min
  private var date = ""
  /// `202` a number of times behind each other; a slice of it answers several requests at once.
  private var accepted = ByteBuffer()
  private var acceptedBytes = 0
  private var tooManyRequests = ByteBuffer()
  private var unavailable = ByteBuffer()

  static let queued = #"{"status":"queued"}"#
  /// Of `/health` and `/ready`.
  static let well = #"{"status":"ok","problems":[]}"#
  static let retryAfter = "Retry-After: \(Limits.retryAfterSeconds)\r\n"
  static let json = "application/json"
  static let problem = "application/problem+json"

  init(now: Int64) { refresh(now: now) }

  /// Renews the date if `now` (nanoseconds since 1970) is in another second.
  @inline(__always)
  mutating func refresh(now: Int64) {
    let current = Int(now / 1_000_000_000)
    if current != second { renew(second: current) }
  }

  private mutating func renew(second current: Int) {
    second = current
    date = CivilTime.httpDate(seconds: current)
    let one = make(.accepted, type: Self.json, body: Self.queued, .implied)
    acceptedBytes = one.readableBytes
    accepted = allocator.buffer(capacity: acceptedBytes * Limits.preparedAnswers)
    for _ in 0..<Limits.preparedAnswers { accepted.writeImmutableBuffer(one) }
    tooManyRequests = makeFull(.tooManyRequests, "the stream is full; try again later", .implied)
    unavailable = makeFull(.unavailable, "the stream takes no records now", .implied)
  }

  /// `count` answers `202`, at most `Limits.preparedAnswers`.
  @inline(__always)
  func accepted(_ count: Int) -> ByteBuffer {
    accepted.getSlice(at: 0, length: acceptedBytes * count) ?? accepted
  }

  func accepted(_ persistence: HTTPPersistence) -> ByteBuffer {
    make(.accepted, type: Self.json, body: Self.queued, persistence)
  }

  /// The answer when the stream refuses: come back later, or don't count on it, as after a request that `hasWaited`.
  func full(_ reason: FullReason, hasWaited: Bool, _ persistence: HTTPPersistence) -> HTTPResponse {
    let status: HTTPStatus
    switch reason {
    case .ring, .retention: status = hasWaited ? .unavailable : .tooManyRequests
    case .disk, .closing: status = .unavailable
    }
    if case .implied = persistence {
      return HTTPResponse(status: status, bytes: status == .unavailable ? unavailable : tooManyRequests)
    }
    return HTTPResponse(status: status, bytes: makeFull(status, "the stream takes no records now", persistence))
  }

  private func makeFull(_ status: HTTPStatus, _ detail: String, _ persistence: HTTPPersistence) -> ByteBuffer {
    make(
      status, type: Self.problem, body: Self.problem(status, code: "stream_full", detail: detail), persistence,
      extra: Self.retryAfter)
  }

  /// A problem details answer (RFC 9457).
  func problem(
    _ status: HTTPStatus, code: String, detail: String, member: HTTPProblemMember? = nil,
    _ persistence: HTTPPersistence, extra: String = "", omitsBody: Bool = false
  ) -> HTTPResponse {
    let body = Self.problem(status, code: code, detail: detail, member: member)
    return HTTPResponse(
      status: status,
      bytes: make(status, type: Self.problem, body: body, persistence, extra: extra, omitsBody: omitsBody))
  }

  private static func problem(
    _ status: HTTPStatus, code: String, detail: String, member: HTTPProblemMember? = nil
  ) -> String {
    let more = member.map { ",\($0.json)" } ?? ""
    return #"{"type":"about:blank","title":\#(status.reason.jsonQuoted),"status":\#(status.code),"#
      + #""code":\#(code.jsonQuoted),"detail":\#(detail.jsonQuoted)\#(more)}"#
  }

  /// What became of a body's records.
  func received(_ list: RecordList, _ persistence: HTTPPersistence) -> HTTPResponse {
    var body = #"{"accepted":\#(list.accepted),"rejected":["#
    for (index, refusal) in list.refusals.enumerated() {
      let place = refusal.offset.map { #","offset":\#($0)"# } ?? ""
      body += index == 0 ? "" : ","
      body +=
        #"{"index":\#(refusal.index),"code":\#("\(refusal.code)".jsonQuoted),"#
        + #""detail":\#("\(refusal.detail)".jsonQuoted)\#(place)}"#
    }
    body += "]}"
    return HTTPResponse(status: .accepted, bytes: make(.accepted, type: Self.json, body: body, persistence))
  }

  /// A whole response. `extra` holds complete header lines.
  func make(
    _ status: HTTPStatus, type: String, body: String, _ persistence: HTTPPersistence, extra: String = "",
    omitsBody: Bool = false
  ) -> ByteBuffer {
    var bytes = allocator.buffer(capacity: 256 + body.utf8.count)
    bytes.writeString("HTTP/1.1 \(status.code) \(status.reason)\r\nDate: \(date)\r\n")
    bytes.writeString("Content-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n")
    switch persistence {
    case .implied: break
    case .announced: bytes.writeString("Connection: keep-alive\r\n")
    case .close: bytes.writeString("Connection: close\r\n")
    }
    bytes.writeString(extra)
    bytes.writeString("\r\n")
    if !omitsBody { bytes.writeString(body) }
    return bytes
  }
}
