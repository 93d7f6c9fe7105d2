import NIOCore
import SluiceCore

/// What is served where. The path is compared as sent: `/%6cog` and `//log` are other places.
private enum Route {
  case log, health, ready, metrics

  @inline(__always)
  init?(_ path: UnsafeRawBufferPointer) {
    switch path.count {
    case 4 where HTTPBytes.equals(path, "/log"): self = .log
    case 6 where HTTPBytes.equals(path, "/ready"): self = .ready
    case 7 where HTTPBytes.equals(path, "/health"): self = .health
    case 8 where HTTPBytes.equals(path, "/metrics"): self = .metrics
    default: return nil
    }
  }
}

extension HTTPConnection {
  /// Serves one whole request; `bytes` are those that it was parsed from.
  @inline(__always)
  func serve(_ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) {
    let now = loop.now()
    guard let route = Route(request.head.path.of(bytes)), route != .log || loop.settings.stream != nil else {
      return problem(request, .notFound, code: "not_found", detail: "nothing is served here")
    }
    guard route == .log else { return show(route, request, bytes) }
    guard request.head.method == .post else {
      return problem(
        request, .methodNotAllowed, code: "method_not_allowed", detail: "records are posted", extra: "Allow: POST\r\n")
    }
    guard request.head.hasBody else {
      return problem(request, .lengthRequired, code: "length_required", detail: "a record needs a body")
    }
    guard !request.head.isEncoded else {
      return problem(
        request, .unsupportedEncoding, code: "unsupported_encoding", detail: "the body must not be encoded",
        extra: "Accept-Encoding: identity\r\n")
    }
    if request.head.isChunked {
      let body = loop.room(for: request.bodyBytes)
      request.copyBody(from: bytes, to: body)
      log(request, bytes, body: UnsafeRawBufferPointer(body), now)
    } else {
      log(request, bytes, body: request.rawBody.of(bytes), now)
    }
  }

  // MARK: POST /log

  @inline(__always)
  private func log(
    _ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, _ now: Int64
  ) {
    do throws(JSONFault) {
      _ = try JSONScanner.message(of: body, maxDepth: Limits.maxJSONDepth)
    } catch {
      return refuse(request, error)
    }
    var record = RecordFields(eventTime: now, topic: loop.settings.defaultTopic, payload: body)
    if let fault = addMetadata(of: request.head, bytes, to: &record) {
      loop.counters.rejected(.metadata)
      return problem(request, .badRequest, code: fault.code, detail: fault.detail)
    }
    switch loop.append(record) {
    case .accepted:
      loop.counters.recordAccepted()
      answerAccepted(persistence(request.head))
    case .full(let reason):
      loop.counters.rejected(RejectReason(reason))
      let persistence = persistence(request.head)
      answer(loop.responses.full(reason, persistence), persistence)
    case .tooLarge(let limit):
      loop.counters.rejected(.tooLarge)
      problem(
        request, .bodyTooLarge, code: "record_too_large", detail: "the stream takes records of up to \(limit) bytes")
    }
  }

  private struct MetadataFault {
    var code: String
    var detail: String
  }

  /// The headers that say more about the record. An empty one counts as absent.
  @inline(__always)
  private func addMetadata(
    of head: HTTPRequestHead, _ bytes: UnsafeRawBufferPointer, to record: inout RecordFields
  ) -> MetadataFault? {
    if !head.topic.isEmpty {
      record.topic = head.topic.of(bytes)
      guard record.topic.count <= Limits.maxTopicBytes, UTF8Bytes.isValid(record.topic), !record.topic.contains(0x09)
      else {
        return MetadataFault(
          code: "bad_topic", detail: "Sluice-Topic is at most \(Limits.maxTopicBytes) bytes of UTF-8 without tabs")
      }
    }
    if !head.key.isEmpty {
      record.key = head.key.of(bytes)
      guard record.key.count <= Limits.maxKeyBytes, UTF8Bytes.isValid(record.key) else {
        return MetadataFault(code: "bad_key", detail: "Sluice-Key is at most \(Limits.maxKeyBytes) bytes of UTF-8")
      }
    }
    if !head.time.isEmpty {
      guard let time = EventTime.nanoseconds(head.time.of(bytes)) else {
        return MetadataFault(
          code: "bad_time", detail: "Sluice-Time is an RFC 3339 time or nanoseconds since 1970 in decimal")
      }
      record.eventTime = time
    }
    return nil
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
    case .metrics, .log:
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

  private func refuse(_ request: HTTPRequest, _ fault: JSONFault) {
    loop.counters.rejected(.json)
    problem(
      request, .badRequest, code: "\(fault.code.name)", detail: "\(fault.code.detail)", offset: fault.offset)
  }

  private func problem(
    _ request: HTTPRequest, _ status: HTTPStatus, code: String, detail: String, offset: Int? = nil, extra: String = ""
  ) {
    let persistence = persistence(request.head)
    let response = loop.responses.problem(
      status, code: code, detail: detail, offset: offset, persistence, extra: extra,
      omitsBody: request.head.method == .head)
    answer(response, persistence)
  }
}

extension RejectReason {
  fileprivate init(_ reason: FullReason) {
    switch reason {
    case .ring: self = .ring
    case .retention: self = .retention
    case .disk: self = .disk
    case .closing: self = .closing
    }
  }
}
