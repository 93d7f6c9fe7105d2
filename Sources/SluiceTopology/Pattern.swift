import SluiceCore

/// The regular expressions of a schema's `pattern`: a subset of ECMA-262's, found anywhere in the text unless anchored.
///
///     x  \.           the character itself          .        any character but line breaks
///     [a-z_] [^0-9]   one of these, none of these   \d \w \s and \D \W \S, in brackets too
///     \t \n \r \f \v \xHH \uHHHH                    ^ $      beginning and end of the text
///     (…) (?:…)       group                         a|b      either
///     * + ? {n} {n,} {n,m}                          as often
///
/// There is nothing else: no back references, no look-around, no lazy quantifiers, no flags. Matching follows all
/// possibilities at once (Thompson's construction), so that its time is at most text length × states, both bounded
/// (`Limits.maxPatternTextBytes`, `Limits.maxPatternStates`): no pattern makes it explode.
struct Pattern: Sendable {
  struct Fault: Error {
    var message: String
  }

  /// A set of characters.
  struct CharacterSet: Sendable {
    var ranges: [ClosedRange<UInt32>] = []
    var isNegated = false

    func contains(_ value: UInt32) -> Bool { ranges.contains { $0.contains(value) } != isNegated }
  }

  enum Instruction: Sendable {
    case one(Int)
    case split(Int, Int)
    case jump(Int)
    case beginning
    case end
    case matched
  }

  let text: String
  private let program: [Instruction]
  private let sets: [CharacterSet]

  init(_ text: String) throws(Fault) {
    var parser = PatternParser(text)
    var compiler = PatternCompiler()
    let tree = try parser.parse()
    try compiler.emit(tree)
    self.text = text
    program = compiler.program + [.matched]
    sets = compiler.sets
  }

  /// Whether the pattern is found in `subject`.
  func isFound(in subject: String) -> Bool {
    let characters = Array(subject.unicodeScalars)
    var current: [Int] = []
    var next: [Int] = []
    var marks = [Int](repeating: -1, count: program.count)
    for position in 0...characters.count {
      // A match may begin here, too.
      add(0, to: &current, marks: &marks, position, characters.count)
      if current.contains(where: { if case .matched = program[$0] { true } else { false } }) { return true }
      guard position < characters.count else { break }
      let value = characters[position].value
      for state in current {
        guard case .one(let set) = program[state], sets[set].contains(value) else { continue }
        add(state + 1, to: &next, marks: &marks, position + 1, characters.count)
      }
      swap(&current, &next)
      next.removeAll(keepingCapacity: true)
    }
    return false
  }

  /// Adds a state and all that it leads to without a character. `marks` holds where each state was last added.
  private func add(_ first: Int, to states: inout [Int], marks: inout [Int], _ position: Int, _ count: Int) {
    var open = [first]
    while let state = open.popLast() {
      guard marks[state] != position else { continue }
      marks[state] = position
      switch program[state] {
      case .jump(let target): open.append(target)
      case .split(let left, let right): open += [right, left]
      case .beginning: if position == 0 { open.append(state + 1) }
      case .end: if position == count { open.append(state + 1) }
      case .one, .matched: states.append(state)
      }
    }
  }
}

/// A parsed pattern.
indirect enum PatternTree {
  case empty
  case one(Pattern.CharacterSet)
  case beginning
  case end
  case sequence([PatternTree])
  case either([PatternTree])
  case repeated(PatternTree, least: Int, most: Int?)
}

/// Tree → states. Repetitions are copied out; work is counted, so that nested counts can't run away.
private struct PatternCompiler {
  var program: [Pattern.Instruction] = []
  var sets: [Pattern.CharacterSet] = []
  private var work = 0

  mutating func emit(_ tree: PatternTree) throws(Pattern.Fault) {
    work += 1
    guard work <= 4 * Limits.maxPatternStates, program.count < Limits.maxPatternStates else {
      throw Pattern.Fault(message: "needs more than \(Limits.maxPatternStates) states")
    }
    switch tree {
    case .empty: break
    case .one(let set):
      sets.append(set)
      program.append(.one(sets.count - 1))
    case .beginning: program.append(.beginning)
    case .end: program.append(.end)
    case .sequence(let items): for item in items { try emit(item) }
    case .either(let branches):
      var ends: [Int] = []
      for (index, branch) in branches.enumerated() {
        let split = program.count
        if index < branches.count - 1 { program.append(.split(split + 1, 0)) }
        try emit(branch)
        guard index < branches.count - 1 else { break }
        ends.append(program.count)
        program.append(.jump(0))
        program[split] = .split(split + 1, program.count)
      }
      for end in ends { program[end] = .jump(program.count) }
    case .repeated(let body, let least, let most):
      for _ in 0..<least { try emit(body) }
      guard let most else { return try emitStar(body) }
      var splits: [Int] = []
      for _ in least..<most {
        splits.append(program.count)
        program.append(.split(program.count + 1, 0))
        try emit(body)
      }
      for split in splits { program[split] = .split(split + 1, program.count) }
    }
  }

  private mutating func emitStar(_ body: PatternTree) throws(Pattern.Fault) {
    let split = program.count
    program.append(.split(split + 1, 0))
    try emit(body)
    program.append(.jump(split))
    program[split] = .split(split + 1, program.count)
  }
}
