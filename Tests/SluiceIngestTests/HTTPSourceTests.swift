import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Testing

@testable import SluiceIngest

/// A client that blocks, on a socket of its own.
final class BlockingClient {
  struct Refused: Error {}

  private let descriptor: Int32

  /// `receiveBuffer`: bytes that the kernel holds for it, instead of as many as it likes.
  init(port: Int, receiveBuffer: Int32? = nil) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    if var bytes = receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
    }
    let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
    let outcome = address.withSockAddr { connect(descriptor, $0, socklen_t($1)) }
    guard outcome == 0 else { throw Refused() }
  }

  deinit { close(descriptor) }

  func send(_ text: String) throws {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let sent = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      try #require(sent > 0)
      bytes = bytes.dropFirst(sent)
    }
  }

  func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Reads until `count` responses have come or the peer closes.
  func receive(_ count: Int) throws -> [TestResponse] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let text = String(decoding: all, as: UTF8.self)
      if text.ranges(of: "HTTP/1.1 ").count >= count, let responses = try? TestResponse.parse(text) { return responses }
      let received = recv(descriptor, &buffer, buffer.count, 0)
      if received <= 0 { return try TestResponse.parse(text) }
      all += buffer[..<received]
    }
  }

  /// How many bytes come before the peer closes.
  func readToEnd() -> Int {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    var total = 0
    while true {
      let received = recv(descriptor, &buffer, buffer.count, 0)
      if received <= 0 { return total }
      total += received
    }
  }

  /// Whether the peer has closed, with nothing more to read.
  func isAtEnd() -> Bool {
    var byte: UInt8 = 0
    return recv(descriptor, &byte, 1, 0) == 0
  }
}

@Suite("HTTP on sockets")
struct HTTPSourceTests {
  static let body = #"{"message":"hello"}"#

  func withSource(
    _ stream: FakeStream?, _ endpoints: FakeEndpoints = FakeEndpoints(),
    adjust: (inout HTTPSourceOptions) -> Void = { _ in },
    _ body: (HTTPSource, Int) async throws -> Void
  ) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    EventLoopThreads.name(group, "http")
    var options = HTTPSourceOptions(name: "api", defaultTopic: "web")
    // Who is served is not to be cut off while the pool that the test runs on has no thread for it.
    options.idleSeconds = 3600
    adjust(&options)
    let source = HTTPSource(
      options, stream: stream, group: group, endpoints: endpoints, logger: Logger(label: "test"))
    do {
      let address = try await source.start(on: ListeningSocket(host: "127.0.0.1", port: 0))
      try await body(source, try #require(address.port))
    } catch {
      await source.drain(within: .seconds(10))
      try await group.shutdownGracefully()
      throw error
    }
    await source.drain(within: .seconds(10))
    try await group.shutdownGracefully()
    if let stream { #expect(stream.lanes == 0) }
  }

  @Test func unfinishedBodiesBeyondTheBudgetAreRefusedAndFinishedOnesAreServed() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream, adjust: { $0.maxHeldBytes = 100_000 }) { source, port in
      let half =
        "POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + String(repeating: " ", count: 80_000)
      let first = try BlockingClient(port: port)
      try first.send(half)
      let second = try BlockingClient(port: port)
      try second.send(half)
      // Whichever comes second is one too many; a small request is served beside them.
      let small = try BlockingClient(port: port)
      try small.send(post(Self.body))
      #expect(try small.receive(1).map(\.status) == [202])
      func refused() -> Double {
        let family = source.metrics().first { $0.name == "sluice_source_rejected_records_total" }
        return family?.samples.first { $0.labels.contains { $0.1 == "memory" } }?.value ?? 0
      }
      while refused() == 0 { await Task.yield() }
      #expect(refused() >= 1, "both may be, when they come at once")
      let third = try BlockingClient(port: port)
      try third.send(post(#"{"message":"\#(String(repeating: "x", count: 15_000))"}"#))
      #expect(try third.receive(1).map(\.status) == [202])
    }
  }

  @Test func aClientThatShutsItsSideGetsMoreThanItsSocketHolds() async throws {
    try await withSource(nil, FakeEndpoints(helpBytes: 1 << 20)) { _, port in
      let client = try BlockingClient(port: port)
      try client.send(String(repeating: "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", count: 16))
      client.finishSending()
      #expect(client.readToEnd() > 16 << 20)
    }
  }

  @Test func recordsOfManyConnectionsAreAnsweredAndStored() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream) { source, port in
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<8 {
          group.addTask {
            do {
              let client = try BlockingClient(port: port)
              for round in 0..<20 {
                try client.send(post(#"{"message":"\#(number) \#(round)"}"#))
                #expect(try client.receive(1).map(\.status) == [202])
              }
            } catch { Issue.record(error) }
          }
        }
      }
      #expect(Set(stream.records.map(\.text)).count == 160)
      let accepted = source.metrics().first { $0.name == "sluice_source_accepted_records_total" }
      #expect(accepted?.samples.first?.value == 160)
    }
  }

  @Test func theSameRecordsOverManyConnectionsAtOnceAreStoredOnceAndInOrder() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream) { _, port in
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<6 {
          group.addTask {
            do {
              let client = try BlockingClient(port: port)
              for sequence in 1...60 {
                let headers = "Sluice-Producer: p\r\nSluice-Sequence: \(sequence)\r\n"
                try client.send(
                  post(#"{"message":"\#(sequence)"}"#, headers: headers, path: sequence % 2 == 0 ? "/log" : "/logs"))
                #expect(try client.receive(1).map(\.status) == [202])
              }
            } catch { Issue.record(error) }
          }
        }
      }
      #expect(stream.records.map(\.sequence) == Array(1...60))
    }
  }

  @Test func oneConnectionTooManyIsToldSoAndCountedAndTheOthersAreServed() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream, adjust: { $0.maxConnections = 2 }) { source, port in
      let clients = [try BlockingClient(port: port), try BlockingClient(port: port)]
      for client in clients {
        try client.send(post(Self.body))
        #expect(try client.receive(1).map(\.status) == [202])
      }
      let third = try BlockingClient(port: port)
      let answers = try third.receive(2)
      #expect(answers.map(\.status) == [503], "and the end of the connection")
      #expect(answers.first?.body.contains(#""code":"too_many_connections""#) == true)
      #expect(answers.first?.headers["retry-after"] == "1" && answers.first?.headers["connection"] == "close")
      try clients[0].send(post(Self.body))
      #expect(try clients[0].receive(1).map(\.status) == [202])
      let refused = source.metrics().first { $0.name == "sluice_source_refused_connections_total" }
      #expect(refused?.samples.first?.value == 1)
    }
  }

  @Test func aClientThatShutsItsSideIsAnsweredAfterTheCommit() async throws {
    let stream = FakeStream(.fsync)
    try await withSource(stream) { _, port in
      let client = try BlockingClient(port: port)
      try client.send(post(Self.body) + post(Self.body))
      client.finishSending()
      // The commit is due once the tick has ended and the loop has asked to be woken.
      while stream.records.count < 2 || !stream.isAwaited { await Task.yield() }
      stream.commit()
      #expect(try client.receive(3).map(\.status) == [202, 202])
    }
  }

  @Test func aRefusedClientReadsTheAnswerAlthoughItSendsOn() async throws {
    try await withSource(FakeStream(.memory), adjust: { $0.lingerSeconds = 60 }) { _, port in
      let client = try BlockingClient(port: port)
      // At once: a head alone would be answered, and the connection closed, before the rest comes.
      try client.send(
        "POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + String(repeating: "x", count: 200_000))
      let responses = try client.receive(2)
      #expect(responses.map(\.status) == [413])
      #expect(responses.first?.headers["connection"] == "close")
    }
  }

  @Test func largeBodiesArriveWholeHoweverTheyAreRead() async throws {
    let stream = FakeStream(.memory, maxRecordBytes: 2 << 20)
    try await withSource(stream) { _, port in
      let client = try BlockingClient(port: port)
      let large = #"{"message":"\#(String(repeating: "0123456789", count: 90_000))"}"#
      try client.send(post(large) + post(Self.body))
      #expect(try client.receive(2).map(\.status) == [202, 202])
      let half = large.utf8.count / 2
      let parts = [String(large.utf8.prefix(half)), String(large.utf8.dropFirst(half))].compactMap { $0 }
      try client.send("POST /log HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      for part in parts { try client.send(String(part.utf8.count, radix: 16) + "\r\n" + part + "\r\n") }
      try client.send("0\r\n\r\n")
      #expect(try client.receive(1).map(\.status) == [202])
      #expect(stream.records.map(\.text) == [large, Self.body, large])
    }
  }

  @Test func drainingClosesConnectionsAndTheListener() async throws {
    try await withSource(FakeStream(.memory)) { source, port in
      let client = try BlockingClient(port: port)
      try client.send(post(Self.body))
      #expect(try client.receive(1).map(\.status) == [202])
      await source.drain(within: .seconds(10))
      #expect(client.isAtEnd())
      #expect(throws: BlockingClient.Refused.self) { _ = try BlockingClient(port: port) }
    }
  }
}
