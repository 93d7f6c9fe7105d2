import Testing

/// Shows each check something bad, so that a check that finds nothing is known to be able to.
struct TidySelfTests {
  private func source(_ text: String, isC: Bool = false) -> SourceText { SourceText(text, isC: isC) }

  @Test func commentsAndStringsAreBlankedAndCodeIsKept() {
    let text = ##"""
      let a = "}{ \(f("}")) //" // }
      /* { /* } */ { */ let b = #"\("# + """
        { " }
        """
      let c = 1
      """##
    let blanked = source(text)
    #expect(String(decoding: blanked.code, as: UTF8.self).filter { "{}\"".contains($0) } == "")
    #expect(blanked.codeLines.map { $0.split(separator: " ").joined(separator: " ") }[4] == "let c = 1")
    #expect(blanked.codeLines.count == blanked.lines.count)
    #expect(blanked.code.count == text.utf8.count)
  }

  @Test func aForbiddenImportIsFoundInAllItsForms() {
    for line in ["import Foundation", "@testable import NIOCore", "internal import struct Foundation.Date"] {
      let found = TidyChecks.imports("Sources/SluiceCore/X.swift", source("// import A\n" + line))
      #expect(found.map(\.line) == [2], "\(line)")
    }
    #expect(TidyChecks.imports("Sources/SluiceCore/X.swift", source("internal import CSluiceSystem")).isEmpty)
    #expect(TidyChecks.imports("Sources/Elsewhere/X.swift", source("import Glibc")).count == 1)
    #expect(TidyChecks.includes("Sources/CSluice/x.h", source("#include <stdio.h>", isC: true)).count == 1)
    #expect(TidyChecks.includes("Sources/CSluice/x.h", source("#include <stdint.h>", isC: true)).isEmpty)
  }

  @Test func aLongFileIsFoundAndItsExceptionHeeded() {
    let long = source(String(repeating: "x\n", count: TidyTables.maxFileLines + 1))
    let exact = source(String(repeating: "x\n", count: TidyTables.maxFileLines))
    #expect(TidyChecks.length("Sources/A.swift", long, exceptions: [:]).map(\.line) == [401])
    #expect(TidyChecks.length("Sources/A.swift", long, exceptions: ["Sources/A.swift": "a table"]).isEmpty)
    #expect(TidyChecks.length("Sources/A.swift", exact, exceptions: [:]).isEmpty)
  }

  @Test func functionsAreMeasuredFromDeclarationToClosingBrace() {
    let text = """
      protocol P {
        func none(a: (Int) -> Void) -> Int
        init(x: Int)
        var y: Int { get }
      }
      func one<T: P>(
        _ x: T, y: () -> Void = { print("}") }
      ) where T: P {
        while true { }
      }
      struct S {
        init() {
        }
        var v: Int {
          1
        }
        deinit { }
      }
      """
    #expect(
      source(text).swiftFunctions() == [
        FoundFunction(name: "one", line: 6, length: 5), FoundFunction(name: "init", line: 12, length: 2),
        FoundFunction(name: "v", line: 14, length: 3), FoundFunction(name: "deinit", line: 17, length: 1),
      ])
    let c = """
      #define M(x) do { \\
        x } while (0)
      struct s { int x; };
      static const char *names[] = { "a(" };
      static int
      f(int x) {
        return x; /* } */
      }
      int g(void) { return '}'; }
      """
    #expect(
      source(c, isC: true).cFunctions() == [
        FoundFunction(name: "f", line: 5, length: 4), FoundFunction(name: "g", line: 9, length: 1),
      ])
  }

  @Test func aLongFunctionIsFound() {
    let body = String(repeating: "  x()\n", count: TidyTables.maxFunctionLines - 1)
    #expect(TidyChecks.functionLengths("A.swift", source("\nfunc f() {\n\(body)}\n")).map(\.line) == [2])
    #expect(TidyChecks.functionLengths("a.c", source("\nint f(void) {\n\(body)}\n", isC: true)).map(\.line) == [2])
    #expect(TidyChecks.functionLengths("A.swift", source("func f() {\n}\n\(body)")).isEmpty)
  }

  @Test func unfinishedWorkMachinePathsAndForeignHostsAreFound() {
    for word in TidyTables.unfinished {
      #expect(TidyChecks.unfinished("a.md", ["fine", "// \(word): later"]).map(\.line) == [2])
      #expect(TidyChecks.unfinished("a.sh", ["mktemp -d x.\(word)\(word)", "\(word)S"]).isEmpty)
    }
    #expect(TidyChecks.machinePaths("a.md", ["cd \(TidyTables.machinePath)main"]).count == 1)
    let scheme = "https:" + "//"
    #expect(TidyChecks.hosts("a", ["see \(scheme)packages.corp.internal/x"]).count == 1)
    #expect(TidyChecks.hosts("a", ["\(scheme)localhost:1", "\(scheme)127.0.0.1", "\(scheme)github.com/a/b"]).isEmpty)
    #expect(TidyChecks.drawers("Sources/A/String" + "Uti" + "ls.swift").count == 1)
  }

  @Test func aLinkToNothingIsFound() {
    let lines = ["[a](there.md#part) and [b](gone.md)", "[c](#here) [d](https:" + "//github.com/a)", "[e](../up)"]
    let found = TidyChecks.links("docs/x.md", lines) { $0 == "docs/there.md" || $0 == "docs/../up" }
    #expect(found.map(\.line) == [1])
  }

  @Test func aRowWithoutATestIsFoundAndSoIsAVersionThatIsNotThereYet() {
    let tests = TidyChecks.tests("Tests/A/XTests.swift", source("@Test(\n  \"a\")\nfunc one() {}\nfunc two() {}"))
    #expect(tests == ["XTests.one"])
    let table = [
      "| attack | test |", "|---|---|", "| a | `XTests.one` |", "| b | `XTests.two` |", "| c | |", "", "| d | x |",
    ]
    let checked = TidyChecks.testedRows("a.md", table, known: Set(tests))
    #expect(checked.rows == 3 && checked.findings.map(\.line) == [4, 5])
    let versions = ["| key | since |", "|---|--:|", "| a 0.9 | 0.2 |", "| b | `x` 0.1, `y` 0.3 |", "| c | 1.0 |"]
    #expect(TidyChecks.versions("a.md", versions, current: "0.2.0").map(\.line) == [4, 5])
  }

  @Test func sleepsTimeLimitsAndForeignTestFrameworksAreFound() {
    for line in ["try await Task.sleep(for: .seconds(1))", "usleep(3)", "sleep (1)"] {
      #expect(TidyChecks.sleeps("Tests/A.swift", source(line)).count == 1, "\(line)")
    }
    #expect(TidyChecks.sleeps("Tests/A.swift", source("asleep(1) // sleep(1)")).isEmpty)
    #expect(TidyChecks.timeLimits("Tests/A.swift", source("@Test(.time" + "Limit(.minutes(1)))")).count == 1)
    #expect(TidyChecks.timeLimits("Tests/A.swift", source("@Test func timeLimitsHold() {}")).isEmpty)
    #expect(TidyChecks.testingOnly("Tests/A.swift", source("import XCTest")).count == 1)
  }

  @Test func anUncheckedSendableWithoutProofIsFound() {
    let bare = "/// A thing.\nfinal class A: @unchecked Sendable {}"
    let proven = "/// Sendable: a lock guards it.\n@frozen\nfinal class A: @unchecked Sendable {}"
    #expect(TidyChecks.uncheckedSendable("a.swift", source(bare)).map(\.line) == [2])
    #expect(TidyChecks.uncheckedSendable("a.swift", source(proven)).isEmpty)
  }

  @Test func aSkippedTestIsFoundWithItsName() {
    let text = """
      @Test(.enabled(if: full))
      func long() {}
      @Suite(.disabled("why")) struct S {}
      let x = ".disabled(no)"
      """
    let found = TidyChecks.skips("Tests/A.swift", source(text))
    #expect(found.map(\.line) == [1, 3])
    #expect(found.map(\.key) == ["Tests/A.swift\tlong", "Tests/A.swift\tS"])
  }

  @Test func aReasonListKeepsReasonsAndReportsLinesWithoutOne() {
    let list = ReasonList("# comment\n\na/b\twhy\na/b\tname\twhy not\nbare\nc\t\n")
    #expect(list.entries == ["a/b": "why", "a/b\tname": "why not"])
    #expect(list.malformed == [5, 6])
  }

  @Test func aLockOrAThreadThatItsPageDoesNotHaveIsFound() {
    let page = ThreadPage("| `commit STREAM`, `keep` | 1 |\n| `A.first`, `.second` | what |\nand `send-N`\n")
    let code = """
      final class A {
        let first = Mutex(0)
        private struct B { let inner: Mutex<Int> }
        private let second: Mutex<Int>
        let third = Monitor(0)
        let x = OSThread(name: "commit \\(name)") {}
        let y = try OSThread(starting: "other") {}
        let z = Blocking.run("send") {}
      }
      """
    #expect(page.missing("a", source(code)).map(\.line) == [3, 5, 7])
  }

  @Test func aComparisonThatTellsWhereASecretDiffersIsFound() {
    for line in [
      "if key.storedKey == other { }", "if other == session.storedKey { }", "return Self.digest(bound) == tag",
      "guard serverSignature != x else { }", "if memcmp(tag, other, 32) == 0 { }", "a.elementsEqual(proof)",
      "if (mine.proof) == x { }", "return Self.digest(a, b) == digest", "if known.credential != other { }",
    ] {
      #expect(TidyChecks.comparisons("Sources/X.swift", source("let a = 1\n" + line)).map(\.line) == [2], "\(line)")
      #expect(TidyChecks.comparisons(TidyTables.constantTime, source(line)).isEmpty)
    }
    for line in [
      "guard event.tag == nil else { }", "let tag = digest(x)", "if proof.isEmpty { }",
      "data.start + data.tagBytes == 3",
      "x = a == b ? tag : proof", "ConstantTime.areEqual(tag, other)",
    ] {
      #expect(TidyChecks.comparisons("Sources/X.swift", source(line)).isEmpty, "\(line)")
    }
  }
}
