import PostgresSubscriber
import SluicePluginKit
import TestSupport
import Testing

private func scan(_ bytes: [UInt8]) -> JSONText? { bytes.withUnsafeBytes { JSONText($0) } }
private func fault(_ bytes: [UInt8]) -> TextBytes.Fault? { bytes.withUnsafeBytes { TextBytes.fault(in: $0) } }

@Suite struct TextTests {
  @Test(
    "Only what the grammar has is JSON",
    arguments: [
      ("{}", true), (" [ ] ", true), ("0", true), ("-0.5E+7", true), ("null", true), ("\"\"", true),
      ("[1,{\"a\":[]}]", true),
      ("", false), ("{", false), ("01", false), ("1.", false), ("-", false), ("+1", false), ("nul", false),
      ("nulll", false),
      ("[1,]", false), ("{\"a\":1,}", false), ("{a:1}", false), ("{\"a\" 1}", false), ("[1}", false), ("1 2", false),
      ("\"\\x\"", false), ("\"\\u12\"", false), ("\"\\u12g4\"", false), ("\"\n\"", false), ("'a'", false),
      ("\u{FEFF}{}", false),
    ])
  func grammar(text: String, isJSON: Bool) {
    #expect((scan(Array(text.utf8)) != nil) == isJSON)
  }

  @Test func nestingHasALimitAndNoStack() {
    let deep = { (depth: Int) in [UInt8](repeating: 0x5B, count: depth) + [UInt8](repeating: 0x5D, count: depth) }
    #expect(scan(deep(JSONText.maxDepth)) != nil && scan(deep(JSONText.maxDepth + 1)) == nil)
    #expect(scan([UInt8](repeating: 0x5B, count: 1 << 20)) == nil)
  }

  @Test func mutatedTextsAreJudgedAsTheKitsReaderJudgesThem() {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    let texts = [
      #"{"message":"a\u00e9\n","n":[1,-2.5e3,true,null,{"m\u0065ssage":""}]}"#, #"[{},[],"\ud83d\ude00",0]"#,
      #"  {"a":{"b":{"c":[[[]]]}},"message":"x","message2":false} "#,
    ]
    for _ in 0..<20_000 {
      var bytes = Array(texts.randomElement(using: &random)?.utf8 ?? "{}".utf8)
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        let at = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[at] = UInt8.random(in: 0...127, using: &random)
        case 1: bytes.remove(at: at)
        default: bytes.insert(bytes.randomElement(using: &random) ?? 0, at: at)
        }
        if bytes.isEmpty { break }
      }
      let found = scan(bytes)
      let oracle = bytes.withUnsafeBytes { bytes in Result { try JSONValue(reading: bytes) } }
      switch oracle {
      case .success(let value):
        guard let found else {
          Issue.record("\(String(decoding: bytes, as: UTF8.self)), seed \(random.seed)")
          continue
        }
        #expect(message(found, in: bytes) == message(value), "\(bytes), seed \(random.seed)")
      case .failure(let error):
        // The kit refuses a little more than the grammar does.
        let reason = "\(error)"
        let isStricter = ["twice", "surrogate", "large"].contains { reason.contains($0) }
        #expect(found == nil || isStricter, "\(String(decoding: bytes, as: UTF8.self)): \(reason), seed \(random.seed)")
      }
    }
  }

  private func message(_ found: JSONText, in bytes: [UInt8]) -> String? {
    guard let range = found.message else { return nil }
    guard found.isMessageEscaped else { return String(decoding: bytes[range], as: UTF8.self) }
    var plain = [UInt8](repeating: 0, count: range.count)
    let count = bytes[range].withUnsafeBytes { text in
      plain.withUnsafeMutableBytes { JSONString.unescape(text, into: $0) }
    }
    return String(decoding: plain[..<count], as: UTF8.self)
  }

  private func message(_ value: JSONValue) -> String? {
    guard case .object(let members) = value,
      case .string(let text)? = members.last(where: { $0.name == "message" })?.value
    else { return nil }
    return text
  }

  @Test func randomBytesAreTextWhenSwiftSaysSo() {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    let pieces: [[UInt8]] = [
      [0x41], Array(repeating: 0x42, count: 9), [0xC3, 0xA9], [0xE2, 0x82, 0xAC], [0xF0, 0x9F, 0x98, 0x80],
      [0xED, 0xA0, 0x80],
      [0xC0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE0, 0x9F, 0x80], [0xF0, 0x8F, 0xBF, 0xBF], [0x80], [0xC3],
      [0xE2, 0x82], [0xFF],
    ]
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0...6, using: &random)).flatMap { _ in pieces.randomElement(using: &random) ?? []
      }
      #expect(
        (fault(bytes) == nil) == (String(validating: bytes, as: UTF8.self) != nil), "\(bytes), seed \(random.seed)")
    }
    for at in 0..<20 {
      var bytes = [UInt8](repeating: 0x41, count: 20)
      bytes[at] = 0
      #expect(fault(bytes) == .hasNUL)
    }
  }
}
