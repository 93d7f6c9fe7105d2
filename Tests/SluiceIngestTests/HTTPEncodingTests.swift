import NIOCore
import NIOEmbedded
import SluiceCore
import Synchronization
import TestSupport
import Testing

@testable import SluiceIngest

/// Compressed bodies, and what is decided before a body comes.
@Suite("HTTP content codings")
struct HTTPEncodingTests {
  static let body = #"{"message":"hello"}"#
  static let bytes = Array(body.utf8)

  func request(_ body: [UInt8], _ coding: String, path: String = "/log", chunkBytes: Int? = nil) -> [UInt8] {
    HTTPSplitTests.encoded(body, coding, path: path, chunkBytes: chunkBytes)
  }

  @Test func theRecordIsTheExpandedBody() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let lines = Array("{\"message\":\"a\"}\n{\"message\":\"b\"}".utf8)
    for coding in ["gzip", "x-gzip", "GZIP", "gzip, identity", "identity , gzip", ",gzip,"] {
      try connection.receive(request(Compression.gzip(Self.bytes), coding))
    }
    try connection.receive(request(Compression.zstd(Self.bytes), "zstd", chunkBytes: 5))
    try connection.receive(request(Self.bytes, "identity"))
    try connection.receive(request(Self.bytes, ""))
    try connection.receive(request(Compression.gzip(lines), "gzip", path: "/logs", chunkBytes: 100))
    #expect(try connection.responses().map(\.status) == [Int](repeating: 202, count: 10))
    #expect(
      harness.stream.records.map(\.text) == [String](repeating: Self.body, count: 9) + [
        "{\"message\":\"a\"}", "{\"message\":\"b\"}",
      ])
  }

  @Test(arguments: ["br", "deflate", "gzip, zstd", "gzip, gzip", "zstd zstd", "gzip;q=1", "compress", "*"])
  func whatCannotBeExpandedIsAnswered415WithWhatCan(_ coding: String) throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(request(Self.bytes, coding) + Array(post(Self.body).utf8))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [415, 202])
    #expect(responses.first?.headers["accept-encoding"] == "gzip, zstd, identity")
    #expect(harness.stream.records.count == 1)
  }

  static let faults: [(String, [UInt8], Int, String, String)] = [
    ("gzip", bytes, 400, "bad_encoding", "encoding"),
    ("zstd", bytes, 400, "bad_encoding", "encoding"),
    ("zstd", Compression.gzip(bytes), 400, "bad_encoding", "encoding"),
    ("gzip", Compression.gzip(bytes).dropLast(1), 400, "encoding_cut_short", "encoding"),
    ("gzip", Compression.gzip(bytes) + [0], 400, "encoding_trailing_bytes", "encoding"),
    ("zstd", Compression.zstd(bytes) + bytes, 400, "encoding_trailing_bytes", "encoding"),
    ("zstd", BodyExpanderFrames.dictionary, 400, "encoding_dictionary", "encoding"),
    ("zstd", BodyExpanderFrames.window, 400, "encoding_window_too_large", "encoding"),
    ("gzip", Compression.gzip([UInt8](repeating: 0x20, count: 4097)), 413, "body_too_large", "too_large"),
    ("zstd", Compression.zstd([UInt8](repeating: 0x20, count: 4097)), 413, "body_too_large", "too_large"),
    ("gzip", Compression.gzip([UInt8](repeating: 0x20, count: 4096)), 400, "unexpected_end", "json"),
    ("gzip", Compression.gzip([]), 400, "unexpected_end", "json"),
    ("zstd", BodyExpanderFrames.manyEmpty, 400, "encoding_too_many_members", "encoding"),
    ("zstd", [], 400, "encoding_cut_short", "encoding"),
  ]

  @Test(arguments: faults) func aWrongEncodingIsAnsweredCountedAndLeavesTheConnection(
    _ coding: String, _ body: [UInt8], _ status: Int, _ code: String, _ reason: String
  ) throws {
    let harness = HTTPHarness { if body.count > $0.maxBodyBytes { $0.maxBodyBytes = body.count } }
    let connection = try harness.connect()
    for path in ["/log", "/logs"] {
      // A body of white space is no mistake at /logs.
      if reason == "json", path == "/logs" { continue }
      try connection.receive(request(body, coding, path: path) + Array(post(Self.body).utf8))
      let responses = try connection.responses()
      #expect(responses.map(\.status) == [status, 202])
      #expect(responses.first?.body.contains(#""code":"\#(code)""#) == true)
      #expect(harness.value("sluice_source_rejected_records_total", reason) ?? 0 >= 1)
    }
    #expect(connection.isOpen)
  }

  @Test func aBombOfOneGibibyteIsRefusedForTheRoomOfOneBody() throws {
    let limit = 4 << 20
    let harness = HTTPHarness { $0.maxBodyBytes = limit }
    let connection = try harness.connect()
    let member = Compression.gzip([UInt8](repeating: 0, count: 64 << 20))
    let bomb = Array(repeatElement(member, count: 16).joined())
    try #require(bomb.count < limit)
    try connection.receive(request(bomb, "gzip"))
    try connection.receive(request(Compression.zstd([UInt8](repeating: 0, count: 64 << 20)), "zstd"))
    // Of a bomb in a bomb only the outer one is expanded.
    try connection.receive(request(Compression.gzip(bomb), "gzip"))
    try connection.receive(request(Compression.gzip(bomb), "gzip, gzip"))
    #expect(try connection.responses().map(\.status) == [413, 413, 400, 415])
    #expect(harness.loop.expander.roomBytes <= limit + 1)
    #expect(connection.isOpen && harness.stream.records.isEmpty)
  }

  // MARK: Admission

  @Test func aRefusedHeadIsAnsweredBeforeItsBodyWhichIsNotKept() throws {
    let harness = HTTPHarness { $0.maxBodyBytes = 1 << 20 }
    let connection = try harness.connect()
    try connection.receive("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    #expect(try connection.responses().map(\.status) == [404])
    for _ in 0..<100 {
      try connection.receive([UInt8](repeating: 0x61, count: 10_000))
      #expect(harness.loop.settings.load.heldBytes == 0)
    }
    try connection.receive(post(Self.body))
    #expect(try connection.responses().map(\.status) == [202], "the connection goes on behind the body")
  }

  @Test(arguments: [
    ("PUT /log", "Content-Length: 1\r\n", 405), ("POST /nowhere", "Content-Length: 1\r\n", 404),
    ("POST /log", "Content-Length: 1\r\nContent-Encoding: br\r\n", 415),
    ("POST /log", "Content-Length: 4097\r\n", 413),
    ("POST /log", "Transfer-Encoding: chunked\r\nContent-Encoding: br\r\n", 415),
  ]) func whoExpectsContinueIsRefusedInsteadAndTheConnectionCloses(_ line: String, _ headers: String, _ status: Int)
    throws
  {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive("\(line) HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\(headers)\r\n")
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [status])
    #expect(responses.first?.headers["connection"] == "close")
    try connection.receive(post(Self.body))
    #expect(try connection.sent() == "" && harness.stream.records.isEmpty)
  }

  @Test func aRefusedBodyInChunksClosesTheConnection() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(HTTPParserTests.chunked("1\r\na\r\n").replacing("/log", with: "/nowhere"))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [404])
    #expect(responses.first?.headers["connection"] == "close")
  }

  @Test func aBodyThatNobodyWantsHasItsTimeToo() throws {
    let harness = HTTPHarness { $0.bodySeconds = 5 }
    let connection = try harness.connect()
    try connection.receive("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    #expect(try connection.responses().map(\.status) == [404])
    for _ in 0..<10 {
      harness.eventLoop.advanceTime(by: .seconds(1))
      connection.channel.pipeline.fireChannelReadComplete()
    }
    #expect(try connection.sent() == "" && !connection.isOpen, "one request has one answer")
  }
}

/// Headers of zstd frames that are refused for what they say.
enum BodyExpanderFrames {
  static let dictionary: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x00, 0x07, 1, 0, 0]
  static let window: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 13 << 3 | 1, 1, 0, 0]
  /// One frame more than a body may have.
  static let manyEmpty = Array(
    repeatElement([0x28, 0xB5, 0x2F, 0xFD, 0x20, 0, 1, 0, 0] as [UInt8], count: Limits.maxBodyMembers + 1).joined())
}
