import CSluice
import Glibc
import SluiceTopology
import Testing

@testable import SluiceHost

/// What the loader takes and what it refuses, through real shared objects.
@Suite struct PluginLibraryTests {
  private let directory = TemporaryDirectory()

  private func refusal(_ name: String, table: Bool = true) -> PluginLoadError? {
    do {
      _ = try Fixtures.load(name, table: table, state: directory.folder("state"))
      return nil
    } catch {
      return error as? PluginLoadError
    }
  }

  // MARK: Finding

  @Test func aKindIsFoundInTheFirstDirectoryThatHasIt() throws {
    let library = PluginLibrary(
      searchPaths: [Fixtures.directory("failing"), Fixtures.directory("recorder")],
      stateDirectory: directory.folder("state"))
    #expect(try library.find("recorder") == Fixtures.directory("recorder") + "/libsluice-recorder.so")
    #expect(library.kinds().map(\.kind) == ["failing", "recorder"])
    #expect(library.kinds(pluginDirectories: [Fixtures.directory("busy")]).map(\.kind).first == "busy")
  }

  @Test func anUnknownKindSaysWhereWasLookedAndWhatWasProbablyMeant() {
    let folder = Fixtures.directory("recorder")
    let library = PluginLibrary(searchPaths: ["/nonexistent", folder], stateDirectory: nil)
    let error = #expect(throws: PluginLookupError.self) {
      try library.describe(plugin: "recoder", pluginDirectories: [])
    }
    #expect(error?.message == "there is no plugin of kind 'recoder'")
    #expect(error?.remedy == "looked for libsluice-recoder.so in /nonexistent, \(folder)")
    #expect(error?.suggestion == "recorder")
  }

  @Test func aPathThatLeadsNowhereIsNamed() {
    let library = PluginLibrary(searchPaths: [], stateDirectory: directory.folder("state"))
    let error = #expect(throws: PluginLoadError.self) { try library.load("/nonexistent/libsluice-x.so") }
    #expect(error?.code == .notFound)
    #expect(error?.message == "there is no file /nonexistent/libsluice-x.so")
  }

  @Test func listingTellsWhatIsGoodAndWhyTheRestIsNot() throws {
    let library = PluginLibrary(
      searchPaths: [Fixtures.directory("recorder"), Fixtures.directory("v2", table: true)],
      stateDirectory: directory.folder("state"))
    let list = library.list()
    #expect(list.map(\.kind) == ["recorder", "v2"])
    #expect(try list[0].plugin.get().summary == "Writes down what it sees")
    #expect(throws: PluginLoadError.self) { try list[1].plugin.get() }
  }

  // MARK: Loading

  @Test func aGoodPluginIsDescribed() throws {
    let plugin = try Fixtures.load("recorder", state: directory.folder("state"))
    #expect(plugin.kind == "recorder")
    #expect(plugin.version == "1.0")
    #expect(plugin.abi == "1.0")
    #expect(plugin.schemaJSON == "{\"type\":\"object\"}")
    #expect(
      plugin.wants
        == .init(records: 100, bytes: 0, lingerMilliseconds: 3, maxInflight: 5000, ackDeadlineMilliseconds: 7000))
    #expect(!plugin.isExclusive && !plugin.needsOwnProcess && plugin.outputs.isEmpty)
    #expect(plugin.changedSignals.isEmpty)
  }

  @Test func aPrivateCopyIsLoadedAndKeptFromOthers() throws {
    let library = PluginLibrary(
      searchPaths: [Fixtures.directory("recorder")], stateDirectory: directory.path + "/state", runner: nil)
    let plugin = try library.load("recorder")
    defer { withExtendedLifetime(library) {} }
    #expect(plugin.loadedPath.hasPrefix("\(directory.path)/state/modules/"))
    var about = stat()
    #expect(stat(plugin.loadedPath, &about) == 0 && about.st_mode & 0o777 == 0o500)
    #expect(stat("\(directory.path)/state/modules", &about) == 0 && about.st_mode & 0o777 == 0o700)
  }

  @Test("Copies in a data directory go when their process is gone, and nothing else does")
  func leftoversAreRemoved() throws {
    let shelf = directory.folder("state/modules")
    chmod(shelf, 0o700)
    for name in ["\(getpid())-before", "\(getppid())-begins", "notes"] { _ = directory.folder("state/modules/\(name)") }
    let library = PluginLibrary(
      searchPaths: [Fixtures.directory("recorder")], stateDirectory: directory.path + "/state", runner: nil)
    let plugin = try library.load("recorder")
    defer { withExtendedLifetime(library) {} }
    let own = Paths.entries(of: shelf).filter {
      Paths.exists("\(shelf)/\($0)") && plugin.loadedPath.contains("/\($0)/")
    }
    #expect(own.count == 1)
    PluginLibrary.removeLeftovers(in: directory.path + "/state")
    #expect(Set(Paths.entries(of: shelf)) == Set(own + ["\(getppid())-begins", "notes"]))
  }

  @Test func aFileIsLoadedOnceAndAReplacedOneAnew() throws {
    let plugins = directory.folder("plugins")
    let installed = "\(plugins)/libsluice-recorder.so"
    try copy("recorder", to: installed)
    let library = PluginLibrary(searchPaths: [plugins], stateDirectory: directory.folder("state"))
    let first = try library.load("recorder")
    #expect(try library.load("recorder") === first)
    #expect(try library.load(installed) === first)
    try copy("failing", to: "\(plugins)/new")
    #expect(rename("\(plugins)/new", installed) == 0)
    let error = #expect(throws: PluginLoadError.self) { try library.load("recorder") }
    #expect(error?.code == .wrongKind)
    #expect(try PluginLibrary(searchPaths: [], stateDirectory: nil).load(installed).kind == "failing")
  }

  @Test func aLibraryWithoutAStateDirectoryLeavesNothingBehind() throws {
    let plugin = try PluginLibrary(searchPaths: [Fixtures.directory("recorder")], stateDirectory: nil).load("recorder")
    #expect(!Paths.exists(plugin.loadedPath))
    #expect(plugin.validate(configJSON: "{}").isEmpty)
  }

  @Test func librariesBesideThePluginAreFoundFromItsCopy() throws {
    let plugins = directory.folder("lib/plugins")
    let shared = directory.folder("lib/shared")
    Files.write("", to: "\(plugins)/libhelper.so.1")
    try copy("recorder", to: "\(plugins)/libsluice-recorder.so")
    let library = PluginLibrary(searchPaths: [plugins], stateDirectory: directory.folder("state"))
    let plugin = try library.load("recorder")
    defer { withExtendedLifetime(library) {} }
    let home = Paths.split(plugin.loadedPath).directory
    #expect(linkTarget("\(home)/libhelper.so.1") == "\(plugins)/libhelper.so.1")
    #expect(linkTarget("\(home)/../shared") == shared)
  }

  @Test func validationFindingsCarryPointersAndRepairedText() throws {
    let plugin = try Fixtures.load("recorder", state: directory.folder("state"))
    #expect(plugin.validate(configJSON: "{}").isEmpty)
    let warning = PluginFinding(.warning, pointer: "/n", text: "n is a strange number")
    #expect(plugin.validate(configJSON: "{\"n\":1}") == [warning])
    #expect(
      plugin.validate(configJSON: "{\"n\":12345}") == [
        warning, PluginFinding(.error, pointer: "/n", text: "n is \u{FFFD} too long"),
      ])
  }

  // MARK: Tables

  @Test func anOlderTableIsTakenAndWhatItLacksIsAbsent() throws {
    let plugin = try Fixtures.load("older", table: true, state: directory.folder("state"))
    #expect(plugin.table.interrupt == nil && plugin.table.reconfigure == nil && plugin.table.get_extension == nil)
    #expect(plugin.table.deliver != nil)
  }

  @Test func aNewerTableIsTakenAsFarAsItIsKnown() throws {
    #expect(try Fixtures.load("newer", table: true, state: directory.folder("state")).abi == "1.9")
  }

  @Test(arguments: [
    "nosymbol": "does not export sluice_module_v1; a Sluice plugin defines it with SLU_EXPORT",
    "v2": "speaks ABI 2, this sluice speaks ABI 1; use a sluice that speaks ABI 2",
    "minor": "needs ABI 1.9, this sluice speaks ABI 1.0; use a newer sluice",
    "nodeliver": "slu_subscriber.deliver of nodeliver is NULL; every subscriber must have it",
    "null": "refuses to work with this sluice (sluice_module_v1(0) returned NULL); use a sluice with a newer ABI",
    "tiny": "slu_subscriber.struct_size is 12, at least ",
    "badkind": "slu_subscriber.kind is \"Bad Kind\"; it must match [a-z][a-z0-9-]*",
    "badtext": "slu_subscriber.summary is not valid UTF-8",
    "hugeschema": "slu_subscriber.config_schema has 307200 bytes; at most 262144 are taken",
    "nosubscribers": "slu_module.subscriber_count is 0; it must be 1...64",
    "nullkind": "slu_module.subscribers[0] is NULL",
    "outputs": "slu_subscriber.outputs of outputs is NULL",
    "flags": "slu_subscriber.flags of flags is 128",
    "undefined": "undefined symbol: nobody_defines_this; link the plugin with the library that has the symbol",
  ])
  func aWrongModuleIsRefusedWithTheFieldAndTheRemedy(name: String, expected: String) throws {
    let error = try #require(refusal(name))
    #expect(error.description.contains(expected), "\(error)")
    #expect(error.message.contains("libsluice-\(name).so"), "the message names the file")
    #expect(!error.message.contains("/modules/"), "the message names the installed file, not the copy")
    #expect(!error.remedy.isEmpty)
  }

  @Test func aFileThatIsNoSharedObjectIsRefused() throws {
    let plugins = directory.folder("plugins")
    Files.write("#!/bin/sh\n", to: "\(plugins)/libsluice-script.so")
    let library = PluginLibrary(searchPaths: [plugins], stateDirectory: directory.folder("state"))
    let error = #expect(throws: PluginLoadError.self) { try library.load("script") }
    #expect(error?.code == .notLoadable)
    #expect(error?.remedy == "build it as a shared object for this machine (cc -shared -fPIC)")
  }

  @Test func aPluginUnderAnotherKindsNameIsRefused() throws {
    let plugins = directory.folder("plugins")
    try copy("recorder", to: "\(plugins)/libsluice-disk.so")
    let library = PluginLibrary(searchPaths: [plugins], stateDirectory: directory.folder("state"))
    let error = #expect(throws: PluginLoadError.self) { try library.load("disk") }
    #expect(error?.code == .wrongKind)
    #expect(error?.message.hasSuffix("libsluice-disk.so carries recorder, not disk") == true)
  }

  @Test func signalHandlersThatAPluginTakesArePutBack() throws {
    var before = sigaction()
    sigaction(SIGHUP, nil, &before)
    #expect(try Fixtures.load("signals", table: true, state: directory.folder("state")).changedSignals == [SIGHUP])
    var after = sigaction()
    sigaction(SIGHUP, nil, &after)
    #expect(
      unsafeBitCast(before.__sigaction_handler, to: UInt.self)
        == unsafeBitCast(after.__sigaction_handler, to: UInt.self))
  }

  // MARK: Trust

  @Test func aPluginThatOthersMayWriteIsRefused() throws {
    let plugins = directory.folder("plugins")
    let path = "\(plugins)/libsluice-recorder.so"
    try copy("recorder", to: path)
    let library = PluginLibrary(searchPaths: [plugins], stateDirectory: directory.folder("state"))
    chmod(path, 0o777)
    let file = #expect(throws: PluginLoadError.self) { try library.load("recorder") }
    #expect(
      file?.description == "plugin \(path) (mode 0777) can be written by its group and others; chmod go-w \(path)")
    chmod(path, 0o755)
    chmod(plugins, 0o775)
    let folder = #expect(throws: PluginLoadError.self) { try library.load("recorder") }
    #expect(
      folder?.description == "plugin directory \(plugins) (mode 0775) can be written by its group; chmod g-w \(plugins)"
    )
    chmod(plugins, 0o755)
    #expect(throws: Never.self) { try library.load("recorder") }
    chmod(path, 0o757)
    #expect(throws: PluginLoadError.self, "what is cached is checked again") { try library.load("recorder") }
  }

  @Test func aLinkIsJudgedByWhatItLeadsTo() throws {
    let open = directory.folder("open")
    let safe = directory.folder("safe")
    try copy("recorder", to: "\(open)/libsluice-recorder.so")
    chmod(open, 0o777)
    symlink("\(open)/libsluice-recorder.so", "\(safe)/libsluice-recorder.so")
    let library = PluginLibrary(searchPaths: [safe], stateDirectory: directory.folder("state"))
    let error = #expect(throws: PluginLoadError.self) { try library.load("recorder") }
    #expect(error?.message.contains("plugin directory \(open)") == true)
  }

  @Test(
    arguments: [
      (Ownership(role: .file, path: "/p/x.so", owner: 7, mode: 0o755), UInt32(7), nil),
      (Ownership(role: .file, path: "/p/x.so", owner: 0, mode: 0o644), 7, nil),
      (
        Ownership(role: .file, path: "/p/x.so", owner: 8, mode: 0o755), 7,
        "plugin /p/x.so belongs to user 8, who is neither root nor the daemon's user 7; if you trust it: chown 7 /p/x.so"
      ),
      (
        Ownership(role: .file, path: "/p/x.so", owner: 0, mode: 0o602), 7,
        "plugin /p/x.so (mode 0602) can be written by others; chmod o-w /p/x.so"
      ),
      (
        Ownership(role: .directory, path: "/tmp", owner: 0, mode: 0o1777), 7,
        "plugin directory /tmp (mode 01777) is shared like /tmp: anyone can put a library beside the plugin; "
          + "move the plugin to a directory of its own"
      ),
    ] as [(Ownership, UInt32, String?)])
  func ownershipIsJudgedByOwnerAndMode(what: Ownership, user: UInt32, expected: String?) {
    #expect(what.fault(user: user)?.description == expected)
  }

  // MARK: Helpers

  private func copy(_ fixture: String, to path: String) throws {
    let file = try TrustedFile(opening: "\(Fixtures.directory(fixture))/libsluice-\(fixture).so")
    let target = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o755)
    defer { close(target) }
    var buffer = [UInt8](repeating: 0, count: Int(file.identity.size))
    try #require(read(file.descriptor, &buffer, buffer.count) == buffer.count)
    try #require(write(target, buffer, buffer.count) == buffer.count)
  }

  private func linkTarget(_ path: String) -> String? {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink(path, &buffer, buffer.count)
    return count < 0 ? nil : String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
