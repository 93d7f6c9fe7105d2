import SluiceCore
import Testing

/// The range that the scanner reports, or its fault.
func scan(_ text: [UInt8], maxDepth: Int = 128) -> Result<Range<Int>, JSONFault> {
  text.withUnsafeBytes { bytes in
    do throws(JSONFault) {
      return .success(try JSONScanner.message(of: bytes, maxDepth: maxDepth))
    } catch {
      return .failure(error)
    }
  }
}

/// Why the text is no JSON; `nil` if it is, whatever is in it.
func syntaxFault(_ text: [UInt8], maxDepth: Int = 128) -> JSONFault? {
  guard case .failure(let fault) = scan(text, maxDepth: maxDepth) else { return nil }
  return [.notAnObject, .messageMissing, .messageNotString].contains(fault.code) ? nil : fault
}

@Suite("JSON")
struct JSONScannerTests {
  static let valid: [String] = [
    "0", "-0", "1", "-1", "10", "123456789012345678901234567890", "0.0", "-0.5", "1.25e3", "1E9", "1e+9", "1e-9",
    "0e0", "0E+00", "-1.0E-12", "true", "false", "null", "\"\"", "\"a\"", " 1", "1 ", "\t\r\n 1 \t\r\n", "[]", "[ ]",
    "[1]", "[1,2]", "[ 1 , 2 ]", "[[]]", "[[],[]]", "[{}]", "{}", "{ }", "{\"a\":1}", "{ \"a\" : 1 }",
    "{\"a\":1,\"b\":2}", "{\"a\":{\"b\":{\"c\":[]}}}", "{\"\":0}", "{\"a\":1,\"a\":2}", "[true,false,null]",
    #""\"\\\/\b\f\n\r\t""#, #""\u0000""#, #""\u00e9""#, #""\uABCD\uabcd""#, #""\ud83d\ude00""#, #""\uDBFF\uDFFF""#,
    #""\\u12""#, #""\u0022""#, "\"é\"", "\"世界\"", "\"😀\"", "\"\u{7F}\"", "\"\u{80}\"", "\"\u{FFFF}\"",
    "\"\u{10FFFF}\"", "\"\u{2028}\"", "\"abcdefghijklmnop\"", "\"abcdefghijklmno\\u00e9pq\"", "\"{[,:]}\"",
    "[\"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\",1]", "[1,[2,[3,[4]]]]", "{\"a\":[{\"b\":[{}]}]}",
  ]

  static let invalid: [(String, JSONFault.Code, Int)] = [
    ("", .unexpectedEnd, 0), (" ", .unexpectedEnd, 1), ("\u{FEFF}{}", .expectedValue, 0), ("{", .unexpectedEnd, 1),
    ("[", .unexpectedEnd, 1), ("]", .expectedValue, 0), ("}", .expectedValue, 0), ("[}", .expectedValue, 1),
    ("{]", .expectedKey, 1), ("[1", .unexpectedEnd, 2), ("[1,", .unexpectedEnd, 3), ("[1,]", .expectedValue, 3),
    ("[,1]", .expectedValue, 1), ("[1,,2]", .expectedValue, 3), ("[1 2]", .expectedCommaOrBracket, 3),
    ("[1}", .expectedCommaOrBracket, 2), ("[1:2]", .expectedCommaOrBracket, 2), ("{1:2}", .expectedKey, 1),
    ("{a:1}", .expectedKey, 1), ("{'a':1}", .expectedKey, 1), ("{\"a\"}", .expectedColon, 4),
    ("{\"a\" 1}", .expectedColon, 5), ("{\"a\",1}", .expectedColon, 4), ("{\"a\":}", .expectedValue, 5),
    ("{\"a\":1,}", .expectedKey, 7), ("{,}", .expectedKey, 1), ("{\"a\":1 \"b\":2}", .expectedCommaOrBrace, 7),
    ("{\"a\":1]", .expectedCommaOrBrace, 6), ("{\"a\":1", .unexpectedEnd, 6), ("{\"a\":", .unexpectedEnd, 5),
    ("{\"a\"", .unexpectedEnd, 4), ("{\"a", .unexpectedEnd, 3), ("{\"a\"::1}", .expectedValue, 5),
    ("{}}", .trailingBytes, 2), ("{} {}", .trailingBytes, 3), ("1 2", .trailingBytes, 2), ("[]]", .trailingBytes, 2),
    ("{}\u{0}", .trailingBytes, 2), ("{}#", .trailingBytes, 2), ("00", .badNumber, 1), ("01", .badNumber, 1),
    ("-01", .badNumber, 2), ("+1", .expectedValue, 0), (".5", .expectedValue, 0), ("1.", .unexpectedEnd, 2),
    ("[1.]", .badNumber, 3), ("1.e1", .badNumber, 2), ("1e", .unexpectedEnd, 2), ("[1e]", .badNumber, 3),
    ("1e+", .unexpectedEnd, 3), ("[1e+]", .badNumber, 4), ("-", .unexpectedEnd, 1), ("[-]", .badNumber, 2),
    ("-a", .badNumber, 1), ("--1", .badNumber, 1), ("1a", .trailingBytes, 1), ("0x1", .trailingBytes, 1),
    ("1.5.5", .trailingBytes, 3), ("1_000", .trailingBytes, 1), ("NaN", .expectedValue, 0),
    ("Infinity", .expectedValue, 0), ("-Infinity", .badNumber, 1), ("nul", .unexpectedEnd, 3), ("nulL", .badLiteral, 3),
    ("tru", .unexpectedEnd, 3), ("True", .expectedValue, 0), ("truE", .badLiteral, 3), ("fals ", .badLiteral, 4),
    ("truee", .trailingBytes, 4), ("undefined", .expectedValue, 0), ("\"", .unexpectedEnd, 1),
    ("\"a", .unexpectedEnd, 2), ("'a'", .expectedValue, 0), ("\"\n\"", .controlCharacter, 1),
    ("\"\t\"", .controlCharacter, 1), ("\"a\u{0}\"", .controlCharacter, 2), ("\"\u{1F}\"", .controlCharacter, 1),
    ("\"abcdefghijklmnopq\u{1}\"", .controlCharacter, 18), (#""\"#, .unexpectedEnd, 2), (#""\""#, .unexpectedEnd, 3),
    (#""\x""#, .badEscape, 2), (#""\a""#, .badEscape, 2), (#""\'""#, .badEscape, 2), (#""\0""#, .badEscape, 2),
    (#""\U0041""#, .badEscape, 2), (#""\u""#, .badEscape, 3), (#""\u004""#, .badEscape, 6),
    (#""\u004g""#, .badEscape, 6), (#""\u 041""#, .badEscape, 3), (#""\u00"#, .unexpectedEnd, 5),
    (#""\ud800""#, .loneSurrogate, 1), (#""\udc00""#, .loneSurrogate, 1), (#""\udfff\ud800""#, .loneSurrogate, 1),
    (#""\ud800x""#, .loneSurrogate, 1), (#""\ud800\n""#, .loneSurrogate, 1), (#""a\ud800\u0041""#, .loneSurrogate, 2),
    (#""\ud800\ud800""#, .loneSurrogate, 1), (#""\ud800\u00""#, .badEscape, 11), (#""\ud800\"#, .unexpectedEnd, 8),
    ("\u{A0}1", .expectedValue, 0), ("\u{C}1", .expectedValue, 0), ("[\u{B}1]", .expectedValue, 1),
    ("/**/1", .expectedValue, 0), ("[1//\n]", .expectedCommaOrBracket, 2), ("(1)", .expectedValue, 0),
  ]

  @Test(arguments: valid) func theGrammarIsAccepted(_ text: String) {
    #expect(syntaxFault(Array(text.utf8)) == nil)
  }

  @Test(arguments: invalid) func whatIsNotJSONIsRefusedWhereItGoesWrong(
    _ text: String, _ code: JSONFault.Code, _ offset: Int
  ) {
    #expect(syntaxFault(Array(text.utf8)) == JSONFault(code, offset))
  }

  @Test func theMessageIsFoundWhereverItStands() {
    func message(_ text: String) -> String? {
      guard case .success(let range) = scan(Array(text.utf8)) else { return nil }
      return String(decoding: Array(text.utf8)[range], as: UTF8.self)
    }
    #expect(message(#"{"message":"a"}"#) == "a")
    #expect(message(#" { "x" : [ {"message":1} ] , "message" : "b" , "y" : {} } "#) == "b")
    #expect(message(#"{"message":""}"#) == "")
    #expect(message(#"{"message":"\"q\""}"#) == #"\"q\""#)
    #expect(message(#"{"messag\u0065":"c"}"#) == "c")
    #expect(message(#"{"\u006D\u0065\u0073\u0073\u0061\u0067\u0065":"d"}"#) == "d")
    #expect(message(#"{"message":"a","message":"b"}"#) == "b")
  }

  @Test(arguments: [
    ("[]", JSONFault.Code.notAnObject, 0), (#" "message""#, .notAnObject, 1), ("{}", .messageMissing, 1),
    (#"{"Message":"a"}"#, .messageMissing, 14), (#"{"messages":"a"}"#, .messageMissing, 15),
    (#"{"messag":"a"}"#, .messageMissing, 13), (#"{"mess\u0061g\n":"a"}"#, .messageMissing, 20),
    (#"{"message\u0000":"a"}"#, .messageMissing, 20), (#"{"a":{"message":"a"}}"#, .messageMissing, 20),
    (#"[{"message":"a"}]"#, .notAnObject, 0), (#"{"message":1}"#, .messageNotString, 11),
    (#"{"message": null}"#, .messageNotString, 12), (#"{"message":{"message":"a"}}"#, .messageNotString, 11),
    (#"{"message":["a"]}"#, .messageNotString, 11), (#"{"message":"a","message":true}"#, .messageNotString, 25),
    (#"{"message":1,"message":"a"}"#, .messageNotString, 11), (#"{"messag\u0065":1}"#, .messageNotString, 16),
    // Faults of the text come first.
    (#"{"message":1"#, .unexpectedEnd, 12), (#"[1,"#, .unexpectedEnd, 3),
  ]) func aTextWithoutAMessageIsRefused(_ text: String, _ code: JSONFault.Code, _ offset: Int) {
    #expect(scan(Array(text.utf8)) == .failure(JSONFault(code, offset)))
  }

  @Test func nestingIsBounded() {
    for bound in [1, 2, 5, 127, 128] {
      let arrays = String(repeating: "[", count: bound)
      #expect(syntaxFault(Array((arrays + String(repeating: "]", count: bound)).utf8), maxDepth: bound) == nil)
      #expect(syntaxFault(Array((arrays + "[").utf8), maxDepth: bound) == JSONFault(.tooDeep, bound))
    }
    let mixed = String(repeating: #"{"a":["#, count: 64) + String(repeating: "]}", count: 64)
    #expect(syntaxFault(Array(mixed.utf8)) == nil)
    #expect(syntaxFault(Array((String(repeating: #"{"a":["#, count: 64) + "{").utf8))?.code == .tooDeep)
    #expect(syntaxFault([UInt8](repeating: UInt8(ascii: "["), count: 1_000_000))?.offset == 128)
  }

  @Test func everyFaultIsInTheTables() {
    let codes = Self.invalid.map(\.1) + [.badUTF8, .tooDeep, .notAnObject, .messageMissing, .messageNotString]
    #expect(Set(codes) == Set(JSONFault.Code.allCases))
  }
}
