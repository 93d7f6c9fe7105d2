import SluiceCore

/// The text of a pattern → its tree. The grammar stands at `Pattern`.
struct PatternParser {
  private let characters: [Unicode.Scalar]
  private var at = 0
  private var depth = 0

  init(_ text: String) { characters = Array(text.unicodeScalars) }

  mutating func parse() throws(Pattern.Fault) -> PatternTree {
    let tree = try either()
    guard at == characters.count else { throw fault("a ')' has no '('") }
    return tree
  }

  private func fault(_ message: String) -> Pattern.Fault { Pattern.Fault(message: "\(message) at character \(at + 1)") }

  private var current: Unicode.Scalar? { at < characters.count ? characters[at] : nil }

  private mutating func take(_ wanted: Unicode.Scalar) -> Bool {
    guard current == wanted else { return false }
    at += 1
    return true
  }

  private mutating func either() throws(Pattern.Fault) -> PatternTree {
    var branches: [PatternTree] = []
    repeat { branches.append(try sequence()) } while take("|")
    return branches.count == 1 ? branches[0] : .either(branches)
  }

  private mutating func sequence() throws(Pattern.Fault) -> PatternTree {
    var items: [PatternTree] = []
    while let character = current, character != "|", character != ")" {
      let item = try self.item(character)
      items.append(try quantified(item))
    }
    return .sequence(items)
  }

  private mutating func item(_ character: Unicode.Scalar) throws(Pattern.Fault) -> PatternTree {
    at += 1
    switch character {
    case "^": return .beginning
    case "$": return .end
    case ".":
      let breaks: [ClosedRange<UInt32>] = [0x0A...0x0A, 0x0D...0x0D, 0x2028...0x2029]
      return .one(Pattern.CharacterSet(ranges: breaks, isNegated: true))
    case "(": return try group()
    case "[": return .one(try bracket())
    case "\\": return .one(try escape())
    case "*", "+", "?", "{", "}", "]":
      at -= 1
      throw fault("'\(character)' has nothing before it, or needs a '\\'")
    default: return .one(Pattern.CharacterSet(ranges: [character.value...character.value]))
    }
  }

  private mutating func group() throws(Pattern.Fault) -> PatternTree {
    if take("?"), !take(":") { throw fault("only (…) and (?:…) are known groups") }
    depth += 1
    guard depth <= Limits.maxPatternDepth else { throw fault("groups are nested too deep") }
    let inner = try either()
    depth -= 1
    guard take(")") else { throw fault("a '(' is not closed") }
    return inner
  }

  private mutating func quantified(_ item: PatternTree) throws(Pattern.Fault) -> PatternTree {
    var least = 1
    var most: Int? = 1
    switch current {
    case "*": (least, most) = (0, nil)
    case "+": (least, most) = (1, nil)
    case "?": (least, most) = (0, 1)
    case "{":
      at += 1
      least = try count()
      most = take(",") ? (current == "}" ? nil : try count()) : least
      guard current == "}", most.map({ $0 >= least }) ?? true else {
        throw fault("a count is written {n}, {n,} or {n,m}")
      }
    default: return item
    }
    at += 1
    switch item {
    case .beginning, .end: throw fault("'^' and '$' can't be repeated")
    default: break
    }
    if let next = current, next == "*" || next == "+" || next == "?" || next == "{" {
      throw fault("lazy and doubled quantifiers are not known")
    }
    return .repeated(item, least: least, most: most)
  }

  private mutating func count() throws(Pattern.Fault) -> Int {
    var value = 0
    let start = at
    while let digit = current, ("0"..."9").contains(digit) {
      value = value * 10 + Int(digit.value - 48)
      at += 1
      guard value <= Limits.maxPatternStates else { throw fault("a count is too large") }
    }
    guard at > start else { throw fault("a count is written {n}, {n,} or {n,m}") }
    return value
  }

  private mutating func bracket() throws(Pattern.Fault) -> Pattern.CharacterSet {
    var set = Pattern.CharacterSet()
    set.isNegated = take("^")
    while !take("]") {
      guard let low = try member(into: &set) else { continue }
      guard current == "-", at + 1 < characters.count, characters[at + 1] != "]" else {
        set.ranges.append(low...low)
        continue
      }
      at += 1
      guard let high = try member(into: &set), high >= low else { throw fault("a range goes backwards") }
      set.ranges.append(low...high)
    }
    return set
  }

  /// One character of a bracket; nil when it was a class such as \d, which went in already.
  private mutating func member(into set: inout Pattern.CharacterSet) throws(Pattern.Fault) -> UInt32? {
    guard let character = current else { throw fault("a '[' is not closed") }
    at += 1
    guard character == "\\" else { return character.value }
    let escaped = try escape()
    if !escaped.isNegated, escaped.ranges.count == 1, escaped.ranges[0].count == 1 {
      return escaped.ranges[0].lowerBound
    }
    set.ranges += escaped.isNegated ? Self.complement(escaped.ranges) : escaped.ranges
    return nil
  }

  private static func complement(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
    var result: [ClosedRange<UInt32>] = []
    var from: UInt32 = 0
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if range.lowerBound > from { result.append(from...(range.lowerBound - 1)) }
      from = max(from, range.upperBound + 1)
    }
    result.append(from...0x10FFFF)
    return result
  }

  private mutating func escape() throws(Pattern.Fault) -> Pattern.CharacterSet {
    guard let character = current else { throw fault("the pattern ends in a '\\'") }
    at += 1
    let digits: [ClosedRange<UInt32>] = [0x30...0x39]
    let words: [ClosedRange<UInt32>] = [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A]
    let spaces: [ClosedRange<UInt32>] = [
      0x09...0x0D, 0x20...0x20, 0xA0...0xA0, 0x1680...0x1680, 0x2000...0x200A, 0x2028...0x2029, 0x202F...0x202F,
      0x205F...0x205F, 0x3000...0x3000, 0xFEFF...0xFEFF,
    ]
    switch character {
    case "d": return Pattern.CharacterSet(ranges: digits)
    case "D": return Pattern.CharacterSet(ranges: digits, isNegated: true)
    case "w": return Pattern.CharacterSet(ranges: words)
    case "W": return Pattern.CharacterSet(ranges: words, isNegated: true)
    case "s": return Pattern.CharacterSet(ranges: spaces)
    case "S": return Pattern.CharacterSet(ranges: spaces, isNegated: true)
    case "t": return Self.single(0x09)
    case "n": return Self.single(0x0A)
    case "v": return Self.single(0x0B)
    case "f": return Self.single(0x0C)
    case "r": return Self.single(0x0D)
    case "x": return Self.single(try hexadecimal(2))
    case "u": return Self.single(try hexadecimal(4))
    default:
      let isPunctuation = character.isASCII && !character.properties.isAlphabetic && !("0"..."9").contains(character)
      guard isPunctuation else {
        at -= 1
        throw fault("the escape '\\\(character)' is not known")
      }
      return Self.single(character.value)
    }
  }

  private static func single(_ value: UInt32) -> Pattern.CharacterSet { Pattern.CharacterSet(ranges: [value...value]) }

  private mutating func hexadecimal(_ digits: Int) throws(Pattern.Fault) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<digits {
      guard let scalar = current, scalar.isASCII, let digit = Character(scalar).hexDigitValue else {
        throw fault("\(digits) hexadecimal digits should stand")
      }
      value = value << 4 | UInt32(digit)
      at += 1
    }
    return value
  }
}
