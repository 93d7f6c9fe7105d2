import SluiceCore
import TestSupport
import Testing

struct CRC32CTests {
  /// The vectors of RFC 3720, B.4, and the usual check value.
  static let vectors: [(bytes: [UInt8], crc: UInt32)] = [
    ([], 0),
    (Array("123456789".utf8), 0xE306_9283),
    ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
    ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
    (Array(0..<32), 0x46DD_794E),
    (Array((0..<32).reversed()), 0x113F_DB5C),
    (
      [0x01, 0xC0, 0, 0] + [UInt8](repeating: 0, count: 12) + [0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0, 0]
        + [0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0], 0xD996_3A56
    ),
  ]

  @Test func knownBytesHaveTheirPublishedChecksums() {
    for (bytes, crc) in Self.vectors {
      bytes.withUnsafeBytes {
        #expect(CRC32C.of($0) == crc)
        #expect(CRC32C.portable($0) == crc)
      }
    }
  }

  @Test func theInstructionAndTheTableAgreeAtEveryAlignmentAndLength() {
    var random = SeededGenerator(seed: 1)
    let bytes = random.bytes(16 + 300)
    bytes.withUnsafeBytes { all in
      for offset in 0..<16 {
        for length in 0...300 {
          let part = UnsafeRawBufferPointer(rebasing: all[offset..<offset + length])
          let seed = UInt32(truncatingIfNeeded: length &* 0x9E37_79B9)
          guard CRC32C.of(part, seed: seed) == CRC32C.portable(part, seed: seed) else {
            Issue.record("they differ at offset \(offset), length \(length)")
            return
          }
        }
      }
    }
  }

  @Test func aChecksumContinuesOverEverySplit() {
    var random = SeededGenerator(seed: 2)
    let bytes = random.bytes(131)
    bytes.withUnsafeBytes { all in
      let whole = CRC32C.of(all)
      for split in 0...all.count {
        let head = CRC32C.of(UnsafeRawBufferPointer(rebasing: all[..<split]))
        let joined = CRC32C.of(UnsafeRawBufferPointer(rebasing: all[split...]), seed: head)
        #expect(joined == whole, "split at \(split)")
      }
    }
  }

  @Test func theChecksumOfPrefixesSkipsWhatFollowsThemAndKnowsWhatFits() {
    var random = SeededGenerator(seed: 3)
    for count in 1...20 {
      var pieces: [UInt8] = []
      var expected: UInt32 = 7
      for _ in 0..<count {
        let rest = 8 * Int.random(in: 0...9, using: &random)
        let piece = withUnsafeBytes(of: UInt32(rest).littleEndian, Array.init) + random.bytes(4 + rest)
        piece[..<8].withUnsafeBytes { expected = CRC32C.of($0, seed: expected) }
        pieces += piece
      }
      pieces.withUnsafeBytes { all in
        #expect(CRC32C.ofPrefixes(all, count: count, seed: 7) == expected)
        let short = UnsafeRawBufferPointer(rebasing: all[..<(all.count - 1)])
        #expect(CRC32C.ofPrefixes(short, count: count, seed: 7) == nil)
        #expect(CRC32C.ofPrefixes(all, count: count + 1, seed: 7) == nil)
      }
      pieces[0] |= 4
      pieces.withUnsafeBytes { #expect(CRC32C.ofPrefixes($0, count: count, seed: 7) == nil) }
    }
    #expect(CRC32C.ofPrefixes(.empty, count: 0, seed: 9) == 9)
  }
}
