import Foundation
import SluiceCore
import TestSupport
import Testing

/// The frames of `docs/wire-protocol.md`, read the way the page says, without the daemon's codec: what is held
/// against each other here is the page, the script that made the vectors, and Core's record and checksum.
struct GoldenWireTests {
  private static let headerBytes = 24
  private static let tagBytes = 32
  private static let welcome: UInt8 = 4
  private static let data: UInt8 = 8

  /// A frame file: `session-place-side-counter-frame.hex`.
  private struct Name {
    var session: String
    var side: UInt64
    var counter: UInt64
    init(_ file: String) throws {
      let parts = file.split(separator: "-")
      try #require(parts.count == 5, "\(file) is not named after its place in a session")
      session = String(parts[0])
      side = parts[2] == "client" ? 1 : 2
      counter = try #require(UInt64(parts[3]))
    }
  }

  static func names() -> [String] { (try? Golden.names("wire")) ?? [] }

  @Test func thereAreFramesOfEverySession() {
    #expect(Set(Self.names().map { String($0.prefix { $0 != "-" }) }) == ["auth", "plain", "refused"])
  }

  @Test(arguments: names())
  func aFrameHoldsTogether(file: String) throws {
    let name = try Name(file)
    let bytes = try Golden.bytes("wire/" + file)
    try bytes.withUnsafeBytes { frame in
      let base = try #require(frame.baseAddress)
      try #require(frame.count >= Self.headerBytes && frame.count % 8 == 0)
      #expect(Int(base.loadLE(0) as UInt32) == frame.count)
      let type: UInt8 = base.loadLE(4)
      #expect((1...16).contains(type))
      #expect(base.loadLE(5) as UInt8 == 0 && base.loadLE(16) as UInt32 == 0)
      #expect(base.loadLE(20) as UInt32 == headCRC(frame, name))
      let tag = name.session == "auth" && type != 1 && type != 2 && type != 3 ? Self.tagBytes : 0
      let body = UnsafeRawBufferPointer(rebasing: frame[Self.headerBytes..<frame.count - tag])
      let bodyCRC: UInt32 = base.loadLE(12)
      if type == Self.data {
        #expect(try recordsCRC(body, count: Int(base.loadLE(8) as UInt32)) == bodyCRC)
      } else {
        #expect(base.loadLE(8) as UInt32 == 0)
        #expect(CRC32C.of(body) == bodyCRC)
      }
    }
  }

  /// crc32c(direction ‖ counter ‖ header[0..<20])
  private func headCRC(_ frame: UnsafeRawBufferPointer, _ name: Name) -> UInt32 {
    let bound = [name.side.littleEndian, name.counter.littleEndian]
    let seed = bound.withUnsafeBytes { CRC32C.of($0) }
    return CRC32C.of(UnsafeRawBufferPointer(rebasing: frame[..<20]), seed: seed)
  }

  /// Walks the records of a DATA body, checks each, and returns the checksum over first_sequence and the prefixes.
  private func recordsCRC(_ body: UnsafeRawBufferPointer, count: Int) throws -> UInt32 {
    let base = try #require(body.baseAddress)
    var sequence: UInt64 = base.loadLE(0)
    var crc = CRC32C.of(UnsafeRawBufferPointer(rebasing: body[..<8]))
    var at = 8
    for _ in 0..<count {
      let length = Int(base.loadLE(at) as UInt32)
      let recordCRC: UInt32 = base.loadLE(at + 4)
      crc = CRC32C.of(UnsafeRawBufferPointer(rebasing: body[at..<at + 8]), seed: crc)
      let part = UnsafeRawBufferPointer(rebasing: body[at + 8..<at + 8 + length])
      try RecordView.validateProducerPart(part)
      #expect(CRC32C.of(part) == recordCRC)
      // A server part in front makes it the record that the log will hold.
      var record = [UInt8](repeating: 0, count: Limits.serverPartBytes) + part
      record.withUnsafeMutableBytes { buffer in
        buffer.baseAddress!.storeLE(UInt32(buffer.count), RecordLayout.length)
        buffer.baseAddress!.storeLE(recordCRC, RecordLayout.crc)
      }
      try record.withUnsafeBytes { buffer in
        let view = try RecordView(validating: buffer, maxRecord: Limits.defaultMaxRecordBytes)
        #expect(view.checksumMatches)
        #expect(view.sequence == sequence)
        #expect(String(decoding: view.topic, as: UTF8.self) == "press")
      }
      sequence += 1
      at += 8 + length
    }
    #expect(at == body.count, "records fill the body exactly")
    return crc
  }

  @Test func thePageShowsTheFramesOfTheExampleAsTheyAre() throws {
    let page = try Golden.text("docs/wire-protocol.md")
    for file in Self.names() where file.hasPrefix("plain-") {
      #expect(page.contains(try Golden.text("Tests/Golden/wire/" + file)), "the page shows \(file) differently")
    }
  }
}
