import SluiceTopology
import TestSupport
import Testing

private let seed = UInt64.random(in: 0...UInt64.max)

/// Whatever comes in: an answer comes back, and everything in it can be shown.
private func survive(_ text: String, _ generator: SeededGenerator, round: Int) {
  let result = load(text, environment: ["A": "x", "B": "5"])
  let diagnostics = result.diagnostics
  if case .failed = result {
    #expect(!diagnostics.isEmpty, "seed \(seed), round \(round): failed and said nothing about\n\(text)")
  }
  for diagnostic in diagnostics {
    #expect(diagnostic.line >= 1 && diagnostic.column >= 1, "seed \(seed), round \(round)")
    #expect(!diagnostic.rendered().isEmpty)
  }
}

@Test func randomBytesNeverCrashTheLoader() {
  var generator = SeededGenerator(seed: seed)
  let alphabet = Array("sluice: 1\n\t-[]{}\"'&*!|>%@`#,?${}:~ab0\u{85}\u{FEFF}ä𝄞".unicodeScalars)
  for round in 0..<1500 {
    var text = String.UnicodeScalarView()
    for _ in 0..<Int.random(in: 0...120, using: &generator) {
      if let scalar = alphabet.randomElement(using: &generator) { text.append(scalar) }
    }
    survive(String(text), generator, round: round)
  }
}

@Test func mutatedTopologiesNeverCrashTheLoader() {
  var generator = SeededGenerator(seed: seed ^ 1)
  let pieces = [
    "${A}", "${B:-1}", "${file:/dev/null}", "&x ", "*x", "- ", "{ ", " }", "[", "]", ": ", "\n", "\n  ", "\"", "'", "|",
    "!!str ",
    "null", "-1", "99999999999999999999", "64MiB", "1h30m", "dead", "events", "match: { source: api }", "<<: ",
    "retain: { bytes: 1GiB }", "streams", "publish: { a: events }", "\u{0}", "💧", "\t", "---\n", "...\n", "# ",
  ]
  for round in 0..<1500 {
    var text = Array(minimal.unicodeScalars)
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let at = Int.random(in: 0...text.count, using: &generator)
      switch Int.random(in: 0..<3, using: &generator) {
      case 0: text.insert(contentsOf: Array(pieces.randomElement(using: &generator)!.unicodeScalars), at: at)
      case 1: text.removeSubrange(at..<min(text.count, at + Int.random(in: 0...12, using: &generator)))
      default:
        let from = Int.random(in: 0...text.count, using: &generator)
        text.insert(contentsOf: text[from..<min(text.count, from + 20)], at: at)
      }
    }
    var view = String.UnicodeScalarView()
    view.append(contentsOf: text)
    survive(String(view), generator, round: round)
  }
}

@Test func mutatedSchemasAndPatternsNeverCrashTheLoader() {
  var generator = SeededGenerator(seed: seed ^ 2)
  let pieces = [
    "\"", "{", "}", "[", "]", ",", ":", "1", "null", "true", "\"$ref\": \"#\",", "\"default\": {},", "\"oneOf\": [{}],",
    "\\",
  ]
  for round in 0..<400 {
    var text = Array(FakePlugins.disk)
    for _ in 0..<Int.random(in: 1...3, using: &generator) {
      let at = Int.random(in: 0...text.count, using: &generator)
      if Bool.random(using: &generator) {
        text.insert(contentsOf: pieces.randomElement(using: &generator)!, at: at)
      } else {
        text.removeSubrange(at..<min(text.count, at + Int.random(in: 0...8, using: &generator)))
      }
    }
    let result = config("path: x", schema: String(text))
    if case .failed(let all) = result { #expect(!all.isEmpty, "seed \(seed), round \(round)") }
  }
}

@Test func whateverJSONSaysComesBackTheSame() throws {
  var generator = SeededGenerator(seed: seed ^ 3)
  func value(_ depth: Int) -> JSONValue {
    switch Int.random(in: 0..<(depth > 4 ? 5 : 7), using: &generator) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &generator))
    case 2: return .integer(Int64.random(in: .min ... .max, using: &generator))
    case 3:
      let double = Double(bitPattern: UInt64.random(in: 0...UInt64.max, using: &generator))
      return .double(double.isFinite ? double : 0.5)
    case 4:
      var text = String.UnicodeScalarView()
      for _ in 0..<8 {
        if let scalar = Unicode.Scalar(UInt32.random(in: 0...0x2_0000, using: &generator)) { text.append(scalar) }
      }
      return .string(String(text))
    case 5: return .array((0..<3).map { _ in value(depth + 1) })
    default: return .object((0..<3).map { .init("k\($0)", value(depth + 1)) })
    }
  }
  for _ in 0..<500 {
    let original = value(0)
    #expect(try JSONValue(parsing: original.canonicalText) == original, "seed \(seed): \(original.canonicalText)")
  }
}
