import NIOCore
import SluiceCore
import TestSupport
import Testing

@testable import sluice

@Suite struct HTTPResponseReaderTests {
  /// The answers in `text`, fed in pieces that end at `cuts`.
  private func read(_ text: String, cuts: [Int] = []) throws(HTTPResponseFault) -> [HTTPAnswer] {
    var reader = HTTPResponseReader()
    var input = ByteBuffer()
    var answers: [HTTPAnswer] = []
    let bytes = Array(text.utf8)
    var start = 0
    for cut in cuts.sorted() + [bytes.count] {
      input.writeBytes(bytes[start..<cut])
      start = cut
      while let answer = try reader.next(&input) { answers.append(answer) }
    }
    return answers
  }

  private static let queued = "HTTP/1.1 202 Accepted\r\nContent-Length: 19\r\n\r\n{\"status\":\"queued\"}"
  private static let full = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\nContent-Length: 0\r\n\r\n"
  private static let chunked =
    "HTTP/1.1 503 Gone\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\n"
    + "Trailer: x\r\n\r\n"
  private static let interim = "HTTP/1.1 100 Continue\r\n\r\n"

  @Test("answers one after the other come out whole, wherever the bytes are cut")
  func pipelined() throws {
    let text = Self.queued + Self.full + Self.interim + Self.chunked + Self.queued
    let expected = [
      HTTPAnswer(status: 202, body: Array("{\"status\":\"queued\"}".utf8)), HTTPAnswer(status: 429, retryAfter: 7),
      HTTPAnswer(status: 503, closes: true, body: Array("abc0123456789".utf8)),
      HTTPAnswer(status: 202, body: Array("{\"status\":\"queued\"}".utf8)),
    ]
    for cut in 0...text.utf8.count { #expect(try read(text, cuts: [cut]) == expected) }
    #expect(try read(text, cuts: Array(0...text.utf8.count)) == expected)
  }

  @Test(
    "what can't be told where it ends is refused",
    arguments: [
      "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
      "HTTP/1.1 200 OK\r\nx: " + String(repeating: "y", count: Limits.maxSendResponseHeadBytes),
    ])
  func refused(text: String) {
    #expect(throws: HTTPResponseFault.self) { try read(text) }
  }

  @Test("no bytes make the reader crash or keep more than its limits")
  func fuzz() {
    var random = SeededGenerator(seed: .random(in: 0...(.max)))
    let pieces = [
      Self.queued, Self.full, Self.chunked, Self.interim, "\r\n", "0\r\n", "HTTP/1.1 ", "Content-Length: 5",
    ]
    for _ in 0..<3000 {
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes += Array((pieces.randomElement(using: &random) ?? "").utf8)
      }
      for _ in 0..<Int.random(in: 0...3, using: &random) where !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      let text = String(decoding: bytes, as: UTF8.self)
      let whole = try? read(text)
      let cuts = (0..<3).map { _ in Int.random(in: 0...text.utf8.count, using: &random) }
      #expect((try? read(text, cuts: cuts)) == whole, "seed \(random.seed)")
    }
  }
}
