import Foundation
import SluiceCore
import TestSupport
import Testing

@Suite("JSON against others")
struct JSONPropertyTests {
  /// Whether `bytes` between quotes are accepted, at three distances from the scanner's 16-byte steps.
  func acceptsInString(_ bytes: [UInt8]) -> Bool {
    let verdicts = [0, 3, 13].map { lead in
      syntaxFault([0x22] + [UInt8](repeating: 0x61, count: lead) + bytes + [0x22]) == nil
    }
    #expect(Set(verdicts).count == 1, "\(bytes)")
    return verdicts[0]
  }

  @Test func utf8IsWhatSwiftSaysForEveryShortSequence() {
    // Each lead byte with the edges of every range that its followers are compared with.
    let edges: [UInt8] = [0x00, 0x21, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF0, 0xFF]
    for lead in UInt8(0x80)...0xFF {
      var all: [[UInt8]] = [[lead]]
      for second in UInt8.min...UInt8.max { all.append([lead, second]) }
      for second in edges { for third in edges { all.append([lead, second, third]) } }
      if lead >= 0xEF {
        for second in edges {
          for third in edges { for fourth in edges { all.append([lead, second, third, fourth]) } }
        }
      }
      for bytes in all {
        let isText = String(validating: bytes, as: UTF8.self) != nil
        #expect(bytes.withUnsafeBytes { UTF8Bytes.isValid($0) } == isText, "\(bytes)")
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C }) else { continue }
        #expect((syntaxFault([0x22] + bytes + [0x22]) == nil) == isText, "\(bytes)")
      }
    }
  }

  @Test func utf8IsWhatSwiftSaysForRandomBytes() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<5000 {
      var bytes = Array((0..<6).map { _ in randomScalar(&random) }.joined().utf8)
      if Bool.random(using: &random), !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0x80...0xFF, using: &random)
      }
      guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C }) else { continue }
      let isText = String(validating: bytes, as: UTF8.self) != nil
      #expect(acceptsInString(bytes) == isText, "seed \(seed): \(bytes)")
    }
  }

  private func randomScalar(_ random: inout SeededGenerator) -> String {
    let bounds: [ClosedRange<UInt32>] = [
      0x23...0x5B, 0x80...0x7FF, 0x800...0xD7FF, 0xE000...0xFFFF, 0x10000...0x10FFFF,
    ]
    let value = UInt32.random(in: bounds.randomElement(using: &random) ?? 0...0, using: &random)
    return String(Character(Unicode.Scalar(value) ?? " "))
  }

  /// A random JSON value, with white space and escapes.
  private func value(_ random: inout SeededGenerator, _ depth: Int) -> String {
    let space = ["", "", "", " ", "\n\t"].randomElement(using: &random) ?? ""
    switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &random) {
    case 0: return ["true", "false", "null"].randomElement(using: &random) ?? ""
    case 1: return "\(Int.random(in: -1000...1000, using: &random))"
    case 2: return "\(Double.random(in: -1...1, using: &random))"
    case 3...5: return string(&random)
    case 6:
      let items = (0..<Int.random(in: 0...4, using: &random)).map { _ in value(&random, depth - 1) }
      return "[\(space)" + items.joined(separator: "\(space),\(space)") + "\(space)]"
    default: return object(&random, depth - 1)
    }
  }

  private func object(_ random: inout SeededGenerator, _ depth: Int) -> String {
    // No name twice: Foundation and this scanner count those differently.
    let names = ["\"message\"", #""messag\u0065x""#, "\"a\"", "\"é\"", "\"\"", #""x\ny""#].shuffled(using: &random)
    let members = names.prefix(Int.random(in: 0...4, using: &random)).map { "\($0): \(value(&random, depth))" }
    return "{" + members.joined(separator: ",") + "}"
  }

  private func string(_ random: inout SeededGenerator) -> String {
    let parts = ["a", "lazy dog jumps over", "é", "世", "😀", #"\n"#, #"\""#, #"\\"#, #"\u00e9"#, #"\ud83d\ude00"#, "/"]
    return "\""
      + (0..<Int.random(in: 0...5, using: &random)).map { _ in parts.randomElement(using: &random) ?? "" }
      .joined() + "\""
  }

  @Test func randomTextsGetTheVerdictOfFoundation() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    var valid = 0
    for _ in 0..<6000 {
      var bytes = Array(object(&random, 3).utf8)
      if Int.random(in: 0..<3, using: &random) > 0 { mutate(&bytes, &random) }
      guard !isReadDifferentlyByFoundation(bytes) else { continue }
      let theirs = try? JSONSerialization.jsonObject(with: Data(bytes))
      let text = String(decoding: bytes, as: UTF8.self)
      #expect((syntaxFault(bytes) == nil) == (theirs != nil), "seed \(seed): \(text)")
      guard let members = theirs as? [String: Any] else { continue }
      valid += 1
      guard case .success(let range) = scan(bytes) else {
        // Of several members of that name, however it is spelled, Foundation shows one.
        guard String(decoding: bytes, as: UTF8.self).ranges(of: "\"messag").count < 2 else { continue }
        #expect(members["message"] as? String == nil, "seed \(seed): \(text)")
        continue
      }
      let message = try JSONSerialization.jsonObject(
        with: Data([0x22] + bytes[range] + [0x22]), options: .fragmentsAllowed)
      #expect(message as? String == members["message"] as? String, "seed \(seed): \(text)")
    }
    #expect(valid > 1500, "seed \(seed)")
  }

  /// Foundation takes a comma before a closing brace or bracket, and refuses exponents that a Double has no room for.
  private func isReadDifferentlyByFoundation(_ bytes: [UInt8]) -> Bool {
    let dense = String(decoding: bytes.filter { ![0x20, 0x0A, 0x09].contains($0) }, as: UTF8.self)
    return bytes.first != UInt8(ascii: "{") || dense.contains(",}") || dense.contains(",]")
      || dense.contains(/[eE][+-]?[0-9]{3}/)
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
    let alphabet = Array("{}[]\":,\\/u0129.eE+-tfn \n\té".utf8)
    for _ in 0..<Int.random(in: 1...2, using: &random) where !bytes.isEmpty {
      let at = Int.random(in: 0..<bytes.count, using: &random)
      let byte = alphabet.randomElement(using: &random) ?? 0
      switch Int.random(in: 0..<4, using: &random) {
      case 0: bytes[at] = byte
      case 1: bytes.insert(byte, at: at)
      case 2: bytes.remove(at: at)
      default: bytes.removeSubrange(at...)
      }
    }
  }
}
