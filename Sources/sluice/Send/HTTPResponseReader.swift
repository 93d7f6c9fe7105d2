// HTTP/1.1 responses, as a client reads them off a connection.
//
//   head    status line and fields, each ended by CR LF, at most `maxSendResponseHeadBytes` in all
//   body    none for 1xx (skipped), 204 and 304; else by `Transfer-Encoding: chunked`, by `Content-Length`, or, with
//           neither, up to the end of the connection; at most `maxSendResponseBodyBytes`
//
// Anything else ends the reading: where the next response begins is not known. A body that runs to the end of the
// connection never comes out, since a client that keeps connections can't use it.

import NIOCore
import SluiceCore

/// What a server answered.
struct HTTPAnswer: Equatable {
  var status: Int
  /// In seconds, from `Retry-After`; a date there is not looked at.
  var retryAfter: Int64?
  /// The server takes no further request on this connection.
  var closes = false
  var body: [UInt8] = []
}

struct HTTPResponseFault: Error, Equatable {
  var detail: String
}

struct HTTPResponseReader {
  private enum State {
    case head
    case body(Int)
    case chunkSize
    /// Bytes of the chunk's rest, its CR LF included.
    case chunk(Int)
    case trailer
  }

  private struct Framing {
    var length: Int?
    var isChunked = false
  }

  private var state = State.head
  private var answer = HTTPAnswer(status: 0)
  private var trailerBytes = 0

  /// The next response, or nil when more bytes are needed.
  mutating func next(_ input: inout ByteBuffer) throws(HTTPResponseFault) -> HTTPAnswer? {
    while true {
      switch state {
      case .head:
        guard let head = try block(&input) else { return nil }
        if try begin(head) { return finish() }
      case .body(let length):
        guard let bytes = input.readBytes(length: length) else { return nil }
        answer.body = bytes
        return finish()
      case .chunkSize:
        guard let line = try line(&input) else { return nil }
        let digits = line.prefix { $0 != ";" }
        guard !digits.isEmpty, let size = Int(digits, radix: 16), size >= 0, digits.first != "+" else {
          throw HTTPResponseFault(detail: "a chunk's size is \(line.prefix(40))")
        }
        try check(answer.body.count + min(size, Limits.maxSendResponseBodyBytes + 1))
        trailerBytes = 0
        state = size == 0 ? .trailer : .chunk(size)
      case .chunk(let size):
        guard input.readableBytes >= size + 2, let bytes = input.readBytes(length: size) else { return nil }
        answer.body += bytes
        guard try line(&input) == "" else { throw HTTPResponseFault(detail: "a chunk is longer than it says") }
        state = .chunkSize
      case .trailer:
        guard let line = try line(&input) else { return nil }
        if line.isEmpty { return finish() }
        trailerBytes += line.utf8.count
        guard trailerBytes <= Limits.maxSendResponseHeadBytes else { throw HTTPResponseFault(detail: "long trailers") }
      }
    }
  }

  private mutating func finish() -> HTTPAnswer {
    defer {
      answer = HTTPAnswer(status: 0)
      state = .head
    }
    return answer
  }

  /// A line without its CR LF.
  private func line(_ input: inout ByteBuffer) throws(HTTPResponseFault) -> String? {
    let view = input.readableBytesView
    guard let end = view.prefix(Limits.maxSendResponseHeadBytes).firstIndex(of: UInt8(ascii: "\n")) else {
      guard view.count < Limits.maxSendResponseHeadBytes else {
        throw HTTPResponseFault(detail: "a line without an end")
      }
      return nil
    }
    let line = view[view.startIndex..<end]
    guard line.last == UInt8(ascii: "\r") else { throw HTTPResponseFault(detail: "a line that ends in LF alone") }
    let text = String(decoding: line.dropLast(), as: UTF8.self)
    input.moveReaderIndex(forwardBy: line.count + 1)
    return text
  }

  /// The lines up to the empty one; nothing is consumed before that is there.
  private func block(_ input: inout ByteBuffer) throws(HTTPResponseFault) -> [String]? {
    var ahead = input
    var lines: [String] = []
    while let line = try line(&ahead) {
      guard input.readableBytes - ahead.readableBytes <= Limits.maxSendResponseHeadBytes else { break }
      if line.isEmpty {
        input = ahead
        return lines
      }
      lines.append(line)
    }
    guard input.readableBytes <= Limits.maxSendResponseHeadBytes else {
      throw HTTPResponseFault(detail: "a head of more than \(Limits.maxSendResponseHeadBytes) bytes")
    }
    return nil
  }

  /// Understands a head; true when no body follows.
  private mutating func begin(_ head: [String]) throws(HTTPResponseFault) -> Bool {
    let status = head.first ?? ""
    let words = status.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count >= 2, words[0] == "HTTP/1.1" || words[0] == "HTTP/1.0", words[1].utf8.count == 3,
      let code = Int(words[1]), code >= 100
    else { throw HTTPResponseFault(detail: "the answer begins with '\(status.prefix(60))', which is not HTTP/1.1") }
    answer = HTTPAnswer(status: code, closes: words[0] == "HTTP/1.0")
    let framing = try fields(head.dropFirst())
    guard code >= 200 else { return false }
    if code == 204 || code == 304 { return true }
    if framing.isChunked {
      state = .chunkSize
    } else if let length = framing.length {
      try check(length)
      state = .body(length)
    } else {
      throw HTTPResponseFault(detail: "an answer \(code) whose end is not said")
    }
    return false
  }

  private mutating func fields(_ lines: ArraySlice<String>) throws(HTTPResponseFault) -> Framing {
    var framing = Framing()
    for line in lines {
      guard let colon = line.firstIndex(of: ":") else { throw HTTPResponseFault(detail: "a header without a colon") }
      let value = line[line.index(after: colon)...].trimmed
      switch line[..<colon].lowercased() {
      case "content-length":
        guard let length = Int(value), length >= 0, framing.length ?? length == length else {
          throw HTTPResponseFault(detail: "Content-Length is '\(value.prefix(40))'")
        }
        framing.length = length
      case "transfer-encoding":
        guard value.lowercased() == "chunked" else {
          throw HTTPResponseFault(detail: "Transfer-Encoding is '\(value.prefix(40))'")
        }
        framing.isChunked = true
      case "connection":
        if value.lowercased().split(separator: ",").contains(where: { $0.trimmed == "close" }) { answer.closes = true }
      case "retry-after":
        if let seconds = Int64(value), seconds >= 0 { answer.retryAfter = min(seconds, 86_400) }
      default: break
      }
    }
    return framing
  }

  private func check(_ length: Int) throws(HTTPResponseFault) {
    guard length <= Limits.maxSendResponseBodyBytes else {
      throw HTTPResponseFault(detail: "an answer of more than \(Limits.maxSendResponseBodyBytes) bytes")
    }
  }
}

extension Substring {
  fileprivate var trimmed: Substring {
    var text = self
    while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
    while let last = text.last, last == " " || last == "\t" { text.removeLast() }
    return text
  }
}
