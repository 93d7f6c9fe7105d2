import SluiceCore
import TestSupport
import Testing

@testable import SluiceJournal

@Suite("Decoders refuse or accept any bytes without reading past them")
struct DecoderFuzzTests {
  /// Calls `body` with golden bytes that were changed at random, in a buffer of exactly their length.
  private func mutations(
    of name: String, seed: UInt64, rounds: Int = 20_000,
    _ body: (UnsafeMutableRawBufferPointer, inout SeededGenerator) -> Void
  ) throws {
    let golden = try GoldenFormatTests.golden(name)
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<rounds {
      let length = Bool.random(using: &generator) ? golden.count : Int.random(in: 0...golden.count, using: &generator)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 8)
      defer { buffer.deallocate() }
      buffer.copyBytes(from: golden[..<length])
      for _ in 0..<Int.random(in: 0...6, using: &generator) where length > 0 {
        // Mostly near the front, where the lengths are.
        let at = min(length - 1, Int.random(in: 0...Int.random(in: 0..<length, using: &generator), using: &generator))
        buffer[at] = UInt8.random(in: 0...255, using: &generator)
      }
      body(buffer, &generator)
    }
  }

  @Test("definitions", arguments: [1, 2, 3] as [UInt64])
  func definitions(seed: UInt64) throws {
    try mutations(of: "definitions", seed: seed) { bytes, _ in
      var entries: [UInt8] = []
      let accepted =
        (try? DefinitionCodec.decode(UnsafeRawBufferPointer(bytes)) {
          DefinitionCodec.append($0, to: &entries)
        }) != nil
      if accepted { #expect(entries == Array(bytes), "seed \(seed): what is accepted is written the same way") }
    }
  }

  @Test("cursor slots, their checksum made right", arguments: [4, 5, 6] as [UInt64])
  func cursorSlots(seed: UInt64) throws {
    try mutations(of: "cursor-slot", seed: seed) { bytes, generator in
      if bytes.count >= 72, generator.next() % 8 != 0 {
        let used = min(bytes.count, max(72, Int(bytes.baseAddress!.loadLE(12) as UInt32)))
        let crc = CRC32C.of(
          UnsafeRawBufferPointer(rebasing: bytes[12..<used]),
          seed: CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[..<8])))
        bytes.baseAddress!.storeLE(crc, 8)
      }
      if let slot = try? CursorSlot.decode(UnsafeRawBufferPointer(bytes)) {
        #expect(slot.encoded() == Array(bytes[..<slot.encoded().count]), "seed \(seed)")
      }
    }
  }

  @Test("groups, their checksums made right", arguments: [7, 8, 9] as [UInt64])
  func groups(seed: UInt64) throws {
    try mutations(of: "group", seed: seed) { bytes, generator in
      if bytes.count >= 64, generator.next() % 8 != 0 { repair(bytes) }
      let raw = UnsafeRawBufferPointer(bytes)
      guard let header = try? GroupHeader.decode(raw, salt: GoldenFormatTests.salt, offset: 4096) else { return }
      var inside = true
      try? GroupBody.walk(header, raw) { _, record, length in
        let offset = raw.baseAddress!.distance(to: record)
        inside = inside && offset >= 64 && offset + length <= raw.count
      }
      #expect(inside, "seed \(seed)")
      try? GroupBody.verify(header, raw)
    }
  }

  private func repair(_ bytes: UnsafeMutableRawBufferPointer) {
    var seed = (GoldenFormatTests.salt.littleEndian, UInt64(4096).littleEndian)
    let seeded = withUnsafeBytes(of: &seed) { CRC32C.of($0) }
    let magic = CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[..<4]), seed: seeded)
    bytes.baseAddress!.storeLE(CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[8..<64]), seed: magic), 4)
  }

  @Test("segment headers", arguments: [10, 11] as [UInt64])
  func segmentHeaders(seed: UInt64) throws {
    try mutations(of: "segment-header", seed: seed, rounds: 2_000) { bytes, generator in
      if bytes.count >= 4096, generator.next() % 8 != 0 {
        let crc = CRC32C.of(
          UnsafeRawBufferPointer(rebasing: bytes[12..<4096]),
          seed: CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[..<8])))
        bytes.baseAddress!.storeLE(crc, 8)
      }
      _ = try? SegmentHeader.decode(UnsafeRawBufferPointer(bytes))
    }
  }
}
