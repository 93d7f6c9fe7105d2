import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

@Suite("Lines on sockets and standard input")
struct LinesSourceTests {
  @Test func linesOfManyConnectionsAreStoredEachInItsOrder() async throws {
    let stream = FakeStream(.memory)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let options = LinesSourceOptions(name: "text", topic: "t")
    let source = LinesSource(options, stream: stream, group: group, logger: Logger(label: "test"))
    let port = try #require(try await source.start(on: ListeningSocket(host: "127.0.0.1", port: 0)).port)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      for number in 0..<4 {
        tasks.addTask {
          let client = try BlockingClient(port: port)
          try client.send((0..<500).map { "\(number) \($0)\n" }.joined() + "\(number) last")
          client.finishSending()
          #expect(client.isAtEnd(), "the source closes when it has taken everything")
        }
      }
      try await tasks.waitForAll()
    }
    await source.drain(within: .seconds(10))
    try await group.shutdownGracefully()
    for number in 0..<4 {
      let own = stream.records.map(\.text).filter { $0.hasPrefix("\(number) ") }
      #expect(own == (0..<500).map { "\(number) \($0)" } + ["\(number) last"])
    }
    #expect(stream.lanes == 0)
    let accepted = source.metrics().first { $0.name == "sluice_source_accepted_records_total" }
    #expect(accepted?.samples.first?.value == 2004)
  }

  /// A pipe whose reading end is a source's input.
  func withInput(
    _ stream: FakeStream, _ body: (StdinSource, Int32) async throws -> Void
  ) async throws {
    let ends = try #require(LinuxCalls.pipe())
    let source = StdinSource(
      name: "in", topic: "t", stream: stream, descriptor: ends.read, logger: Logger(label: "test"))
    try source.start()
    try await body(source, ends.write)
    await source.drain(within: .seconds(10))
    close(ends.read)
    #expect(stream.lanes == 0)
  }

  func put(_ bytes: [UInt8], _ descriptor: Int32) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      guard written > 0 else {
        Issue.record("write failed: \(errno)")
        return
      }
      rest = rest.dropFirst(written)
    }
  }

  @Test func theInputIsReadToItsEndAndTheEndIsTold() async throws {
    let stream = FakeStream(.memory)
    try await withInput(stream) { source, pipe in
      let lines = (0..<20_000).map { "line \($0)" }
      put(Array(lines.joined(separator: "\n").utf8), pipe)
      close(pipe)
      #expect(await source.ended)
      #expect(stream.records.map(\.text) == lines && stream.lanes == 0)
      #expect(await source.ended, "also to who asks later")
    }
  }

  @Test func aFullStreamHoldsTheInputAndLosesNothing() async throws {
    let stream = FakeStream(.fsync)
    stream.setRoom(100 * 72)
    try await withInput(stream) { source, pipe in
      let lines = (0..<1000).map { "\($0)" }
      put(Array(lines.map { $0 + "\n" }.joined().utf8), pipe)
      close(pipe)
      async let ended = source.ended
      while stream.records.count < 1000 {
        stream.commit()
        await Task.yield()
      }
      #expect(await ended)
      #expect(stream.records.map(\.text) == lines)
    }
  }

  @Test func drainingStopsAReaderThatWaitsForInput() async throws {
    let stream = FakeStream(.memory)
    try await withInput(stream) { source, pipe in
      put(Array("one\nunfinished".utf8), pipe)
      while stream.records.isEmpty { await Task.yield() }
      async let ended = source.ended
      await source.drain(within: .seconds(10))
      #expect(await ended == false)
      close(pipe)
      #expect(stream.records.map(\.text) == ["one"])
      let rejected = source.metrics().first { $0.name == "sluice_source_rejected_records_total" }
      #expect(rejected?.samples.first { $0.labels.contains { $0.1 == "unfinished" } }?.value == 1)
    }
  }

  @Test func drainingGivesUpLinesThatFindNoRoom() async throws {
    let stream = FakeStream(.memory)
    stream.setFull(.retention)
    try await withInput(stream) { source, pipe in
      put(Array("one\ntwo\nthree".utf8), pipe)
      func value(_ name: String, _ label: String) -> Double? {
        source.metrics().first { $0.name == name }?.samples.first { $0.labels.contains { $0.1 == label } }?.value
      }
      while value("sluice_source_pauses_total", "in") != 1 { await Task.yield() }
      await source.drain(within: .zero)
      #expect(await source.ended == false)
      close(pipe)
      #expect(value("sluice_source_rejected_records_total", "closing") == 2)
      #expect(value("sluice_source_rejected_records_total", "unfinished") == 1)
    }
  }

  @Test func anInputThatCannotBeReadEndsAtOnce() async throws {
    let directory = open("/", O_RDONLY | O_CLOEXEC)
    let source = StdinSource(
      name: "in", topic: "t", stream: FakeStream(.memory), descriptor: directory, logger: Logger(label: "test"))
    try source.start()
    #expect(await source.ended)
    await source.drain(within: .seconds(10))
    close(directory)
  }
}
