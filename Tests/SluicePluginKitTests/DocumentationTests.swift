import CSluice
import Foundation
import PluginTestSupport
import TestSupport
import Testing

@Suite struct DocumentationTests {
  /// What the document's examples leave to the reader.
  private let sender = """
    struct Sender: Sendable {
      func send(_ body: [UInt8]) async throws -> Bool { body.count < 10 }
      func close() async {}
    }
    """

  /// The Swift of docs/abi.md, and the kit, as one plugin with all the kinds that the document has.
  private func buildPlugin(in directory: String) throws -> UnsafePointer<slu_module> {
    let document = try #require(text(of: repositoryRoot + "/docs/abi.md"))
    var files: [String] = []
    for (index, match) in document.matches(of: /```swift\n([\s\S]*?)```/).enumerated() {
      let kinds = "[ByteCounter.self, ShortOnly.self, Forwarder.self]"
      files.append("\(directory)/block\(index).swift")
      write(String(match.output.1).replacing("[ByteCounter.self]", with: kinds), to: files[index])
    }
    #expect(files.count == 4)
    files.append("\(directory)/sender.swift")
    write(sender, to: files[files.count - 1])
    let kit = "\(repositoryRoot)/Sources/SluicePluginKit"
    let sources = try #require(FileManager.default.enumerator(atPath: kit)).compactMap { $0 as? String }
      .filter { $0.hasSuffix(".swift") }.map { "\(kit)/\($0)" }
    let library = "\(directory)/libsluice-bytecount.so"
    let built = try Command.run(
      ["swiftc", "-swift-version", "6", "-parse-as-library", "-suppress-warnings", "-emit-library"]
        + ["-module-name", "SluicePluginKit", "-I\(repositoryRoot)/Sources/CSluice/include", "-o", library]
        + sources + files)
    try #require(built.status == 0, "\(built.output)")
    return try #require(loadModule(library))
  }

  @Test("The Swift plugins in the document on the ABI build and take batches")
  func thePluginsInTheDocumentWork() throws {
    let directory = TemporaryDirectory()
    let module = try buildPlugin(in: directory.path).pointee
    try #require(module.subscriber_count == 3)
    func life(_ kind: Int, _ payloads: [String]) throws -> (host: FakeHost, code: slu_rc) {
      let host = FakeHost()
      let instance = DrivenInstance(try #require(module.subscribers[kind]), host: host)
      #expect(instance.create("{}") == SLU_OK && instance.start() == SLU_OK)
      let code = instance.deliver(FakeBatch(payloads))
      #expect(instance.drain() == SLU_OK && instance.stop() == SLU_OK)
      instance.destroy()
      return (host, code)
    }
    let counted = try life(0, ["one", "two"])
    #expect(counted.code == SLU_OK && counted.host.messages(SLU_LOG_INFO) == ["6 bytes in all"])
    let refused = try life(1, ["a", String(repeating: "b", count: 1001)])
    #expect(refused.code == SLU_OK && refused.host.record.settled.map(\.code) == [0, 1])
    let forwarded = try life(2, ["one", "two"])
    #expect(forwarded.code == SLU_ACCEPTED && forwarded.host.record.settled.map(\.verdict) == [SLU_ACK])
    let schema = try #require(module.subscribers[0]).pointee.config_schema.string
    #expect(DaemonCheck("{ every: 1KiB }", schema: schema) == .delivered(#"{"label":"bytes","every":1024}"#))
  }
}
