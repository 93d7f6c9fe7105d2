import NIOCore
import NIOEmbedded
import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

/// How bytes are cut into reads must change nothing.
@Suite("Split points")
struct HTTPSplitTests {
  static let requests: [String] = [
    post(#"{"message":"hello"}"#),
    post(#"{"message":"grüße, 世界 😀"}"#, headers: "Sluice-Topic: a.b\r\nSluice-Key: k\r\nSluice-Time: 12\r\n"),
    post(#"{"message":"one"}"#) + post(#"{"message":2}"#) + post("{") + post(#"{"message":"four"}"#),
    "\r\n" + post(#"{"message":"x"}"#) + "\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nPUT /log HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
      + "POST /log HTTP/1.1\r\nHost: x\r\n\r\n" + post(#"{"message":"x"}"#),
    HTTPParserTests.chunked("8\r\n{\"messag\r\n00a\r\ne\":\"hello\"\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n")
      + post(#"{"message":"after"}"#, headers: "Connection: close\r\n") + post(#"{"message":"never"}"#),
    "HEAD /ready HTTP/1.1\r\nHost: x\r\n\r\nGET http://h/metrics?q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
      + "GET /metrics HTTP/1.0\r\n\r\n",
    post(#"{"message":"x"}"#, headers: "Expect: 100-continue\r\n"),
    post("{\"message\":\"a\"}\r\n\n{\"message\":2}\n[]\n{\"message\":\"b\"}", path: "/logs"),
    post(#" [ {"message":"a"} , 7,{"message":"[,]"}]"#, headers: "Sluice-Time: 12\r\n", path: "/logs")
      + post(#"[{"message":"a"},{"message":"b"]"#, path: "/logs"),
    HTTPParserTests.chunked("11\r\n{\"message\":\"xxx\"}\r\n1\r\n\n\r\n2\r\n{}\r\n0\r\n\r\n")
      .replacing("POST /log ", with: "POST /logs "),
    post("{\"message\":\"unwanted\"}", path: "/nowhere")
      + post(#"{"message":"x"}"#, headers: "Content-Encoding: br\r\n")
      + post(#"{"message":"wanted"}"#),
    HTTPParserTests.chunked("5\r\nhello\r\n0\r\n\r\n").replacing("/log", with: "/nowhere") + post(#"{"message":"no"}"#),
    post("{}", headers: "Expect: 100-continue\r\n", path: "/nowhere") + post(#"{"message":"never served"}"#),
    post(#"{"message":"x"}"#, headers: "Content-Encoding: identity, , identity\r\nExpect: 100-continue\r\n")
      + post(#"{"message":"after"}"#),
  ]

  static let corpus = requests + HTTPParserTests.refused.map { post(#"{"message":"first"}"#) + $0.0 }

  /// Compressed bodies among others.
  static let compressed: [[UInt8]] = {
    let one = Array(#"{"message":"one, one, one"}"#.utf8)
    let lines = Array("{\"message\":\"a\"}\n{}\n{\"message\":\"b\"}\n".utf8)
    let gzip = encoded(Compression.gzip(one), "gzip")
    let zstd = encoded(Compression.zstd(lines), "ZSTD", path: "/logs")
    let cut = encoded(Compression.gzip(one).dropLast(), "x-gzip")
    let bomb = encoded(Compression.zstd([UInt8](repeating: 0, count: 5000)), "zstd")
    let chunks = encoded(Compression.gzip(lines), "gzip, identity", path: "/logs", chunkBytes: 7)
    return [gzip + zstd + gzip, cut + gzip, bomb + chunks + gzip]
  }()

  static func encoded(_ body: [UInt8], _ coding: String, path: String = "/log", chunkBytes: Int? = nil) -> [UInt8] {
    let head = "POST \(path) HTTP/1.1\r\nHost: x\r\nContent-Encoding: \(coding)\r\n"
    guard let chunkBytes else { return Array("\(head)Content-Length: \(body.count)\r\n\r\n".utf8) + body }
    var all = Array("\(head)Transfer-Encoding: chunked\r\n\r\n".utf8)
    for start in stride(from: 0, to: body.count, by: chunkBytes) {
      let chunk = body[start..<min(start + chunkBytes, body.count)]
      all += Array("\(String(chunk.count, radix: 16))\r\n".utf8) + chunk + Array("\r\n".utf8)
    }
    return all + Array("0\r\n\r\n".utf8)
  }

  @Test(arguments: corpus) func theParserSeesTheSameRequestsWhereverTheyAreCut(_ text: String) {
    let bytes = Array(text.utf8)
    let whole = parse(bytes)
    for cut in 0...bytes.count { #expect(parse(bytes, cuts: [cut]) == whole, "cut at \(cut)") }
    #expect(parse(bytes, cuts: Array(0..<bytes.count)) == whole, "single bytes")
  }

  /// What the peer and the stream see of a connection.
  struct Seen: Equatable {
    var answers: [TestResponse]
    var records: [FakeStream.Record]
    var isOpen: Bool
  }

  func serve(_ bytes: [UInt8], cuts: [Int], _ harness: HTTPHarness) throws -> Seen {
    harness.stream.forgetRecords()
    let connection = try harness.connect()
    var start = 0
    for cut in cuts + [bytes.count] {
      try connection.receive(Array(bytes[start..<cut]))
      start = cut
    }
    harness.commit()
    // An interim answer is sent or not depending on what has come; dates and times of arrival differ.
    var answers = try connection.responses().filter { $0.status != 100 }
    for index in answers.indices { answers[index].headers["date"] = nil }
    var records = harness.stream.records
    for index in records.indices where records[index].eventTime != 12 { records[index].eventTime = 0 }
    return Seen(answers: answers, records: records, isOpen: connection.isOpen)
  }

  /// The requests, and of the refusals, which the parser decides alone, a cross section.
  static let served = corpus.enumerated().filter {
    $0.offset < requests.count || ($0.offset % 5 == 0 && $0.element.utf8.count < 400)
  }
  .map(\.element)

  @Test(arguments: served.map { Array($0.utf8) } + compressed)
  func theAnswersAndTheRecordsAreTheSameWhereverTheBytesAreCut(_ bytes: [UInt8]) throws {
    for durability in [Durability.memory, .fsync] {
      let harness = HTTPHarness(durability)
      let whole = try serve(bytes, cuts: [], harness)
      for cut in 0...bytes.count {
        #expect(try serve(bytes, cuts: [cut], harness) == whole, "cut at \(cut), \(durability)")
      }
      #expect(try serve(bytes, cuts: Array(0..<bytes.count), harness) == whole, "single bytes, \(durability)")
    }
  }
}
