import NIOCore
import SluiceCore

/// What is served where. The path is compared as sent: `/%6cog` and `//log` are other places.
private enum Route {
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

extension HTTPConnection {
  /// Serves one whole request; `bytes` are those that it was parsed from. False: there is no room for its records, and it
  /// is to wait.
  @inline(__always)
  func serve(_ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let now = loop.now()
    guard let route = Route(request.head.path.of(bytes)), !route.takesRecords || loop.settings.stream != nil else {
      problem(request, .notFound, code: "not_found", detail: "nothing is served here")
      return true
    }
    guard route.takesRecords else {
      show(route, request, bytes)
      return true
    }
    guard request.head.method == .post, request.head.hasBody, !request.head.isEncoded else {
      refuseForm(of: request)
      return true
    }
    let body: UnsafeRawBufferPointer
    if request.head.isChunked {
      let joined = loop.room(for: request.bodyBytes)
      request.copyBody(from: bytes, to: joined)
      body = UnsafeRawBufferPointer(joined)
    } else {
      body = request.rawBody.of(bytes)
    }
    return route == .log ? log(request, bytes, body: body, now) : logs(request, bytes, body: body, now)
  }

  /// A request that is none for records.
  private func refuseForm(of request: HTTPRequest) {
    guard request.head.method == .post else {
      return problem(
        request, .methodNotAllowed, code: "method_not_allowed", detail: "records are posted", extra: "Allow: POST\r\n")
    }
    guard request.head.hasBody else {
      return problem(request, .lengthRequired, code: "length_required", detail: "a record needs a body")
    }
    problem(
      request, .unsupportedEncoding, code: "unsupported_encoding", detail: "the body must not be encoded",
      extra: "Accept-Encoding: identity\r\n")
  }

  // MARK: What the daemon shows

  private func show(_ route: Route, _ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) {
    guard request.head.method == .get || request.head.method == .head else {
      return problem(
        request, .methodNotAllowed, code: "method_not_allowed", detail: "this is read with GET",
        extra: "Allow: GET, HEAD\r\n")
    }
    switch route {
    case .health: show(loop.settings.endpoints.health(), request)
    case .ready: show(loop.settings.endpoints.ready(), request)
    case .metrics, .log, .logs:
      let form = MetricsExposition.Form(accept: request.head.accept.of(bytes))
      let text = MetricsExposition.render(loop.settings.endpoints.metricFamilies(), as: form)
      show(.ok, form.contentType, text, request)
    }
  }

  private func show(_ state: (ok: Bool, json: String), _ request: HTTPRequest) {
    show(state.ok ? .ok : .unavailable, HTTPResponses.json, state.json, request)
  }

  private func show(_ status: HTTPStatus, _ type: String, _ body: String, _ request: HTTPRequest) {
    let persistence = persistence(request.head)
    let bytes = loop.responses.make(
      status, type: type, body: body, persistence, extra: "Cache-Control: no-store\r\n",
      omitsBody: request.head.method == .head)
    answer(HTTPResponse(status: status, bytes: bytes), persistence)
  }

  // MARK: Refusals

  func problem(
    _ request: HTTPRequest, _ status: HTTPStatus, code: String, detail: String,
    member: (name: String, value: Int)? = nil,
    extra: String = ""
  ) {
    let persistence = persistence(request.head)
    let response = loop.responses.problem(
      status, code: code, detail: detail, member: member, persistence, extra: extra,
      omitsBody: request.head.method == .head)
    answer(response, persistence)
  }
}
