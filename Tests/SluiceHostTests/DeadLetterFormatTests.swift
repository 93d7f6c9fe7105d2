import SluiceCore
import TestSupport
import Testing

@testable import SluiceHost

/// What stands in a dead letter stream.
@Suite struct DeadLetterFormatTests {
  static let sample = DeadLetter(
    subscriber: "archive", stream: "events", logUUID: LogUUID(high: 0x0123_4567_89AB_4DEF, low: 0x8123_4567_89AB_CDEF),
    lsn: 77, cause: .attemptsExhausted, code: 4_000_000_000, reason: "bad row: é", attempts: 3, time: -5,
    ingestTime: 1_700_000_000_000_000_000, source: "api", producer: "", epoch: 9, sequence: .max, crc: 0xDEAD_BEEF)

  /// Decodes the headers as those of a record.
  private func decode(_ headers: [UInt8], type: UInt8 = RecordLayout.typeData) -> (letter: DeadLetter?, own: [UInt8]) {
    withRecord(headers, type: type) { record in
      guard case .letter(let letter, let own) = DeadLetterFormat.decode(record) else { return (nil, []) }
      return (letter, Array(own))
    }
  }

  private func withRecord<Result>(
    _ headers: [UInt8], type: UInt8 = RecordLayout.typeData, _ body: (RecordView) -> Result
  ) -> Result {
    headers.withUnsafeBytes { headers in
      let fields = RecordFields(eventTime: 0, headers: headers, payload: .empty)
      let memory = UnsafeMutableRawPointer.allocate(byteCount: fields.recordBytes, alignment: 8)
      defer { memory.deallocate() }
      _ = fields.encodeProducerPart(to: memory + RecordLayout.producerPart, type: type)
      memory.storeLE(UInt32(fields.recordBytes), RecordLayout.length)
      return body(RecordView(trusted: memory))
    }
  }

  private func resolution(_ headers: [UInt8]) -> DeadLetterResolution? {
    withRecord(headers) { record in
      guard case .resolution(let resolution) = DeadLetterFormat.decode(record) else { return nil }
      return resolution
    }
  }

  @Test(arguments: DeadLetter.Cut.allCases)
  func aLetterReadsBackAsItWasWritten(cut: DeadLetter.Cut) {
    var letter = Self.sample
    letter.cut = cut
    let own: [UInt8] = [1, 0x61, 2, 0, 0x62, 0x63]
    let read = decode(DeadLetterFormat.encode(letter) + own)
    #expect(read.letter == letter && read.own == own)
  }

  @Test func theHeadersStandAsTheFormatHasThem() {
    let bytes = DeadLetterFormat.encode(Self.sample)
    let names = [
      "sluice-dead", "sluice-subscriber", "sluice-stream", "sluice-log", "sluice-lsn", "sluice-cause", "sluice-code",
      "sluice-reason", "sluice-attempts", "sluice-time", "sluice-ingest-time", "sluice-source", "sluice-producer",
      "sluice-epoch", "sluice-sequence", "sluice-crc", "sluice-cut",
    ]
    let values = [
      "1", "archive", "events", "01234567-89ab-4def-8123-456789abcdef", "77", "attempts_exhausted", "4000000000",
      "bad row: é", "3", "-5", "1700000000000000000", "api", "", "9", "18446744073709551615", "3735928559", "",
    ]
    var expected: [UInt8] = []
    for (name, value) in zip(names, values) {
      expected.append(UInt8(name.utf8.count))
      expected += Array(name.utf8)
      expected += [UInt8(value.utf8.count), 0]
      expected += Array(value.utf8)
    }
    #expect(bytes == expected)
  }

  @Test func aLongReasonIsCutBetweenCharacters() {
    var letter = Self.sample
    letter.reason = String(repeating: "a", count: Limits.maxDeadLetterValueBytes - 1) + "é" + "b"
    #expect(decode(DeadLetterFormat.encode(letter)).letter?.reason == String(letter.reason.dropLast(2)))
  }

  @Test func aResolutionReadsBackAsItWasWritten() {
    for outcome in DeadLetterResolution.Outcome.allCases {
      let written = DeadLetterResolution(outcome: outcome, letters: 5...9, time: 12)
      #expect(resolution(DeadLetterFormat.encode(written)) == written)
    }
  }

  @Test func whatIsNoLetterIsPassedOver() {
    #expect(decode([]).letter == nil)
    #expect(decode(DeadLetterFormat.encode(Self.sample), type: RecordLayout.typeConsumed).letter == nil)
    let whole = DeadLetterFormat.encode(Self.sample)
    for count in stride(from: 0, to: whole.count, by: 1) {
      #expect(decode(Array(whole[..<count])).letter == nil, "cut at \(count)")
    }
  }

  @Test func damagedHeadersNeverCrashTheDecoder() {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    let letter = DeadLetterFormat.encode(Self.sample)
    let resolution = DeadLetterFormat.encode(DeadLetterResolution(outcome: .purged, letters: 1...2, time: 3))
    for _ in 0..<20_000 {
      var bytes = Bool.random(using: &random) ? letter : resolution
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
      }
      if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0...bytes.count, using: &random)) }
      // What still reads as a letter reads the same once more.
      if let read = decode(bytes).letter {
        #expect(decode(DeadLetterFormat.encode(read)).letter == read, "seed \(random.seed)")
      }
      _ = self.resolution(bytes)
    }
  }

  @Test(arguments: ["", "01234567-89ab-4def-8123-456789abcde", "01234567-89AB-4def-8123-456789abcdef", "é"])
  func onlyTheCanonicalFormIsAUUID(text: String) {
    #expect(LogUUID(canonical: text) == nil)
    let uuid = LogUUID.random()
    #expect(LogUUID(canonical: uuid.description) == uuid)
  }
}
