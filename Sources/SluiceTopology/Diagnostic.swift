/// One finding about a topology: where, what, what was expected, and what to do.
package struct Diagnostic: Error, Sendable, Equatable {
  package enum Severity: String, Sendable { case error, warning, note }

  package var severity: Severity
  package var position: SourcePosition
  /// What is wrong. Never holds a secret.
  package var message: String
  /// What would be right ("a size such as 64MiB").
  package var expected: String?
  /// The nearest known name.
  package var suggestion: String?
  /// What to do about it.
  package var help: String?
  /// The source line, secrets blanked, and where the caret goes in it (from 1).
  package var excerpt: Excerpt?

  package struct Excerpt: Sendable, Equatable {
    package var line: String
    package var column: Int
    package var length: Int
  }

  package init(
    _ severity: Severity = .error, at position: SourcePosition, _ message: String, expected: String? = nil,
    suggestion: String? = nil, help: String? = nil
  ) {
    self.severity = severity
    self.position = position
    self.message = message
    self.expected = expected
    self.suggestion = suggestion
    self.help = help
  }

  package var file: String { position.file }
  package var line: Int { position.line }
  package var column: Int { position.column }
}
