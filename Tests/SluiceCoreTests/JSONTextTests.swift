import SluiceCore
import Testing

@Suite("Text as JSON")
struct JSONTextTests {
  /// What is written, as the scanner of requests sees it.
  private func isMessage(_ quoted: String) -> Bool {
    let object = Array("{\"message\":\(quoted)}".utf8)
    return object.withUnsafeBytes { bytes in
      do throws(JSONFault) {
        return try !JSONScanner.message(of: bytes, maxDepth: 1).isEmpty
      } catch {
        return false
      }
    }
  }

  @Test("Control characters are escaped, the usual ones in their short form, and DEL is none of them")
  func controls() {
    let short: [UInt32: String] = [8: "b", 9: "t", 10: "n", 12: "f", 13: "r"]
    for value in UInt32(0)..<0x20 {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let hex = (value < 16 ? "000" : "00") + String(value, radix: 16)
      let quoted = "a\(Character(scalar))b".jsonQuoted
      #expect(quoted == "\"a\\" + (short[value] ?? "u\(hex)") + "b\"")
      #expect(isMessage(quoted))
    }
    #expect("\u{7F}".jsonQuoted == "\"\u{7F}\"")
  }

  @Test("Quotes and backslashes are escaped wherever they stand, one after the other, and next to each other's escapes")
  func quotes() {
    #expect("".jsonQuoted == #""""#)
    #expect(#"""#.jsonQuoted == #""\"""#)
    #expect(#"\"#.jsonQuoted == #""\\""#)
    #expect(#"\""\\n/"#.jsonQuoted == #""\\\"\"\\\\n/""#)
    // One character to Swift, two to JSON.
    #expect("a\r\nb".jsonQuoted == #""a\r\nb""#)
    #expect("\"\u{301}".jsonQuoted == "\"\\\"\u{301}\"", "a quote with an accent is a quote")
  }

  @Test("Everything else stays as it is, byte for byte")
  func others() {
    let texts = [
      "hello", "ü", "e\u{301}", "\u{2028}\u{2029}", "\u{FEFF}x", "\u{1F600}", "\u{10FFFF}", "\u{80}\u{9F}", "/",
    ]
    for text in texts {
      #expect(Array(text.jsonQuoted.utf8) == Array("\"\(text)\"".utf8))
      #expect(Array("\(text)\n".jsonQuoted.utf8) == Array("\"\(text)\\n\"".utf8))
      #expect(isMessage(text.jsonQuoted))
    }
  }

  @Test("Of bytes that are no UTF-8 comes a JSON string all the same")
  func invalidUTF8() {
    let broken: [[UInt8]] = [
      [0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0x80, 0x22, 0x5C],
      [0xE2, 0x82, 0x0A],
    ]
    for bytes in broken {
      let quoted = String(decoding: bytes, as: UTF8.self).jsonQuoted
      #expect(isMessage(quoted), "\(bytes)")
      #expect(quoted.unicodeScalars.contains("\u{FFFD}"))
    }
  }

  @Test("It is appended behind what is there")
  func appending() {
    var text = "["
    text.appendJSON("a\"")
    text += ","
    text.appendJSON("b")
    #expect(text == #"["a\"","b""#)
  }
}
