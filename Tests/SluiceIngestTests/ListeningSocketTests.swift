import Logging
import NIOCore
import NIOPosix
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("Listening sockets")
struct ListeningSocketTests {
  private func source(_ stream: FakeStream, _ group: MultiThreadedEventLoopGroup, topic: String) -> HTTPSource {
    var options = HTTPSourceOptions(name: "api", defaultTopic: topic)
    // A connection that rests is not to be closed for it while the pool that the test runs on has no thread for it.
    (options.headerSeconds, options.idleSeconds) = (3600, 3600)
    return HTTPSource(
      options, stream: stream, group: group, endpoints: FakeEndpoints(), logger: Logger(label: "test"))
  }

  @Test func aPortThatIsTakenIsAnErrorInWords() throws {
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0)
    let port = try #require(socket.address.port)
    let error = #expect(throws: ListenError.self) { try ListeningSocket(host: "127.0.0.1", port: port) }
    #expect(error?.description.contains("stop what listens there") == true)
    #expect(throws: ListenError.self) { try ListeningSocket(host: "no-such-host.invalid", port: 0) }
    withExtendedLifetime(socket) {}
  }

  @Test func anAddressIsShownAsATopologyWritesIt() throws {
    let socket = try ListeningSocket(host: "127.0.0.1", port: 0)
    let port = try #require(socket.address.port)
    #expect(socket.addressText == "127.0.0.1:\(port)")
    if let six = try? ListeningSocket(host: "::1", port: 0) { #expect(six.addressText.hasPrefix("[::1]:")) }
  }

  @Test func twoSourcesOnOneSocketHandOverWithoutRefusingAnyone() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let stream = FakeStream(.memory)
    var socket: ListeningSocket? = try ListeningSocket(host: "127.0.0.1", port: 0)
    let held = try #require(socket)
    let port = try #require(held.address.port)
    let first = source(stream, group, topic: "one")
    _ = try await first.start(on: held)
    let kept = try BlockingClient(port: port)
    try kept.send(post(HTTPSourceTests.body))
    #expect(try kept.receive(1).map(\.status) == [202])
    let second = source(stream, group, topic: "two")
    _ = try await second.start(on: held)
    await first.stopAccepting()
    for _ in 0..<20 {
      let client = try BlockingClient(port: port)
      try client.send(post(HTTPSourceTests.body))
      #expect(try client.receive(1).map(\.status) == [202])
    }
    #expect(first.openConnections == 1)
    try kept.send(post(HTTPSourceTests.body))
    #expect(try kept.receive(1).map(\.status) == [202])
    await second.drain(within: .seconds(60))
    await first.drain(within: .seconds(60))
    socket = nil
    #expect(stream.lanes == 0)
    try await group.shutdownGracefully()
  }
}
