import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

/// A client of the framed protocol that blocks, on a socket of its own.
final class BlockingWireClient {
  struct Ended: Error {}

  private let descriptor: Int32
  var sender = WireSender(.toServer)
  private var receiver = WireReceiver(from: .toClient, maxFrame: Limits.defaultWireClientFrameBytes)
  private var input = ByteBuffer()

  init(port: Int) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
    let outcome = address.withSockAddr { connect(descriptor, $0, socklen_t($1)) }
    guard outcome == 0 else { throw Ended() }
  }

  deinit { close(descriptor) }

  func send(_ build: (inout WireSender, inout ByteBuffer) -> Void) throws {
    var buffer = ByteBuffer()
    build(&sender, &buffer)
    while buffer.readableBytes > 0 {
      let sent = buffer.withUnsafeReadableBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { throw Ended() }
      buffer.moveReaderIndex(forwardBy: sent)
    }
  }

  func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// The next frame; nil at the end of file.
  func next() throws -> WireSeen? {
    while true {
      let found = try input.withUnsafeReadableBytes { bytes -> (WireSeen, Int)? in
        switch receiver.next(bytes) {
        case .needMore: nil
        case .frame(let frame): (try WireSeen(frame), frame.length)
        case .fault: throw Ended()
        }
      }
      if let (seen, length) = found {
        input.moveReaderIndex(forwardBy: length)
        return seen
      }
      let received = input.writeWithUnsafeMutableBytes(minimumWritableBytes: 65_536) {
        max(0, recv(descriptor, $0.baseAddress, $0.count, 0))
      }
      if received == 0 { return nil }
    }
  }

  /// Reads until `isWanted`.
  func next(where isWanted: (WireSeen) -> Bool) throws -> WireSeen {
    while let seen = try next() {
      if isWanted(seen) { return seen }
    }
    throw Ended()
  }

  func hello(_ producer: String, epoch: UInt16 = 1) throws -> WireWelcome {
    try send { $0.hello(WireHello(producer: producer, epoch: epoch), to: &$1) }
    guard case .welcome(let welcome)? = try next() else { throw Ended() }
    return welcome
  }
}

@Suite("Framed protocol on sockets")
struct TCPSourceTests {
  /// Runs a source on two loops.
  private func withSource(
    _ stream: FakeStream, _ body: @Sendable (TCPSource, Int) async throws -> Void
  ) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    var options = TCPSourceOptions(name: "modules")
    // Who is served is not to be cut off while the pool that the test runs on has no thread for it.
    options.idleSeconds = 3600
    let source = TCPSource(options, stream: stream, group: group, logger: Logger(label: "test"))
    do {
      let address = try await source.start(on: ListeningSocket(host: "127.0.0.1", port: 0))
      try await body(source, try #require(address.port))
    } catch {
      Issue.record(error)
    }
    await source.drain(within: .seconds(5))
    try await group.shutdownGracefully()
    #expect(stream.lanes == 0)
  }

  @Test func aHundredThousandRecordsArriveOnceAndInOrderThroughFramesOfEverySize() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream) { source, port in
      var random = SeededGenerator(seed: 7)
      let client = try BlockingWireClient(port: port)
      var credit = try client.hello("press-7").credit
      var sent = WireCredit(bytes: 0, records: 0)
      var next: UInt64 = 1
      var acknowledged: UInt64 = 0
      let total: UInt64 = 100_000
      func read() throws {
        switch try client.next() {
        case .ack(0, let sequence)?: acknowledged = sequence
        case .credit(let more)?: credit = more
        case let other: Issue.record("\(String(describing: other))")
        }
      }
      let payload = random.bytes(4000)
      while next <= total {
        let count = min(UInt64.random(in: 1...400, using: &random), total - next + 1)
        let size = count < 20 ? 4000 : 100
        while sent.bytes + count * UInt64(size + 48) + 32 > credit.bytes || sent.records + count > credit.records {
          try read()
        }
        try client.send { sender, buffer in
          var data = sender.beginData(channel: 0, firstSequence: next, in: &buffer)
          for sequence in next..<next + count {
            payload[..<size].withUnsafeBytes {
              data.append(RecordFields(eventTime: 1, sequence: sequence, payload: $0), to: &buffer)
            }
          }
          sent.bytes += UInt64(data.bytes)
          sent.records += count
          sender.finishData(data, in: &buffer)
        }
        next += count
      }
      while acknowledged < total { try read() }
      #expect(stream.records.map(\.sequence) == Array(1...total))
      #expect(source.openConnections == 1)
    }
  }

  @Test func aProducerThatReconnectsOnAnyLoopGoesOnWhereItWas() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream) { _, port in
      var old: [BlockingWireClient] = []
      for round in 0..<20 as Range<UInt64> {
        let client = try BlockingWireClient(port: port)
        let last = try client.hello("press-7").lastSequence
        #expect(last == round * 3)
        try client.send { sender, buffer in
          TCPTestConnection.data(["a", "b", "c"], first: last + 1, &sender, &buffer)
        }
        #expect(try client.next() == .ack(0, last + 3))
        // Left open: the next one takes over.
        old.append(client)
      }
      for client in old.dropLast() {
        let end = try client.next { $0.errorCode != nil }
        #expect(end.errorCode == .superseded)
      }
      #expect(stream.records.map(\.sequence) == Array(1...60))
    }
  }

  @Test func aClientThatHasFinishedSendingStillGetsItsAnswers() async throws {
    let stream = FakeStream(.fsync)
    try await withSource(stream) { _, port in
      let client = try BlockingWireClient(port: port)
      // The handshake waits for nothing: the producer is new.
      _ = try client.hello("press-7")
      try client.send { TCPTestConnection.data(["a"], first: 1, &$0, &$1) }
      client.finishSending()
      while stream.submits == 0 || !stream.isAwaited { await Task.yield() }
      stream.commit()
      #expect(try client.next() == .ack(0, 1))
      while let more = try client.next() {
        guard case .credit = more else {
          Issue.record("\(more)")
          break
        }
      }
    }
  }

  @Test func drainingSaysGoAwayAnswersAndCloses() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream) { source, port in
      let client = try BlockingWireClient(port: port)
      _ = try client.hello("press-7")
      async let drained: Void = source.drain(within: .seconds(60))
      // It blocks on a thread of its own: the pool has few, and the drain needs one.
      nonisolated(unsafe) let reader = client
      let seen = await withCheckedContinuation { continuation in
        Thread.detachNewThread {
          continuation.resume(
            returning: Result {
              let first = try reader.next()
              guard case .goaway = first else { return "\(String(describing: first)) instead of GOAWAY" }
              let isEnded = try reader.next() == .bye && reader.next() == nil
              reader.finishSending()
              return isEnded ? "GOAWAY, BYE, the end" : "no BYE and end"
            })
        }
      }
      #expect(try seen.get() == "GOAWAY, BYE, the end")
      await drained
    }
  }

  @Test func theSourceCountsWhatItSees() async throws {
    let stream = FakeStream(.memory)
    try await withSource(stream) { source, port in
      let client = try BlockingWireClient(port: port)
      _ = try client.hello("press-7")
      try client.send {
        TCPTestConnection.data(["a", "b"], first: 1, &$0, &$1)
        TCPTestConnection.data(["b", "c"], first: 2, &$0, &$1)
        TCPTestConnection.data(["z"], first: 9, &$0, &$1)
      }
      _ = try client.next { if case .nack = $0 { true } else { false } }
      let families = source.metrics()
      func value(_ name: String, _ label: String? = nil) -> Double? {
        families.first { $0.name == name }?.samples.first { label == nil || $0.labels.last?.1 == label }?.value
      }
      #expect(value("sluice_source_accepted_records_total") == 3)
      #expect(value("sluice_tcp_duplicate_records_total") == 1)
      #expect(value("sluice_tcp_gaps_total") == 1)
      #expect(value("sluice_source_rejected_records_total", "gap") == 1)
      #expect(value("sluice_source_connections") == 1)
      #expect(value("sluice_tcp_frames_total") == 4)
    }
  }
}
