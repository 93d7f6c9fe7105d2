extension Diagnostic {
  /// The diagnostic as a person reads it:
  ///
  ///     etc/sluice.yaml:12:5: error: unknown key 'durabilty' in streams.events
  ///        12 |     durabilty: fsync
  ///           |     ^~~~~~~~~
  ///           = did you mean 'durability'?
  package func rendered(colour: Bool = false) -> String {
    let paint = Paint(on: colour)
    var text = paint.bold("\(position):") + " " + paint.severity(severity) + " " + paint.bold(message)
    let number = "\(line)"
    let width = max(5, number.utf8.count + 1)
    let gutter = String(repeating: " ", count: width)
    if let excerpt {
      text += "\n" + String(repeating: " ", count: width - number.utf8.count) + number + " | " + excerpt.line
      let marks = "^" + String(repeating: "~", count: max(0, excerpt.length - 1))
      text += "\n\(gutter) | " + String(repeating: " ", count: max(0, excerpt.column - 1)) + paint.caret(marks)
    }
    if let expected { text += "\n\(gutter) = expected: \(expected)" }
    if let suggestion { text += "\n\(gutter) = did you mean '\(suggestion)'?" }
    if let help { text += "\n\(gutter) = help: \(help)" }
    return text
  }

  /// All of them, a blank line between two.
  package static func rendered(_ diagnostics: [Diagnostic], colour: Bool = false) -> String {
    diagnostics.map { $0.rendered(colour: colour) }.joined(separator: "\n\n")
  }

  private struct Paint {
    let on: Bool
    init(on: Bool) { self.on = on }

    func bold(_ text: String) -> String { wrap(text, "1") }
    func caret(_ text: String) -> String { wrap(text, "1;32") }
    func severity(_ severity: Severity) -> String {
      let code =
        switch severity {
        case .error: "1;31"
        case .warning: "1;33"
        case .note: "1;36"
        }
      return wrap(severity.rawValue + ":", code)
    }
    private func wrap(_ text: String, _ code: String) -> String { on ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text }
  }
}

/// A piece of a file in quotes, fit for a message: no control characters, not too long.
func quoted(_ text: String, limit: Int = 60) -> String {
  var shown = String.UnicodeScalarView()
  for (index, scalar) in text.unicodeScalars.enumerated() {
    if index == limit {
      shown.append("…")
      break
    }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: shown.append("\u{FFFD}")
    default: shown.append(scalar)
    }
  }
  return "'\(String(shown))'"
}
