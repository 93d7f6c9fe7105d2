import CSluice
import Foundation
import PluginTestSupport
import SluicePluginKit
import TestSupport
import Testing

/// The lines that a disk subscriber makes of these records.
private func lines(_ records: [FakeBatch.Record], firstLSN: UInt64 = 1) -> [String] {
  let disk = Disk()
  #expect(disk.start() == SLU_OK)
  #expect(disk.instance.deliver(FakeBatch(records, firstLSN: firstLSN)) == SLU_OK)
  defer { disk.end() }
  let text = disk.text() ?? ""
  #expect(text.hasSuffix("\n"))
  return text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
}

/// A member of the object that a line is, if it is a string.
private func member(_ name: String, of line: String) throws -> String {
  guard case .string(let text) = try JSONValue(reading: line)[name] else { return "no string \(name)" }
  return text
}

@Suite struct LineTests {
  @Test func lineBreaksBetweenTokensBecomeBlanks() {
    let pretty = "{\n  \"message\": \"a\\nb\",\r\n\t\"n\": [1,\n 2]\n}"
    #expect(lines([.init(pretty)]) == ["{   \"message\": \"a\\nb\",  \t\"n\": [1,  2] }"])
  }

  @Test func blanksAroundAnObjectAreLeftOut() {
    #expect(lines([.init("\n {\"a\":1} \r\n")]) == ["{\"a\":1}"])
  }

  @Test func anyJSONObjectKeepsItsValueInOneLine() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let texts = (0..<400).map { _ in randomObject(&random, depth: 3) }
    let written = lines(texts.map { .init($0) })
    #expect(written.count == texts.count, "seed \(seed)")
    for (text, line) in zip(texts, written) {
      #expect(try JSONValue(reading: text) == JSONValue(reading: line), "seed \(seed)")
    }
  }

  @Test func whatIsNoObjectIsWrapped() {
    var record = FakeBatch.Record("hello\nworld")
    record.topic = Array("a\"b\\\u{1}é".utf8)
    #expect(
      lines([record], firstLSN: 17) == [
        #"{"time":"2023-11-14T22:13:20.123456789Z","source":"api","topic":"a\"b\\\u0001é","lsn":17,"#
          + #""message":"hello\u000aworld"}"#
      ])
  }

  @Test func aPayloadThatIsNotUTF8IsWrappedAsBase64() throws {
    for bytes: [UInt8] in [[0xFF], [0x61, 0xC3], [0xED, 0xA0, 0x80], [0x7B, 0xC0, 0x80]] {
      let line = try #require(lines([.init(bytes: bytes)]).first)
      #expect(Data(base64Encoded: try member("payload_base64", of: line)) == Data(bytes))
      #expect(!line.contains("\"message\""))
    }
  }

  @Test func wrappedPayloadsAndNamesComeBack() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let records = (0..<300).map { _ in
      let count = Int.random(in: 0...40, using: &random)
      var record = FakeBatch.Record(bytes: [0] + (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
      let scalars = (0..<5).compactMap { _ in Unicode.Scalar(UInt32.random(in: 0..<0x110000, using: &random)) }
      record.topic = Array(String(String.UnicodeScalarView(scalars)).utf8)
      record.eventTime = Int64.random(in: Int64.min...Int64.max, using: &random)
      return record
    }
    let written = lines(records, firstLSN: UInt64.max - 300)
    #expect(written.count == records.count)
    let formatter = ISO8601DateFormatter()
    for (index, (record, line)) in zip(records, written).enumerated() {
      if let text = String(validating: record.payload, as: UTF8.self) {
        #expect(try member("message", of: line) == text, "seed \(seed)")
      } else {
        #expect(Data(base64Encoded: try member("payload_base64", of: line)) == Data(record.payload), "seed \(seed)")
      }
      #expect(try member("topic", of: line) == String(decoding: record.topic, as: UTF8.self), "seed \(seed)")
      #expect(line.contains("\"lsn\":\(UInt64.max - 300 + UInt64(index)),"))
      let time = try member("time", of: line)
      let date = try #require(formatter.date(from: String(time.prefix(19)) + "Z"), "\(time)")
      let fraction = try #require(Int64(time.dropFirst(20).prefix(9)))
      let seconds = Int64(date.timeIntervalSince1970)
      #expect(seconds &* 1_000_000_000 &+ fraction == record.eventTime, "seed \(seed), \(time)")
    }
  }

  @Test func invalidUTF8InATopicBecomesTheReplacementCharacter() throws {
    var record = FakeBatch.Record("x")
    record.topic = [0x61, 0xFF, 0x62, 0xED, 0xA0, 0x80, 0xC3]
    let line = try #require(lines([record]).first)
    #expect(try member("topic", of: line) == String(decoding: record.topic, as: UTF8.self))
    #expect(try member("topic", of: line).hasPrefix("a\u{FFFD}b\u{FFFD}"))
  }

  @Test func whatDoesNotBeginAndEndAsAnObjectIsWrapped() throws {
    for payload in ["", "x", "{", "}", "[1]", "{\"a\":1", "\"{}\""] {
      let line = try #require(lines([.init(payload)]).first)
      #expect(try member("message", of: line) == payload)
    }
  }

  @Test func recordsOfEverySizeStandInOrder() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<6 {
      let texts = (0..<Int.random(in: 1...1500, using: &random)).map { index in
        let size = [0, 10, 100, 4090, 4096, 9000].randomElement(using: &random) ?? 0
        let breaks = Bool.random(using: &random) ? "\n" : ""
        return "{\"n\":\(index),\(breaks)\"m\":\"" + String(repeating: "x", count: size) + "\"}"
      }
      #expect(
        lines(texts.map { .init($0) }) == texts.map { $0.replacingOccurrences(of: "\n", with: " ") }, "seed \(seed)")
    }
  }

  @Test func aRecordLargerThanTheStageIsWrittenWhole() {
    let huge = "{\n\"m\":\"" + String(repeating: "x", count: 3 << 20) + "\"}"
    let binary = FakeBatch.Record(bytes: [UInt8](repeating: 7, count: 2 << 20))
    let written = lines([.init("{}"), .init(huge), binary, .init("{}")])
    #expect(written.map(\.utf8.count) == [2, huge.utf8.count, written[2].utf8.count, 2])
    #expect(written[1] == huge.replacingOccurrences(of: "\n", with: " "))
    #expect(written[2].utf8.count > 2_796_000)
  }

  /// An object with line breaks wherever JSON allows blanks.
  private func randomObject(_ random: inout SeededGenerator, depth: Int) -> String {
    func blank() -> String { ["", " ", "\n", "\r\n", "\t\n "].randomElement(using: &random) ?? "" }
    func value(_ depth: Int) -> String {
      switch Int.random(in: 0..<(depth > 0 ? 6 : 4), using: &random) {
      case 0: return "\(Int.random(in: -999...999, using: &random))"
      case 1: return "\"a\\n\\u000a\\\\n é\""
      case 2: return "null"
      case 3: return "1.5e3"
      case 4: return "[" + blank() + value(depth - 1) + blank() + "," + blank() + value(depth - 1) + blank() + "]"
      default: return object(depth - 1)
      }
    }
    func object(_ depth: Int) -> String {
      let members = (0..<Int.random(in: 0...3, using: &random)).map {
        "\"k\($0)\"" + blank() + ":" + blank() + value(depth)
      }
      return "{" + blank() + members.joined(separator: blank() + "," + blank()) + blank() + "}"
    }
    return object(depth)
  }
}
