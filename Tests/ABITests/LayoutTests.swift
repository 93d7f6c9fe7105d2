import CSluice
import Foundation
import PluginTestSupport
import TestSupport
import Testing

private let golden = repositoryRoot + "/Tests/Golden/abi"

/// One struct of the golden file.
private struct Layout {
  var name: String
  var size: Int
  var fields: [(name: String, offset: Int, size: Int)] = []
}

private func goldenLayouts() throws -> [Layout] {
  var layouts: [Layout] = []
  for line in try #require(text(of: golden + "/layout.txt")).split(separator: "\n") {
    let words = line.split(separator: " ").map(String.init)
    if line.hasPrefix(" ") {
      layouts[layouts.count - 1].fields.append(
        (words[0], try #require(Int(words[2])), try #require(Int(words[4]))))
    } else {
      layouts.append(Layout(name: words[0], size: try #require(Int(words[2]))))
    }
  }
  return layouts
}

@Suite struct LayoutTests {
  @Test(arguments: ["cc", "clang"])
  func theCompilerSeesTheLayoutThatIsWrittenDown(compiler: String) throws {
    let directory = TemporaryDirectory()
    let program = directory.path + "/print_layout"
    let built = try Command.run(
      [compiler, "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
        + ["-I" + repositoryRoot + "/Sources/CSluice/include", "-o", program, golden + "/print_layout.c"])
    #expect(built.status == 0, "\(built.output)")
    let printed = try Command.run([program])
    #expect(printed.output == text(of: golden + "/layout.txt"))
  }

  @Test func noStructHasAHoleOrAFieldThatIsNotWrittenDown() throws {
    for layout in try goldenLayouts() {
      var end = 0
      for field in layout.fields {
        #expect(field.offset == end, "\(layout.name).\(field.name)")
        end = field.offset + field.size
      }
      #expect(end == layout.size, "\(layout.name)")
    }
  }

  @Test func theLayoutAssertsCoverEveryField() throws {
    let asserts = try #require(text(of: repositoryRoot + "/Sources/CSluice/layout.c"))
    for layout in try goldenLayouts() {
      #expect(asserts.contains("STRUCT(\(layout.name), \(layout.size));"))
      for field in layout.fields {
        #expect(asserts.contains("FIELD(\(layout.name), \(field.name), \(field.offset));"))
      }
    }
  }

  @Test func swiftSeesTheSameSizes() throws {
    let seen: [String: Int] = [
      "slu_bytes": MemoryLayout<slu_bytes>.size, "slu_pair": MemoryLayout<slu_pair>.size,
      "slu_error": MemoryLayout<slu_error>.size, "slu_settlement": MemoryLayout<slu_settlement>.size,
      "slu_message": MemoryLayout<slu_message>.size, "slu_batch": MemoryLayout<slu_batch>.size,
      "slu_gap": MemoryLayout<slu_gap>.size, "slu_header_iterator": MemoryLayout<slu_header_iterator>.size,
      "slu_metric": MemoryLayout<slu_metric>.size, "slu_publication": MemoryLayout<slu_publication>.size,
      "slu_host": MemoryLayout<slu_host>.size, "slu_subscriber": MemoryLayout<slu_subscriber>.size,
      "slu_module": MemoryLayout<slu_module>.size,
    ]
    for layout in try goldenLayouts() { #expect(seen[layout.name] == layout.size, "\(layout.name)") }
    #expect(MemoryLayout<slu_message>.offset(of: \.payload) == 136)
    #expect(MemoryLayout<slu_batch>.offset(of: \.ack_deadline_ns) == 88)
    #expect(MemoryLayout<slu_host>.offset(of: \.get_extension) == 152)
    #expect(MemoryLayout<slu_subscriber>.offset(of: \.deliver) == 120)
    #expect(MemoryLayout<slu_module>.offset(of: \.subscribers) == 80)
  }

  @Test func unwrittenMemoryIsNoVerdict() {
    #expect(slu_settlement().verdict != SLU_ACK && slu_settlement().verdict != SLU_REJECT)
  }
}
