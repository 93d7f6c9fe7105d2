import TestSupport
import Testing

/// The house rules, enforced on the tree that this test was built from.
struct TidyTests {
  private static let cExtensions = [".c", ".h"]

  private func check(_ findings: [Finding]) {
    for finding in findings { Issue.record(Comment(rawValue: finding.description)) }
  }

  /// Every Swift and C file of the tree with its code.
  private func sources(under directories: [String], _ suffixes: [String]) throws -> [(String, SourceText)] {
    try SourceTree.files().compactMap { file in
      guard directories.contains(where: { file.hasPrefix($0) }), suffixes.contains(where: { file.hasSuffix($0) }),
        let text = SourceTree.text(file)
      else { return nil }
      return (file, SourceText(text, isC: !file.hasSuffix(".swift")))
    }
  }

  private func textFiles() throws -> [(String, [String])] {
    try SourceTree.files().compactMap { file in
      SourceTree.text(file).map {
        (file, $0.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
      }
    }
  }

  @Test func everyTargetImportsOnlyWhatTheImportTableAllows() throws {
    let swift = try sources(under: ["Sources/", "Plugins/"], [".swift"])
    #expect(!swift.isEmpty)
    check(swift.flatMap { TidyChecks.imports($0.0, $0.1) })
    check(try sources(under: ["Sources/"], Self.cExtensions).flatMap { TidyChecks.includes($0.0, $0.1) })
  }

  @Test func noFileIsLongerThanTheLimitUnlessExceptedWithAReason() throws {
    let path = "Tests/tidy-exceptions"
    let list = ReasonList(try #require(SourceTree.text(path)))
    for line in list.malformed {
      Issue.record("\(path):\(line): write the path, a tab and the reason")
    }
    let suffixes = TidyTables.sourceExtensions.map { "." + $0 }
    let files = try sources(under: TidyTables.sourceDirectories, suffixes)
    check(files.flatMap { TidyChecks.length($0.0, $0.1, exceptions: list.entries) })
    let long = Set(files.filter { !TidyChecks.length($0.0, $0.1, exceptions: [:]).isEmpty }.map(\.0))
    for file in Set(list.entries.keys).subtracting(long) {
      Issue.record("\(path): \(file) needs no exception: delete its line")
    }
  }

  @Test func eachClientLibraryIsOneFileWithinTheLimitAndAHeader() throws {
    let folder = "examples/clients/"
    for (language, files) in [("c", ["sluice_client.c", "sluice_client.h"]), ("python", ["sluice_client.py"])] {
      let found = try sources(under: [folder + language + "/"], [".c", ".h", ".py"]).filter {
        !$0.0.hasSuffix("/send_lines.c") && !$0.0.hasSuffix("/send_lines.py")
      }
      #expect(found.map(\.0) == files.map { "\(folder)\(language)/\($0)" })
      check(found.flatMap { TidyChecks.length($0.0, $0.1, exceptions: [:]) })
      let count = found.reduce(0) { $0 + $1.1.lines.count - ($1.1.lines.last == "" ? 1 : 0) }
      let most = try #require(TidyTables.maxClientLines[language])
      #expect(count <= most, "the client in \(language) has \(count) lines")
    }
  }

  @Test func eachAttackOfTheThreatModelHasItsTest() throws {
    let known = try sources(under: ["Tests/"], [".swift"]).flatMap { TidyChecks.tests($0.0, $0.1) }
    let page = "docs/threat-model.md"
    let lines = try #require(SourceTree.text(page)).split(separator: "\n", omittingEmptySubsequences: false)
    let (rows, findings) = TidyChecks.testedRows(page, lines.map(String.init), known: Set(known))
    check(findings)
    #expect(rows >= 20)
  }

  @Test func noPageNamesALaterVersionThanTheSources() throws {
    let sources = try #require(SourceTree.text("Sources/sluice/Sluice.swift"))
    let version = try #require(sources.firstMatch(of: #/static let text = "([0-9.]+)"/#)).1
    for (file, lines) in try textFiles() where file.hasSuffix(".md") {
      check(TidyChecks.versions(file, lines, current: String(version)))
    }
  }

  @Test func noFunctionIsLongerThanTheLimit() throws {
    let files = try sources(under: TidyTables.sourceDirectories, [".swift"] + Self.cExtensions)
    check(files.flatMap { TidyChecks.functionLengths($0.0, $0.1) })
  }

  @Test func nothingIsLeftUnfinishedOrNamesOneMachine() throws {
    for (file, lines) in try textFiles() {
      check(TidyChecks.unfinished(file, lines))
      check(TidyChecks.machinePaths(file, lines))
      check(TidyChecks.hosts(file, lines))
    }
  }

  @Test func everyLinkOfAPageLeadsSomewhere() throws {
    for (file, lines) in try textFiles() where file.hasSuffix(".md") {
      check(TidyChecks.links(file, lines, exists: SourceTree.exists))
    }
  }

  @Test func noFileIsADrawer() throws {
    check(try SourceTree.files().flatMap(TidyChecks.drawers))
  }

  @Test func testsWaitForEventsAndUseSwiftTesting() throws {
    for (file, source) in try sources(under: ["Tests/"], [".swift"]) {
      check(TidyChecks.sleeps(file, source))
      check(TidyChecks.timeLimits(file, source))
      check(TidyChecks.testingOnly(file, source))
    }
  }

  @Test func everyUncheckedSendableCarriesItsProof() throws {
    check(
      try sources(under: TidyTables.sourceDirectories, [".swift"]).flatMap { TidyChecks.uncheckedSendable($0.0, $0.1) })
  }

  @Test func whatIsSecretIsComparedInConstantTime() throws {
    #expect(SourceTree.text(TidyTables.constantTime) != nil)
    check(try sources(under: ["Sources/"], [".swift"]).flatMap { TidyChecks.comparisons($0.0, $0.1) })
  }

  @Test func thePageOfThreadsAndLocksHasThemAll() throws {
    let page = ThreadPage(try #require(SourceTree.text("docs/threads-and-locks.md")))
    // A rule of `sluice plugin check` has a process of its own.
    let swift = try sources(under: ["Sources/"], [".swift"]).filter { !$0.0.contains("/Conformance/") }
    check(swift.flatMap { page.missing($0.0, $0.1) })
  }

  @Test func skippedTestsAreExactlyThoseListed() throws {
    let path = "Tests/expected-skips"
    let list = ReasonList(try #require(SourceTree.text(path)))
    for line in list.malformed {
      Issue.record("\(path):\(line): write the file, the test and the reason, separated by tabs")
    }
    var seen: Set<String> = []
    for (file, source) in try sources(under: ["Tests/"], [".swift"]) {
      for (line, key) in TidyChecks.skips(file, source) {
        seen.insert(key)
        if list.entries[key] == nil {
          Issue.record("\(file):\(line): a test that may be skipped: list it in \(path) with its reason")
        }
      }
    }
    for key in Set(list.entries.keys).subtracting(seen) {
      Issue.record("\(path): \(key) is not skipped any more: delete its line")
    }
  }

  @Test func scriptsAreExecutableAndNothingBuiltIsTracked() throws {
    let tracked = try SourceTree.trackedFiles()
    for file in try SourceTree.files() where file.hasPrefix("scripts/") || file == ".ci/run" {
      guard SourceTree.text(file)?.hasPrefix("#!") == true else { continue }
      #expect(SourceTree.isExecutable(file), "\(file):1: has a #! line but is not executable: chmod +x it")
    }
    for file in tracked {
      let built = file == "Package.resolved" || file.hasPrefix(".build/") || file.hasSuffix(".o")
      #expect(!built, "\(file):1: is built, not written: git rm --cached it")
    }
  }

  @Test func swiftFormatHasNothingToSay() throws {
    let output = try Command.run(
      ["swift", "format", "lint", "--strict", "--parallel", "--recursive"] + TidyTables.formatted, in: SourceTree.root)
    let nothing = output.status == 0 && output.output.isEmpty
    #expect(nothing, "run scripts/format, then look at what is left:\n\(output.output)")
  }
}
