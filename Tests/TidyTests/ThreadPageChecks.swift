/// What docs/threads-and-locks.md names, and what of the code it does not.
struct ThreadPage {
  /// `Type.lock`, as the first cells of its tables have them; `.lock` is of the type before.
  private var locks: Set<String> = []
  /// First words of threads.
  private var threads: Set<String> = []

  init(_ text: String) {
    for row in text.split(separator: "\n") where row.hasPrefix("| ") {
      var type: Substring = ""
      for match in row.dropFirst(2).prefix(while: { $0 != "|" }).matches(of: #/`(\w*)(\.?)([\w ]*)`/#) {
        if match.2.isEmpty {
          threads.insert(String(match.1))
        } else {
          if !match.1.isEmpty { type = match.1 }
          locks.insert("\(type).\(match.3)")
        }
      }
    }
    // Of threads that are told of in sentences.
    for match in text.matches(of: #/`(\w+)(-?\w*)`/#) { threads.insert(String(match.1)) }
  }

  /// Properties that are locks, by the type whose they are, and names of threads.
  func missing(_ file: String, _ source: SourceText) -> [Finding] {
    var types: [(indent: Int, name: String)] = []
    var findings: [Finding] = []
    for (index, line) in source.codeLines.enumerated() {
      let indent = line.prefix { $0 == " " }.count
      // Looked at by what is cheap first: there are many lines.
      if line.contains("class ") || line.contains("struct ") || line.contains("enum ") || line.contains("extension "),
        let match = line.firstMatch(of: #/\b(?:class|struct|enum|extension) (\w+)/#)
      {
        types.removeAll { $0.indent >= indent }
        if !line.hasSuffix("}") { types.append((indent, String(match.1))) }
      }
      if line.contains("Mutex") || line.contains("Monitor"),
        let match = line.firstMatch(of: #/\blet (\w+)(?:: | = )(?:Mutex|Monitor)\b/#)
      {
        let name = "\(types.last { $0.indent < indent }?.name ?? "").\(match.1)"
        if !locks.contains(name) {
          findings.append(
            Finding(file: file, line: index + 1, message: "docs/threads-and-locks.md has no lock `\(name)`"))
        }
      }
      // The name itself is blank in the code.
      if line.contains("OSThread(") || line.contains("Blocking.run("),
        let match = source.lines[index].firstMatch(of: #/(?:OSThread\((?:name|starting): |Blocking\.run\()"(\w+)/#),
        !threads.contains(String(match.1))
      {
        findings.append(
          Finding(file: file, line: index + 1, message: "docs/threads-and-locks.md has no thread `\(match.1)`"))
      }
    }
    return findings
  }
}
