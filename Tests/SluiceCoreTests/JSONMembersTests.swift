import SluiceCore
import TestSupport
import Testing

@Suite("JSON members that must match")
struct JSONMembersTests {
  private func matches(_ path: String, _ values: [JSONMembers.Value], _ text: String) -> Bool {
    let members = JSONMembers([.init(path: path.split(separator: ".").map(String.init), values: values)])
    return Array(text.utf8).withUnsafeBytes { members.match($0) }
  }

  @Test(arguments: [
    ("a", JSONMembers.Value.integer(1), #"{"a":1}"#, true),
    ("a", .integer(1), #"{"a":1.0}"#, true), ("a", .integer(1), #"{"a":1e0}"#, true),
    ("a", .integer(1), #"{"a":"1"}"#, false), ("a", .integer(1), #"{"a":[1]}"#, false),
    ("a", .integer(1), #"{"b":{"a":1}}"#, false), ("a", .integer(.min), #"{"a":-9223372036854775808}"#, true),
    ("a", .integer(.max), #"{"a":9223372036854775807}"#, true),
    ("a", .integer(.max), #"{"a":9223372036854775806}"#, false), ("a", .integer(0), #"{"a":-0}"#, true),
    ("a", .double(0.5), #"{"a":5e-1}"#, true), ("a", .double(2), #"{"a":2}"#, true),
    ("a", .double(0.5), #"{"a":0.25}"#, false),
    ("a", .bool(true), #"{"a":true}"#, true), ("a", .bool(false), #"{"a":true}"#, false),
    ("a", .null, #"{"a":null}"#, true), ("a", .null, #"{}"#, false), ("a", .null, #"{"a":false}"#, false),
    ("a", .string("é\n\"😀"), #"{"a":"\u00e9\n\"\ud83d\ude00"}"#, true),
    ("a", .string("é"), #"{"a":"é"}"#, true), ("a", .string(""), #"{"a":""}"#, true),
    ("a", .string("x"), #"{"a":"xy"}"#, false), ("a", .string("xy"), #"{"a":"\u0078"}"#, false),
    ("a.b.c", .integer(1), #"{"a":{"b":{"c":1}}}"#, true), ("a.b", .integer(1), #"{"a":[{"b":1}]}"#, false),
    ("a.b", .integer(1), #" { "\u0061" : { "x" : [ {"b":2} ] , "b" : 1 } } "#, true),
    ("a", .integer(1), #"{"a":2,"a":1}"#, true), ("a", .integer(1), #"{"a":1,"a":2}"#, false),
    ("a.b", .integer(1), #"{"a":{"b":1},"a":{}}"#, false), ("a.b", .integer(1), #"{"a":{"b":1},"a":3}"#, false),
    ("a", .integer(1), #"{"a":1}x"#, false), ("a", .integer(1), #"{"a":1"#, false),
    ("a", .integer(1), #"[{"a":1}]"#, false),
    ("a", .integer(1), #"{"a":1,}"#, false), ("a", .integer(1), "", false), ("a", .integer(1), "  ", false),
    ("a", .integer(1), #"{"a":0x1}"#, false), ("a", .integer(1), #"{"a":01}"#, false),
  ])
  func aMemberEqualsOneOfItsValues(path: String, value: JSONMembers.Value, text: String, expected: Bool) {
    #expect(matches(path, [value], text) == expected)
    #expect(matches(path, [.string("something else"), value], text) == expected, "one of several")
  }

  @Test func aNumberThatIsTooLongMatchesNothing() {
    let digits = String(repeating: "0", count: Limits.maxMatchNumberBytes)
    #expect(matches("a", [.integer(1)], #"{"a":1."# + digits.dropFirst(2) + "}"))
    #expect(!matches("a", [.integer(1)], #"{"a":1."# + digits + "}"))
  }

  @Test func allMembersMustMatch() {
    let members = JSONMembers([
      .init(path: ["a"], values: [.integer(1)]), .init(path: ["b", "c"], values: [.bool(true)]),
      .init(path: ["b", "d"], values: [.string("x")]),
    ])
    func matches(_ text: String) -> Bool { Array(text.utf8).withUnsafeBytes { members.match($0) } }
    #expect(matches(#"{"b":{"d":"x","c":true},"a":1}"#))
    #expect(!matches(#"{"b":{"d":"x"},"a":1}"#) && !matches(#"{"b":{"d":"x","c":true}}"#))
  }

  @Test func deepNestingIsNoMatchRatherThanATrap() {
    let deep = String(repeating: "[", count: 200)
    #expect(!matches("a", [.integer(1)], #"{"a":1,"b":"# + deep))
    let path = Array(repeating: "x", count: Limits.maxMatchDepth)
    let members = JSONMembers([.init(path: path, values: [.integer(7)])])
    let text = String(repeating: #"{"x":"#, count: path.count) + "7" + String(repeating: "}", count: path.count)
    #expect(Array(text.utf8).withUnsafeBytes { members.match($0) })
    let deeper = #"{"x":"# + text + "}"
    #expect(!Array(deeper.utf8).withUnsafeBytes { members.match($0) })
  }

  // MARK: Against a model

  private indirect enum Tree {
    case scalar(JSONMembers.Value)
    case list([Tree])
    case object([(String, Tree)])

    func text(_ random: inout SeededGenerator) -> String {
      let space = Bool.random(using: &random) ? "" : " \n"
      switch self {
      case .scalar(.null): return "null\(space)"
      case .scalar(.bool(let value)): return "\(value)\(space)"
      case .scalar(.integer(let value)): return Bool.random(using: &random) ? "\(value)" : "\(value).0e0"
      case .scalar(.double(let value)): return "\(value)"
      case .scalar(.string(let value)): return Tree.quoted(value, &random)
      case .list(let items): return "[\(space)" + items.map { $0.text(&random) }.joined(separator: ",\(space)") + "]"
      case .object(let members):
        let texts = members.map { Tree.quoted($0.0, &random) + "\(space):" + $0.1.text(&random) }
        return "{" + texts.joined(separator: "\(space),") + "\(space)}"
      }
    }

    private static func quoted(_ text: String, _ random: inout SeededGenerator) -> String {
      var quoted = ""
      for unit in text.utf16 {
        let isPlain = unit < 0x80 && unit >= 0x20 && unit != 0x22 && unit != 0x5C
        if isPlain, Bool.random(using: &random) {
          quoted.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
        } else {
          let digits = String(unit, radix: 16)
          quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
      }
      return "\"\(quoted)\""
    }

    func reaches(_ path: ArraySlice<String>, _ values: [JSONMembers.Value]) -> Bool {
      guard let name = path.first else {
        guard case .scalar(let value) = self else { return false }
        return values.contains(value)
      }
      guard case .object(let members) = self, let last = members.last(where: { $0.0 == name }) else { return false }
      return last.1.reaches(path.dropFirst(), values)
    }
  }

  private static let names = ["a", "b", "é", "", "a\nb"]

  private func scalar(_ random: inout SeededGenerator) -> JSONMembers.Value {
    switch Int.random(in: 0..<5, using: &random) {
    case 0: .null
    case 1: .bool(Bool.random(using: &random))
    case 2: .integer(Int64.random(in: -2...2, using: &random))
    case 3: .double(0.5)
    default: .string(["x", "é", "😀", "\"\\"].randomElement(using: &random) ?? "")
    }
  }

  private func tree(_ random: inout SeededGenerator, _ depth: Int) -> Tree {
    switch Int.random(in: 0..<(depth > 0 ? 5 : 2), using: &random) {
    case 0, 1: return .scalar(scalar(&random))
    case 2: return .list((0..<2).map { _ in tree(&random, depth - 1) })
    default: return object(&random, depth - 1)
    }
  }

  private func object(_ random: inout SeededGenerator, _ depth: Int) -> Tree {
    .object(
      (0..<Int.random(in: 0...5, using: &random)).map { _ in
        (Self.names.randomElement(using: &random) ?? "", tree(&random, depth))
      })
  }

  @Test func randomObjectsMatchAsTheModelSays() {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    var matched = 0
    for _ in 0..<20_000 {
      let tree = object(&random, 3)
      let wanted = (0..<Int.random(in: 1...2, using: &random)).map { _ in
        JSONMembers.Member(
          path: (0..<Int.random(in: 1...3, using: &random)).map { _ in Self.names.randomElement(using: &random) ?? "" },
          values: (0..<4).map { _ in scalar(&random) })
      }
      let text = tree.text(&random)
      let expected = wanted.allSatisfy { tree.reaches($0.path[...], $0.values) }
      matched += expected ? 1 : 0
      let found = Array(text.utf8).withUnsafeBytes { JSONMembers(wanted).match($0) }
      #expect(found == expected, "\(text) \(wanted), seed \(random.seed)")
    }
    #expect(matched > 100, "the sample means something")
  }

  @Test func damagedTextsAreJudgedAsTheScannerJudgesThem() {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    for _ in 0..<20_000 {
      var bytes = Array(object(&random, 3).text(&random).utf8)
      for _ in 0..<Int.random(in: 0...2, using: &random) where !bytes.isEmpty {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        if Bool.random(using: &random) {
          bytes[place] = UInt8.random(in: .min ... .max, using: &random)
        } else {
          bytes.removeSubrange(place...)
        }
      }
      let isObject = syntaxFault(bytes) == nil && bytes.first { !" \n\r\t".utf8.contains($0) } == UInt8(ascii: "{")
      #expect(bytes.withUnsafeBytes { JSONMembers([]).match($0) } == isObject, "\(bytes), seed \(random.seed)")
    }
  }
}
