import CSluice
import Testing

@testable import SluiceHost

/// A host that serves two majors, as one will when there is a second.
@Suite struct ModuleMajorTests {
  private static let two = ModuleImage.Major(number: 2, minor: 0)
  private static let one = ModuleImage.Major(number: 1, minor: 0)

  private func load(_ name: String, _ served: [ModuleImage.Major]) throws -> ModuleImage {
    let directory = Fixtures.directory(name, table: name != "recorder")
    return try ModuleImage.load("\(directory)/libsluice-\(name).so", calling: "it.so", served: served)
  }

  @Test(
    "Of the majors that a host serves the newest that a module has is taken",
    arguments: [
      ("both", [two, one], 2, "2.0"), ("both", [one], 1, ""), ("v2", [two, one], 2, ""),
      ("older", [two, one], 1, ""),
    ])
  func newestWins(name: String, served: [ModuleImage.Major], number: Int, version: String) throws {
    let image = try load(name, served)
    #expect(image.major.number == number)
    let module = try ModuleReader(path: "it.so", major: image.major).read(image.module)
    #expect(module.version == version && module.kinds.map(\.kind) == [name])
  }

  @Test("A module of other majors only is refused, and the message names what it speaks and what is served")
  func unknown() throws {
    let error = #expect(throws: PluginLoadError.self) { try load("v3", [Self.two, Self.one]) }
    #expect(error?.code == .otherVersion)
    #expect(error?.message == "it.so speaks ABI 3, this sluice speaks ABI 2 and ABI 1")
    let older = #expect(throws: PluginLoadError.self) { try load("older", [Self.two]) }
    #expect(older?.message == "it.so speaks ABI 1, this sluice speaks ABI 2")
    let none = #expect(throws: PluginLoadError.self) { try load("nosymbol", [Self.two, Self.one]) }
    #expect(none?.message == "it.so does not export sluice_module_v2")
  }

  @Test("A module that needs a later minor is told the numbers of the major that was asked")
  func minor() throws {
    let image = try load("minor", [Self.one])
    let error = #expect(throws: PluginLoadError.self) {
      try ModuleReader(path: "it.so", major: Self.two).read(image.module)
    }
    #expect(error?.message == "it.so needs ABI 2.9, this sluice speaks ABI 2.0")
  }

  @Test("This host serves the major of its headers first, and no more than one before it")
  func served() {
    #expect(ModuleImage.served.first == .init(number: Int(SLU_ABI_MAJOR), minor: UInt32(SLU_ABI_MINOR)))
    #expect(zip(ModuleImage.served, ModuleImage.served.dropFirst()).allSatisfy { $0.number == $1.number + 1 })
    #expect(ModuleImage.served.count <= 2)
  }
}
