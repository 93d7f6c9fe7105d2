/// The statuses that are ever answered; each has its counter.
enum HTTPStatus: Int, CaseIterable {
  case ok, accepted
  case badRequest, unauthorized, forbidden, notFound, methodNotAllowed, requestTimeout, conflict, lengthRequired,
    bodyTooLarge, targetTooLong
  case unsupportedEncoding, expectationFailed, tooManyRequests, headersTooLarge
  case unavailable, versionNotSupported

  var code: Int {
    switch self {
    case .ok: 200
    case .accepted: 202
    case .badRequest: 400
    case .unauthorized: 401
    case .forbidden: 403
    case .notFound: 404
    case .methodNotAllowed: 405
    case .requestTimeout: 408
    case .conflict: 409
    case .lengthRequired: 411
    case .bodyTooLarge: 413
    case .targetTooLong: 414
    case .unsupportedEncoding: 415
    case .expectationFailed: 417
    case .tooManyRequests: 429
    case .headersTooLarge: 431
    case .unavailable: 503
    case .versionNotSupported: 505
    }
  }

  var reason: String {
    switch self {
    case .ok: "OK"
    case .accepted: "Accepted"
    case .badRequest: "Bad Request"
    case .unauthorized: "Unauthorized"
    case .forbidden: "Forbidden"
    case .notFound: "Not Found"
    case .methodNotAllowed: "Method Not Allowed"
    case .requestTimeout: "Request Timeout"
    case .conflict: "Conflict"
    case .lengthRequired: "Length Required"
    case .bodyTooLarge: "Content Too Large"
    case .targetTooLong: "URI Too Long"
    case .unsupportedEncoding: "Unsupported Media Type"
    case .expectationFailed: "Expectation Failed"
    case .tooManyRequests: "Too Many Requests"
    case .headersTooLarge: "Request Header Fields Too Large"
    case .unavailable: "Service Unavailable"
    case .versionNotSupported: "HTTP Version Not Supported"
    }
  }

  /// The status of a request that the parser refused.
  init(_ refusal: HTTPRefusal) {
    self = HTTPStatus.allCases.first { $0.code == refusal.status } ?? .badRequest
  }
}

/// Why a record was not taken; the label of its counter.
enum RejectReason: Int, CaseIterable {
  case malformed, json, metadata, tooLarge, memory, ring, retention, disk, closing
  /// Out of the producer's order, or not its turn.
  case gap, fenced, owned, producers
  /// Of who sends.
  case unauthorized, forbidden, insecure, lockedOut, quota
  case encoding

  var label: String {
    switch self {
    case .malformed: "malformed"
    case .json: "json"
    case .metadata: "metadata"
    case .tooLarge: "too_large"
    case .memory: "memory"
    case .ring: "ring"
    case .retention: "retention"
    case .disk: "disk"
    case .closing: "closing"
    case .gap: "gap"
    case .fenced: "fenced"
    case .owned: "owned"
    case .producers: "producers"
    case .unauthorized: "unauthorized"
    case .forbidden: "forbidden"
    case .insecure: "insecure"
    case .lockedOut: "locked_out"
    case .quota: "quota"
    case .encoding: "encoding"
    }
  }
}
