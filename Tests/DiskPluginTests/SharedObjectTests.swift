import CSluice
import Foundation
import PluginTestSupport
import TestSupport
import Testing

@Suite struct SharedObjectTests {
  /// Dynamic products are built beside the test bundle.
  private let library = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appendingPathComponent("libsluice-disk.so").path

  @Test func theSharedObjectExportsOneSymbol() throws {
    let symbols = try Command.run(["nm", "-D", "--defined-only", "--extern-only", library])
    #expect(symbols.status == 0, "\(symbols.output)")
    #expect(symbols.output.split(separator: "\n").map { $0.split(separator: " ").last } == ["sluice_module_v1"])
  }

  @Test func theSharedObjectDescribesTheKindDisk() throws {
    let module = try #require(loadModule(library)?.pointee)
    #expect(module.name.string == "disk" && module.runtime.string.hasPrefix("swift-"))
    let kind = try #require(module.subscribers[0]?.pointee)
    #expect(kind.kind.string == "disk" && kind.flags == SLU_F_EXCLUSIVE)
  }

  @Test func aHostInCDrivesItAndTheKernelsSizeLimitLeavesWholeBatches() throws {
    let directory = TemporaryDirectory()
    let program = directory.path + "/drive_disk"
    let built = try Command.run(
      ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", program]
        + ["-I" + repositoryRoot + "/Sources/CSluice/include", repositoryRoot + "/Tests/Fixtures/drive_disk.c", "-ldl"])
    #expect(built.status == 0, "\(built.output)")
    let driven = try Command.run([program, library, directory.path + "/out"])
    #expect(driven.status == 0)
    #expect(driven.output == "disk\n0 6500\n\(SLU_E_RETRYABLE) 6500\n0 13000\n")
  }
}
