// What is wrong with a text, and where.

package struct JSONFault: Error, Equatable, Sendable {
  package enum Code: UInt8, Sendable, CaseIterable {
    case unexpectedEnd
    case expectedValue
    case expectedKey
    case expectedColon
    case expectedCommaOrBrace
    case expectedCommaOrBracket
    case badNumber
    case badLiteral
    case badEscape
    case loneSurrogate
    case controlCharacter
    case badUTF8
    case tooDeep
    case trailingBytes
    case notAnObject
    case messageMissing
    case messageNotString
  }

  package var code: Code
  /// The byte at which the text stops being right; its length if it is cut short.
  package var offset: Int

  package init(_ code: Code, _ offset: Int) {
    self.code = code
    self.offset = offset
  }
}

extension JSONFault.Code {
  /// The name that stands in an answer; clients may depend on it.
  package var name: StaticString {
    switch self {
    case .unexpectedEnd: "unexpected_end"
    case .expectedValue: "expected_value"
    case .expectedKey: "expected_key"
    case .expectedColon: "expected_colon"
    case .expectedCommaOrBrace: "expected_comma_or_brace"
    case .expectedCommaOrBracket: "expected_comma_or_bracket"
    case .badNumber: "bad_number"
    case .badLiteral: "bad_literal"
    case .badEscape: "bad_escape"
    case .loneSurrogate: "lone_surrogate"
    case .controlCharacter: "control_character"
    case .badUTF8: "bad_utf8"
    case .tooDeep: "too_deep"
    case .trailingBytes: "trailing_bytes"
    case .notAnObject: "not_an_object"
    case .messageMissing: "message_missing"
    case .messageNotString: "message_not_a_string"
    }
  }

  package var detail: StaticString {
    switch self {
    case .unexpectedEnd: "the JSON text ends too early"
    case .expectedValue: "a JSON value was expected"
    case .expectedKey: "a member name in double quotes was expected"
    case .expectedColon: "a colon was expected after the member name"
    case .expectedCommaOrBrace: "a comma or a closing brace was expected"
    case .expectedCommaOrBracket: "a comma or a closing bracket was expected"
    case .badNumber: "this is not a JSON number"
    case .badLiteral: "this is none of true, false and null"
    case .badEscape: "this is not an escape of JSON"
    case .loneSurrogate: "an escaped surrogate stands without its other half"
    case .controlCharacter: "control characters in strings must be escaped"
    case .badUTF8: "this is not UTF-8"
    case .tooDeep: "objects and arrays are nested too deeply"
    case .trailingBytes: "something follows the JSON text"
    case .notAnObject: "the JSON text must be an object"
    case .messageMissing: "the object has no member `message`"
    case .messageNotString: "`message` must be a string"
    }
  }
}
