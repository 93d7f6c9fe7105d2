import SluiceTopology
import Testing

/// One keyword: a schema, a config that fits and what becomes of it, one that does not and what is said.
struct KeywordCase: Sendable, CustomTestStringConvertible {
  var name: String
  var schema: String
  var good: String
  var json: String
  var bad: String
  var says: String
  var testDescription: String { name }

  init(_ name: String, _ property: String, _ good: String, _ json: String, _ bad: String, _ says: String) {
    self.name = name
    schema = #"{"type": "object", "properties": {"v": \#(property)}}"#
    self.good = "v: \(good)"
    self.json = #"{"v":\#(json)}"#
    self.bad = "v: \(bad)"
    self.says = says
  }
}

let keywords = [
  KeywordCase("type string", #"{"type": "string"}"#, "a", #""a""#, "5", "expected a string"),
  KeywordCase("type integer", #"{"type": "integer"}"#, "5", "5", "a", "expected an integer"),
  KeywordCase("a whole number is an integer", #"{"type": "integer"}"#, "5.0", "5", "5.5", "found the number 5.5"),
  KeywordCase("type number", #"{"type": "number"}"#, "5.5", "5.5", "true", "expected a number"),
  KeywordCase("type boolean", #"{"type": "boolean"}"#, "true", "true", "yes", "expected a boolean"),
  KeywordCase("type null", #"{"type": "null"}"#, "~", "null", "0", "expected nothing"),
  KeywordCase("type array", #"{"type": "array"}"#, "[1, a]", #"[1,"a"]"#, "{}", "expected a list"),
  KeywordCase("type object", #"{"type": "object"}"#, "{ a: 1 }", #"{"a":1}"#, "[]", "expected a mapping"),
  KeywordCase("several types", #"{"type": ["string", "integer"]}"#, "5", "5", "true", "a string or an integer"),
  KeywordCase("required", #"{"required": ["a"]}"#, "{ a: 1 }", #"{"a":1}"#, "{ b: 1 }", "has no 'a'"),
  KeywordCase(
    "additionalProperties false", #"{"properties": {"abc": {}}, "additionalProperties": false}"#, "{ abc: 1 }",
    #"{"abc":1}"#, "{ abd: 1 }", "did you mean 'abc'?"),
  KeywordCase(
    "additionalProperties as a schema", #"{"additionalProperties": {"type": "integer"}}"#, "{ a: 1 }", #"{"a":1}"#,
    "{ a: x }", "expected an integer for subscribers.s.config.v.a"),
  KeywordCase("items", #"{"items": {"type": "integer"}}"#, "[1, 2]", "[1,2]", "[1, b]", "config.v[1]"),
  KeywordCase("enum", #"{"enum": ["gzip", "zstd", null]}"#, "zstd", #""zstd""#, "zsdt", "did you mean 'zstd'?"),
  KeywordCase("enum of numbers", #"{"enum": [1, 2.0]}"#, "2", "2", "3", "1, 2.0"),
  KeywordCase("const", #"{"const": {"a": 1, "b": 2}}"#, "{ b: 2, a: 1 }", #"{"b":2,"a":1}"#, "{ a: 1 }", "can't be"),
  KeywordCase("minimum", #"{"minimum": 1}"#, "1", "1", "0", "at least 1"),
  KeywordCase("maximum", #"{"maximum": 1.5}"#, "1.5", "1.5", "2", "at most 1.5"),
  KeywordCase("exclusiveMinimum", #"{"exclusiveMinimum": 1}"#, "2", "2", "1", "more than 1"),
  KeywordCase("exclusiveMaximum", #"{"exclusiveMaximum": 1}"#, "0", "0", "1", "less than 1"),
  KeywordCase("minLength", #"{"minLength": 2}"#, "äö", #""äö""#, "ä", "at least 2 characters"),
  KeywordCase("maxLength", #"{"maxLength": 2}"#, "äö", #""äö""#, "äöü", "at most 2 characters"),
  KeywordCase("minItems", #"{"minItems": 1}"#, "[1]", "[1]", "[]", "at least 1"),
  KeywordCase("maxItems", #"{"maxItems": 1}"#, "[1]", "[1]", "[1, 2]", "at most 1"),
  KeywordCase("pattern", #"{"pattern": "^[a-z]+$"}"#, "abc", #""abc""#, "aBc", "the pattern ^[a-z]+$"),
  KeywordCase(
    "oneOf", #"{"oneOf": [{"type": "string"}, {"type": "integer"}]}"#, "a", #""a""#, "true", "none of the 2 forms"),
  KeywordCase(
    "oneOf that fits twice", #"{"oneOf": [{"type": "integer"}, {"type": "number"}]}"#, "1.5", "1.5", "1",
    "fits 2 of the forms"),
  KeywordCase(
    "oneOf by a constant",
    #"{"oneOf": [{"properties": {"k": {"const": "a"}, "n": {"type": "integer"}}, "required": ["k"]}, {"properties": {"k": {"const": "b"}}, "required": ["k"]}]}"#,
    "{ k: b, n: x }", #"{"k":"b","n":"x"}"#, "{ k: a, n: x }", "config.v"),
  KeywordCase(
    "format sluice-size", #"{"type": "string", "format": "sluice-size"}"#, "64KiB", "65536", "64kib", "64MiB"),
  KeywordCase(
    "a plain number is bytes", #"{"type": "string", "format": "sluice-size"}"#, "4096", "4096", "-1", "expected a size"),
  KeywordCase(
    "a size within bounds", #"{"format": "sluice-size", "maximum": 1048576}"#, "1MiB", "1048576", "2MiB",
    "expected: at most 1MiB"),
  KeywordCase(
    "format sluice-duration", #"{"type": "string", "format": "sluice-duration"}"#, "1m30s", "90000000000", "90",
    "expected a duration"),
  KeywordCase(
    "a duration within bounds", #"{"format": "sluice-duration", "minimum": 1000000}"#, "5ms", "5000000", "5us",
    "can't be 5us"),
  KeywordCase("a schema that is false", "false", "0", "0", "0", "is not allowed here"),
]

@Test("Each keyword lets through what fits and says what does not", arguments: keywords)
func keyword(_ keyword: KeywordCase) throws {
  if keyword.name != "a schema that is false" {
    #expect(try config(keyword.good, schema: keyword.schema).get().subscribers[0].configJSON == keyword.json)
  }
  let errors = config(keyword.bad, schema: keyword.schema).errors
  #expect(errors.count == 1, "\(Diagnostic.rendered(errors))")
  #expect(Diagnostic.rendered(errors).contains(keyword.says), "\(Diagnostic.rendered(errors))")
  #expect(errors.first?.line == 8)
}

@Test func defaultsAreAppliedInsideDefaultsAndThroughReferences() throws {
  let schema = #"""
    {"properties": {"a": {"default": {}, "properties": {"size": {"$ref": "#/$defs/size"}, "b": {"default": [1]}}},
     "none": {"properties": {"x": {"default": 1}}}, "n": {"type": ["integer", "null"], "default": null}},
     "$defs": {"size": {"type": "string", "format": "sluice-size", "default": "1KiB"}}}
    """#
  let result = try config("x: 1", schema: schema).get().subscribers[0]
  #expect(result.configJSON == #"{"a":{"size":1024,"b":[1]},"n":null,"x":1}"#)
}

@Test func theOrderOfKeysIsTheSchemas() throws {
  let schema = #"{"properties": {"a": {}, "b": {}, "c": {}}}"#
  let result = try config("c: 3\nx: 4\na: 1\nb: 2", schema: schema).get().subscribers[0]
  #expect(result.configJSON == #"{"a":1,"b":2,"c":3,"x":4}"#)
}

@Test func aSchemaMayReferToItselfThroughItsValues() throws {
  let schema =
    ##"{"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/tree"}}, "additionalProperties": false}}}"##
  #expect(
    try config("next: { next: { v: 1 } }", schema: schema).get().subscribers[0].configJSON
      == #"{"next":{"next":{"v":1}}}"#)
  let errors = config("next: { next: { v: x } }", schema: schema).errors
  #expect(errors.map(\.column) == [26])
}

@Test func sizesAreDeliveredOnceHoweverManySchemasLookAtThem() throws {
  let schema =
    ##"{"properties": {"d": {"$ref": "#/$defs/d", "format": "sluice-duration", "oneOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}}, "$defs": {"d": {"type": "string", "format": "sluice-duration"}}}"##
  #expect(try config("d: 5ms", schema: schema).get().subscribers[0].configJSON == #"{"d":5000000}"#)
}

@Test(
  "A schema that Sluice does not wholly know is refused, and the keyword is named",
  arguments: [
    (#"{"allOf": []}"#, "the keyword 'allOf' at #"),
    (#"{"properties": {"a/b": {"not": {}}}}"#, "'not' at #/properties/a~1b"),
    (#"{"format": "uri"}"#, "'format' at #"), (#"{"type": "text"}"#, "'type' at #/type"), (#"{"type": 5}"#, "'type'"),
    (#"{"minimum": "1"}"#, "'minimum'"), (#"{"minLength": -1}"#, "'minLength'"), (#"{"enum": []}"#, "'enum'"),
    (#"{"required": "a"}"#, "'required'"), (#"{"properties": []}"#, "'properties'"), (#"{"items": [{}]}"#, "#/items"),
    (#"{"oneOf": {}}"#, "'oneOf'"), (#"{"pattern": "(?=a)"}"#, "a pattern at #"),
    (#"{"x-sluice-secret": 1}"#, "'x-sluice-secret'"),
    (##"{"$ref": "http://x"}"##, "only #/…"), (##"{"$ref": "#/$defs/none"}"##, "which is not there"),
    (##"{"$ref": "#"}"##, "leads back to itself"), (##"{"oneOf": [{"$ref": "#"}]}"##, "leads back to itself"),
    (#"{"$anchor": "a"}"#, "'$anchor'"), ("[", "is not JSON"), ("5", "something other than an object"),
  ])
func aForeignSchema(_ schema: String, _ words: String) {
  let errors = config("a: 1", schema: schema).errors
  #expect(errors.count == 1 && errors[0].line == 5, "\(Diagnostic.rendered(errors))")
  #expect(errors.first?.message.contains(words) == true, "\(Diagnostic.rendered(errors))")
}

@Test func defaultsThatNeverEndAreAnErrorNotACrash() {
  let endless = ##"{"properties": {"a": {"$ref": "#"}}, "default": {}}"##
  #expect(config("b: 1", schema: endless).errors.count == 1)
  let wrong = #"{"properties": {"a": {"type": "integer", "default": "x"}}}"#
  #expect(config("b: 1", schema: wrong).errors.first?.message.contains("a default that it does not allow") == true)
}

@Test func referencesInAChainAreBounded() {
  let chain = (0..<5000).map { ##""d\##($0)": {"$ref": "#/$defs/d\##($0 + 1)"}"## }.joined(separator: ",")
  let schema = ##"{"$ref": "#/$defs/d0", "$defs": {\##(chain), "d5000": {}}}"##
  #expect(config("b: 1", schema: schema).errors.count == 1)
}

@Test func aKeyThatTheSchemaNeitherNamesNorRefusesIsAWarning() throws {
  let result = config("pth: x", schema: #"{"properties": {"path": {}}}"#)
  _ = try result.get()
  #expect(result.diagnostics.map(\.severity) == [.warning])
  #expect(result.diagnostics.first?.suggestion == "path")
}

@Test func aPluginWithoutASchemaTakesNoConfig() throws {
  _ = try config("", schema: "").get()
  #expect(config("a: 1", schema: "").errors.first?.message.contains("unknown key 'a'") == true)
}

@Test func pointersLeadBackToTheirPlacesInTheFile() throws {
  let settings = try config("list:\n  - { a: 1 }\n  - x\nm/n~: 5", schema: "{}").get().subscribers[0]
  #expect(settings.position(ofPointer: "").line == 7)
  #expect(settings.position(ofPointer: "/list/0/a").description == "t.yaml:9:16")
  #expect(settings.position(ofPointer: "/list/1").description == "t.yaml:10:11")
  #expect(settings.position(ofPointer: "/m~1n~0").description == "t.yaml:11:13")
  #expect(settings.position(ofPointer: "/list/1/deeper").description == "t.yaml:10:11")
}

@Test func whatJSONCanNotSayIsAnError() {
  for value in [".inf", ".nan", "9223372036854775808"] {
    #expect(config("v: \(value)", schema: "{}").errors.first?.message.contains("can't hold") == true)
  }
}
