// What is decided from a request's head alone: before a byte of its body is kept, and before `100 Continue` is sent.
//
//   head whole ──► admit ─┬─► nil       the body is awaited, with `Expect` after 100 Continue; then the request is served
//                         └─► refusal   is the answer. A body of known length is passed over as it comes. One in chunks may
//                                       go on for ever, and who waits for 100 may send it or not: the connection closes.
//
// What becomes of a refused request depends on its head and on nothing else, so not on how much of its body was there.

import NIOCore
import SluiceCore

/// What is served where. The path is compared as sent: `/%6cog` and `//log` are other places.
enum HTTPRoute {
  case log, logs, health, ready, metrics

  @inline(__always)
  init?(_ path: UnsafeRawBufferPointer) {
    switch path.count {
    case 4 where HTTPBytes.equals(path, "/log"): self = .log
    case 5 where HTTPBytes.equals(path, "/logs"): self = .logs
    case 6 where HTTPBytes.equals(path, "/ready"): self = .ready
    case 7 where HTTPBytes.equals(path, "/health"): self = .health
    case 8 where HTTPBytes.equals(path, "/metrics"): self = .metrics
    default: return nil
    }
  }

  var takesRecords: Bool { self == .log || self == .logs }
}

/// The answer to a request whose head is enough to refuse it.
struct HTTPAdmissionRefusal {
  var status: HTTPStatus
  var code: String
  var detail: String
  /// Whole header lines.
  var extra = ""
  /// What it counts as beside its status.
  var reason: RejectReason?
}

extension HTTPConnection {
  /// Why a request with this head is not served; `bytes` are those that the head was parsed from.
  @inline(__always)
  func admit(_ head: HTTPRequestHead, _ bytes: UnsafeRawBufferPointer) -> HTTPAdmissionRefusal? {
    guard let route = HTTPRoute(head.path.of(bytes)), !route.takesRecords || loop.settings.stream != nil else {
      return HTTPAdmissionRefusal(status: .notFound, code: "not_found", detail: "nothing is served here")
    }
    if loop.settings.isGuarded, let objection = objection(to: head, for: route, bytes) { return objection }
    guard route.takesRecords else {
      guard head.method == .get || head.method == .head else {
        return refusal("this is read with GET", allow: "GET, HEAD")
      }
      return head.bringsBody ? unexpectedBody : nil
    }
    guard head.method == .post else { return refusal("records are posted", allow: "POST") }
    guard head.hasBody else {
      return HTTPAdmissionRefusal(status: .lengthRequired, code: "length_required", detail: "a record needs a body")
    }
    return head.coding == .identity || loop.settings.expands(head.coding) ? nil : unsupportedCoding
  }

  private func refusal(_ detail: String, allow: String) -> HTTPAdmissionRefusal {
    HTTPAdmissionRefusal(
      status: .methodNotAllowed, code: "method_not_allowed", detail: detail, extra: "Allow: \(allow)\r\n")
  }

  private var unexpectedBody: HTTPAdmissionRefusal {
    HTTPAdmissionRefusal(status: .badRequest, code: "unexpected_body", detail: "this is read without a body")
  }

  private var unsupportedCoding: HTTPAdmissionRefusal {
    let known = loop.settings.codings
    return HTTPAdmissionRefusal(
      status: .unsupportedEncoding, code: "unsupported_encoding",
      detail: "the body may be encoded with one of: \(known)", extra: "Accept-Encoding: \(known)\r\n")
  }

  /// Answers, for a request that brings no body.
  func refuse(_ request: HTTPRequest, _ refusal: HTTPAdmissionRefusal) {
    problem(request, refusal.status, code: refusal.code, detail: refusal.detail, extra: refusal.extra)
  }

  /// Answers, and lets go of the request whose head was just read. Returns how many bytes that head has.
  func refuseBody(_ refusal: HTTPAdmissionRefusal) -> Int {
    _ = loop.now()
    let head = parser.head
    let headBytes = parser.bodyStart
    let mayGoOn = !head.isChunked && !head.expectsContinue
    let persistence = mayGoOn ? persistence(head) : .close
    unwantedBytes = mayGoOn ? head.contentLength : 0
    if case .close = persistence { lingers = true }
    parser.abandon()
    continueIsSent = false
    since = loop.sweeps
    loop.waitingRoom.leave(self)
    givesUp = false
    let response = loop.responses.problem(
      refusal.status, code: refusal.code, detail: refusal.detail, persistence, extra: refusal.extra,
      omitsBody: head.method == .head)
    answer(response, persistence)
    return headBytes
  }

  /// How many of the next `count` bytes belong to a body that nobody wants.
  @inline(__always)
  func passOver(_ count: Int) -> Int {
    guard unwantedBytes > 0 else { return 0 }
    let passed = min(count, unwantedBytes)
    unwantedBytes -= passed
    if unwantedBytes == 0 { since = loop.sweeps }
    return passed
  }

  /// Whether a request, wanted or not, has begun and not ended.
  var isMidRequest: Bool { unwantedBytes > 0 || parser.isMidRequest }
  var isInBody: Bool { unwantedBytes > 0 || parser.isInBody }

  /// `count` bytes of an admitted request are there.
  func sendContinueIfAwaited(_ count: Int) {
    guard parser.isInBody, parser.head.expectsContinue, !continueIsSent, waiting == 0, count == parser.bodyStart else {
      return
    }
    continueIsSent = true
    write(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n"))
  }

  /// The last answer on this connection, to something that is no request.
  func refuse(_ status: HTTPStatus, code: String, detail: String, extra: String = "", lingers: Bool = true) {
    _ = loop.now()
    self.lingers = lingers
    loop.waitingRoom.leave(self)
    answer(loop.responses.problem(status, code: code, detail: detail, .close, extra: extra), .close)
  }

  /// One connection too many is told so, where that is cheap: without TLS, whose handshake costs more than a request, and
  /// while few others are. Else it is closed.
  func turnAway() {
    loop.counters.connectionRefused()
    let settings = loop.settings
    guard settings.options.tls == nil, settings.load.beginTurningAway() else { return cut() }
    isTurnedAway = true
    refuse(
      .unavailable, code: "too_many_connections",
      detail: "the source has as many connections as it may; come back later",
      extra: HTTPResponses.retryAfter)
  }
}
