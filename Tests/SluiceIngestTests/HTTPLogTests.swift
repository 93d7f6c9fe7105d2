import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("POST /log")
struct HTTPLogTests {
  static let body = #"{"message":"hello"}"#

  @Test func aRecordInMemoryIsAnsweredAtTheEndOfTheTick() throws {
    let harness = HTTPHarness(.memory)
    let connection = try harness.connect()
    try connection.receive(post(Self.body))
    let text = try connection.sent()
    let response = try #require(TestResponse.parse(text).first)
    #expect(text.hasPrefix("HTTP/1.1 202 Accepted\r\n"))
    #expect(response.body == #"{"status":"queued"}"#)
    #expect(response.headers["content-type"] == "application/json")
    #expect(response.headers["content-length"] == "19")
    #expect(response.headers["connection"] == nil)
    #expect(response.headers["date"]?.hasSuffix(" GMT") == true)
    #expect(harness.stream.records.map(\.text) == [Self.body])
    #expect(harness.stream.records[0].topic == "web")
    #expect(connection.isOpen)
  }

  @Test func aDurableRecordIsAnsweredOnlyAfterTheCommit() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(post(Self.body))
    #expect(try connection.sent() == "")
    harness.commit()
    #expect(try connection.responses().map(\.status) == [202])
  }

  @Test func allConnectionsOfATickShareOneSubmit() throws {
    let harness = HTTPHarness(.fsync)
    let connections = try (0..<20).map { _ in try harness.connect() }
    for connection in connections { try connection.push(Array(post(Self.body).utf8)) }
    harness.eventLoop.run()
    #expect(harness.stream.submits == 1)
    harness.commit()
    for connection in connections { #expect(try connection.responses().map(\.status) == [202]) }
  }
}
