/// The lines of every file that was read, and where secrets stand in them, so that diagnostics can show a line and
/// never a secret.
package struct SourceTexts: Sendable {
  private var lines: [String: [String]] = [:]
  private var secrets: [String: [SourcePosition]] = [:]

  package init() {}

  /// Shows the line that a diagnostic is about.
  package func illustrated(_ diagnostic: Diagnostic) -> Diagnostic { diagnostic }
}
