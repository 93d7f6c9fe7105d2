import NIOCore
import NIOEmbedded
import SluiceCore
import SluiceIdentity
import Synchronization
import Testing

@testable import SluiceIngest

/// Shows metrics of 40 KiB, and counts how often.
private final class CountingEndpoints: ControlEndpoints {
  let shown = Atomic<Int>(0)
  var count: Int { shown.load(ordering: .relaxed) }

  func health() -> [String] { [] }
  func readiness() -> [String] { [] }
  func metricFamilies() -> [MetricFamily] {
    shown.add(1, ordering: .relaxed)
    return FakeEndpoints(helpBytes: 40 << 10).metricFamilies()
  }
}

/// The most that was written between two flushes.
private final class FlushMeter: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer

  private(set) var most = 0
  private var unflushed = 0

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    unflushed += unwrapOutboundIn(data).readableBytes
    most = max(most, unflushed)
    context.write(data, promise: promise)
  }

  func flush(context: ChannelHandlerContext) {
    unflushed = 0
    context.flush()
  }
}

@Suite("What one HTTP connection may make the daemon hold and wait for")
struct HTTPBoundTests {
  private static let body = #"{"message":"hello"}"#
  private static let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

  @Test("Answers behind one that waits for the journal are made only while they are few bytes, and all in the end")
  func queuedAnswers() throws {
    let endpoints = CountingEndpoints()
    let harness = HTTPHarness(.fsync, endpoints: endpoints)
    let connection = try harness.connect()
    try connection.receive(post(Self.body) + String(repeating: Self.metrics, count: 50) + post(Self.body))
    #expect(endpoints.count == 2, "two are more than may wait")
    harness.commit()
    #expect(endpoints.count == 50)
    harness.commit()
    #expect(try connection.responses().map(\.status) == [202] + Array(repeating: 200, count: 50) + [202])
  }

  @Test("So are those of bodies with many refused elements")
  func refusedElements() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    let refused = post(String(repeating: "1\n", count: Limits.maxRefusedElements), path: "/logs")
    try connection.receive(post(Self.body) + String(repeating: refused, count: 5))
    #expect(harness.value("sluice_source_rejected_records_total", "json") == Double(Limits.maxRefusedElements))
    for _ in 0..<5 { harness.commit() }
    #expect(try connection.responses().map(\.status) == Array(repeating: 202, count: 6))
  }

  @Test("Answers that wait for nothing are flushed before they are many bytes")
  func unflushedAnswers() throws {
    let endpoints = CountingEndpoints()
    let harness = HTTPHarness(endpoints: endpoints)
    let connection = try harness.connect()
    let meter = FlushMeter()
    try connection.channel.pipeline.syncOperations.addHandler(meter, position: .first)
    try connection.receive(String(repeating: Self.metrics, count: 50))
    #expect(try connection.responses().map(\.status) == Array(repeating: 200, count: 50))
    #expect(meter.most < 100 << 10)
  }

  @Test("A body where none is taken is refused from the head", arguments: ["GET", "HEAD"])
  func unwantedBody(method: String) throws {
    let harness = HTTPHarness()
    let head = "\(method) /health HTTP/1.1\r\nHost: x\r\n"
    let counted = try harness.connect()
    try counted.receive(head + "Content-Length: 4000\r\n\r\n" + String(repeating: "x", count: 3000))
    #expect(try counted.sent().hasPrefix("HTTP/1.1 400 "))
    #expect(harness.loop.settings.load.heldBytes == 0)
    try counted.receive(String(repeating: "x", count: 1000) + "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(try counted.responses().map(\.status) == [200], "it is passed over")
    for header in ["Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 4000"] {
      let connection = try harness.connect()
      try connection.receive(head + header + "\r\n\r\n")
      let answer = try connection.sent()
      #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains("Connection: close"), "\(header)")
      #expect(!connection.isOpen)
    }
  }

  @Test("One CR is a request that has begun: it has a head's time, and a drain does not wait for it for long")
  func loneReturn() throws {
    let harness = HTTPHarness { $0.headerSeconds = 10 }
    let (late, drained) = (try harness.connect(), try harness.connect())
    try late.receive("\r")
    harness.eventLoop.advanceTime(by: .seconds(9))
    #expect(try late.sent() == "" && late.isOpen)
    harness.eventLoop.advanceTime(by: .seconds(3))
    #expect(try late.responses().map(\.status) == [408])
    try drained.receive("\r")
    let isDrained = NIOLoopBoundBox(false, eventLoop: harness.eventLoop)
    harness.loop.drain(within: .seconds(300)).whenSuccess { isDrained.value = true }
    harness.eventLoop.advanceTime(by: .seconds(Int64(Limits.drainGraceSeconds) + 2))
    #expect(!drained.isOpen && isDrained.value)
  }

  @Test("A request that is refused when it has waited in vain leaves the next one its own time to wait")
  func waitsAnew() throws {
    let (press, other) = (TestIdentity(), TestIdentity(name: "other"))
    let authority = IdentityAuthority([press.definition])
    let harness = HTTPHarness {
      $0.blockNanoseconds = 5_000_000_000
      $0.authentication = SourceAuthentication(.required, authority)
    }
    let connection = try harness.connect()
    harness.stream.setFull(.ring)
    try connection.receive(post(Self.body, headers: press.bearer))
    // Revoked while it waits.
    authority.replace(with: [other.definition])
    harness.eventLoop.advanceTime(by: .seconds(6))
    #expect(try connection.responses().map(\.status) == [401])
    try connection.receive(post(Self.body, headers: other.bearer))
    #expect(try connection.sent() == "")
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    #expect(try connection.responses().map(\.status) == [202])
  }

  @Test("What is answered 409 or 413 costs nothing of the identity's quota")
  func refusalsCostNothing() throws {
    let press = TestIdentity(quota: .init(recordsPerSecond: 1, burstNanoseconds: 1_000_000))
    let authority = IdentityAuthority([press.definition])
    let harness = HTTPHarness(maxRecordBytes: 256) { $0.authentication = SourceAuthentication(.required, authority) }
    let connection = try harness.connect()
    func send(_ sequence: Int?, epoch: Int = 2, bytes: Int = 1) throws {
      let numbers = sequence.map { "Sluice-Producer: press-7\r\nSluice-Sequence: \($0)\r\nSluice-Epoch: \(epoch)\r\n" }
      let text = #"{"message":"\#(String(repeating: "x", count: bytes))"}"#
      harness.clock.advance(nanoseconds: 100_000_000)
      try connection.receive(post(text, headers: press.bearer + (numbers ?? "")))
    }
    try send(2)
    try send(1)
    #expect(try connection.responses().map(\.status) == [409, 202], "a gap")
    harness.clock.advance(nanoseconds: 1_000_000_000)
    try send(2, epoch: 1)
    try send(2)
    #expect(try connection.responses().map(\.status) == [409, 202], "fenced")
    harness.clock.advance(nanoseconds: 1_000_000_000)
    let producer = try #require(harness.stream.producer(named: "press-7"))
    guard case .granted(let claim) = producer.claim(epoch: 2, ClaimNotices(ready: { _ in }, revoked: { _ in })) else {
      return #expect(Bool(false), "nobody else claims it")
    }
    try send(3)
    producer.release(claim, at: nil)
    try send(3)
    #expect(try connection.responses().map(\.status) == [409, 202], "owned")
    harness.clock.advance(nanoseconds: 1_000_000_000)
    try send(nil, bytes: 300)
    try send(nil)
    #expect(try connection.responses().map(\.status) == [413, 202], "too large")
    try send(nil)
    #expect(try connection.responses().map(\.status) == [429])
  }
}
