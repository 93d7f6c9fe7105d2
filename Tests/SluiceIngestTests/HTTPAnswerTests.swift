import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("HTTP answers")
struct HTTPAnswerTests {
  static let body = #"{"message":"hello"}"#

  @Test func pipelinedAnswersKeepTheOrderOfTheRequests() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    let health = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    try connection.receive(post(Self.body) + post("{") + health + post(Self.body) + post(Self.body) + health)
    #expect(try connection.sent() == "", "nothing overtakes the first record")
    harness.commit()
    #expect(try connection.responses().map(\.status) == [202, 400, 200, 202, 202, 200])
    // With nothing pending an answer that needs no commit comes at once.
    try connection.receive(health + post("[") + post(Self.body))
    #expect(try connection.responses().map(\.status) == [200, 400])
    harness.commit()
    #expect(try connection.responses().map(\.status) == [202])
  }

  @Test func aCommitAnswersOnlyWhatItCovers() throws {
    let harness = HTTPHarness(.fsync)
    let (first, second) = (try harness.connect(), try harness.connect())
    try first.receive(post(Self.body))
    try second.push(Array(post(Self.body).utf8))
    harness.stream.commit()
    harness.eventLoop.run()
    #expect(try first.responses().map(\.status) == [202])
    #expect(try second.sent() == "", "it was submitted after the commit")
    harness.commit()
    #expect(try second.responses().map(\.status) == [202])
  }

  @Test func aLongPipelineIsAnsweredInFull() throws {
    for durability in [Durability.memory, .fsync] {
      let harness = HTTPHarness(durability)
      let connection = try harness.connect()
      try connection.receive(String(repeating: post(Self.body), count: 500))
      harness.commit()
      #expect(try connection.responses().map(\.status) == Array(repeating: 202, count: 500))
      #expect(harness.stream.records.count == 500)
      #expect(harness.stream.submits <= 2)
    }
  }

  @Test func readingStopsWhileTooManyRequestsWait() throws {
    let harness = HTTPHarness(.fsync) { $0.maxPipelinedRequests = 4 }
    let connection = try harness.connect()
    try connection.receive(String(repeating: post(Self.body), count: 10))
    #expect(harness.stream.records.count == 4)
    connection.channel.read()
    harness.commit()
    #expect(try connection.responses().count == 4)
    #expect(harness.stream.records.count == 8, "the answers let the next ones in")
    harness.commit()
    harness.commit()
    #expect(try connection.responses().count == 6)
    #expect(harness.stream.records.count == 10)
  }

  @Test func aFullStreamIsToldApart() throws {
    for (reason, status) in [(FullReason.ring, 429), (.retention, 429), (.disk, 503), (.closing, 503)] {
      let harness = HTTPHarness(.fsync)
      let connection = try harness.connect()
      harness.stream.setFull(reason)
      try connection.receive(post(Self.body) + post(Self.body, headers: "Connection: close\r\n"))
      let responses = try connection.responses()
      #expect(responses.map(\.status) == [status, status])
      for response in responses {
        #expect(response.headers["retry-after"] == "1")
        #expect(response.headers["content-type"] == "application/problem+json")
      }
      #expect(!connection.isOpen)
      #expect(harness.stream.records.isEmpty)
      #expect(harness.stream.openTicks == 0, "a lane that was refused something does not go on with this tick's time")
    }
  }

  @Test func whatIsTooLargeIsToldSo() throws {
    let harness = HTTPHarness(.memory, maxRecordBytes: 256)
    let connection = try harness.connect()
    let large = #"{"message":"\#(String(repeating: "a", count: 500))"}"#
    try connection.receive(post(large) + post(Self.body))
    #expect(try connection.responses().map(\.status) == [413, 202], "the stream's limit leaves the connection alone")
    try connection.receive("POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n")
    let refused = try connection.responses()
    #expect(refused.map(\.status) == [413], "the source's limit is known from the head")
    #expect(refused.first?.headers["connection"] == "close")
  }

  @Test func anErrorSaysWhatAndWhere() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(post(#"{"message":x}"#))
    let response = try #require(try connection.responses().first)
    #expect(response.status == 400)
    #expect(
      response.body
        == #"{"type":"about:blank","title":"Bad Request","status":400,"code":"expected_value","#
        + #""detail":"a JSON value was expected","offset":11}"#)
    #expect(response.headers["content-type"] == "application/problem+json")
    #expect(connection.isOpen, "a body that is no JSON leaves the framing intact")
  }

  @Test(arguments: [
    ("GET /log HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
    ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "method_not_allowed"),
    ("GET /log/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found"),
    ("POST /%6cog HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404, "not_found"),
    ("POST /log HTTP/1.1\r\nHost: x\r\n\r\n", 411, "length_required"),
    (post(body, headers: "Content-Encoding: br\r\n"), 415, "unsupported_encoding"),
    (post(body, headers: "Sluice-Topic: \(String(repeating: "a", count: 256))\r\n"), 400, "bad_topic"),
    (post(body, headers: "Sluice-Topic: a\tb\r\n"), 400, "bad_topic"),
    (post(body, headers: "Sluice-Key: \(String(repeating: "a", count: 4097))\r\n"), 400, "bad_key"),
    (post(body, headers: "Sluice-Time: yesterday\r\n"), 400, "bad_time"),
    (post("{}"), 400, "message_missing"),
    (post(""), 400, "unexpected_end"),
    (post("{\"message\":\"a\u{1}\"}"), 400, "control_character"),
  ]) func eachRefusalHasItsStatusAndCode(_ request: String, _ status: Int, _ code: String) throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(request + post(Self.body))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [status, 202], "and the connection goes on")
    #expect(responses[0].body.contains(#""code":"\#(code)""#))
    if status == 405 { #expect(responses[0].headers["allow"] != nil) }
  }

  @Test func bytesThatAreNoUTF8AreRefusedWithTheirPlace() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let bad = Array(#"{"message":"ab"#.utf8) + [0xC0, 0x80] + Array(#""}"#.utf8)
    try connection.receive(Array("POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: \(bad.count)\r\n\r\n".utf8) + bad)
    let topic = Array("POST /log HTTP/1.1\r\nHost: x\r\nSluice-Topic: a".utf8) + [0xFF]
    try connection.receive(topic + Array("\r\nContent-Length: 19\r\n\r\n\(Self.body)".utf8))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [400, 400])
    #expect(responses[0].body.contains(#""code":"bad_utf8""#) && responses[0].body.contains(#""offset":14"#))
    #expect(responses[1].body.contains(#""code":"bad_topic""#))
  }

  @Test func theRecordCarriesWhatTheHeadersSay() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let headers = "Sluice-Topic: küche.links\r\nsluice-key:  k 1 \r\nSluice-Time: 2026-01-31T12:00:00.25+01:00\r\n"
    try connection.receive(post(Self.body, headers: headers) + post(Self.body, headers: "Sluice-Topic:\r\n"))
    try connection.receive(post(" {\"x\":1,\n\"message\":\"hello\"} "))
    let records = harness.stream.records
    #expect(records.map(\.topic) == ["küche.links", "web", "web"])
    #expect(records.map(\.key) == ["k 1", "", ""])
    #expect(records[0].eventTime == 1_769_857_200_250_000_000)
    #expect(records[1].eventTime == harness.clock.wall)
    #expect(records[2].text == " {\"x\":1,\n\"message\":\"hello\"} ", "the payload is the body as sent")
  }

  @Test func continueIsSentOnceWhenTheBodyIsAwaited() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let request = Array(post(Self.body, headers: "Expect: 100-continue\r\n").utf8)
    try connection.receive(Array(request.dropLast(19)))
    #expect(try connection.sent() == "HTTP/1.1 100 Continue\r\n\r\n")
    try connection.receive(Array(request.suffix(19).prefix(5)))
    #expect(try connection.sent() == "")
    try connection.receive(Array(request.suffix(14)))
    #expect(try connection.responses().map(\.status) == [202])
    try connection.receive(request)
    #expect(try connection.responses().map(\.status) == [202], "a body that is there needs no invitation")
  }
}
