import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

/// A source and the one that takes its place.
@Suite("Limits over reloads")
struct SourceLoadTests {
  @Test func connectionsOfTheHTTPSourceBeforeCount() throws {
    let load = SourceLoad()
    let sources = (0..<2).map { _ in
      HTTPHarness {
        $0.maxConnections = 1
        $0.load = load
      }
    }
    let first = try sources[0].connect()
    #expect(try sources[1].connect().responses().map(\.status) == [503])
    try first.channel.close().wait()
    let next = try sources[1].connect()
    #expect(next.isOpen)
    #expect(try sources[0].connect().responses().map(\.status) == [503], "those of the one after count as well")
  }

  @Test func connectionsAndFramesOfTheFramedSourceBeforeCount() throws {
    let load = SourceLoad()
    let sources = (0..<2).map { _ in
      TCPHarness {
        $0.maxConnections = 1
        $0.maxHeldBytes = 50_000
        $0.load = load
      }
    }
    let first = try sources[0].open("")
    #expect(try sources[1].connect().received().compactMap(\.errorCode) == [.busy])
    try unfinished(first)
    #expect(sources[1].loop.settings.load.heldBytes == 40_000)
    first.channel.close(promise: nil)
    #expect(sources[1].loop.settings.load.heldBytes == 0)
    #expect(try sources[1].open("").isOpen)
  }

  private func unfinished(_ connection: TCPTestConnection) throws {
    let payloads = [String](repeating: String(repeating: "x", count: 1000), count: 60)
    var buffer = ByteBuffer()
    TCPTestConnection.data(payloads, first: 1, isAnonymous: true, &connection.sender, &buffer)
    try connection.receive(try #require(buffer.getSlice(at: buffer.readerIndex, length: 40_000)))
  }

  @Test func connectionsOfTheSourceOfLinesBeforeCount() throws {
    let load = SourceLoad()
    let sources = (0..<2).map { _ in
      LinesHarness {
        $0.maxConnections = 1
        $0.load = load
      }
    }
    let first = try sources[0].connect()
    #expect(try !sources[1].connect().isOpen)
    #expect(sources[1].count(.refused) == 1)
    first.channel.close(promise: nil)
    #expect(try sources[1].connect().isOpen)
  }
}
