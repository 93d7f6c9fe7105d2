// libFuzzer target: HTTP requests. Built by `scripts/fuzz` from this file, `check.swift` and the parser's own, nothing else.
//
// input     one byte that picks the limits, two that pick a split point, then the bytes of a connection
// property  no read outside of the bytes (the sanitizer watches exact allocations); the same requests and the same
//           refusal whether the bytes come at once, in two parts, or one by one, with a stop before bodies or without; spans and lengths within bounds

#if !FUZZING
  @testable import SluiceIngest
#endif

/// What libFuzzer calls for each input.
#if FUZZING
  @c(LLVMFuzzerTestOneInput)
#endif
public func fuzzHTTP(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
  guard let start, count > 3 else { return 0 }
  let input = UnsafeRawBufferPointer(start: start, count: count)
  let limits =
    input[0] & 1 == 0
    ? HTTPLimits(requestLineBytes: 64, headerBytes: 256, headerCount: 8, bodyBytes: 128, trailerBytes: 32)
    : HTTPLimits(requestLineBytes: 8192, headerBytes: 16384, headerCount: 100, bodyBytes: 1 << 20, trailerBytes: 4096)
  let bytes = UnsafeRawBufferPointer(rebasing: input[3...])
  let split = (Int(input[1]) << 8 | Int(input[2])) % (bytes.count + 1)
  let whole = outcome(bytes, limits, cuts: [])
  check(whole == outcome(bytes, limits, cuts: [split]), "a split changes the outcome")
  check(whole == outcome(bytes, limits, cuts: [split], stops: true), "a stop before the body changes the outcome")
  if bytes.count <= 256 {
    check(whole == outcome(bytes, limits, cuts: Array(0..<bytes.count)), "single bytes change the outcome")
  }
  return 0
}

private struct Outcome: Equatable {
  var requests: [HTTPRequest] = []
  var bodies: [[UInt8]] = []
  var refusal: HTTPRefusal?
}

/// What a connection makes of `bytes` when they come in parts that end at `cuts`.
private func outcome(
  _ bytes: UnsafeRawBufferPointer, _ limits: HTTPLimits, cuts: [Int], stops: Bool = false
) -> Outcome {
  var parser = HTTPRequestParser(limits: limits, stopsBeforeBodies: stops)
  var outcome = Outcome()
  var consumed = 0
  for cut in cuts + [bytes.count] {
    while true {
      // An allocation of exactly these bytes, so that a read behind them is found.
      let part = UnsafeMutableRawBufferPointer.allocate(byteCount: cut - consumed, alignment: 1)
      defer { part.deallocate() }
      part.copyBytes(from: bytes[consumed..<cut])
      let known = UnsafeRawBufferPointer(part)
      switch parser.parse(known) {
      case .request(let request):
        check(request, known, limits)
        outcome.requests.append(request)
        outcome.bodies.append(body(of: request, known))
        consumed += request.consumed
        continue
      case .refused(let refusal):
        outcome.refusal = refusal
        return outcome
      case .head:
        check(stops && parser.isInBody && parser.head.bringsBody, "a stop where no body follows")
        continue
      case .needMore:
        check(known.count <= limits.requestBytes, "more than a request's bytes are waited for")
      }
      break
    }
  }
  return outcome
}

private func check(_ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer, _ limits: HTTPLimits) {
  let head = request.head
  check(request.consumed > 0 && request.consumed <= bytes.count, "consumed lies outside of the bytes")
  check(request.bodyBytes <= limits.bodyBytes, "a body exceeds its limit")
  check(head.isChunked || head.contentLength < 0 || request.bodyBytes == head.contentLength, "the length is not kept")
  for span in [head.path, head.query, head.accept, head.topic, head.key, head.time, request.rawBody] {
    check(span.start >= 0 && span.count >= 0, "a span is negative")
    check(Int(span.start) + Int(span.count) <= request.consumed, "a span lies outside of the request")
  }
  for byte in head.path.of(bytes) { check(byte > 0x20 && byte < 0x7F, "a path has a byte it may not have") }
  for byte in head.topic.of(bytes) { check(byte == 9 || byte >= 0x20, "a value has a control character") }
}

private func body(of request: HTTPRequest, _ bytes: UnsafeRawBufferPointer) -> [UInt8] {
  guard request.head.isChunked else { return Array(request.rawBody.of(bytes)) }
  var body = [UInt8](repeating: 0, count: request.bodyBytes)
  body.withUnsafeMutableBytes { request.copyBody(from: bytes, to: $0) }
  return body
}
