import Glibc
import SluiceCore
import TestSupport
import Testing

@testable import SluiceHost

/// What keeps a module out of the daemon's process.
@Suite struct ModuleRuntimeTests {
  private let directory = TemporaryDirectory()

  @Test(
    "Which runtimes share the daemon's process",
    arguments: [
      ("", true), ("swift-6.3.1 dynamic", true), ("swift-6.4 dynamic", false), ("swift-5.9 dynamic", false),
      ("swift-5.9 static", true), ("go", false), ("go1.22", false), ("go-1.22 cgo", false), ("rust-1.63", true),
      ("gopher", true), ("swift-6.3.1", true),
    ])
  func table(runtime: String, shares: Bool) {
    #expect((ModuleRuntime.conflict(runtime, own: "swift-6.3.1") == nil) == shares)
  }

  @Test("This daemon's own runtime is what its plugins say of theirs")
  func own() {
    #expect(ModuleRuntime.conflict("\(ModuleRuntime.own) dynamic") == nil)
  }

  @Test(
    "A module that can't share the process is refused before its code is in it, and works in one of its own",
    arguments: ["oldswift", "go", "processonly"])
  func refused(name: String) throws {
    let library = PluginLibrary(
      searchPaths: [Fixtures.directory(name, table: true)], stateDirectory: directory.folder("state"))
    let error = #expect(throws: PluginLoadError.self) { try library.load(name) }
    #expect(error?.code == .notShareable && error?.remedy.contains("isolation: process") == true)
    let maps = Files.lines("/proc/self/maps").filter { $0.contains("libsluice-\(name).so") }
    #expect(maps.isEmpty, "\(maps)")
    let isolated = try library.load(name, place: .process)
    #expect(isolated.needsOwnProcess)
    // The other way round, when it was seen before.
    #expect(throws: PluginLoadError.self) { try library.load(name) }
    #expect(try Fixtures.load("ownswift", table: true, state: directory.folder("state")).reasonForOwnProcess == nil)
  }

  /// A shared object made of a few lines of Swift.
  private func build(_ name: String, _ source: String) throws -> String {
    let path = "\(directory.path)/\(name)"
    Files.write(source, to: path + ".swift")
    let repository = "\(#filePath)".split(separator: "/").dropLast(3).joined(separator: "/")
    let include = "/\(repository)/Sources/CSluice/include"
    let words = ["swiftc", "-emit-library", "-module-name", "Made", "-I", include, path + ".swift", "-o", path + ".so"]
    try #require(ChildDescriptors.run(words) == 0)
    return path + ".so"
  }

  @Test("Retroactive conformances of a Swift module are found, and other ones are not taken for such")
  func conformances() throws {
    let own = try build(
      "own",
      """
      import CSluice
      protocol Named { var name: String { get } }
      struct Thing: Hashable, Named { var name = "x" }
      extension slu_bytes: Named { var name: String { "bytes" } }
      extension Int: Named { var name: String { "int" } }
      """)
    #expect(!SwiftConformances.mayHaveRetroactive(own))
    let retroactive = try build(
      "retroactive",
      """
      import CSluice
      extension slu_bytes: @retroactive Equatable {
        public static func == (left: slu_bytes, right: slu_bytes) -> Bool { left.ptr == right.ptr }
      }
      """)
    #expect(SwiftConformances.mayHaveRetroactive(retroactive))
    // C has none; what is no file counts as suspicious.
    #expect(!SwiftConformances.mayHaveRetroactive(Fixtures.directory("recorder") + "/libsluice-recorder.so"))
    #expect(SwiftConformances.mayHaveRetroactive(directory.path + "/nothing"))
    fuzz(retroactive)
  }

  /// Whatever the file has in it, looking at it reads nothing beyond it.
  private func fuzz(_ path: String) {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = read(file, &bytes, bytes.count)
    bytes.removeSubrange(count...)
    var random = SeededGenerator(seed: 5)
    for _ in 0..<300 {
      var broken = bytes
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let end = Bool.random(using: &random) ? 64 : broken.count
        broken[Int.random(in: 0..<end, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      if Bool.random(using: &random) { broken.removeSubrange(Int.random(in: 0..<broken.count, using: &random)...) }
      broken.withUnsafeBytes { _ = SwiftConformances.mayHaveRetroactive(ELFImage(bytes: $0)) }
    }
  }

  @Test("A replaced file with retroactive conformances is not to be loaded beside its old generation")
  func swap() throws {
    let folder = directory.folder("plugins")
    let target = "\(folder)/libsluice-changing.so"
    func put(_ name: String, _ extra: String) throws {
      let built = try build(name, Self.plugin + extra)
      try #require(rename(built, target) == 0)
    }
    let library = PluginLibrary(searchPaths: [folder], stateDirectory: nil)
    try put("one", "")
    #expect(try library.confusion("changing") == nil)
    _ = try library.load("changing")
    #expect(try library.confusion("changing") == nil, "it is the file that is loaded")
    try put("two", "let more = 1\n")
    #expect(try library.confusion("changing") == nil)
    _ = try library.load("changing")
    try put("three", Self.retroactive)
    #expect(try library.confusion("changing") == .replaced)
    let next = try library.load("changing", place: .process)
    #expect(next.isIsolated && next.runtime.hasSuffix("dynamic"))
  }

  @Test("Of two files with retroactive conformances only the first is to be loaded into the process")
  func alike() throws {
    let folder = directory.folder("plugins")
    let older = directory.folder("older")
    func put(_ path: String, _ name: String, _ extra: String) throws {
      let built = try build(name, Self.plugin + extra)
      try #require(rename(built, path) == 0)
    }
    let (first, second, third) = (
      "\(older)/libsluice-changing.so", "\(folder)/libsluice-changing.so", "\(folder)/third.so"
    )
    let library = PluginLibrary(searchPaths: [folder], stateDirectory: nil)
    try put(first, "one", Self.retroactive)
    try put(second, "two", Self.retroactive + "let more = 1\n")
    try put(third, "three", "let less = 1\n")
    #expect(try library.confusion(first) == nil, "nothing is in the process yet")
    _ = try library.load(first)
    #expect(try library.confusion(second) == .alike(path: first))
    #expect(try library.confusion(third) == nil)
  }

  private static let retroactive =
    "extension slu_bytes: @retroactive Equatable { public static func == (a: slu_bytes, b: slu_bytes) -> Bool { a.len == b.len } }\n"

  /// A whole plugin without the kit.
  private static let plugin = """
    import CSluice
    func text(_ text: StaticString) -> slu_bytes { slu_bytes(ptr: text.utf8Start, len: UInt64(text.utf8CodeUnitCount)) }
    nonisolated(unsafe) let table: UnsafePointer<slu_module> = {
      let subscriber = UnsafeMutablePointer<slu_subscriber>.allocate(capacity: 1)
      var it = slu_subscriber()
      it.struct_size = UInt32(MemoryLayout<slu_subscriber>.size)
      it.kind = text("changing")
      it.config_schema = text("{}")
      it.create = { _, _, _, instance, _ in
        instance!.pointee = UnsafeMutableRawPointer.allocate(byteCount: 8, alignment: 8)
        return 0
      }
      it.deliver = { _, _, _ in 0 }
      it.destroy = { $0!.deallocate() }
      subscriber.initialize(to: it)
      let list = UnsafeMutablePointer<UnsafePointer<slu_subscriber>?>.allocate(capacity: 1)
      list.initialize(to: UnsafePointer(subscriber))
      let module = UnsafeMutablePointer<slu_module>.allocate(capacity: 1)
      var m = slu_module()
      m.struct_size = UInt32(MemoryLayout<slu_module>.size)
      m.subscriber_count = 1
      m.name = text("changing")
      m.version = text("1")
      m.runtime = text("\(ModuleRuntime.own) dynamic")
      m.subscribers = UnsafePointer(list)
      module.initialize(to: m)
      return UnsafePointer(module)
    }()
    @c(sluice_module_v1)
    public func sluice_module_v1(_ minor: UInt32) -> UnsafePointer<slu_module>? { table }

    """
}
