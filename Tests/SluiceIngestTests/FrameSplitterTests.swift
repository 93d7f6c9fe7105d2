import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

@Suite("Messages of a syslog connection")
struct FrameSplitterTests {
  /// What is found: messages, nil for each that is too long, and at the end "…" for one that is not whole.
  static func split(_ bytes: [UInt8], cuts: [Int] = [], max: Int) -> [String?] {
    var splitter = FrameSplitter(maxBytes: max, countsOctets: true)
    var found: [String?] = []
    var held: [UInt8] = []
    var start = 0
    for cut in cuts + [bytes.count, bytes.count] {
      held += bytes[start..<cut]
      start = cut
      let keep = held.withUnsafeBytes { all in
        var at = 0
        while true {
          switch splitter.next(all, from: at) {
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
    held.withUnsafeBytes { all in
      switch splitter.last(all, from: 0) {
      case .line(let range, _): found.append(String(decoding: all[range], as: UTF8.self))
      case .tooLong: found.append(nil)
      case .skipped: break
      case .more(let keep): if keep < all.count { found.append("…") }
      }
    }
    return found
  }

  static let cases: [(String, [String?])] = [
    ("", []), ("<1>a\n", ["<1>a"]), ("<1>a\r\n<2>b", ["<1>a", "<2>b"]), ("5 <1>ab", ["<1>ab"]),
    ("5 <1>ab5 <2>cd", ["<1>ab", "<2>cd"]), ("5 <1>ab<2>c\n5 <3>de", ["<1>ab", "<2>c", "<3>de"]),
    ("6 <1>a\nb5 <2>cd", ["<1>a\nb", "<2>cd"]), ("5 <1>ab\n", ["<1>ab", ""]), ("8 <1>ab", ["…"]), ("5", ["5"]),
    ("5 ", ["…"]), ("0 a\nb\n", ["0 a", "b"]), ("2026 is\n", [nil]), ("20x\n<1>a\n", ["20x", "<1>a"]),
    ("11 123456789ab<1>a\n", [nil, "<1>a"]), ("9999999 abc", [nil]), ("00000001 \na\n", [nil, "a"]),
    ("12345678 \n5 <1>ab", [nil, "<1>ab"]), ("1234567", ["1234567"]), ("123456789", [nil]),
    ("3 \n\n\na\n", ["\n\n\n", "a"]),
  ]

  @Test(arguments: cases) func messagesAreFoundWhereverTheBytesAreCut(_ text: String, _ messages: [String?]) {
    let bytes = Array(text.utf8)
    #expect(Self.split(bytes, max: 8) == messages)
    for cut in 0...bytes.count { #expect(Self.split(bytes, cuts: [cut], max: 8) == messages, "cut at \(cut)") }
    #expect(Self.split(bytes, cuts: Array(0..<bytes.count), max: 8) == messages, "single bytes")
  }

  @Test func randomBytesSplitTheSameHoweverTheyAreCut() {
    var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
    let alphabet = Array("0123456789  \n\n\r<a".utf8)
    for _ in 0..<3000 {
      let bytes = (0..<Int.random(in: 0...60, using: &random)).map { _ in
        alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
      }
      let max = Int.random(in: 0...12, using: &random)
      let whole = Self.split(bytes, max: max)
      let cuts = (0..<4).map { _ in Int.random(in: 0...bytes.count, using: &random) }.sorted()
      #expect(Self.split(bytes, cuts: cuts, max: max) == whole, "seed \(random.seed): \(bytes), \(cuts), \(max)")
      let single = Self.split(bytes, cuts: Array(0..<bytes.count), max: max)
      #expect(single == whole, "seed \(random.seed): \(bytes), \(max)")
    }
  }
}
