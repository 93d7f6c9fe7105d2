// What the parser says about a request. No imports: the fuzz targets compile this file alone.

/// Bounds of one request. Nothing of it is allocated before it is within them.
package struct HTTPLimits: Sendable {
  package var requestLineBytes: Int
  package var headerBytes: Int
  package var headerCount: Int
  package var bodyBytes: Int
  package var trailerBytes: Int

  package init(requestLineBytes: Int, headerBytes: Int, headerCount: Int, bodyBytes: Int, trailerBytes: Int) {
    self.requestLineBytes = requestLineBytes
    self.headerBytes = headerBytes
    self.headerCount = headerCount
    self.bodyBytes = bodyBytes
    self.trailerBytes = trailerBytes
  }

  /// What chunk framing may cost beside the body: a client that sends single bytes as chunks is refused, because
  /// what it sends is kept until the request is whole.
  package var chunkFramingBytes: Int { bodyBytes + 4096 }

  /// The most that one request can occupy.
  package var requestBytes: Int {
    2 + requestLineBytes + headerBytes + bodyBytes + chunkFramingBytes + trailerBytes
  }
}

/// A part of the bytes given to the parser.
package struct ByteSpan: Equatable, Sendable {
  package var start: Int32
  package var count: Int32

  package init(_ start: Int, _ count: Int) {
    self.start = Int32(truncatingIfNeeded: start)
    self.count = Int32(truncatingIfNeeded: count)
  }

  package static var none: ByteSpan { ByteSpan(0, 0) }
  package var isEmpty: Bool { count == 0 }

  /// The bytes themselves.
  @inline(__always)
  package func of(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[Int(start)..<Int(start) + Int(count)])
  }
}

package enum HTTPMethod: UInt8, Sendable {
  case get, head, post, other
}

/// What `Content-Encoding` names. `x-gzip` is gzip; more than one coding on top of another is `other`.
package enum HTTPCoding: UInt8, Sendable {
  case identity, gzip, zstd, other
}

/// A request's head. The spans point into the bytes that were parsed; the target is as sent, nothing is decoded.
package struct HTTPRequestHead: Equatable, Sendable {
  package var method = HTTPMethod.other
  /// The minor version of HTTP/1.
  package var minorVersion: UInt8 = 1
  package var path = ByteSpan.none
  package var query = ByteSpan.none
  package var accept = ByteSpan.none
  package var topic = ByteSpan.none
  package var key = ByteSpan.none
  package var time = ByteSpan.none
  package var producer = ByteSpan.none
  package var epoch = ByteSpan.none
  package var sequence = ByteSpan.none
  package var host = ByteSpan.none
  package var authorization = ByteSpan.none
  package var fingerprint = ByteSpan.none
  /// `Content-Length`, or −1 if there was none.
  package var contentLength = -1
  package var isChunked = false
  /// What `Connection` and the version say about the connection after this request.
  package var keepAlive = true
  package var expectsContinue = false
  package var coding = HTTPCoding.identity

  package init() {}

  /// Whether the producer numbers its records.
  package var isSequenced: Bool { !(producer.isEmpty && epoch.isEmpty && sequence.isEmpty) }

  /// Neither `Content-Length` nor `Transfer-Encoding`: by the protocol an empty body.
  package var hasBody: Bool { isChunked || contentLength >= 0 }

  /// Whether bytes follow the head.
  package var bringsBody: Bool { isChunked || contentLength > 0 }
}

/// Why a request cannot be served, and nothing after it on the connection either.
package enum HTTPRefusal: UInt8, Sendable, CaseIterable, Error {
  case badRequestLine
  case badTarget
  case badVersion
  case unsupportedVersion
  case requestLineTooLong
  case bareLineFeed
  case badHeaderName
  case badHeaderValue
  case foldedHeader
  case duplicateHeader
  case headersTooLarge
  case tooManyHeaders
  case missingHost
  case badHost
  case hostMismatch
  case badContentLength
  case badTransferEncoding
  case lengthAndTransferEncoding
  case unknownExpectation
  case bodyTooLarge
  case badChunk
  case chunkOverhead
  case badTrailer
  case trailersTooLarge

  package var status: Int {
    switch self {
    case .unsupportedVersion: 505
    case .requestLineTooLong: 414
    case .headersTooLarge, .tooManyHeaders, .trailersTooLarge: 431
    case .bodyTooLarge, .chunkOverhead: 413
    case .unknownExpectation: 417
    default: 400
    }
  }

  /// The name that stands in an answer; clients may depend on it.
  package var code: StaticString {
    switch self {
    case .badRequestLine: "bad_request_line"
    case .badTarget: "bad_target"
    case .badVersion: "bad_version"
    case .unsupportedVersion: "unsupported_version"
    case .requestLineTooLong: "request_line_too_long"
    case .bareLineFeed: "bare_line_feed"
    case .badHeaderName: "bad_header_name"
    case .badHeaderValue: "bad_header_value"
    case .foldedHeader: "folded_header"
    case .duplicateHeader: "duplicate_header"
    case .headersTooLarge: "headers_too_large"
    case .tooManyHeaders: "too_many_headers"
    case .missingHost: "missing_host"
    case .badHost: "bad_host"
    case .hostMismatch: "host_mismatch"
    case .badContentLength: "bad_content_length"
    case .badTransferEncoding: "bad_transfer_encoding"
    case .lengthAndTransferEncoding: "length_and_transfer_encoding"
    case .unknownExpectation: "unknown_expectation"
    case .bodyTooLarge: "body_too_large"
    case .badChunk: "bad_chunk"
    case .chunkOverhead: "chunk_overhead"
    case .badTrailer: "bad_trailer"
    case .trailersTooLarge: "trailers_too_large"
    }
  }

  package var reason: StaticString {
    switch self {
    case .badRequestLine: "the request line is not METHOD SP target SP version"
    case .badTarget: "the request target is neither an absolute path nor an http URL"
    case .badVersion: "the version is not HTTP/1.0 or HTTP/1.1"
    case .unsupportedVersion: "only HTTP/1.0 and HTTP/1.1 are served"
    case .requestLineTooLong: "the request line is too long"
    case .bareLineFeed: "a line ends without CR LF"
    case .badHeaderName: "a header name is empty, has a forbidden character, or white space before its colon"
    case .badHeaderValue: "a header value has a control character"
    case .foldedHeader: "a header is folded over several lines"
    case .duplicateHeader: "a header that may stand once stands twice"
    case .headersTooLarge: "the headers are too large"
    case .tooManyHeaders: "there are too many headers"
    case .missingHost: "HTTP/1.1 needs a Host header"
    case .badHost: "the Host header is not a host and port"
    case .hostMismatch: "the Host header names another host than the URL in the request line"
    case .badContentLength: "Content-Length is not a decimal number"
    case .badTransferEncoding: "the only Transfer-Encoding is chunked, alone and on HTTP/1.1"
    case .lengthAndTransferEncoding: "Content-Length and Transfer-Encoding exclude each other"
    case .unknownExpectation: "the only expectation is 100-continue"
    case .bodyTooLarge: "the body is too large"
    case .badChunk: "a chunk is not a hexadecimal size, CR LF, that many bytes, CR LF"
    case .chunkOverhead: "the chunks are too small for their framing"
    case .badTrailer: "a trailer is not a header line"
    case .trailersTooLarge: "the trailers are too large"
    }
  }
}

/// A request that is complete.
package struct HTTPRequest: Equatable, Sendable {
  package var head: HTTPRequestHead
  /// Where the body stands as it was sent; with `head.isChunked` its chunk framing is part of that.
  package var rawBody: ByteSpan
  /// Bytes of the body without framing.
  package var bodyBytes: Int
  /// Bytes up to the next request.
  package var consumed: Int
}

package enum HTTPParse: Equatable, Sendable {
  case needMore
  /// Only of a parser that `stopsBeforeBodies`: `head` is whole and a body follows. The next call goes on.
  case head
  case request(HTTPRequest)
  case refused(HTTPRefusal)
}
