import SluiceCore
import SluiceTopology
import Testing

private let stringly =
  #"{"type": "object", "properties": {"v": {"type": "string"}, "n": {"type": "integer"}, "o": {}}}"#

@Test(
  "What stands in ${…} is replaced",
  arguments: [
    ("v: ${A}", #"{"v":"one"}"#), ("v: x${A}y${A}z", #"{"v":"xoneyonez"}"#), ("v: \"${A}\"", #"{"v":"one"}"#),
    ("v: ${NONE:-two}", #"{"v":"two"}"#), ("v: ${EMPTY:-two}", #"{"v":"two"}"#), ("v: '${NONE:-}'", #"{"v":""}"#),
    ("v: $${A}", #"{"v":"${A}"}"#), ("v: $A", #"{"v":"$A"}"#), ("v: a$", #"{"v":"a$"}"#),
    ("v: $$${A}", #"{"v":"$${A}"}"#),
    ("n: ${FIVE}", #"{"n":5}"#), ("o: ${FIVE}", #"{"o":5}"#), ("o: '${FIVE}'", #"{"o":"5"}"#),
    ("v: ${FIVE}", #"{"v":"5"}"#), ("v: ${YAML}", #"{"v":"{a: [b, ${A}]}"}"#), ("o: ${NONE:-true}", #"{"o":true}"#),
  ])
func interpolation(_ yaml: String, _ json: String) throws {
  let environment = ["A": "one", "EMPTY": "", "FIVE": "5", "YAML": "{a: [b, ${A}]}"]
  #expect(try config(yaml, schema: stringly, environment: environment).get().subscribers[0].configJSON == json)
}

@Test func aFilesContentComesInWithoutItsLastLineBreak() throws {
  let directory = try TemporaryDirectory()
  let secret = try directory.write("secret", "hunter22\n")
  let path = try directory.write(
    "t.yaml",
    minimal.replacing("plugin: disk", with: "plugin: s3")
      .replacing("path: ./out", with: "secret_key: \"${file:secret}\""))
  let topology = try TopologyLoader.load(path: path, environment: [:], plugins: FakePlugins()).get()
  #expect(topology.subscribers[0].configJSON == #"{"secret_key":"hunter22"}"#)
  #expect(topology.subscribers[0].placeholderConfigJSON == #"{"secret_key":"***"}"#)
  #expect(topology.files == [path, secret])
}

@Test(
  "Who only looks gets a placeholder of its type for what the schema calls secret, and nothing else in place of the rest"
)
func placeholders() throws {
  let schema = #"""
    {"properties": {"pin": {"type": "integer", "minimum": 1000, "x-sluice-secret": true},
      "keys": {"type": "array", "items": {"type": "string"}, "x-sluice-secret": true},
      "on": {"type": "boolean", "x-sluice-secret": true}, "share": {"type": "number", "x-sluice-secret": true},
      "none": {"type": "null", "x-sluice-secret": true}, "table": {"type": "string"}}}
    """#
  let settings = try config(
    "{ pin: 4711, keys: [ one, two ], on: true, share: 0.5, none: null, table: t }", schema: schema
  ).get().subscribers[0]
  #expect(
    settings.placeholderConfigJSON
      == #"{"pin":0,"keys":["***","***"],"on":false,"share":0.0,"none":null,"table":"t"}"#)
  #expect(settings.configJSON == #"{"pin":4711,"keys":["one","two"],"on":true,"share":0.5,"none":null,"table":"t"}"#)
}

@Test func aSecretFilesContentIsNeverShownWhateverIsWrongWithIt() throws {
  let directory = try TemporaryDirectory()
  for secret in ["hunter2", "90210777", "[hunter2]", "hunter2\nhunter2"] {
    let path = try directory.write("secret", secret)
    let text = """
      sluice: 1
      daemon: { log: { level: "${file:\(path)}" }, admin: "${file:\(path)}" }
      streams:
        events: { ring: "${file:\(path)}", durability: "${file:\(path)}", retain: { age: "${file:\(path)}" } }
      sources:
        a: { type: "${file:\(path)}" }
        b: { type: http, listen: "${file:\(path)}", stream: events }
      subscribers:
        s: { plugin: x, streams: [ events ], start: "${file:\(path)}", config: { n: "${file:\(path)}", e: "${file:\(path)}" } }
      """
    let schema = #"{"properties": {"n": {"type": "integer"}, "e": {"enum": ["a"]}}}"#
    let all = load(text, schemas: ["x": schema]).diagnostics
    #expect(all.count >= 9, "\(Diagnostic.rendered(all))")
    for piece in ["hunter2", "90210777"] { #expect(!Diagnostic.rendered(all).contains(piece)) }
  }
}

@Test func whatTheSchemaCallsSecretIsNeverShownWhateverIsWrongOnItsLine() {
  let schema = #"""
    {"type": "object", "additionalProperties": false, "required": ["z"], "properties": {
      "key": {"type": "string", "minLength": 20, "maxLength": 1, "pattern": "^x", "enum": ["y"], "x-sluice-secret": true},
      "ref": {"$ref": "#/$defs/secret"}, "one": {"oneOf": [{"$ref": "#/$defs/secret"}, {"type": "null"}]}, "z": {}},
      "$defs": {"secret": {"x-sluice-secret": true, "type": "integer", "minimum": 9999999}}}
    """#
  for value in ["hunter2", "'hunter2'", "\"hunter2 hunter2\"", "{ a: hunter2 }", "[ hunter2, hunter2 ]"] {
    let text = "{ key: \(value), bogus: 1, ref: \(value), one: \(value), kye: \(value) }"
    let shown = Diagnostic.rendered(config(text, schema: schema).diagnostics)
    #expect(shown.contains("unknown key 'bogus'"))
    #expect(!shown.contains("hunter2"), "\(shown)")
  }
  let block = "bogus: 1\nkey: |\n  hunter2\n  hunter2 # bogus\n"
  #expect(!Diagnostic.rendered(config(block, schema: schema).diagnostics).contains("hunter2"))
  let number = Diagnostic.rendered(config("{ ref: 4711, one: 4711, bogus: 1 }", schema: schema).diagnostics)
  #expect(!number.contains("4711"), "\(number)")
}

@Test func withoutASchemaNothingOfTheConfigIsShown() {
  let text =
    "sluice: 1\nstreams: { e: {} }\nsubscribers:\n  s: { plugin: nothing, streams: [ e ], config: { a: hunter2 } }\n"
  let shown = Diagnostic.rendered(load(text).diagnostics)
  #expect(shown.contains("config: { a: *** }"), "\(shown)")
}
