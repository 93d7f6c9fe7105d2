import Glibc
import SluiceCore
import Testing

@testable import SluiceHost

/// Modules that are not whole.
@Suite struct ModuleLayoutTests {
  private let directory = TemporaryDirectory()

  private func module() throws -> [UInt8] {
    let path = Fixtures.directory("recorder") + "/libsluice-recorder.so"
    let file = try #require(fopen(path, "re"))
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 22)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes[..<count])
  }

  @Test func aModuleThatIsCutShortIsRefusedBeforeTheLoaderTouchesIt() throws {
    let whole = try module()
    let needed = try #require(whole.withUnsafeBytes { ModuleLayout.neededBytes($0) })
    #expect(needed <= UInt64(whole.count) && needed > 64)
    let plugins = directory.folder("plugins")
    let path = "\(plugins)/libsluice-recorder.so"
    for count in [64, 65, 200, 4096, Int(needed) / 2, Int(needed) - 1] {
      let file = try #require(fopen(path, "we"))
      #expect(fwrite(whole, 1, count, file) == count && fclose(file) == 0)
      chmod(path, 0o600)
      let library = PluginLibrary(searchPaths: [plugins], stateDirectory: directory.folder("state"))
      let error = #expect(throws: PluginLoadError.self) { try library.load("recorder") }
      #expect(error?.code == .notLoadable)
      #expect(error?.message.contains("is cut short: it has \(count) bytes") == true, "\(count): \(error as Any)")
    }
  }

  @Test func noBytesMakeTheLookAtAModuleFail() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = JitterSource(seed: seed)
    let whole = Array(try module().prefix(4096))
    for round in 0..<2000 {
      var bytes = Array(whole.prefix(Int(random.next() % 1024)))
      for _ in 0..<(bytes.isEmpty ? 0 : round % 8) {
        bytes[Int(random.next() % UInt64(bytes.count))] = [0, 1, 0x7F, 0x80, 0xFF][Int(random.next() % 5)]
      }
      let needed = bytes.withUnsafeBytes { ModuleLayout.neededBytes($0) }
      #expect(needed == nil || bytes.count >= 64, "seed \(seed)")
    }
  }
}
