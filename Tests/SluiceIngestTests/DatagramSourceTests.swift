import Glibc
import Logging
import NIOCore
import SluiceCore
import Testing

@testable import SluiceIngest

/// Sends datagrams to a port of this machine.
final class DatagramClient {
  private let descriptor: Int32

  init(port: Int, host: String = "127.0.0.1") throws {
    let address = try SocketAddress(ipAddress: host, port: port)
    descriptor = socket(address.protocol == .inet6 ? AF_INET6 : AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    try #require(address.withSockAddr { connect(descriptor, $0, socklen_t($1)) } == 0)
  }

  deinit { close(descriptor) }

  func send(_ text: String) throws { try #require(Glibc.send(descriptor, text, text.utf8.count, 0) == text.utf8.count) }
}

@Suite("Datagrams")
struct DatagramSourceTests {
  private func source(_ stream: FakeStream, isSyslog: Bool = false) -> DatagramSource {
    var options = DatagramSourceOptions(name: "net", topic: "t")
    options.isSyslog = isSyslog
    return DatagramSource(options, stream: stream, logger: Logger(label: "test"))
  }

  private func value(_ source: DatagramSource, _ name: String, _ label: String = "net") -> Double? {
    source.metrics().first { $0.name == "sluice_source_\(name)_total" }?.samples
      .first { $0.labels.contains { $0.1 == label } }?.value
  }

  private func socket(receiveBuffer: Int? = nil) throws -> (ListeningSocket, port: Int) {
    var options = SocketOptions()
    options.receiveBufferBytes = receiveBuffer
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0, transport: .udp, options: options)
    return (socket, try #require(socket.address.port))
  }

  @Test func eachDatagramIsARecordAsItCame() async throws {
    let stream = FakeStream(.memory)
    let (socket, port) = try socket()
    let source = source(stream)
    try source.start(on: socket)
    let client = try DatagramClient(port: port)
    let texts = (0..<500).map { $0 % 50 == 7 ? "" : "line \($0)\n\0" }
    for (number, text) in texts.enumerated() {
      try client.send(text)
      // No more than the socket holds whoever is slow to read.
      while (number + 1).isMultiple(of: 100), stream.records.count <= number { await Task.yield() }
    }
    while stream.records.count < texts.count { await Task.yield() }
    await source.drain(within: .seconds(10))
    #expect(stream.records.map(\.text) == texts && stream.lanes == 0)
    #expect(stream.records.allSatisfy { $0.topic == "t" && $0.key.isEmpty && $0.eventTime > 0 })
    #expect(value(source, "accepted_records") == 500)
  }

  @Test func aSyslogDatagramHasItsFieldsAndWhatIsNoneIsCounted() async throws {
    let stream = FakeStream(.memory)
    let (socket, port) = try socket()
    let source = source(stream, isSyslog: true)
    try source.start(on: socket)
    let client = try DatagramClient(port: port)
    for text in ["", "<13>1 2026-01-04T10:22:33Z web-1 app - - - hello\n", "hello", "\n"] { try client.send(text) }
    while stream.records.count < 2 || value(source, "rejected_records", "empty") != 2 { await Task.yield() }
    await source.drain(within: .seconds(10))
    #expect(stream.records.map(\.topic) == ["user.notice", "t"])
    #expect(stream.records.map(\.key) == ["web-1", "127.0.0.1"])
    #expect(stream.records[0].eventTime == 1_767_522_153_000_000_000)
    #expect(value(source, "malformed_records") == 1)
  }

  @Test func whatAFullStreamDoesNotTakeIsCountedAndTheSourceGoesOn() async throws {
    let stream = FakeStream(.memory, maxRecordBytes: 1024)
    let (socket, port) = try socket()
    let source = source(stream)
    try source.start(on: socket)
    let client = try DatagramClient(port: port)
    stream.setFull(.retention)
    for number in 0..<10 { try client.send("\(number)") }
    while value(source, "rejected_records", "full") != 10 { await Task.yield() }
    stream.setFull(nil)
    try client.send(String(repeating: "x", count: 2000))
    try client.send("after")
    while stream.records.isEmpty { await Task.yield() }
    await source.drain(within: .seconds(10))
    #expect(stream.records.map(\.text) == ["after"] && value(source, "rejected_records", "too_large") == 1)
  }

  @Test func whatTheKernelDropsIsCountedOnce() async throws {
    let stream = FakeStream(.memory)
    let (socket, port) = try socket(receiveBuffer: 4096)
    let client = try DatagramClient(port: port)
    // Nobody receives yet.
    for number in 0..<1000 { try client.send("\(number)") }
    let first = source(stream)
    try first.start(on: socket)
    while stream.records.isEmpty { await Task.yield() }
    // The count comes with a datagram that was queued behind those that were dropped.
    while value(first, "kernel_drops") == 0 {
      let stored = stream.records.count
      try client.send("more")
      while stream.records.count == stored { await Task.yield() }
    }
    let second = source(stream)
    try second.start(on: socket)
    await first.drain(within: .seconds(10))
    let stored = stream.records.count
    try client.send("last")
    while stream.records.count == stored { await Task.yield() }
    await second.drain(within: .seconds(10))
    let dropped = try #require(value(first, "kernel_drops"))
    let numbered = stream.records.filter { $0.text != "more" && $0.text != "last" }.count
    #expect(Int(dropped) == 1000 - numbered && value(second, "kernel_drops") == 0)
    #expect(stream.records.last?.text == "last")
  }

  @Test func aSuccessorInventsNoDropsHoweverManyThereWereBefore() async throws {
    let stream = FakeStream(.memory)
    let (socket, port) = try socket()
    for part: UInt32 in 1...3 { #expect(socket.takeDrops(total: part << 30) == 1 << 30) }
    let next = source(stream)
    try next.start(on: socket)
    try DatagramClient(port: port).send("hello")
    while stream.records.isEmpty { await Task.yield() }
    await next.drain(within: .seconds(10))
    #expect(value(next, "kernel_drops") == 0)
  }

  @Test func aSuccessorOnTheSameSocketTakesOverWithoutLosingAny() async throws {
    let stream = FakeStream(.memory)
    let (socket, port) = try socket()
    let client = try DatagramClient(port: port)
    var running = source(stream)
    try running.start(on: socket)
    for number in 0..<300 {
      try client.send("\(number)")
      guard number % 30 == 0 else { continue }
      let next = source(stream)
      try next.start(on: socket)
      await running.drain(within: .seconds(10))
      running = next
    }
    while stream.records.count < 300 { await Task.yield() }
    await running.drain(within: .seconds(10))
    #expect(Set(stream.records.map(\.text)) == Set((0..<300).map { "\($0)" }) && stream.lanes == 0)
  }

  @Test func aTakenPortIsAnErrorAndTheSamePortIsFreeForTCP() throws {
    let (socket, port) = try socket()
    #expect(throws: ListenError.self) { try ListeningSocket(host: "127.0.0.1", port: port, transport: .udp) }
    #expect(socket.receiveBufferBytes > 0)
  }

  @Test func aSenderIsShownAsAnAddressWhateverItsFamily() async throws {
    guard let socket = try? ListeningSocket(host: "::1", port: 0, transport: .udp), let port = socket.address.port
    else {
      return
    }
    let stream = FakeStream(.memory)
    let source = source(stream, isSyslog: true)
    try source.start(on: socket)
    try DatagramClient(port: port, host: "::1").send("hello")
    while stream.records.isEmpty { await Task.yield() }
    await source.drain(within: .seconds(10))
    #expect(stream.records.map(\.key) == ["::1"])
  }
}
