import Glibc
import SluiceCore
import TestSupport
import Testing

/// The scanner, which reads sixteen bytes at a time, against one written from the grammar: at every distance from those
/// steps, and right before a page that must not be touched.
@Suite("JSON at the end of a page")
struct JSONPageTests {
  /// Two pages of which the second one can't be read. Freed with the process's test.
  final class Page {
    private let start: UnsafeMutableRawPointer
    static let bytes = 4096

    init() throws {
      let mapped = mmap(nil, 2 * Self.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      start = try #require(mapped == MAP_FAILED ? nil : mapped)
      try #require(mprotect(start + Self.bytes, Self.bytes, PROT_NONE) == 0)
    }

    deinit { munmap(start, 2 * Self.bytes) }

    /// `text` so that its last byte is the page's last one.
    func holding(_ text: [UInt8]) -> UnsafeRawBufferPointer {
      precondition(text.count <= Self.bytes)
      let place = UnsafeMutableRawBufferPointer(start: start + Self.bytes - text.count, count: text.count)
      place.copyBytes(from: text)
      return UnsafeRawBufferPointer(place)
    }
  }

  private func verdict(_ text: UnsafeRawBufferPointer) -> JSONReference.Verdict {
    do throws(JSONFault) {
      return .message(try JSONScanner.message(of: text, maxDepth: 8))
    } catch {
      return [.notAnObject, .messageMissing, .messageNotString].contains(error.code) ? .content : .invalid
    }
  }

  private static func moved(_ verdict: JSONReference.Verdict, by count: Int) -> JSONReference.Verdict {
    guard case .message(let range) = verdict else { return verdict }
    return .message(range.lowerBound + count..<range.upperBound + count)
  }

  // MARK: Texts

  private static let pieces = [
    "a", "plain text", "\u{7F}", "ü", "世", "😀", "\\n", "\\\"", "\\\\", "\\u0041", "\\ud83d\\ude00", "/",
    "0123456789abcdef",
    "the quick brown fox jumps", "é世😀é世😀", "message",
  ]

  private func string(_ random: inout SeededGenerator) -> String {
    let pieces = (0..<Int.random(in: 0...5, using: &random)).map { _ in Self.pieces.randomElement(using: &random) ?? ""
    }
    return "\"\(pieces.joined())\""
  }

  private func value(_ random: inout SeededGenerator, depth: Int) -> String {
    let count = Int.random(in: 0...3, using: &random)
    switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &random) {
    case 0, 1: return string(&random)
    case 2:
      return ["0", "-1", "12345678901234567890", "1.5e-7", "0.00000000000000001", "-0E+9"].randomElement(using: &random)
        ?? ""
    case 3: return ["true", "false", "null"].randomElement(using: &random) ?? ""
    case 4, 5: return "[\((0..<count).map { "\($0)" }.joined(separator: ","))]"
    case 6: return "[\((0..<count).map { _ in value(&random, depth: depth - 1) }.joined(separator: " ,\n"))]"
    default: return object(&random, depth: depth - 1, members: count)
    }
  }

  private func object(_ random: inout SeededGenerator, depth: Int, members: Int) -> String {
    let members = (0..<members).map { _ in
      let name = Bool.random(using: &random) ? "\"message\"" : string(&random)
      return "\(name)\(Bool.random(using: &random) ? " : " : ":")\(value(&random, depth: depth))"
    }
    return "{\(members.joined(separator: Bool.random(using: &random) ? "," : ",\r\n\t"))}"
  }

  private func text(_ random: inout SeededGenerator) -> [UInt8] {
    var text = Array(object(&random, depth: 3, members: Int.random(in: 1...4, using: &random)).utf8)
    guard Int.random(in: 0..<3, using: &random) > 0 else { return text }
    for _ in 0..<Int.random(in: 1...2, using: &random) where !text.isEmpty {
      let at = Int.random(in: 0..<text.count, using: &random)
      let special: [UInt8] = [
        0, 0x0A, 0x1F, 0x20, 0x22, 0x2C, 0x30, 0x5C, 0x7B, 0x7D, 0x7F, 0x80, 0xBF, 0xC0, 0xED, 0xF4, 0xFF,
      ]
      switch Int.random(in: 0..<4, using: &random) {
      case 0: text[at] = special.randomElement(using: &random) ?? 0
      case 1: text.insert(special.randomElement(using: &random) ?? 0, at: at)
      case 2: text.remove(at: at)
      default: text.removeSubrange(at...)
      }
    }
    return text
  }

  // MARK: Tests

  @Test func randomAndDamagedTextsGetTheVerdictOfTheGrammarAtEveryAlignment() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let page = try Page()
    var counts = (valid: 0, invalid: 0)
    for round in 0..<1500 {
      let text = text(&random)
      guard text.count + 16 <= Page.bytes else { continue }
      let expected = JSONReference(text, maxDepth: 8).verdict()
      if expected == .invalid { counts.invalid += 1 } else { counts.valid += 1 }
      for lead in 0..<16 {
        let shifted = [UInt8](repeating: 0x20, count: lead) + text
        let found = verdict(page.holding(shifted))
        #expect(
          found == Self.moved(expected, by: lead),
          "seed \(seed), round \(round), \(lead) in front: \(String(decoding: text, as: UTF8.self).debugDescription)")
      }
    }
    #expect(counts.valid > 300 && counts.invalid > 300, "\(counts), seed \(seed)")
  }

  @Test func everyByteStopsARunOfPlainTextWhereverItStands() throws {
    let page = try Page()
    for byte in UInt8.min...UInt8.max {
      for place in 0..<40 {
        var text = Array(#"{"message":""#.utf8) + [UInt8](repeating: 0x61, count: 40) + Array(#""}"#.utf8)
        text[12 + place] = byte
        #expect(verdict(page.holding(text)) == JSONReference(text, maxDepth: 8).verdict(), "\(byte) at \(place)")
      }
    }
  }

  @Test func everyPrefixEndsBeforeThePage() throws {
    let page = try Page()
    let text = Array(#" {"message":"grüße, 世界 😀 \"\\\u00e4\ud83d\ude00", "n":[-1.5e+7,true,null,{"a":[]}]} "#.utf8)
    for count in 0...text.count {
      let prefix = Array(text[..<count])
      #expect(verdict(page.holding(prefix)) == JSONReference(prefix, maxDepth: 8).verdict(), "\(count) bytes")
    }
  }
}
