import SluiceCore

/// Collects what one load finds, up to `Limits.maxDiagnostics`, and the texts to show it with.
final class DiagnosticSink {
  var texts = SourceTexts()
  private var found: [Diagnostic] = []
  private var suppressed = 0
  /// Those that are not shown included.
  private(set) var errorCount = 0
  var hasErrors: Bool { errorCount > 0 }
  /// Values that are wrong already, where a second error would only be an echo of the first.
  private var broken: Set<SourcePosition> = []

  func add(_ diagnostic: Diagnostic) {
    if diagnostic.severity == .error { errorCount += 1 }
    // What stands under an anchor is seen once per alias, and found wrong once.
    if found.contains(diagnostic) || broken.contains(diagnostic.position) { return }
    if found.count < Limits.maxDiagnostics { found.append(diagnostic) } else { suppressed += 1 }
  }

  func hasError(at position: SourcePosition) -> Bool {
    found.contains { $0.severity == .error && $0.position == position }
  }

  func silence(_ position: SourcePosition) { broken.insert(position) }

  func error(
    at position: SourcePosition, _ message: String, expected: String? = nil, suggestion: String? = nil,
    help: String? = nil
  ) {
    add(Diagnostic(.error, at: position, message, expected: expected, suggestion: suggestion, help: help))
  }

  func warning(at position: SourcePosition, _ message: String, suggestion: String? = nil, help: String? = nil) {
    add(Diagnostic(.warning, at: position, message, suggestion: suggestion, help: help))
  }

  /// Everything by position, with its lines. Made last, when all secrets are known.
  func sorted() -> [Diagnostic] {
    let texts = self.texts
    var all = found.enumerated().sorted { left, right in
      if texts.precedes(left.element.position, right.element.position) { return true }
      if texts.precedes(right.element.position, left.element.position) { return false }
      return left.offset < right.offset
    }.map { texts.illustrated($0.element) }
    if suppressed > 0, let last = all.last {
      all.append(Diagnostic(.note, at: last.position, "\(suppressed) more findings are not shown"))
    }
    return all
  }
}
