import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("Buffers of input that has not ended")
struct HeldInputTests {
  private static let large = String(repeating: "x", count: 600_000)

  /// In reads of 64 KiB.
  private func parts(_ bytes: ByteBuffer) -> [ByteBuffer] {
    var bytes = bytes
    var parts: [ByteBuffer] = []
    while bytes.readableBytes > 0, let part = bytes.readSlice(length: min(64 << 10, bytes.readableBytes)) {
      parts.append(part)
    }
    return parts
  }

  @Test("That of a large body is let go of with its end, also when the next request has begun")
  func http() throws {
    let harness = HTTPHarness { $0.maxBodyBytes = 1 << 20 }
    let client = try harness.connect()
    let text = post(#"{"message":"\#(Self.large)"}"#) + "P"
    for part in parts(ByteBuffer(string: text)) { try client.receive(Array(part.readableBytesView)) }
    let connection = try client.channel.pipeline.syncOperations.handler(type: HTTPConnection.self)
    #expect(try client.responses().map(\.status) == [202])
    #expect(connection.rest.readableBytes == 1 && connection.rest.storageCapacity <= Limits.uncontestedHeldBytes)
    #expect(harness.loop.settings.load.heldBytes == 1)
  }

  @Test("That of a large frame is let go of with its end, also when the next frame has begun")
  func framed() throws {
    let harness = TCPHarness(.memory, maxRecordBytes: 1 << 20)
    let client = try harness.open("")
    var frames = ByteBuffer()
    for first in 1...UInt64(2) {
      TCPTestConnection.data([Self.large], first: first, isAnonymous: true, &client.sender, &frames)
    }
    let beginning = try #require(frames.getSlice(at: frames.readerIndex, length: frames.readableBytes / 2 + 8))
    for part in parts(beginning) { try client.receive(part) }
    let connection = try client.channel.pipeline.syncOperations.handler(type: TCPConnection.self)
    #expect(harness.stream.records.count == 1)
    #expect(connection.rest.readableBytes == 8 && connection.rest.storageCapacity <= Limits.uncontestedHeldBytes)
    #expect(harness.loop.settings.load.heldBytes == 8)
  }

  @Test("That of a long line is let go of with its end", arguments: ["", "next"])
  func lines(next: String) throws {
    let harness = LinesHarness()
    let client = try harness.connect()
    for part in parts(ByteBuffer(string: Self.large + "\n" + next)) {
      try client.receive(Array(part.readableBytesView))
    }
    let connection = try client.channel.pipeline.syncOperations.handler(type: LinesConnection.self)
    #expect(harness.texts.count == 1)
    #expect(connection.rest.readableBytes == next.utf8.count)
    #expect(connection.rest.storageCapacity <= Limits.uncontestedHeldBytes)
    #expect(harness.settings.load.heldBytes == next.utf8.count)
  }

  @Test("Requests that wait for room send no unfinished ones away; beyond their own budget they wait no longer")
  func waitingRequests() throws {
    let harness = HTTPHarness {
      $0.maxBodyBytes = 1 << 20
      $0.maxHeldBytes = 100_000
      $0.blockNanoseconds = 60_000_000_000
    }
    harness.stream.setFull(.ring)
    let request = post(#"{"message":"\#(Self.large.prefix(40_000))"}"#)
    let clients = try (0..<4).map { _ in try harness.connect() }
    for client in clients { try client.receive(request) }
    let unfinished = try harness.connect()
    try unfinished.receive(String(request.dropLast()))
    let answers = try clients.map { try $0.responses().first }
    #expect(answers.map(\.?.status) == [nil, nil, 503, 503] && clients.allSatisfy(\.isOpen))
    #expect(answers.last??.body.contains("stream_full") == true)
    #expect(try unfinished.sent() == "")
    #expect(harness.loop.settings.load.heldBytes < 140_000)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(40))
    try unfinished.receive(String(request.suffix(1)))
    try clients[3].receive(request)
    for client in [clients[0], clients[1], clients[3], unfinished] {
      #expect(try client.responses().map(\.status) == [202])
    }
    #expect(harness.loop.settings.load.heldBytes == 0)
  }

  @Test(
    "Frames that wait for room send no unfinished ones away; beyond their own budget their records are refused for now")
  func waitingFrames() throws {
    let harness = TCPHarness {
      $0.maxHeldBytes = 100_000
      $0.blocksWhenFull = true
    }
    let clients = try (0..<4).map { try harness.open("press-\($0)") }
    let unfinished = try harness.open("press-5")
    harness.stream.setFull(.ring)
    let payloads = [String](repeating: String(repeating: "x", count: 1000), count: 40)
    for client in clients { try client.data(payloads, first: 1) }
    var frame = ByteBuffer()
    TCPTestConnection.data(payloads, first: 1, &unfinished.sender, &frame)
    let rest = try #require(frame.getSlice(at: frame.writerIndex - 8, length: 8))
    try unfinished.receive(try #require(frame.getSlice(at: frame.readerIndex, length: frame.readableBytes - 8)))
    let seen = try (clients + [unfinished]).map { try $0.answers() }
    #expect(
      seen.map { $0.nacks.map(\.code) } == [
        [], [], [WireNackCode.fullRing.rawValue], [WireNackCode.fullRing.rawValue], [],
      ])
    #expect(seen.allSatisfy { $0.error == nil })
    #expect(harness.loop.settings.load.heldBytes < 140_000)
    harness.stream.setFull(nil)
    harness.advance(.milliseconds(100))
    try unfinished.receive(rest)
    for client in clients[2...] { try client.data(payloads, first: 1) }
    harness.commit()
    for client in clients + [unfinished] { #expect(try client.answers() == [.ack(0, 40)]) }
    #expect(harness.stream.records.count == 200 && harness.loop.settings.load.heldBytes == 0)
  }
}
