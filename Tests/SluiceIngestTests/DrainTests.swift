import Glibc
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

/// Keeps what is written from the socket, as one whose peer's window is full.
private final class FullWindow: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private var promises: [EventLoopPromise<Void>?] = []

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    promises.append(promise)
    context.write(data, promise: nil)
  }

  func flush(context: ChannelHandlerContext) {}

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    for promise in promises { promise?.fail(ChannelError.ioOnClosedChannel) }
    promises = []
    context.close(mode: mode, promise: promise)
  }
}

@Suite("What a drain waits for")
struct DrainTests {
  private static let body = #"{"message":"hello"}"#
  /// Past which nobody is waited for who does nothing.
  private static let grace = Int64(Limits.drainGraceSeconds) + 1

  // MARK: Requests

  @Test(
    "A body of which nothing comes any more is answered 408 behind the grace, whatever is there of it",
    arguments: [
      "Content-Length: 100\r\n\r\n", "Content-Length: 100\r\n\r\n{\"message\":",
      "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
      "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
    ])
  func silentBody(_ rest: String) throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive("POST /log HTTP/1.1\r\nHost: x\r\n" + rest)
    harness.eventLoop.advanceTime(by: .milliseconds(4700))
    let drained = harness.loop.drain(within: .hours(1))
    harness.eventLoop.advanceTime(by: .seconds(Int64(Limits.drainGraceSeconds)))
    #expect(connection.isOpen, "there is a little time for it still")
    harness.eventLoop.advanceTime(by: .seconds(1))
    #expect(!connection.isOpen)
    try drained.wait()
    let answer = try #require(
      try TestResponse.parse(connection.sent().replacing("HTTP/1.1 100 Continue\r\n\r\n", with: "")).first)
    #expect(answer.status == 408 && answer.headers["connection"] == "close")
    #expect(harness.value("sluice_source_timeouts_total") == 1)
    #expect(harness.value("sluice_http_requests_total", "408") == 1)
  }

  @Test("A body that trickles is no better than one that does not come")
  func trickle() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive("POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    let drained = harness.loop.drain(within: .hours(1))
    for _ in 0..<Self.grace * 10 where connection.isOpen {
      try connection.receive(" ")
      harness.eventLoop.advanceTime(by: .milliseconds(100))
    }
    #expect(!connection.isOpen)
    try drained.wait()
    #expect(try connection.responses().map(\.status) == [408])
    #expect(harness.value("sluice_source_timeouts_total") == 1)
  }

  @Test("A body that flows is let come to its end", arguments: [false, true])
  func flow(isChunked: Bool) throws {
    let harness = HTTPHarness { $0.maxBodyBytes = 1 << 20 }
    let connection = try harness.connect()
    let (parts, part) = (20, Limits.drainFlowBytes)
    let length = parts * part + Self.body.utf8.count
    let framing = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: \(length)"
    try connection.receive("POST /log HTTP/1.1\r\nHost: x\r\n\(framing)\r\n\r\n")
    let drained = harness.loop.drain(within: .hours(1))
    func send(_ text: String) throws {
      try connection.receive(isChunked ? "\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n" : text)
    }
    for _ in 0..<parts {
      try send(String(repeating: " ", count: part))
      harness.eventLoop.advanceTime(by: .seconds(1))
    }
    #expect(connection.isOpen)
    try send(Self.body)
    if isChunked { try connection.receive("0\r\n\r\n") }
    try drained.wait()
    let answers = try connection.responses()
    #expect(answers.map(\.status) == [202] && answers.first?.headers["connection"] == "close")
    #expect(harness.stream.records.count == 1 && harness.value("sluice_source_timeouts_total") == 0)
  }

  @Test("A request that is whole is answered, however long the daemon itself takes over it")
  func wholeRequest() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(post(Self.body))
    let drained = harness.loop.drain(within: .hours(1))
    harness.eventLoop.advanceTime(by: .seconds(60 * Self.grace))
    #expect(connection.isOpen)
    harness.commit()
    try drained.wait()
    #expect(try connection.responses().map(\.status) == [202])
    #expect(harness.value("sluice_source_timeouts_total") == 0)
  }

  // MARK: Answers

  @Test("A client over HTTP that takes no answers is cut behind the grace, and counted", arguments: [false, true])
  func stuckHTTP(isAnsweredLater: Bool) throws {
    let harness = HTTPHarness(isAnsweredLater ? .fsync : .memory)
    let connection = try harness.connect()
    try connection.channel.pipeline.syncOperations.addHandler(FullWindow(), position: .first)
    try connection.receive(post(Self.body))
    let drained = harness.loop.drain(within: .hours(1))
    if isAnsweredLater {
      harness.eventLoop.advanceTime(by: .seconds(2 * Self.grace))
      #expect(connection.isOpen, "it has had nothing to take")
      harness.commit()
    }
    #expect(connection.isOpen)
    harness.eventLoop.advanceTime(by: .seconds(Self.grace))
    #expect(!connection.isOpen)
    try drained.wait()
    #expect(harness.stream.records.count == 1, "what was taken stays")
    #expect(harness.value("sluice_source_timeouts_total") == 1)
  }

  @Test("A framed client that takes no answers is cut behind the grace, and counted")
  func stuckFramed() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.channel.pipeline.syncOperations.addHandler(FullWindow(), position: .first)
    try connection.data(["a"], first: 1)
    let drained = harness.loop.drain(within: .hours(1))
    harness.advance(seconds: 2 * Self.grace)
    #expect(connection.isOpen, "its record is the daemon's to store")
    harness.commit()
    harness.advance(seconds: Self.grace)
    #expect(!connection.isOpen)
    try drained.wait()
    #expect(harness.stream.records.map(\.text) == ["a"] && harness.counters.value(.timedOut) == 1)
    #expect(harness.stream.producer(named: "press-7")?.isFree == true)
  }

  @Test("A framed client that does not close behind BYE is waited for no longer")
  func framedWithoutEnd() throws {
    let harness = TCPHarness { $0.lingerSeconds = 60 }
    let connection = try harness.connect(lingers: true)
    try connection.send { $0.hello(WireHello(producer: "press-7", epoch: 1), to: &$1) }
    let drained = harness.loop.drain(within: .hours(1))
    harness.eventLoop.run()
    #expect(try connection.answers().last == .bye && connection.isOpen)
    harness.advance(seconds: Self.grace)
    #expect(!connection.isOpen)
    try drained.wait()
  }

  @Test(
    "Whoever takes answers, or sends its request, is waited for; from the last time that it did the grace counts anew")
  func patience() {
    var patience = DrainPatience()
    func isOver(_ sweep: Int, unsent: Int = 0, held: Int = 0) -> Bool {
      patience.isOver(at: sweep, unsent: unsent, held: held)
    }
    let grace = Limits.drainGraceSeconds
    #expect(!isOver(7, unsent: 100))
    for second in 8..<20 { #expect(!isOver(second, unsent: 100 - second)) }
    #expect(isOver(19 + grace, unsent: 81), "it took none")
    #expect(!isOver(30, unsent: 80))
    for second in 31..<40 { #expect(!isOver(second, unsent: 80, held: second * Limits.drainFlowBytes)) }
    #expect(isOver(39 + grace, unsent: 80, held: 40 * Limits.drainFlowBytes - 1), "it sent too little")
  }

  @Test("On sockets, one that does not read is cut too")
  func stuckOnSockets() async throws {
    // More than the kernel holds of what is sent.
    let endpoints = FakeEndpoints(helpBytes: 6 << 20)
    try await HTTPSourceTests().withSource(nil, endpoints) { source, port in
      let client = try BlockingClient(port: port, receiveBuffer: 4096)
      try client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
      func value(_ name: String, _ label: String? = nil) -> Double? {
        let samples = source.metrics().first { $0.name == name }?.samples
        return samples?.first { label == nil || $0.labels.last?.1 == label }?.value
      }
      while value("sluice_http_requests_total", "200") != 1 { await Task.yield() }
      await source.drain(within: .seconds(60))
      #expect(value("sluice_source_timeouts_total") == 1)
      withExtendedLifetime(client) {}
    }
  }

  // MARK: Handshakes

  @Test("A handshake that is not finished ends at once, whatever the source", arguments: ["http", "tcp", "lines"])
  func handshake(_ kind: String) async throws {
    let material = try TLSMaterial(Certificates().files(), now: Clock.wall() / 1_000_000_000)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let (stream, logger) = (FakeStream(.memory), Logger(label: "test"))
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0)
    // None is to be over by its time while the pool that this test runs on has no thread for it.
    let limitSeconds = 3600
    let source: any IngestSource
    switch kind {
    case "http":
      var options = HTTPSourceOptions(name: "api")
      options.tls = material
      options.headerSeconds = limitSeconds
      options.idleSeconds = limitSeconds
      let http = HTTPSource(options, stream: stream, group: group, endpoints: FakeEndpoints(), logger: logger)
      _ = try await http.start(on: socket)
      source = http
    case "tcp":
      var options = TCPSourceOptions(name: "modules")
      options.tls = material
      options.tlsHandshakeNanoseconds = Int64(limitSeconds) * 1_000_000_000
      options.handshakeSeconds = limitSeconds
      let framed = TCPSource(options, stream: stream, group: group, logger: logger)
      _ = try await framed.start(on: socket)
      source = framed
    default:
      var options = LinesSourceOptions(name: "text", topic: "")
      options.tls = material
      options.tlsHandshakeNanoseconds = Int64(limitSeconds) * 1_000_000_000
      options.idleSeconds = limitSeconds
      let lines = LinesSource(options, stream: stream, group: group, logger: logger)
      _ = try await lines.start(on: socket)
      source = lines
    }
    let port = try #require(socket.address.port)
    let silent = try BlockingClient(port: port)
    let begun = try BlockingClient(port: port)
    // The head of a record with a ClientHello of which nothing follows.
    try begun.send("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}")
    while source.openConnections < 2 { await Task.yield() }
    await source.drain(within: .seconds(60))
    try await group.shutdownGracefully()
    func count(_ name: String, _ label: String? = nil) -> Double? {
      let samples = source.metrics().first { $0.name == name }?.samples
      return samples?.first { label == nil || $0.labels.last?.1 == label }?.value
    }
    #expect(count("sluice_source_tls_handshakes_total", "other") == 2)
    #expect(count("sluice_source_tls_handshakes_total", "timeout") == 0)
    #expect(count("sluice_source_timeouts_total") == 0)
    withExtendedLifetime((silent, begun)) {}
  }
}
