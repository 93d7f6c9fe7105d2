import NIOCore
import NIOEmbedded
import SluiceCore
import Synchronization
import Testing

@testable import SluiceIngest

/// Requests that are to cost the daemon its memory or its time.
@Suite("HTTP attacks")
struct HTTPAttackTests {
  static let head = "POST /log HTTP/1.1\r\nHost: x\r\n"
  static let chunks = head + "Transfer-Encoding: chunked\r\n\r\n"

  /// What is sent once, what is sent again and again behind it, and the answer that ends it.
  static let endless: [(String, String, String, Int, String)] = [
    ("a request line", "POST /", "aaaaaaaaaaaaaaaa", 414, "request_line_too_long"),
    ("a method", "", "AAAAAAAAAAAAAAAA", 414, "request_line_too_long"),
    ("a header's name", head, "aaaaaaaaaaaaaaaa", 431, "headers_too_large"),
    ("a header's value", head + "X: ", "aaaaaaaaaaaaaaaa", 431, "headers_too_large"),
    ("headers", head, "X: y\r\n", 431, "too_many_headers"),
    ("empty headers", head, "X:\r\n", 431, "too_many_headers"),
    ("large headers", head, "X: \(String(repeating: "a", count: 1000))\r\n", 431, "headers_too_large"),
    ("a chunk's size", chunks, "0", 400, "bad_chunk"),
    ("chunks of one byte", chunks, "0000000000000001\r\na\r\n", 413, "chunk_overhead"),
    ("chunks", chunks, "64\r\n\(String(repeating: "a", count: 100))\r\n", 413, "body_too_large"),
    ("trailers", chunks + "0\r\n", "X: y\r\n", 431, "trailers_too_large"),
    ("a trailer", chunks + "0\r\nX: ", "aaaaaaaaaaaaaaaa", 431, "trailers_too_large"),
    ("empty lines", "", "\r\n", 400, "bad_request_line"),
    ("a body in one piece", head + "Content-Length: 4097\r\n\r\n", "a", 413, "body_too_large"),
    ("a chunk in one piece", chunks + "1001\r\n", "a", 413, "body_too_large"),
    ("a chunk of 2^63 bytes", chunks + "8000000000000000\r\n", "a", 413, "body_too_large"),
    ("a length of 2^64 bytes", head + "Content-Length: 18446744073709551616\r\n\r\n", "a", 413, "body_too_large"),
  ]

  @Test(arguments: endless) func whatNeverEndsIsRefusedAtItsLimitAndLetGo(
    _ what: String, _ start: String, _ again: String, _ status: Int, _ code: String
  ) throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let most = harness.loop.settings.limits.requestBytes
    try connection.receive(start)
    var sent = start.utf8.count
    let more = Array(String(repeating: again, count: max(1, 64 / again.utf8.count)).utf8)
    var answers = try connection.responses()
    while answers.isEmpty, sent <= most {
      try connection.receive(more)
      sent += more.count
      answers = try connection.responses()
      #expect(harness.loop.settings.load.heldBytes <= most)
    }
    #expect(answers.map(\.status) == [status], "\(what)")
    #expect(answers.first?.body.contains(#""code":"\#(code)""#) == true, "\(what)")
    #expect(answers.first?.headers["connection"] == "close")
    // What still comes is dropped.
    for _ in 0..<100 { try connection.receive(more) }
    #expect(harness.loop.settings.load.heldBytes == 0)
    #expect(try connection.sent() == "" && harness.stream.records.isEmpty)
  }

  @Test func aCrowdOfConnectionsTooManyHoldsLittleAndKeepsNobodyElseOut() throws {
    let harness = HTTPHarness { $0.maxConnections = 1 }
    let first = try harness.connect()
    let settings = harness.loop.settings
    let told = try harness.connect()
    #expect(try told.responses().map(\.status) == [503])
    #expect(!told.isOpen)
    // As many as may be told at once are just reading their answers.
    for _ in 0..<Limits.maxTurnedAway {
      settings.load.enter()
      #expect(settings.load.beginTurningAway())
    }
    let cut = try harness.connect()
    #expect(try cut.sent() == "" && !cut.isOpen)
    #expect(harness.value("sluice_source_refused_connections_total") == 2)
    try first.channel.close().wait()
    let next = try harness.connect()
    try next.receive(post(#"{"message":"x"}"#))
    #expect(try next.responses().map(\.status) == [202], "they take nobody's place")
  }

  @Test(arguments: ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3e8\r\n", "X: "])
  func aByteASecondDoesNotBuyTime(_ rest: String) throws {
    let harness = HTTPHarness {
      $0.headerSeconds = 5
      $0.bodySeconds = 5
    }
    let connection = try harness.connect()
    try connection.receive(Self.head + rest)
    var seconds = 0
    var answers: [TestResponse] = []
    while answers.isEmpty, seconds < 60 {
      harness.eventLoop.advanceTime(by: .seconds(1))
      try connection.receive("a")
      seconds += 1
      answers = try connection.responses()
    }
    #expect(answers.map(\.status) == [408])
    #expect((5...7).contains(seconds), "after \(seconds) s")
    #expect(harness.loop.settings.load.heldBytes == 0)
    #expect(harness.value("sluice_source_timeouts_total") == 1)
  }
}
