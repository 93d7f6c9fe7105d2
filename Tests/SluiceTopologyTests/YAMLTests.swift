import SluiceCore
import Testing

@testable import SluiceTopology

private func read(_ text: String) -> (node: YAMLNode?, errors: [Diagnostic]) {
  let sink = DiagnosticSink()
  let node = YAMLReader.read(Array(text.utf8), file: "t.yaml", sink: sink)
  return (node, sink.sorted())
}

@Test(
  "Plain scalars mean what the core schema of YAML 1.2 says",
  arguments: [
    ("", .null), ("~", .null), ("null", .null), ("NULL", .null), ("nULL", .string("nULL")),
    ("true", .bool(true)), ("False", .bool(false)), ("tRUE", .string("tRUE")), ("yes", .string("yes")),
    ("no", .string("no")), ("on", .string("on")), ("off", .string("off")), ("y", .string("y")),
    ("0", .integer(0)), ("-0", .integer(0)), ("+12", .integer(12)), ("-12", .integer(-12)), ("0017", .integer(17)),
    ("0o17", .integer(15)), ("0x1F", .integer(31)), ("0o18", .string("0o18")), ("0xG", .string("0xG")),
    ("0b1", .string("0b1")), ("1_000", .string("1_000")), ("12:30", .string("12:30")), ("0x", .string("0x")),
    ("9223372036854775807", .integer(.max)), ("9223372036854775808", .hugeInteger),
    ("-9223372036854775808", .integer(.min)), ("0x8000000000000000", .hugeInteger),
    ("1.5", .double(1.5)), (".5", .double(0.5)), ("5.", .double(5)), ("1e3", .double(1000)),
    ("-1.5E-1", .double(-0.15)),
    (".", .string(".")), ("e5", .string("e5")), ("1e", .string("1e")), ("1.2.3", .string("1.2.3")), ("-", .string("-")),
    (".inf", .double(.infinity)), ("-.INF", .double(-.infinity)), ("inf", .string("inf")), ("nan", .string("nan")),
  ] as [(String, YAMLScalarValue)])
func plainScalar(_ text: String, _ value: YAMLScalarValue) { #expect(YAMLScalarValue(plain: text) == value) }

@Test func notANumberIsANumber() {
  guard case .double(let value) = YAMLScalarValue(plain: ".nan") else {
    Issue.record(".nan is no number")
    return
  }
  #expect(value.isNaN)
}

@Test func columnsCountCharactersAndATabIsOne() throws {
  let node = try #require(read("äöü𝄞: x\nb:\t\ty\n").node)
  #expect(node["äöü𝄞"]?.position == SourcePosition(file: "t.yaml", line: 1, column: 7))
  #expect(node["b"]?.position == SourcePosition(file: "t.yaml", line: 2, column: 5))
}

@Test func quotedAndBlockScalarsStayStrings() throws {
  let node = try #require(read("a: \"5\"\nb: 'true'\nc: |\n  5\nd: !!str 5\n").node)
  for (key, text) in [("a", "5"), ("b", "true"), ("c", "5\n"), ("d", "5")] {
    guard case .scalar(let scalar) = node[key]?.content else {
      Issue.record("\(key) is no scalar")
      continue
    }
    #expect(scalar.value == .string(text))
  }
}

@Test func anAliasStandsForItsAnchorsValue() throws {
  let topology = try load(
    "sluice: 1\nstreams:\n  a: &common { ring: 8MiB, durability: written }\n  b: *common\n"
  ).get()
  #expect(topology.stream(named: "b")?.ringBytes == 8 << 20)
  #expect(topology.stream(named: "b")?.durability == .written)
}

@Test func aBillionLaughsAreRefusedAtOnce() throws {
  var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
  for level in 1...12 {
    text += "a\(level): &a\(level) [\(Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", "))]\n"
  }
  let errors = read(text).errors
  #expect(errors.count == 1)
  #expect(errors.first?.message.contains("with its aliases") == true)
}

@Test func tooManyAliasesAreRefused() {
  let text = "a: &a x\nb:\n" + String(repeating: "  - *a\n", count: Limits.maxTopologyAliases + 1)
  #expect(read(text).errors.first?.line == Limits.maxTopologyAliases + 3)
}

@Test func nestingIsBoundedInBlocksFlowsAndThroughAliases() {
  let depth = Limits.maxTopologyDepth
  let deep = String(repeating: "[", count: depth + 1) + String(repeating: "]", count: depth + 1)
  #expect(read(deep).errors.first?.column == depth + 1)
  let right = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
  #expect(read(right).errors.isEmpty)
  let half = String(repeating: "[", count: depth / 2) + "x" + String(repeating: "]", count: depth / 2)
  let open = String(repeating: "[", count: depth / 2 + 1)
  let close = String(repeating: "]", count: depth / 2 + 1)
  #expect(read("a: &a \(half)\nb: \(open)*a\(close)\n").errors.first?.line == 2)
  #expect(read(String(repeating: "[", count: 100_000)).errors.count == 1)
}

@Test func invalidUTF8IsRefusedWhereItStands() {
  let sink = DiagnosticSink()
  let bytes = Array("sluice: 1\nä: ".utf8) + [0xC3, 0x28] + Array("\n".utf8)
  _ = YAMLReader.read(bytes, file: "t.yaml", sink: sink)
  let errors = sink.sorted()
  #expect(errors.first?.message == "invalid UTF-8 in a YAML file")
  #expect(errors.first?.line == 2)
  #expect(errors.first?.column == 4)
}

@Test func aFileThatIsTooLargeIsRefused() {
  let text = String(repeating: "#", count: Limits.maxTopologyBytes + 1)
  #expect(read(text).errors.first?.message.contains("more than") == true)
}
