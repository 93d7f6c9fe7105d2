import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

@Suite("Lines")
struct LineSplitterTests {
  /// What is found: lines, and nil for each that is too long.
  static func split(_ bytes: [UInt8], cuts: [Int] = [], max: Int, ends: Bool = true) -> [String?] {
    var splitter = LineSplitter(maxBytes: max)
    var found: [String?] = []
    var held: [UInt8] = []
    var start = 0
    for cut in cuts + [bytes.count] {
      held += bytes[start..<cut]
      start = cut
      let isLast = ends && cut == bytes.count && start == bytes.count
      let keep = held.withUnsafeBytes { all in
        var at = 0
        while true {
          var step = splitter.next(all, from: at)
          if isLast, case .more = step { step = splitter.last(all, from: at) }
          switch step {
          case .line(let range, let next):
            found.append(String(decoding: all[range], as: UTF8.self))
            at = next
          case .tooLong(let next):
            found.append(nil)
            at = next
          case .skipped(let next): at = next
          case .more(let keep): return keep
          }
        }
      }
      held.removeFirst(keep)
    }
    return found
  }

  static let cases: [(String, [String?])] = [
    ("", []), ("a", ["a"]), ("a\n", ["a"]), ("a\r\n", ["a"]), ("\n", [""]), ("\r\n", [""]), ("\n\n", ["", ""]),
    ("a\nb\r\nc", ["a", "b", "c"]), ("a\rb\n", ["a\rb"]), ("a\r\r\n", ["a\r"]), ("a\r", ["a\r"]), ("\r", ["\r"]),
    ("12345678\n", ["12345678"]), ("12345678\r\n", ["12345678"]), ("12345678", ["12345678"]),
    ("123456789\na\n", [nil, "a"]), ("123456789\r\na", [nil, "a"]), ("12345678901234567890\nb", [nil, "b"]),
    ("12345678901234567890", [nil]), ("123456789", [nil]), ("\r\r\r\r\r\r\r\r\r\r\r\na", [nil, "a"]),
    ("1234567890\n1234567890\n\n", [nil, nil, ""]), ("\u{0}\u{1}\n", ["\u{0}\u{1}"]),
  ]

  @Test(arguments: cases) func linesAreFoundWhereverTheBytesAreCut(_ text: String, _ lines: [String?]) {
    let bytes = Array(text.utf8)
    #expect(Self.split(bytes, max: 8) == lines)
    for cut in 0...bytes.count { #expect(Self.split(bytes, cuts: [cut], max: 8) == lines, "cut at \(cut)") }
    #expect(Self.split(bytes, cuts: Array(0..<bytes.count), max: 8) == lines, "single bytes")
  }

  @Test func randomBytesSplitAsAPlainSearchSays() {
    var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
    for _ in 0..<2000 {
      let alphabet: [UInt8] = [0x0A, 0x0A, 0x0D, 0x61, 0x62, 0xFF]
      let bytes = (0..<Int.random(in: 0...60, using: &random)).map { _ in
        alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
      }
      let max = Int.random(in: 0...12, using: &random)
      var parts = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).map(Array.init)
      let last = parts.removeLast()
      var wanted = parts.map { $0.last == 0x0D ? $0.dropLast() : $0[...] }
      if !last.isEmpty { wanted.append(last[...]) }
      let expected = wanted.map { $0.count <= max ? String(decoding: $0, as: UTF8.self) : nil }
      let cuts = (0..<Int.random(in: 0...5, using: &random)).map { _ in Int.random(in: 0...bytes.count, using: &random)
      }
      #expect(Self.split(bytes, cuts: cuts.sorted(), max: max) == expected, "seed \(random.seed): \(bytes), \(max)")
    }
  }

  @Test func aLineOfTheLargestSizeIsARecordOfTheLargestSize() {
    for (topic, max) in [("", 1024), ("web", 1024), ("12345678", 2048), (String(repeating: "t", count: 255), 1024)] {
      let format = LineFormat(topic: topic)
      for (extra, fits) in [(0, true), (1, false)] {
        let line = [UInt8](repeating: 0x61, count: format.maxLineBytes(maxRecordBytes: max) + extra)
        let size = line.withUnsafeBytes {
          RecordFields(eventTime: 0, topic: format.topic, payload: $0).recordBytes
        }
        #expect((size <= max) == fits, "\(topic.utf8.count) \(max)")
      }
    }
  }
}
