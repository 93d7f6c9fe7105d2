import NIOCore
import SluiceCore

extension HTTPConnection {
  /// Serves one whole request; `bytes` are those that it was parsed from. False: there is no room for its records, and it
  /// is to wait.
  @inline(__always)
  func serve(_ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let now = loop.now()
    // Who brings a body was admitted before it came.
    if !request.head.bringsBody, let refusal = admit(request.head, bytes) {
      refuse(request, refusal)
      return true
    }
    switch HTTPRoute(request.head.path.of(bytes)) {
    case .log:
      guard let body = body(of: request, bytes) else { return true }
      return log(request, bytes, body: body, now)
    case .logs:
      guard let body = body(of: request, bytes) else { return true }
      return logs(request, bytes, body: body, now)
    case .health: show(loop.settings.endpoints.health(), code: "unhealthy", request)
    case .ready: show(loop.settings.endpoints.readiness(), code: "not_ready", request)
    case .metrics: showMetrics(request, bytes)
    case nil: preconditionFailure("what is served nowhere is not admitted")
    }
    return true
  }

  /// The body without its framing and coding, until the next request of the loop. Nil: it is wrong, and that is answered.
  @inline(__always)
  private func body(of request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var body = request.rawBody.of(bytes)
    if request.head.isChunked {
      let joined = loop.room(for: request.bodyBytes)
      request.copyBody(from: bytes, to: joined)
      body = UnsafeRawBufferPointer(joined)
    }
    return request.head.coding == .identity ? body : expanded(body, of: request)
  }

  private func expanded(_ body: UnsafeRawBufferPointer, of request: HTTPRequest) -> UnsafeRawBufferPointer? {
    defer { loop.turns.spend(loop.expander.costBytes) }
    do throws(ExpansionFault) {
      return try loop.expander.expand(
        body, request.head.coding == .zstd ? .zstd : .gzip, limit: loop.settings.limits.bodyBytes)
    } catch {
      let status: HTTPStatus =
        switch error {
        case .tooLarge: .bodyTooLarge
        case .noMemory: .unavailable
        case .notDecodable, .cutShort, .trailingBytes, .dictionary, .windowTooLarge, .tooManyMembers: .badRequest
        }
      loop.counters.rejected(error == .tooLarge ? .tooLarge : error == .noMemory ? .memory : .encoding)
      problem(request, status, code: "\(error.code)", detail: "\(error.detail)")
      return nil
    }
  }

  // MARK: What the daemon shows

  private func showMetrics(_ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) {
    let form = MetricsExposition.Form(accept: request.head.accept.of(bytes))
    let text = MetricsExposition.render(loop.settings.endpoints.metricFamilies(), as: form)
    show(form.contentType, text, request)
  }

  /// `code` stands for `problems`, if there are any.
  private func show(_ problems: [String], code: String, _ request: HTTPRequest) {
    guard !problems.isEmpty else { return show(HTTPResponses.json, HTTPResponses.well, request) }
    problem(
      request, .unavailable, code: code, detail: problems.joined(separator: "; "), member: .problems(problems),
      extra: Self.uncached)
  }

  private func show(_ type: String, _ body: String, _ request: HTTPRequest) {
    let persistence = persistence(request.head)
    let bytes = loop.responses.make(
      .ok, type: type, body: body, persistence, extra: Self.uncached, omitsBody: request.head.method == .head)
    answer(HTTPResponse(status: .ok, bytes: bytes), persistence)
  }

  private static let uncached = "Cache-Control: no-store\r\n"

  // MARK: Refusals

  func problem(
    _ request: HTTPRequest, _ status: HTTPStatus, code: String, detail: String,
    member: HTTPProblemMember? = nil, extra: String = ""
  ) {
    let persistence = persistence(request.head)
    let response = loop.responses.problem(
      status, code: code, detail: detail, member: member, persistence, extra: extra,
      omitsBody: request.head.method == .head)
    answer(response, persistence)
  }
}
