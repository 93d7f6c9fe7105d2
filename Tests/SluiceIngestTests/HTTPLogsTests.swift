import NIOCore
import SluiceCore
import Synchronization
import Testing

@testable import SluiceIngest

@Suite("POST /logs")
struct HTTPLogsTests {
  static let a = #"{"message":"a"}"#
  static let b = #"{"message":"b"}"#

  @Test func linesAndArraysAreStoredElementByElement() throws {
    for body in ["\(Self.a)\n\(Self.b)\n", "[\(Self.a), \(Self.b)]"] {
      let harness = HTTPHarness(.fsync)
      let connection = try harness.connect()
      try connection.receive(
        post(body, headers: "Sluice-Topic: t\r\nSluice-Key: k\r\nSluice-Time: 12\r\n", path: "/logs"))
      #expect(try connection.sent() == "", "nothing is said before it is durable")
      harness.commit()
      let response = try #require(try connection.responses().first)
      #expect(response.status == 202)
      #expect(response.body == #"{"accepted":2,"rejected":[]}"#)
      #expect(response.headers["content-type"] == "application/json")
      #expect(harness.stream.records.map(\.text) == [Self.a, Self.b])
      #expect(harness.stream.records.allSatisfy { $0.topic == "t" && $0.key == "k" && $0.eventTime == 12 })
      #expect(harness.stream.submits == 1)
    }
  }

  @Test func eachRefusedElementIsNamedAndTheOthersAreStored() throws {
    let harness = HTTPHarness(maxRecordBytes: 200)
    let connection = try harness.connect()
    let large = #"{"message":"\#(String(repeating: "x", count: 200))"}"#
    try connection.receive(post("\(Self.a)\n{\"m\":1}\n\(large)\n\(Self.b)\nx", path: "/logs"))
    #expect(
      try connection.responses().map(\.body) == [
        #"{"accepted":2,"rejected":["#
          + #"{"index":1,"code":"message_missing","detail":"the object has no member `message`","offset":22},"#
          + #"{"index":2,"code":"record_too_large","detail":"the record and its metadata are larger than the stream takes"},"#
          + #"{"index":4,"code":"expected_value","detail":"a JSON value was expected","offset":255}]}"#
      ])
    #expect(harness.stream.records.map(\.text) == [Self.a, Self.b])
    #expect(harness.value("sluice_source_accepted_records_total") == 2)
    #expect(harness.value("sluice_source_rejected_records_total", "json") == 2)
    #expect(harness.value("sluice_source_rejected_records_total", "too_large") == 1)
  }

  @Test(
    "a body is stored by the size that it was judged by, whatever a reload makes of max_record", arguments: ["", "1"])
  func keepsItsSize(sequence: String) throws {
    let headers = sequence.isEmpty ? "" : "Sluice-Producer: press-7\r\nSluice-Sequence: \(sequence)\r\n"
    let body = post(#"{"message":"\#(String(repeating: "x", count: 300))"}"#, headers: headers, path: "/logs")
    let lowered = HTTPHarness(maxRecordBytes: 1024)
    lowered.stream.setMaxRecordBehindALook(128)
    let connection = try lowered.connect()
    try connection.receive(body + body)
    #expect(try connection.responses().map(\.body).first == #"{"accepted":1,"rejected":[]}"#)
    let raised = HTTPHarness(maxRecordBytes: 128)
    let other = try raised.connect()
    try other.push(Array(post(Self.a).utf8))
    raised.stream.maxRecordBytes = 1024
    try other.receive(body)
    #expect(try other.responses().map(\.status) == [202, 202])
    #expect(raised.stream.records.count == 2)
  }

  @Test func aBodyIsStoredWholeOrNotAtAll() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    let record = Limits.serverPartBytes + Limits.producerFixedBytes + 8 + 16
    let body = String(repeating: Self.a + "\n", count: 10)
    harness.stream.setRoom(10 * record - 1)
    try connection.receive(post(body, path: "/logs") + post(body, path: "/logs"))
    harness.commit()
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [429, 429])
    #expect(responses[0].headers["retry-after"] == "1")
    #expect(harness.stream.records.isEmpty && harness.stream.state.withLock { $0.usedBytes } == 0)
    harness.stream.setRoom(10 * record)
    try connection.receive(post(body, path: "/logs") + post(body, path: "/logs"))
    harness.commit()
    #expect(try connection.responses().map(\.status) == [202, 429], "the second finds the room taken")
    #expect(harness.stream.records.count == 10)
    #expect(harness.value("sluice_source_rejected_records_total", "ring") == 30)
  }

  @Test func aBrokenArrayIsAnsweredWithItsPlaceAndNothingIsStored() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(post("[\(Self.a),{]", path: "/logs") + post("\(Self.a)", path: "/logs"))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [400, 202])
    #expect(responses[0].body.contains(#""code":"expected_key","#) && responses[0].body.contains(#""offset":18}"#))
    #expect(harness.stream.records.count == 1)
  }

  @Test func tooManyRefusedElementsRefuseTheBody() throws {
    let harness = HTTPHarness { $0.maxBodyBytes = 1 << 20 }
    let connection = try harness.connect()
    try connection.receive(
      post(Self.a + "\n" + String(repeating: "x\n", count: Limits.maxRefusedElements + 1), path: "/logs"))
    let response = try #require(try connection.responses().first)
    #expect(response.status == 400 && response.body.contains("too_many_refused"))
    #expect(harness.stream.records.isEmpty)
  }

  @Test func noRecordsAreNoMistake() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    for body in ["", "\n", "[]"] {
      try connection.receive(post(body, path: "/logs"))
      #expect(try connection.responses().map(\.body) == [#"{"accepted":0,"rejected":[]}"#])
    }
  }

  @Test func whatIsWrongWithTheRequestIsAnsweredAsForOneRecord() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(
      "GET /logs HTTP/1.1\r\nHost: x\r\n\r\n" + "POST /logs HTTP/1.1\r\nHost: x\r\n\r\n"
        + post(Self.a, headers: "Content-Encoding: br\r\n", path: "/logs")
        + post(Self.a, headers: "Sluice-Time: soon\r\n", path: "/logs"))
    #expect(try connection.responses().map(\.status) == [405, 411, 415, 400])
  }

  @Test func answersKeepTheirOrderAmongThoseOfOtherRoutes() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(
      post(Self.a) + post("[\(Self.a)]", path: "/logs") + post("{") + post(Self.b)
        + post(Self.b, headers: "Connection: close\r\n", path: "/logs"))
    #expect(try connection.sent() == "")
    harness.commit()
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [202, 202, 400, 202, 202])
    #expect(responses[1].body.contains("accepted") && responses[4].headers["connection"] == "close")
    #expect(!connection.isOpen)
  }
}
