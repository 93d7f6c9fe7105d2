import CSluice
import Foundation
import PluginTestSupport
import TestSupport
import Testing

/// The example as its reader would build it: somewhere else, with the headers and a C compiler.
private func buildExample(in directory: TemporaryDirectory) throws -> String {
  let fileManager = FileManager.default
  try fileManager.copyItem(
    atPath: repositoryRoot + "/Sources/CSluice/include/sluice", toPath: directory.path + "/sluice")
  try fileManager.copyItem(atPath: repositoryRoot + "/examples/plugins/c/tally.c", toPath: directory.path + "/tally.c")
  let library = directory.path + "/libsluice-tally.so"
  let built = try Command.run(
    ["cc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
      + ["-fvisibility=hidden", "-I.", "-o", library, "tally.c"], in: directory.path)
  #expect(built.status == 0, "\(built.output)")
  return library
}

private func exampleKind(in directory: TemporaryDirectory) throws -> UnsafePointer<slu_subscriber> {
  let library = try buildExample(in: directory)
  let module = try #require(loadModule(library))
  return try #require(module.pointee.subscribers[0])
}

@Suite struct ExamplePluginTests {
  @Test func theExampleInCBuildsFromTheHeadersAloneAndExportsOneSymbol() throws {
    let directory = TemporaryDirectory()
    let library = try buildExample(in: directory)
    let symbols = try Command.run(["nm", "-D", "--defined-only", "--extern-only", library]).output
    #expect(symbols.split(separator: "\n").map { $0.split(separator: " ").last } == ["sluice_module_v1"])
    let module = try #require(loadModule(library)?.pointee)
    #expect(module.struct_size == UInt32(MemoryLayout<slu_module>.size))
    #expect(module.name.string == "tally" && module.runtime.string == "" && module.subscriber_count == 1)
  }

  @Test func theExampleWritesRecordsRejectsSomeAndAcknowledgesTheRest() throws {
    let directory = TemporaryDirectory()
    let kind = try exampleKind(in: directory)
    let host = FakeHost()
    let instance = DrivenInstance(kind, host: host)
    let output = directory.path + "/out.tsv"
    #expect(instance.create("{\"path\":\"\(output)\",\"reject_prefix\":\"bad\"}") == SLU_OK)
    #expect(instance.start() == SLU_OK)
    #expect(instance.deliver(FakeBatch(["one", "bad two", "three"], firstLSN: 40)) == SLU_OK)
    #expect(text(of: output) == "40\tweb\tone\n42\tweb\tthree\n")
    let rejected = FakeHost.Settled(
      first: FakeBatch.firstToken + 1, count: 1, verdict: SLU_REJECT, code: 1, reason: "begins with reject_prefix")
    #expect(host.record.settled == [rejected])
    #expect(host.record.metricNames == ["tally_written_records"] && host.record.metricValues == [2])
    #expect(instance.stop() == SLU_OK)
    #expect(host.messages(SLU_LOG_INFO) == ["2 written, 1 rejected"])
    instance.destroy()
  }

  @Test func theExampleSaysWhatIsWrongWithItsConfigAndItsFile() throws {
    let directory = TemporaryDirectory()
    let kind = try exampleKind(in: directory)
    let instance = DrivenInstance(kind, host: FakeHost())
    #expect(instance.validate("{\"path\":\"/tmp/x\"}").code == SLU_OK)
    let refused = instance.validate("{\"path\":\"/tmp/\"}")
    #expect(refused.code == SLU_E_CONFIG && refused.findings == ["error /path: a file's name was expected"])
    for config in ["", "{", "[]", "{\"path\":7}", "{\"path\"", "{\"path\":\"\\", "{\"reject_prefix\":\"x\"}"] {
      #expect(instance.create(config) == SLU_E_CONFIG, "\(config)")
    }
    #expect(instance.create("{\"path\":\"\(directory.path)/none/out\"}") == SLU_OK)
    #expect(instance.start() == SLU_E_RETRYABLE)
    #expect(instance.error == "cannot open \(directory.path)/none/out: No such file or directory")
    #expect(instance.stop() == SLU_OK)
    instance.destroy()
  }

  @Test func thePluginInTheDocumentBuildsAndTakesABatch() throws {
    let document = try #require(text(of: repositoryRoot + "/docs/abi.md"))
    let source = try #require(document.firstMatch(of: /```c\n([\s\S]*?)```/)).output.1
    let directory = TemporaryDirectory()
    write(String(source), to: directory.path + "/bytecount.c")
    let library = directory.path + "/libsluice-bytecount.so"
    let built = try Command.run(
      ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
        + ["-I" + repositoryRoot + "/Sources/CSluice/include", "-o", library, "bytecount.c"], in: directory.path)
    #expect(built.status == 0, "\(built.output)")
    let module = try #require(loadModule(library))
    let instance = DrivenInstance(try #require(module.pointee.subscribers[0]), host: FakeHost())
    #expect(instance.create("{}") == SLU_OK && instance.start() == SLU_OK)
    #expect(instance.deliver(FakeBatch(["one", "two"])) == SLU_OK)
    #expect(instance.stop() == SLU_OK)
    instance.destroy()
  }
}
