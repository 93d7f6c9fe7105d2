import SluiceCore
import SluiceTopology
import Testing

@Test(
  "What is JSON is read, and written in its canonical form",
  arguments: [
    ("null", "null"), (" [ true , false ] ", "[true,false]"), ("{}", "{}"), ("[]", "[]"), ("-0", "0"), ("1e2", "100.0"),
    ("9223372036854775807", "9223372036854775807"), ("-9223372036854775808", "-9223372036854775808"),
    ("0.1", "0.1"), ("1E-2", "0.01"), (#"{"b":1,"a":{"c":[]}}"#, #"{"b":1,"a":{"c":[]}}"#),
    (#""\u0041\n\/\"\\\u001f\u00e4""#, #""A\n/\"\\\u001fä""#), (#""\ud834\udd1e""#, #""𝄞""#),
    ("\"\u{7F}\u{2028}\"", "\"\u{7F}\u{2028}\""), (#"{"":0}"#, #"{"":0}"#),
  ])
func json(_ text: String, _ canonical: String) throws {
  let value = try JSONValue(parsing: text)
  #expect(value.canonicalText == canonical)
  #expect(try JSONValue(parsing: canonical) == value)
}

@Test(
  "What is not JSON is refused where it goes wrong",
  arguments: [
    ("", 0), ("nul", 0), ("[1,]", 3), ("{\"a\":1,}", 7), ("{a:1}", 1), ("[1 2]", 3), ("01", 0), ("1.", 2), (".5", 0),
    ("+1", 0), ("-", 1), ("1e", 2), ("1e999", 0), ("\"\n\"", 1), ("\"abc", 4), (#""\x""#, 2), (#""\u12g4""#, 5),
    (#""\ud834""#, 7), (#""\udd1e""#, 7), (#""\ud834\u0041""#, 13), (#"{"a":1,"a":2}"#, 7), ("1 2", 2), ("[", 1),
    ("{\"a\"}", 4), ("// x", 0), ("NaN", 0), ("\u{FEFF}1", 0), ("'a'", 0),
  ])
func noJSON(_ text: String, _ offset: Int) {
  let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
  #expect(error?.offset == offset, "\(String(describing: error))")
}

@Test func bytesThatAreNotUTF8AreRefused() {
  #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xC3, 0x28, 0x22]) }
  #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xED, 0xA0, 0x80, 0x22]) }
}

@Test func nestingOfJSONIsBounded() throws {
  func nested(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
  _ = try JSONValue(parsing: nested(Limits.maxJSONDepth))
  #expect(throws: JSONError.self) { try JSONValue(parsing: nested(Limits.maxJSONDepth + 1)) }
  #expect(throws: JSONError.self) { try JSONValue(parsing: String(repeating: "[", count: 1_000_000)) }
}
