import SluicePluginKit
import Testing

private enum Color: String, CaseIterable { case red, green }

@Suite struct ConfigTests {
  @Test func valuesAreReadWithTheirTypes() throws {
    let config = try Config(
      json: #"{"s":"x","i":7,"n":1.5,"b":true,"c":"green","l":["a","b"],"o":{"k":"v"},"z":null}"#)
    #expect(try config.string("s") == "x")
    #expect(try config.integer("i", in: 0...10) == 7)
    #expect(try config.number("n") == 1.5)
    #expect(try config.number("i") == 7)
    #expect(try config.bool("b"))
    #expect(try config.choice("c", default: Color.red) == .green)
    #expect(try config.strings("l") == ["a", "b"])
    #expect(try config.object("o")?.string("k") == "v")
    #expect(try config.string("z", default: "fallback") == "fallback", "null counts as absent")
    let missing = try config.object("missing")
    #expect(missing == nil)
  }

  @Test func errorsPointToTheValueAndSayWhatWasExpected() throws {
    let config = try Config(json: #"{"s":7,"i":"x","c":"blue","l":["a",1],"o":{"a/b~":true},"big":11}"#)
    func message(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "no error"
      } catch {
        return "\(error)"
      }
    }
    #expect(message { _ = try config.string("s") } == "config /s: a string was expected, this is an integer")
    #expect(message { _ = try config.integer("i") } == "config /i: an integer was expected, this is a string")
    #expect(message { _ = try config.integer("big", in: 0...10) } == "config /big: 11 is not between 0 and 10")
    #expect(message { _ = try config.string("none") } == "config /none: is required")
    #expect(
      message { _ = try config.choice("c", default: Color.red) }
        == "config /c: \"blue\" is none of \"red\", \"green\"")
    #expect(message { _ = try config.strings("l") } == "config /l/1: a string was expected, this is an integer")
    #expect(
      message { _ = try config.object("o")?.string("a/b~") }
        == "config /o/a~1b~0: a string was expected, this is a boolean")
    #expect(message { _ = try Config(json: "[]") } == "config: an object was expected, this is an array")
    #expect(message { _ = try Config(json: "{") } == "config: not JSON at byte 1: a member's name was expected here")
  }
}
