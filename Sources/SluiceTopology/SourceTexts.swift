/// The lines of every file that was read, and where secrets stand in them, so that a diagnostic can show its line and
/// never a secret.
package struct SourceTexts: Sendable {
  /// From the first character up to, not including, the one at `endColumn` of `endLine`; both from 1.
  struct Span: Sendable {
    var line: Int
    var column: Int
    var endLine: Int
    var endColumn: Int
  }

  /// Characters of a line that an excerpt shows.
  private static let maxExcerpt = 160
  private static let blank = "***"

  private var lines: [String: [String]] = [:]
  private var order: [String: Int] = [:]
  private var secrets: [String: [Span]] = [:]

  package init() {}

  /// Keeps the lines of `file`. Breaks are those of YAML, so that line numbers agree with the parser's.
  mutating func add(_ file: String, text: String) {
    var found: [String] = []
    var current = String.UnicodeScalarView()
    var afterReturn = false
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n" where afterReturn: afterReturn = false
      case "\r", "\n", "\u{85}", "\u{2028}", "\u{2029}":
        found.append(String(current))
        current = String.UnicodeScalarView()
        afterReturn = scalar == "\r"
      default:
        current.append(scalar)
        afterReturn = false
      }
    }
    found.append(String(current))
    if found[0].unicodeScalars.first == "\u{FEFF}" { found[0].unicodeScalars.removeFirst() }
    lines[file] = found
    if order[file] == nil { order[file] = order.count }
  }

  mutating func markSecret(_ span: Span, in file: String) { secrets[file, default: []].append(span) }

  /// The line's text, without its break.
  func line(_ number: Int, of file: String) -> String? {
    guard let all = lines[file], number >= 1, number <= all.count else { return nil }
    return all[number - 1]
  }

  /// Files in the order they were read, then lines, then columns.
  func precedes(_ left: SourcePosition, _ right: SourcePosition) -> Bool {
    let files = (order[left.file] ?? Int.max, order[right.file] ?? Int.max)
    return files.0 == files.1 ? left < right : files.0 < files.1
  }

  /// Shows the line that a diagnostic is about.
  package func illustrated(_ diagnostic: Diagnostic) -> Diagnostic {
    let place = diagnostic.position
    guard let text = line(place.line, of: place.file) else { return diagnostic }
    var result = diagnostic
    result.excerpt = excerpt(of: text, at: place)
    return result
  }

  private func excerpt(of text: String, at place: SourcePosition) -> Diagnostic.Excerpt {
    let spans = (secrets[place.file] ?? []).filter { $0.line <= place.line && place.line <= $0.endLine }
    var shown: [Unicode.Scalar] = []
    var first: Int?
    var last = 0
    var blanked = false
    var column = 0
    for scalar in text.unicodeScalars {
      column += 1
      let isSecret = spans.contains { span in
        (span.line < place.line || span.column <= column) && (place.line < span.endLine || column < span.endColumn)
      }
      if isSecret {
        if !blanked { shown.append(contentsOf: Self.blank.unicodeScalars) }
      } else {
        shown.append(Self.printable(scalar))
      }
      let start = isSecret ? shown.count - Self.blank.unicodeScalars.count : shown.count - 1
      blanked = isSecret
      if column >= place.column && column < place.column + place.length {
        if first == nil { first = start }
        last = shown.count
      }
    }
    let from = first ?? shown.count
    return Self.window(shown, from: from, to: max(last, from + 1))
  }

  /// What of a long line is shown: the part around the caret.
  private static func window(_ shown: [Unicode.Scalar], from: Int, to: Int) -> Diagnostic.Excerpt {
    var view = String.UnicodeScalarView()
    guard shown.count > maxExcerpt else {
      view.append(contentsOf: shown)
      return Diagnostic.Excerpt(line: String(view), column: from + 1, length: to - from)
    }
    let start = max(0, min(from - maxExcerpt / 2, shown.count - maxExcerpt))
    let end = min(shown.count, start + maxExcerpt)
    if start > 0 { view.append("…") }
    view.append(contentsOf: shown[start..<end])
    if end < shown.count { view.append("…") }
    let column = from - start + (start > 0 ? 1 : 0)
    return Diagnostic.Excerpt(line: String(view), column: column + 1, length: max(1, min(to, end) - from))
  }

  /// Control characters never reach a terminal; a tab becomes one space, so that the caret stays under its token.
  private static func printable(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
    if scalar == "\t" { return " " }
    return scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format
      ? "\u{FFFD}" : scalar
  }
}
