import SluicePluginKit
import Testing

private enum Color: String, Codable, CaseIterable { case red, green }

/// A type that takes not every string.
private struct Even: Codable, Equatable {
  var text: String

  init(_ text: String) { self.text = text }
  init(from decoder: any Decoder) throws {
    text = try String(from: decoder)
    guard text.utf8.count == 2 else { throw decoder.fault("\"\(text)\" is not two bytes long") }
  }
  func encode(to encoder: any Encoder) throws { try text.encode(to: encoder) }
}

private struct Inner: SubscriberConfiguration, Codable, Equatable {
  var from: Int
  var to: Int

  enum CodingKeys: CodingKey { case from, to }
  static let fields = FieldTable(CodingKeys.self, [.to: Field("The end.", default: 9)])
  func check() throws {
    guard from <= to else { throw ConfigError(at: "/to", "\(to) comes before \(from)") }
  }
}

private struct Everything: SubscriberConfiguration {
  var name: String
  var level: UInt8
  var share: Double
  var isOn: Bool
  var color: Color
  var sizes: [ByteCount]
  var wait: Nanoseconds
  var token: Secret?
  var range: Inner
  var labels: [String: Inner]
  var even: Even
  var extra: JSONValue

  enum CodingKeys: String, CodingKey {
    case name, level, share, color, sizes, wait, token, range, labels, even, extra
    case isOn = "on"
  }

  static let fields = FieldTable(
    CodingKeys.self,
    [
      .name: Field("A name.", minLength: 2, maxLength: 5, pattern: "^[a-z/~]+$"),
      .level: Field("", default: UInt8(3), maximum: 7),
      .share: Field("", default: 0.5, minimum: 0, maximum: 1),
      .isOn: Field("", default: true),
      .color: Field("", default: Color.green),
      .sizes: Field("", default: [ByteCount.kibibytes(4)], minItems: 1, maxItems: 3),
      .wait: Field("", default: .seconds(90), minimum: Nanoseconds.milliseconds(1)),
      .range: Field("", default: Inner(from: 1, to: 2)),
      .labels: Field("", default: [String: Inner]()),
      .even: Field("", default: Even("ab")),
      .extra: Field("", default: JSONValue.array([1, "a"])),
    ])
}

@Suite struct ConfigTests {
  private func problem(_ json: String) -> String {
    do {
      _ = try Everything(json: json)
      return "none"
    } catch {
      return error.description
    }
  }

  @Test("What a config leaves out comes from the table of fields")
  func defaultsAreFilledIn() throws {
    let config = try Everything(json: #"{"name":"ab","share":null}"#)
    #expect(config.level == 3 && config.share == 0.5 && config.isOn && config.color == .green)
    #expect(config.sizes == [4096] && config.wait == .seconds(90) && config.wait.duration == .seconds(90))
    #expect(config.token == nil && config.range == Inner(from: 1, to: 2) && config.labels.isEmpty)
    #expect(config.even == Even("ab") && config.extra == [1, "a"])
  }

  @Test("What a config says is decoded with its type")
  func valuesAreDecoded() throws {
    let config = try Everything(
      json: #"""
        {"name":"abc","level":7.0,"share":1,"on":false,"color":"red","sizes":[1,2],"wait":1000000,"token":"s3cret",
         "range":{"from":4},"labels":{"a":{"from":1,"to":1}},"even":"xy","extra":{"a":[null,true]}}
        """#)
    #expect(config.name == "abc" && config.level == 7 && config.share == 1 && !config.isOn && config.color == .red)
    #expect(config.sizes == [1, 2] && config.wait == .milliseconds(1) && config.token?.revealed == "s3cret")
    #expect(config.range == Inner(from: 4, to: 9) && config.labels == ["a": Inner(from: 1, to: 1)])
    #expect(config.even.text == "xy" && config.extra["a"] == .array([.null, true]))
  }

  @Test(
    "A value that is wrong is refused with a JSON Pointer to it and what was expected",
    arguments: [
      (#"{}"#, "config /name: is required"),
      (#"{"name":7}"#, "config /name: a string was expected, this is an integer"),
      (#"{"name":"a"}"#, "config /name: has 1 characters, 2 to 5 were expected"),
      (#"{"name":"ABC"}"#, "config /name: does not match the pattern ^[a-z/~]+$"),
      (#"{"name":"ab","level":8}"#, "config /level: 8 is not between -9223372036854775808 and 7"),
      (#"{"name":"ab","level":-1}"#, "config /level: an integer from 0 to 255 was expected, this is -1"),
      (#"{"name":"ab","level":1.5}"#, "config /level: an integer from 0 to 255 was expected, this is a number"),
      (#"{"name":"ab","share":1.5}"#, "config /share: 1.5 is more than 1.0"),
      (#"{"name":"ab","share":-1}"#, "config /share: -1.0 is less than 0.0"),
      (#"{"name":"ab","on":"yes"}"#, "config /on: true or false was expected, this is a string"),
      (#"{"name":"ab","color":"blue"}"#, "config /color: \"blue\" is none of \"red\", \"green\""),
      (#"{"name":"ab","color":1}"#, "config /color: a string was expected, this is an integer"),
      (#"{"name":"ab","sizes":[]}"#, "config /sizes: has 0 items, 1 to 3 were expected"),
      (#"{"name":"ab","sizes":[1,-2]}"#, "config /sizes/1: a number of bytes was expected, this is -2"),
      (#"{"name":"ab","sizes":1}"#, "config /sizes: a list was expected, this is an integer"),
      (#"{"name":"ab","wait":1}"#, "config /wait: 1 is not between 1000000 and 9223372036854775807"),
      (#"{"name":"ab","token":5}"#, "config /token: a string was expected, this is an integer"),
      (#"{"name":"ab","range":[]}"#, "config /range: an object was expected, this is a list"),
      (#"{"name":"ab","range":{"from":10}}"#, "config /range/to: 9 comes before 10"),
      (
        #"{"name":"ab","labels":{"a/b~":{"from":"x"}}}"#,
        "config /labels/a~1b~0/from: an integer was expected, this is a string"
      ),
      (#"{"name":"ab","labels":{"a/b~":{"from":2,"to":1}}}"#, "config /labels/a~1b~0/to: 1 comes before 2"),
      (#"{"name":"ab","even":"abc"}"#, "config /even: \"abc\" is not two bytes long"),
      (#"[]"#, "config: an object was expected, this is a list"),
      (#"{"#, "config: not JSON at byte 1: a member's name was expected here"),
    ])
  func mistakesArePlaced(json: String, message: String) { #expect(problem(json) == message) }

  @Test("A secret shows itself neither when it is printed nor when it is mirrored")
  func secretsAreNotShown() throws {
    let config = try Everything(json: #"{"name":"ab","token":"s3cret"}"#)
    var dumped = ""
    dump(config, to: &dumped)
    for text in ["\(config)", String(reflecting: config), dumped, "\([config.token])"] {
      #expect(!text.contains("s3cret"))
    }
    #expect("\(Secret("s3cret"))" == "***")
  }

  @Test("A config without properties takes an empty object and no other kind of value")
  func nothingToConfigure() throws {
    #expect(try NoConfiguration(json: "{}") == NoConfiguration())
    #expect(throws: ConfigError.self) { try NoConfiguration(json: "[]") }
  }
}
