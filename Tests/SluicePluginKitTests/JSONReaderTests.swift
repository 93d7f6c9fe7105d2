import SluicePluginKit
import TestSupport
import Testing

@Suite struct JSONReaderTests {
  @Test(
    "What RFC 8259 allows is read",
    arguments: [
      ("null", JSONValue.null), (" true ", .bool(true)), ("-0", .integer(0)),
      ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
      ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("1e3", .number(1000)), ("-0.5E-1", .number(-0.05)),
      (#""a\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00é""#, .string("a\"\\/\u{8}\u{c}\n\r\tAé😀é")),
      ("[]", .array([])), ("[1,[2],{}]", .array([.integer(1), .array([.integer(2)]), .object([])])),
      (#"{"a":1,"b":null}"#, .object([.init("a", .integer(1)), .init("b", .null)])),
    ])
  func whatTheStandardAllowsIsRead(text: String, value: JSONValue) throws {
    #expect(try JSONValue(reading: text) == value)
  }

  @Test(
    "What it does not allow is refused, with the place",
    arguments: [
      ("", 0), ("  ", 2), ("nul", 3), ("01", 1), ("1.", 2), (".5", 0), ("-", 1), ("1e", 2), ("+1", 0), ("1e999", 0),
      ("\"", 1), ("\"\\x\"", 2), ("\"\\u12g4\"", 5), (#""\ud800""#, 3), (#""\ud800\u0041""#, 3), (#""\udc00""#, 3),
      ("\"\n\"", 1), ("[1,]", 3), ("[1 2]", 3), ("[", 1), ("{\"a\"}", 4), ("{\"a\":}", 5), ("{a:1}", 1),
      ("{\"a\":1,}", 7), ("{\"a\":1,\"a\":2}", 7), ("1 2", 2), ("true,", 4), ("'a'", 0), ("\u{FEFF}1", 0),
    ])
  func whatItDoesNotAllowIsRefused(text: String, offset: Int) {
    #expect { try JSONValue(reading: text) } throws: { ($0 as? JSONError)?.offset == offset }
  }

  @Test func invalidUTF8AndDeepNestingAreRefused() {
    for bytes: [UInt8] in [[0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22]] {
      bytes.withUnsafeBytes { bytes in
        _ = #expect(throws: JSONError.self) { try JSONValue(reading: bytes) }
      }
    }
    let deep = String(repeating: "[", count: 100_000)
    #expect { try JSONValue(reading: deep) } throws: { "\($0)".contains("nested deeper than 128") }
  }

  @Test func noBytesMakeTheReaderTrap() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let alphabet = Array("{}[]\",:\\u0019eE+-.tfn \u{7f}\u{1}".utf8) + [0xC3, 0xA9, 0xED, 0xFF]
    var accepted = 0
    for _ in 0..<20_000 {
      let text = (0..<Int.random(in: 0...24, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? 0 }
      text.withUnsafeBytes { bytes in
        do throws(JSONError) {
          _ = try JSONValue(reading: bytes)
          accepted += 1
        } catch {
          #expect((0...bytes.count).contains(error.offset), "seed \(seed)")
        }
      }
    }
    #expect(accepted > 0, "seed \(seed)")
  }
}
