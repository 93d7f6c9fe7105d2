/// A place in a topology file.
package struct SourcePosition: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// The path as the user gave it (an included file: as reached from there).
  package var file: String
  /// From 1.
  package var line: Int
  /// From 1, in characters (Unicode scalars); a tab is one.
  package var column: Int
  /// Characters of the token on this line, at least 1.
  package var length: Int

  package init(file: String, line: Int, column: Int, length: Int = 1) {
    self.file = file
    self.line = line
    self.column = column
    self.length = max(1, length)
  }

  package var description: String { "\(file):\(line):\(column)" }

  package static func < (left: SourcePosition, right: SourcePosition) -> Bool {
    (left.file, left.line, left.column) < (right.file, right.line, right.column)
  }
}

/// A value that two otherwise equal settings may differ in without being different: where something stands in a file
/// is not what it says. The topology's diff relies on it.
package struct Unequated<Value: Sendable>: Sendable, Equatable {
  package var value: Value
  package init(_ value: Value) { self.value = value }
  package static func == (left: Unequated, right: Unequated) -> Bool { true }
}
