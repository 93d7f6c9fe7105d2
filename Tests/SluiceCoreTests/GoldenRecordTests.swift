import SluiceCore
import TestSupport
import Testing

/// The record's bytes as other programs know them; written by `Tests/Golden/record/make.py`.
struct GoldenRecordTests {
  static let eventTime: Int64 = 1_700_000_000_123_456_789
  static let ingestTime: Int64 = 1_700_000_000_200_000_000

  static let expected: [String: RecordSample] = [
    "empty.hex": RecordSample(ingestTime: ingestTime, eventTime: eventTime),
    "http.hex": RecordSample(
      ingestTime: ingestTime, source: 3, eventTime: eventTime, topic: Array("web".utf8),
      payload: Array(#"{"message":"hello"}"#.utf8)),
    "full.hex": RecordSample(
      ingestTime: ingestTime, producer: 7, source: 2, epoch: 5, eventTime: eventTime, sequence: 42,
      topic: Array("audit.login".utf8), key: Array("user-17".utf8),
      headers: [5] + Array("trace".utf8) + [8, 0] + Array("4bf92f35".utf8) + [0, 0, 0],
      payload: [0, 1, 0xFE, 0xFF, 0x80]),
    "aligned.hex": RecordSample(
      ingestTime: ingestTime, producer: .max, source: .max, epoch: .max, eventTime: -1, sequence: .max,
      topic: Array("eight--8".utf8), payload: Array("sixteen bytes 16".utf8)),
  ]

  @Test func everyGoldenRecordHasItsTest() throws {
    #expect(try Golden.names("record") == Self.expected.keys.sorted())
  }

  @Test(arguments: expected.keys.sorted())
  func aGoldenRecordDecodesToItsFields(name: String) throws {
    let bytes = try Golden.bytes("record/" + name)
    try bytes.withUnsafeBytes { buffer in
      let view = try RecordView(validating: buffer, maxRecord: Limits.defaultMaxRecordBytes)
      #expect(view.checksumMatches)
      #expect(view.length == bytes.count)
      #expect(RecordSample(view) == Self.expected[name])
    }
  }

  @Test(arguments: expected.keys.sorted())
  func theFieldsEncodeToTheGoldenBytes(name: String) throws {
    #expect(try Self.expected[name]?.encoded() == Golden.bytes("record/" + name))
  }
}
