// The checks, as functions from a file's name and text to what is untidy in it. They read nothing themselves, so that
// `TidySelfTests` can show each of them something bad.

enum TidyChecks {
  /// Imports outside the table.
  static func imports(_ file: String, _ source: SourceText) -> [Finding] {
    let row = TidyTables.imports.filter { file.hasPrefix($0.directory) }.max { $0.directory.count < $1.directory.count }
    return source.codeLines.enumerated().compactMap { index, line in
      guard let module = importedModule(line) else { return nil }
      guard let row else {
        return Finding(
          file: file, line: index + 1,
          message: "no row in the import table covers this directory: add one to TidyTables.imports")
      }
      guard !row.modules.contains(module) else { return nil }
      return Finding(
        file: file, line: index + 1,
        message: "\(row.directory) may not import \(module), only \(row.modules.sorted().joined(separator: ", "))")
    }
  }

  /// The module that a line of code imports.
  static func importedModule(_ line: String) -> String? {
    var words = line.split(separator: " ").map(String.init)
    guard let at = words.firstIndex(of: "import") else { return nil }
    let modifiers: Set<String> = ["public", "package", "internal", "fileprivate", "private"]
    guard words[..<at].allSatisfy({ $0.hasPrefix("@") || modifiers.contains($0) }) else { return nil }
    words.removeFirst(at + 1)
    let kinds: Set<String> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
    if let first = words.first, kinds.contains(first) { words.removeFirst() }
    return words.first.map { String($0.prefix { $0 != "." && $0 != ";" }) }
  }

  /// System headers that a C directory may not include.
  static func includes(_ file: String, _ source: SourceText) -> [Finding] {
    guard let row = TidyTables.includes.first(where: { file.hasPrefix($0.directory) }) else { return [] }
    return source.codeLines.enumerated().compactMap { index, line in
      guard let match = line.firstMatch(of: #/^\s*#\s*include\s*<([^>]+)>/#), !row.headers.contains(String(match.1))
      else { return nil }
      return Finding(
        file: file, line: index + 1,
        message: "\(row.directory) includes only \(row.headers.sorted().joined(separator: ", ")), not \(match.1)")
    }
  }

  /// The file's own length, unless it is excepted.
  static func length(_ file: String, _ source: SourceText, exceptions: [String: String]) -> [Finding] {
    let count = source.lines.count - (source.lines.last == "" ? 1 : 0)
    guard count > TidyTables.maxFileLines, exceptions[file] == nil else { return [] }
    return [
      Finding(
        file: file, line: count,
        message: "\(count) lines, the limit is \(TidyTables.maxFileLines): split it by idea, "
          + "or give the reason in Tests/tidy-exceptions")
    ]
  }

  static func functionLengths(_ file: String, _ source: SourceText) -> [Finding] {
    let functions = file.hasSuffix(".swift") ? source.swiftFunctions() : source.cFunctions()
    return functions.filter { $0.length > TidyTables.maxFunctionLines }.map {
      Finding(
        file: file, line: $0.line,
        message: "\($0.name) has \($0.length) lines, the limit is \(TidyTables.maxFunctionLines): split it")
    }
  }

  /// Words that say that something is left to do.
  static func unfinished(_ file: String, _ lines: [String]) -> [Finding] {
    findings(file, lines) { line in
      let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
      return TidyTables.unfinished.first { words.contains(Substring($0)) }.map {
        "\($0): finish it or say what is true now"
      }
    }
  }

  static func machinePaths(_ file: String, _ lines: [String]) -> [Finding] {
    findings(file, lines) {
      $0.contains(TidyTables.machinePath) ? "an absolute path of one machine: make it relative to the checkout" : nil
    }
  }

  /// URLs with a host that is not in the table.
  static func hosts(_ file: String, _ lines: [String]) -> [Finding] {
    findings(file, lines) { line in
      for match in line.matches(of: #/https?:\/\/([A-Za-z0-9.-]+)/#) {
        let host = match.1.lowercased()
        let isNumber = host.allSatisfy { $0.isNumber || $0 == "." }
        let isExample = TidyTables.exampleHosts.contains { host == $0 || host.hasSuffix($0) }
        // A bare word is the name of a container or a placeholder.
        guard host.contains("."), !isNumber, !isExample, !TidyTables.hosts.contains(host) else { continue }
        return "names the host \(host): if it is a public document, add it to TidyTables.hosts"
      }
      return nil
    }
  }

  /// Relative links of a page to files that are not there.
  static func links(_ file: String, _ lines: [String], exists: (String) -> Bool) -> [Finding] {
    let folder = file.split(separator: "/").dropLast().joined(separator: "/")
    return findings(file, lines) { line in
      for match in line.matches(of: #/\]\(([^)#:\s]+)(#[^)]*)?\)/#) {
        let target = folder.isEmpty ? String(match.1) : "\(folder)/\(match.1)"
        if !exists(target) { return "links to \(match.1), which is not there" }
      }
      return nil
    }
  }

  /// Names that say nothing about what is inside.
  static func drawers(_ file: String) -> [Finding] {
    let drawer = "Uti" + "l"
    guard file.contains(drawer) || file.contains(drawer.lowercased() + "s") else { return [] }
    return [Finding(file: file, line: 1, message: "a drawer: name the file after what it holds")]
  }

  /// Tests wait for events, never for time to pass.
  static func sleeps(_ file: String, _ source: SourceText) -> [Finding] {
    findings(file, source.codeLines) {
      $0.contains(#/(^|[^A-Za-z0-9_])(u|nano)?sleep\s*\(/#)
        ? "a test that sleeps: wait for the event itself, with a deadline" : nil
    }
  }

  /// Of a time limit the test's wait for a thread is counted too: they all begin together. Each wait has a deadline of its own,
  /// and the whole run has one.
  static func timeLimits(_ file: String, _ source: SourceText) -> [Finding] {
    findings(file, source.codeLines) {
      $0.contains(".time" + "Limit(") ? "a time limit, which a busy machine uses up before the test runs" : nil
    }
  }

  /// Each `@unchecked Sendable` stands under a comment that says why it is sound.
  static func uncheckedSendable(_ file: String, _ source: SourceText) -> [Finding] {
    source.codeLines.enumerated().compactMap { index, line in
      guard line.contains("@unchecked Sendable") else { return nil }
      var above = index - 1
      var comment = ""
      while above >= 0 {
        let text = source.lines[above].drop { $0 == " " }
        if text.hasPrefix("//") { comment += text } else if !text.hasPrefix("@") { break }
        above -= 1
      }
      guard !comment.contains("Sendable") else { return nil }
      return Finding(
        file: file, line: index + 1,
        message: "@unchecked Sendable without its proof: say in the comment above why it is Sendable")
    }
  }

  /// Secrets, and what proves them, that are compared by something that ends at the first difference.
  static func comparisons(_ file: String, _ source: SourceText) -> [Finding] {
    guard file != TidyTables.constantTime else { return [] }
    let name =
      #/(?i)[\w.]*(storedKey|serverKey|clientKey|sessionKey|signature|proof|tag|digest|secret|credential|certificateSHA256)\b/#
    return findings(file, source.codeLines) { line in
      for match in line.matches(of: name) {
        let before = line[..<match.range.lowerBound]
        let after = line[match.range.upperBound...]
        if after.contains(#/^[?!)\s]*?([=!]=(?!\s*nil\b)|\.elementsEqual)/#) || before.contains(#/[=!]=\s*\(?$/#)
          || before.contains(#/(memcmp|elementsEqual)\s*\(/#)
        {
          return "compares \(match.0) in a time that tells where it differs: use ConstantTime"
        }
      }
      return nil
    }
  }

  static func testingOnly(_ file: String, _ source: SourceText) -> [Finding] {
    findings(file, source.codeLines) { importedModule($0) == "XCTest" ? "tests use Swift Testing only" : nil }
  }

  /// Tests that may not run: `file<TAB>name` of what follows each `.disabled(` or `.enabled(`.
  static func skips(_ file: String, _ source: SourceText) -> [(line: Int, key: String)] {
    let lines = source.codeLines
    var found: [(Int, String)] = []
    for (index, line) in lines.enumerated() where line.contains(#/\.(disabled|enabled)\s*\(/#) {
      let names = lines[index...].prefix(20).compactMap {
        $0.firstMatch(of: #/(?:^|[^A-Za-z0-9_])(?:func|struct|class|enum|actor|extension)\s+([A-Za-z_0-9]+)/#).map {
          String($0.1)
        }
      }
      found.append((index + 1, "\(file)\t\(names.first ?? "?")"))
    }
    return found
  }

  private static func findings(_ file: String, _ lines: [String], _ check: (String) -> String?) -> [Finding] {
    lines.enumerated().compactMap { index, line in
      check(line).map { Finding(file: file, line: index + 1, message: $0) }
    }
  }
}

/// A file of `key<TAB>reason` or `key<TAB>name<TAB>reason` lines; `#` begins a comment.
struct ReasonList {
  private(set) var entries: [String: String] = [:]
  private(set) var malformed: [Int] = []

  init(_ text: String) {
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      guard !line.isEmpty, !line.hasPrefix("#") else { continue }
      guard let tab = line.lastIndex(of: "\t"), tab != line.startIndex, line.index(after: tab) != line.endIndex else {
        malformed.append(index + 1)
        continue
      }
      entries[String(line[..<tab])] = String(line[line.index(after: tab)...])
    }
  }
}
