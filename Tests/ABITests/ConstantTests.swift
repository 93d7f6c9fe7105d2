import Foundation
import PluginTestSupport
import TestSupport
import Testing

private let golden = repositoryRoot + "/Tests/Golden/abi"
private let include = repositoryRoot + "/Sources/CSluice/include/sluice"

/// What the compiler is given: comments, indentation and empty lines are nobody's ABI.
private func code(_ source: String) -> String {
  source.replacing(/\/\*[\s\S]*?\*\//, with: " ").split(separator: "\n")
    .map { $0.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
    .filter { !$0.isEmpty }.joined(separator: "\n") + "\n"
}

private func digest(_ source: String) throws -> String {
  let directory = TemporaryDirectory()
  write(code(source), to: directory.path + "/code")
  return String(try Command.run(["sha256sum", directory.path + "/code"]).output.prefix(64))
}

private func headers() throws -> [(name: String, source: String)] {
  try FileManager.default.contentsOfDirectory(atPath: include).sorted().map { name in
    (name, try #require(text(of: "\(include)/\(name)")))
  }
}

/// The macros that are values, with their type's size, whether it has a sign, and the value, as the compiler has them.
private func constants(_ headers: [(name: String, source: String)], include: String) throws -> String {
  var lines: [String] = []
  for header in headers {
    let names = code(header.source).matches(of: /#define (SLU_\w+) \S/).map { String($0.output.1) }
    lines += names.filter { $0 != "SLU_EXPORT" }.map { "SHOW(\($0))" }
  }
  let directory = TemporaryDirectory()
  write(
    """
    #include <sluice/sluice.h>
    #include <stdio.h>
    #define SHOW(name) printf("%s %s%zu %lld\\n", #name, (name) - (name) - 1 < 0 ? "i" : "u", sizeof(name) * 8, (long long)(name));
    int main(void) { \(lines.joined(separator: " ")) }
    """, to: directory.path + "/show.c")
  let program = directory.path + "/show"
  let built = try Command.run(["cc", "-std=c11", "-I" + include, "-o", program, directory.path + "/show.c"])
  #expect(built.status == 0, "\(built.output)")
  return try Command.run([program]).output
}

private let advice: Comment = """
  The code of the plugin ABI's headers is not what was written down. Plugins that are built already have the old one in them: a \
  constant's value, a field and the body of an inline function are promises. If something was only added, raise SLU_ABI_MINOR \
  and write the golden file anew as Tests/Golden/abi/README.md says; if not, take the change back.
  """

/// What neither the layouts nor abidiff see: values of macros, and bodies of inline functions.
@Suite struct ConstantTests {
  @Test("Every constant of the headers has the type and the value that were written down")
  func values() throws {
    let seen = try constants(headers(), include: include + "/..")
    #expect(seen == text(of: golden + "/constants.txt"), advice)
    #expect(seen.contains("SLU_E_CONFIG i32 -1\n") && seen.contains("SLU_GAP_RETENTION u32 2\n"))
  }

  @Test("The headers' code is that of which the hash was written down")
  func hashes() throws {
    let seen = try headers().map { "\(try digest($0.source))  \($0.name)\n" }.joined()
    let kept = text(of: golden + "/headers.sha256")
    #expect(seen == kept, advice)
    if seen != kept { print("headers.sha256 would be:\n\(seen)") }
  }

  @Test(
    "A changed value or inline body changes the hash, and a comment does not",
    arguments: [
      ("batch.h", "#define SLU_GAP_RETENTION 2u", "#define SLU_GAP_RETENTION 4u", true),
      ("base.h", "#define SLU_BUSY 2 ", "#define SLU_BUSY 2u ", true),
      ("batch.h", "batch->message_stride", "sizeof(slu_message)", true),
      ("verdict.h", "/* done: never", "/* done; never", false),
    ])
  func changes(header: String, old: String, new: String, isSeen: Bool) throws {
    let source = try #require(text(of: "\(include)/\(header)"))
    #expect(source.contains(old), "\(header) has no '\(old)'")
    #expect(try (digest(source) != digest(source.replacingOccurrences(of: old, with: new))) == isSeen)
  }
}
