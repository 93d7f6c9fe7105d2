import Foundation
import PluginTestSupport
import TestSupport
import Testing

private let include = repositoryRoot + "/Sources/CSluice/include"
private let headers = ["base", "verdict", "batch", "host", "subscriber", "module", "sluice"]

@Suite struct HeaderTests {
  @Test(
    "Every header compiles alone, pedantic and without a warning",
    arguments: headers,
    [
      ["cc", "-xc", "-std=c99"], ["cc", "-xc", "-std=c11"], ["cc", "-xc", "-std=c2x"],
      ["c++", "-xc++", "-std=c++17"],
    ])
  func everyHeaderCompilesAlone(header: String, compiler: [String]) throws {
    let directory = TemporaryDirectory()
    let source = directory.path + "/alone"
    // Included twice: the guard is part of what is tested.
    write("#include <sluice/\(header).h>\n#include <sluice/\(header).h>\n", to: source)
    let flags = ["-pedantic", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wcast-qual", "-Werror"]
    let result = try Command.run(compiler + flags + ["-fsyntax-only", "-I" + include, source])
    #expect(result.status == 0, "\(result.output)")
  }

  @Test func clangFindsNoFaultInTheUmbrella() throws {
    for language in [["-xc", "-std=c11"], ["-xc++", "-std=c++17"]] {
      let result = try Command.run(
        ["clang"] + language + ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only"]
          + ["-I" + include, include + "/sluice/sluice.h"])
      #expect(result.status == 0, "\(result.output)")
    }
  }

  @Test("Every function of the tables says on which thread it is called")
  func everyFunctionHasAThreadTag() throws {
    var functions = 0
    for header in headers {
      let lines = try #require(text(of: "\(include)/sluice/\(header).h")).split(
        separator: "\n", omittingEmptySubsequences: false)
      for (index, line) in lines.enumerated() where line.contains("(*") && !line.hasPrefix(" *") {
        var start = index - 1
        while start > 0, !lines[start].contains("/*") { start -= 1 }
        let comment = lines[start..<index].joined(separator: " ")
        #expect(
          ["[scan]", "[inst]", "[any]"].contains { comment.contains($0) }, "\(header).h:\(index + 1): \(line)")
        functions += 1
      }
    }
    #expect(functions == 25, "12 of the host, 12 of a subscriber, and slu_diagnose")
  }

  @Test func nothingInTheHeadersDependsOnACompilersTaste() throws {
    for header in headers {
      let source = try #require(text(of: "\(include)/sluice/\(header).h"))
      let code = source.replacing(/\/\*[\s\S]*?\*\//, with: "")
      for word in ["enum", "bool", "_Bool", "long", "size_t", "..."] {
        #expect(
          !code.split(whereSeparator: { !"._".contains($0) && !$0.isLetter }).contains(Substring(word)), "\(word)")
      }
      #expect(code.firstMatch(of: /:\s*\d+\s*;/) == nil, "a bit field in \(header).h")
    }
  }

  @Test func theDocumentNamesEverythingThatIsInTheHeaders() throws {
    let document = try #require(text(of: repositoryRoot + "/docs/abi.md"))
    for header in headers {
      let source = try #require(text(of: "\(include)/sluice/\(header).h"))
      let code = source.replacing(/\/\*[\s\S]*?\*\//, with: "")
      let names =
        code.matches(of: /\(\*(\w+)\)\(/).map { String($0.output.1) }
        + code.matches(of: /#define (SLU_\w+)/).map { String($0.output.1) }
        + code.matches(of: /struct (slu_\w+) \{/).map { String($0.output.1) }
      for name in names { #expect(document.contains(name), "docs/abi.md does not mention \(name)") }
    }
  }
}
