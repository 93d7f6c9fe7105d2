import Foundation
import PluginTestSupport
import TestSupport
import Testing

private let golden = repositoryRoot + "/Tests/Golden/abi"
private let include = repositoryRoot + "/Sources/CSluice/include"

private var hasAbidiff: Bool { (try? Command.run(["abidiff", "--version"]).status) == 0 }

/// The headers' types and signatures, as libabigail sees them in a library that uses them all.
@Suite(.enabled(if: hasAbidiff, "there is no abidiff; scripts/setup test installs it"))
struct SurfaceTests {
  /// What `abidiff` says of a library built with the headers below `include`, against what was written down.
  private func compare(_ include: String, in directory: TemporaryDirectory) throws -> (status: Int32, output: String) {
    let library = directory.path + "/surface.so"
    let built = try Command.run([
      "cc", "-std=c11", "-g", "-shared", "-fPIC", "-I" + include, "-o", library, golden + "/surface.c",
    ])
    #expect(built.status == 0, "\(built.output)")
    return try Command.run(["abidiff", "--harmless", golden + "/surface-1.0.abi", library])
  }

  @Test("The types and functions of the headers are those that were written down")
  func nothingChanged() throws {
    let told = try compare(include, in: TemporaryDirectory())
    #expect(told.status == 0, "\(told.output)")
  }

  @Test(
    "A change that no layout shows is found",
    arguments: [
      ("batch.h", "  uint32_t attempt; ", "  int32_t attempt; "),
      ("host.h", "(*release)(void *context, uint64_t lease)", "(*release)(void *context, int64_t lease)"),
      ("subscriber.h", "(*destroy)(void *instance)", "(*destroy)(uint64_t instance)"),
      ("verdict.h", "  uint32_t code;     /*", "  uint32_t number;   /*"),
    ])
  func changesAreFound(header: String, old: String, new: String) throws {
    let directory = TemporaryDirectory()
    let copy = directory.path + "/include"
    try FileManager.default.copyItem(atPath: include, toPath: copy)
    let path = "\(copy)/sluice/\(header)"
    let source = try #require(text(of: path))
    #expect(source.contains(old), "\(header) has no '\(old)'")
    try FileManager.default.removeItem(atPath: path)
    write(source.replacingOccurrences(of: old, with: new), to: path)
    let told = try compare(copy, in: directory)
    #expect(told.status == 4 || told.status == 12, "\(told.status): \(told.output)")
  }
}

@Suite struct KeptPluginFileTests {
  @Test("The kept plugin and its source are as they were when it was built")
  func theKeptPluginIsKept() throws {
    let checked = try Command.run(["sha256sum", "--check", "--strict", "kept.sha256"], in: golden)
    #expect(checked.status == 0, "\(checked.output)")
  }
}
