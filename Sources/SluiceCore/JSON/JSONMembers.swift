// Whether the JSON object in a payload has members of given values: `match.json` of a subscriber. One pass over the
// bytes; nothing is allocated.
//
//   matches  ⇔  the text is one valid JSON object (as `JSONScanner` has it) ∧ for every path: the member that it leads to
//               is there and equals one of the path's values
//   path     names, each of a member of the object before it; it does not lead through arrays
//   equal    strings after unescaping, byte for byte; numbers as numbers, so that 1, 1.0 and 1e0 are equal (whole numbers
//            within Int64 exactly, all others as Double); true, false and null as they are
//
// Of members that repeat the last one counts, as it does for most readers. So nothing is decided before the end.

import Glibc

package struct JSONMembers: Sendable {
  package enum Value: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case string(String)
  }

  package struct Member: Sendable, Equatable {
    /// From the outermost name inwards; 1 to `Limits.maxMatchDepth`.
    package var path: [String]
    /// Alternatives.
    package var values: [Value]

    package init(path: [String], values: [Value]) {
      self.path = path
      self.values = values
    }
  }

  /// One name of one path.
  fileprivate struct Step {
    var depth: Int
    /// The member's bit in all masks.
    var bit: UInt64
    var isLast: Bool
    var name: [UInt8]
  }

  /// One value that a member may have, strings as bytes.
  fileprivate struct Candidate {
    var bit: UInt64
    var value: Value
    var text: [UInt8]
  }

  fileprivate let steps: [Step]
  fileprivate let candidates: [Candidate]
  fileprivate let all: UInt64

  /// At most `Limits.maxMatchMembers`.
  package init(_ members: [Member]) {
    precondition(members.count <= Limits.maxMatchMembers)
    var steps: [Step] = []
    var candidates: [Candidate] = []
    var all: UInt64 = 0
    for (index, member) in members.enumerated() {
      precondition(!member.path.isEmpty && member.path.count <= Limits.maxMatchDepth)
      let bit: UInt64 = 1 << UInt64(index)
      all |= bit
      for (depth, name) in member.path.enumerated() {
        steps.append(
          Step(depth: depth + 1, bit: bit, isLast: depth == member.path.count - 1, name: Array(name.utf8)))
      }
      candidates += member.values.map { value in
        if case .string(let text) = value { return Candidate(bit: bit, value: value, text: Array(text.utf8)) }
        return Candidate(bit: bit, value: value, text: [])
      }
    }
    self.steps = steps
    self.candidates = candidates
    self.all = all
  }

  package func match(_ text: UnsafeRawBufferPointer) -> Bool {
    guard let base = text.baseAddress, !text.isEmpty else { return false }
    var walk = MemberWalk(JSONScanner(base: base, count: text.count, maxDepth: Limits.maxJSONDepth), self)
    do throws(JSONFault) {
      return try walk.run()
    } catch {
      return false
    }
  }
}

/// One text's pass. The grammar is `JSONScanner`'s, whose scalars it uses.
private struct MemberWalk {
  private var text: JSONScanner
  private let wanted: JSONMembers
  /// Members that the last occurrence of their path satisfied.
  private var met: UInt64 = 0
  /// By depth: members whose path led into the object that is open there.
  private var entered = InlineArray<17, UInt64>(repeating: 0)
  private var depth = 0
  /// The bits of the open brackets, 1 = object.
  private var nesting: UInt128 = 0
  /// Members whose path ends with the name that was just read, and those whose path goes on below it.
  private var ending: UInt64 = 0
  private var leading: UInt64 = 0

  init(_ text: JSONScanner, _ wanted: JSONMembers) {
    self.text = text
    self.wanted = wanted
    precondition(entered.count > Limits.maxMatchDepth)
  }

  private enum State { case value, key, afterValue }

  mutating func run() throws(JSONFault) -> Bool {
    text.skipWhiteSpace()
    guard text.at < text.count, text.byte == UInt8(ascii: "{") else { return false }
    leading = wanted.all
    var state = State.value
    while true {
      text.skipWhiteSpace()
      guard text.at < text.count else {
        guard case .afterValue = state, depth == 0 else { throw JSONFault(.unexpectedEnd, text.count) }
        return met == wanted.all
      }
      switch state {
      case .value: state = try value()
      case .key:
        try key()
        state = .value
      case .afterValue: state = try separator()
      }
    }
  }

  private mutating func key() throws(JSONFault) {
    guard text.byte == UInt8(ascii: "\"") else { throw JSONFault(.expectedKey, text.at) }
    text.at += 1
    let from = text.at
    let isEscaped = try text.string()
    let mask = depth <= Limits.maxMatchDepth ? entered[depth] : 0
    if mask != 0 { look(for: mask, name: text.base + from, count: text.at - 1 - from, isEscaped) }
    text.skipWhiteSpace()
    guard text.at < text.count else { throw JSONFault(.unexpectedEnd, text.count) }
    guard text.byte == UInt8(ascii: ":") else { throw JSONFault(.expectedColon, text.at) }
    text.at += 1
  }

  /// Which of the members in `mask` have this name next.
  private mutating func look(for mask: UInt64, name: UnsafeRawPointer, count: Int, _ isEscaped: Bool) {
    for index in wanted.steps.indices where wanted.steps[index].depth == depth && wanted.steps[index].bit & mask != 0 {
      guard wanted.steps[index].name.withUnsafeBytes({ JSONText.spells($0, name, count, isEscaped) }) else { continue }
      if wanted.steps[index].isLast { ending |= wanted.steps[index].bit } else { leading |= wanted.steps[index].bit }
    }
    // This occurrence replaces what an earlier one was.
    met &= ~(ending | leading)
  }

  private mutating func value() throws(JSONFault) -> State {
    let from = text.at
    switch text.byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["): return try open(isObject: text.byte == UInt8(ascii: "{"))
    case UInt8(ascii: "\""):
      text.at += 1
      let isEscaped = try text.string()
      if ending != 0 { compareText(text.base + from + 1, text.at - 2 - from, isEscaped) }
    case UInt8(ascii: "t"):
      try text.literal("true")
      compare { $0 == .bool(true) }
    case UInt8(ascii: "f"):
      try text.literal("false")
      compare { $0 == .bool(false) }
    case UInt8(ascii: "n"):
      try text.literal("null")
      compare { $0 == .null }
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
      try text.number()
      if ending != 0 { compareNumber(UnsafeRawBufferPointer(start: text.base + from, count: text.at - from)) }
    default: throw JSONFault(.expectedValue, from)
    }
    ending = 0
    leading = 0
    return .afterValue
  }

  private mutating func open(isObject: Bool) throws(JSONFault) -> State {
    guard depth < Limits.maxJSONDepth else { throw JSONFault(.tooDeep, text.at) }
    depth += 1
    nesting = nesting << 1 | (isObject ? 1 : 0)
    if depth <= Limits.maxMatchDepth { entered[depth] = isObject ? leading : 0 }
    ending = 0
    leading = 0
    text.at += 1
    text.skipWhiteSpace()
    if text.at < text.count, text.byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
      close()
      return .afterValue
    }
    return isObject ? .key : .value
  }

  private mutating func close() {
    text.at += 1
    depth -= 1
    nesting >>= 1
  }

  private mutating func separator() throws(JSONFault) -> State {
    guard depth > 0 else { throw JSONFault(.trailingBytes, text.at) }
    let inObject = nesting & 1 == 1
    if text.byte == UInt8(ascii: ",") {
      text.at += 1
      return inObject ? .key : .value
    }
    guard text.byte == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
      throw JSONFault(inObject ? .expectedCommaOrBrace : .expectedCommaOrBracket, text.at)
    }
    close()
    return .afterValue
  }

  // MARK: Values

  private mutating func compare(_ equals: (JSONMembers.Value) -> Bool) {
    guard ending != 0 else { return }
    for index in wanted.candidates.indices where wanted.candidates[index].bit & ending != 0 {
      if equals(wanted.candidates[index].value) { met |= wanted.candidates[index].bit }
    }
  }

  private mutating func compareText(_ start: UnsafeRawPointer, _ count: Int, _ isEscaped: Bool) {
    for index in wanted.candidates.indices where wanted.candidates[index].bit & ending != 0 {
      guard case .string = wanted.candidates[index].value else { continue }
      if wanted.candidates[index].text.withUnsafeBytes({ JSONText.spells($0, start, count, isEscaped) }) {
        met |= wanted.candidates[index].bit
      }
    }
  }

  private mutating func compareNumber(_ digits: UnsafeRawBufferPointer) {
    guard digits.count <= Limits.maxMatchNumberBytes else { return }
    let whole = JSONText.integer(digits)
    let value = JSONText.double(digits)
    compare { candidate in
      switch candidate {
      case .integer(let expected): whole.map { $0 == expected } ?? (value == Double(expected))
      case .double(let expected): value == expected
      default: false
      }
    }
  }
}

/// Strings and numbers of a JSON text that is known to be valid.
private enum JSONText {
  /// Whether the text between two quotes is `wanted`, unescaped.
  static func spells(
    _ wanted: UnsafeRawBufferPointer, _ text: UnsafeRawPointer, _ count: Int, _ isEscaped: Bool
  ) -> Bool {
    guard isEscaped else {
      guard let start = wanted.baseAddress, count == wanted.count else { return count == wanted.count }
      return memcmp(start, text, count) == 0
    }
    var at = 0
    var matched = 0
    while at < count {
      let byte = text.load(fromByteOffset: at, as: UInt8.self)
      if byte == UInt8(ascii: "\\") {
        guard let length = compare(scalar(text, &at), wanted, matched) else { return false }
        matched += length
      } else {
        guard matched < wanted.count, wanted[matched] == byte else { return false }
        at += 1
        matched += 1
      }
    }
    return matched == wanted.count
  }

  /// The character that the escape at `at` stands for.
  private static func scalar(_ text: UnsafeRawPointer, _ at: inout Int) -> UInt32 {
    let kind = text.load(fromByteOffset: at + 1, as: UInt8.self)
    at += 2
    switch kind {
    case UInt8(ascii: "b"): return 8
    case UInt8(ascii: "f"): return 12
    case UInt8(ascii: "n"): return 10
    case UInt8(ascii: "r"): return 13
    case UInt8(ascii: "t"): return 9
    case UInt8(ascii: "u"):
      let high = unit(text, at)
      at += 4
      guard high & 0xFC00 == 0xD800 else { return high }
      // Valid text has the other half right behind it.
      let low = unit(text, at + 2)
      at += 6
      return 0x1_0000 + ((high & 0x3FF) << 10 | low & 0x3FF)
    default: return UInt32(kind)
    }
  }

  private static func unit(_ text: UnsafeRawPointer, _ at: Int) -> UInt32 {
    var unit: UInt32 = 0
    for digit in 0..<4 {
      unit = unit << 4 | (JSONScanner.hexDigit(text.load(fromByteOffset: at + digit, as: UInt8.self)) ?? 0)
    }
    return unit
  }

  /// How many bytes of `wanted` at `offset` are this character's; nil if they are another's.
  private static func compare(_ scalar: UInt32, _ wanted: UnsafeRawBufferPointer, _ offset: Int) -> Int? {
    guard let character = Unicode.Scalar(scalar), let encoded = UTF8.encode(character) else { return nil }
    var length = 0
    for byte in encoded {
      guard offset + length < wanted.count, wanted[offset + length] == byte else { return nil }
      length += 1
    }
    return length
  }

  /// The value of a number without fraction and exponent that fits.
  static func integer(_ digits: UnsafeRawBufferPointer) -> Int64? {
    let isNegative = digits.first == UInt8(ascii: "-")
    var value: Int64 = 0
    for index in (isNegative ? 1 : 0)..<digits.count {
      let digit = digits[index] &- UInt8(ascii: "0")
      guard digit < 10 else { return nil }
      let (tens, isTooLarge) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflows) = tens.subtractingReportingOverflow(Int64(digit))
      guard !isTooLarge, !overflows else { return nil }
      value = sum
    }
    // Counted downwards, because there is one more number below zero.
    if isNegative { return value }
    return value == .min ? nil : -value
  }

  static func double(_ digits: UnsafeRawBufferPointer) -> Double {
    withUnsafeTemporaryAllocation(byteCount: Limits.maxMatchNumberBytes + 1, alignment: 1) { buffer in
      buffer.copyMemory(from: digits)
      buffer[digits.count] = 0
      return buffer.withMemoryRebound(to: CChar.self) { text in text.baseAddress.map { strtod($0, nil) } ?? .nan }
    }
  }
}
