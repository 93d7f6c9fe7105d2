import SluiceCore
import TestSupport
import Testing

struct RecordFormatTests {
  private func view(_ bytes: [UInt8], maxRecord: Int = Limits.defaultMaxRecordBytes) throws(RecordFault)
    -> RecordSample
  {
    let result = bytes.withUnsafeBytes { buffer -> Result<RecordSample, RecordFault> in
      Result { () throws(RecordFault) in RecordSample(try RecordView(validating: buffer, maxRecord: maxRecord)) }
    }
    return try result.get()
  }

  private func checksumMatches(_ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { RecordView(trusted: $0.baseAddress!).checksumMatches }
  }

  @Test func everyRecordReadsBackAsItWasWritten() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for round in 0..<500 {
      let sample = RecordSample.random(&random, maxPayload: 300)
      let bytes = sample.encoded()
      #expect(bytes.count % 8 == 0)
      #expect(try view(bytes) == sample, "seed \(seed), round \(round)")
      #expect(checksumMatches(bytes), "seed \(seed), round \(round)")
      #expect(try view(bytes + random.bytes(40)) == sample, "bytes after a record are not its business")
    }
  }

  @Test func theLargestMetadataAndAnEmptyRecordRoundTrip() throws {
    let full = RecordSample(
      topic: [UInt8](repeating: 1, count: Limits.maxTopicBytes), key: [UInt8](repeating: 2, count: Limits.maxKeyBytes),
      headers: [UInt8](repeating: 3, count: Limits.maxHeadersBytes), payload: [4])
    #expect(try view(full.encoded()) == full)
    let empty = RecordSample()
    #expect(empty.encoded().count == Limits.serverPartBytes + Limits.producerFixedBytes)
    #expect(try view(empty.encoded()) == empty)
  }

  @Test func aRecordEndsExactlyAtTheLimitOrIsRefused() throws {
    let sample = RecordSample(payload: [UInt8](repeating: 7, count: 64))
    let bytes = sample.encoded()
    #expect(try view(bytes, maxRecord: bytes.count) == sample)
    #expect(throws: RecordFault.badLength) { try view(bytes, maxRecord: bytes.count - 8) }
  }

  @Test func everyTruncationIsRefused() {
    let bytes = RecordSample(topic: [1, 2], payload: [UInt8](repeating: 7, count: 30)).encoded()
    for count in 0..<bytes.count {
      #expect(throws: RecordFault.truncated) { try view(Array(bytes[..<count])) }
    }
  }

  struct Damage: Sendable, CustomTestStringConvertible {
    var name: String
    var offset: Int
    var byte: UInt8
    var fault: RecordFault
    var testDescription: String { name }
  }

  /// The sample below is 24 + 32 + 8 (topic "ab", headers 3 bytes) + 8 (payload 5 bytes) = 72 bytes long.
  static let damages: [Damage] = [
    Damage(name: "a length that is no multiple of 8", offset: 0, byte: 71, fault: .badLength),
    Damage(name: "a length below the fixed parts", offset: 0, byte: 48, fault: .badLength),
    Damage(name: "a length past the bytes at hand", offset: 0, byte: 80, fault: .truncated),
    Damage(name: "a length past max_record", offset: 3, byte: 1, fault: .badLength),
    Damage(name: "a length that the parts do not fill", offset: 0, byte: 64, fault: .badLength),
    Damage(name: "a header_len that is no multiple of 8", offset: 24, byte: 33, fault: .badLength),
    Damage(name: "a header_len that is too small", offset: 24, byte: 24, fault: .badLength),
    Damage(name: "a header_len that is too large", offset: 24, byte: 248, fault: .badLength),
    Damage(name: "type 0", offset: 25, byte: 0, fault: .badType(0)),
    Damage(name: "an unknown type", offset: 25, byte: 3, fault: .badType(3)),
    Damage(name: "a reserved flag", offset: 26, byte: 3, fault: .reservedBits),
    Damage(name: "a reserved flag of the high byte", offset: 27, byte: 128, fault: .reservedBits),
    Damage(name: "headers without their flag", offset: 26, byte: 0, fault: .badLength),
    Damage(name: "a payload that is longer than the record", offset: 28, byte: 9, fault: .badLength),
    Damage(name: "a payload of 4 GiB", offset: 31, byte: 255, fault: .badLength),
    Damage(name: "a topic that is longer than the record", offset: 48, byte: 255, fault: .badLength),
    Damage(name: "the reserved field in use", offset: 54, byte: 1, fault: .reservedBits),
    Damage(name: "padding after the metadata", offset: 61, byte: 1, fault: .badPadding),
    Damage(name: "padding after the payload", offset: 71, byte: 1, fault: .badPadding),
  ]

  @Test(arguments: damages)
  func damageIsToldByItsKind(_ damage: Damage) {
    var bytes = RecordSample(topic: [97, 98], headers: [1, 65, 0], payload: [1, 2, 3, 4, 5]).encoded()
    #expect(bytes.count == 72)
    bytes[damage.offset] = damage.byte
    #expect(throws: damage.fault) { try view(bytes) }
  }

  /// A record whose metadata is one byte over its limit while its lengths agree, as a hostile producer would send it.
  @Test(arguments: [
    (RecordLayout.topicLength, Limits.maxTopicBytes), (RecordLayout.keyLength, Limits.maxKeyBytes),
    (RecordLayout.headersLength, Limits.maxHeadersBytes),
  ])
  func metadataOverItsLimitIsRefused(offset: Int, limit: Int) throws {
    func record(_ length: Int) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: 56 + RecordLayout.padded(length))
      bytes.withUnsafeMutableBytes { buffer in
        let base = buffer.baseAddress!
        base.storeLE(UInt32(buffer.count), RecordLayout.length)
        base.storeLE(UInt8(32), RecordLayout.headerLength)
        base.storeLE(RecordLayout.typeData, RecordLayout.type)
        base.storeLE(UInt16(offset == RecordLayout.headersLength ? 1 : 0), RecordLayout.flags)
        base.storeLE(UInt16(length), offset)
      }
      return bytes
    }
    #expect(throws: Never.self) { try view(record(limit)) }
    let refused = #expect(throws: RecordFault.self) { try view(record(limit + 1)) }
    #expect(refused == .badLength)
  }

  @Test func everyFlippedBitOfTheProducerPartIsNoticed() {
    let bytes = RecordSample(eventTime: 5, sequence: 9, topic: [1], payload: [1, 2, 3]).encoded()
    for bit in (RecordLayout.producerPart * 8)..<(bytes.count * 8) {
      var flipped = bytes
      flipped[bit / 8] ^= 1 << (bit % 8)
      #expect(!checksumMatches(flipped), "bit \(bit)")
    }
  }

  @Test func aLongerFixedPartOfALaterVersionIsSkipped() throws {
    let plain = RecordSample(eventTime: 1, sequence: 2, topic: [9], payload: [1, 2, 3])
    var bytes = plain.encoded()
    bytes[RecordLayout.headerLength] += 8
    bytes.insert(contentsOf: [UInt8](repeating: 0xAB, count: 8), at: 56)
    bytes[0] += 8
    #expect(try view(bytes) == plain)
  }
}
