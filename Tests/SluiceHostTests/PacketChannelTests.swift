import Glibc
import SluiceCore
import Testing

@testable import SluiceHost

@Suite struct PacketChannelTests {
  @Test("Packets of any size come out as they went in, wherever the socket cuts them")
  func sizes() throws {
    var ends: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    let (near, far) = (PacketChannel(ends[0]), PacketChannel(ends[1]))
    var random = SystemRandomNumberGenerator()
    let half = Limits.isolationReceiveBytes / 2
    let sizes =
      [0, 1, half - 7, half, half + 1, 2 * half, 2 * half + 1, 20 * half, 3, Limits.maxIsolationPacketBytes - 4, 5]
      + (0..<200).map { _ in Int.random(in: 0...3000, using: &random) }
    let packets = sizes.enumerated().map { index, size in
      (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ index) }
    }
    let sender = OSThread(name: "sender") {
      for packet in packets {
        var writer = PacketWriter()
        writer.begin(.log)
        packet.withUnsafeBytes { writer.put($0) }
        writer.end()
        near.send(writer.bytes)
      }
    }
    for packet in packets {
      var received = try #require(try far.receive())
      #expect(received.kind == .log)
      let bytes = try received.payload.raw()
      #expect(bytes.elementsEqual(packet))
    }
    sender.join()
  }
}
