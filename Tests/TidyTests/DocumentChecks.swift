// What pages claim of the tree, as functions like those of TidyChecks.

extension TidyChecks {
  /// The tests of a file, as `Suite.test`, where the file has its suite's name.
  static func tests(_ file: String, _ source: SourceText) -> [String] {
    let suite = file.split(separator: "/").last.map { $0.prefix { $0 != "." } } ?? ""
    var isTest = false
    return source.codeLines.compactMap { line in
      isTest = isTest || line.contains("@Test")
      guard isTest, let match = line.firstMatch(of: #/\bfunc ([A-Za-z_0-9]+)/#) else { return nil }
      isTest = false
      return "\(suite).\(match.1)"
    }
  }

  /// Rows of the tables with a last column `test` that name no test, or one that there is not; and how many rows there are.
  static func testedRows(_ file: String, _ lines: [String], known: Set<String>) -> (rows: Int, findings: [Finding]) {
    var rows = 0
    var findings: [Finding] = []
    for (index, line) in rowsUnder(lastTitle: "test", lines) {
      rows += 1
      let names = line.last?.matches(of: #/`([A-Za-z_0-9]+\.[A-Za-z_0-9]+)`/#).map { String($0.1) } ?? []
      for name in names where !known.contains(name) {
        findings.append(Finding(file: file, line: index, message: "there is no test \(name)"))
      }
      if names.isEmpty { findings.append(Finding(file: file, line: index, message: "name the test, as `Suite.test`")) }
    }
    return (rows, findings)
  }

  /// Rows of the tables with a last column that begins with `since` or `served since` that name a later version than the
  /// sources have.
  static func versions(_ file: String, _ lines: [String], current: String) -> [Finding] {
    func numbers(_ version: Substring) -> [Int] { version.split(separator: ".").prefix(2).compactMap { Int($0) } }
    let now = numbers(current[...])
    let rows = rowsUnder(lastTitle: "since", lines) + rowsUnder(lastTitle: "served since", lines)
    return rows.flatMap { index, cells in
      (cells.last ?? "").matches(of: #/\b[0-9]+\.[0-9]+\b/#).filter {
        now.lexicographicallyPrecedes(numbers($0.output))
      }
      .map { Finding(file: file, line: index, message: "version \($0.output) is not there yet: this is \(current)") }
    }
  }

  /// The rows, with their line numbers, of each table whose last title begins so.
  private static func rowsUnder(lastTitle: String, _ lines: [String]) -> [(Int, [String])] {
    var isWanted = false
    var rows: [(Int, [String])] = []
    for (index, line) in lines.enumerated() {
      guard line.hasPrefix("|") else {
        isWanted = false
        continue
      }
      let cells = line.split(separator: "|").map { $0.trimmingBlanks }
      let isRule = cells.allSatisfy { $0.allSatisfy { $0 == "-" || $0 == ":" } }
      if isWanted, !isRule { rows.append((index + 1, cells)) }
      if !isWanted, !isRule { isWanted = cells.last?.hasPrefix(lastTitle) == true }
    }
    return rows
  }
}

extension Substring {
  fileprivate var trimmingBlanks: String { String(String(drop { $0 == " " }.reversed()).drop { $0 == " " }.reversed()) }
}
