import Glibc
import Logging
import SluiceCore
import Synchronization
import TestSupport

@testable import SluiceHost

/// A directory that is gone when the test is.
final class TemporaryDirectory: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/sluice-host-tests-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { Paths.remove(path) }

  /// A directory below it.
  func folder(_ name: String) -> String {
    precondition(Paths.makePrivate("\(path)/\(name)") == 0)
    return "\(path)/\(name)"
  }
}

enum Files {
  static func write(_ text: String, to path: String) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    precondition(file >= 0)
    var text = text
    text.withUTF8 { precondition(Glibc.write(file, $0.baseAddress, $0.count) == $0.count) }
    close(file)
  }

  static func lines(_ path: String) -> [String] {
    guard let file = fopen(path, "re") else { return [] }
    defer { fclose(file) }
    var lines: [String] = []
    var buffer = [CChar](repeating: 0, count: 1 << 16)
    while fgets(&buffer, Int32(buffer.count), file) != nil {
      lines.append(String(decoding: buffer.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
    return lines
  }

  /// Whether a process holds the lock (`flock`) on a file that is there.
  static func isLocked(_ path: String) -> Bool {
    let file = open(path, O_RDWR | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    return flock(file, LOCK_EX | LOCK_NB) != 0
  }

  static func waitUntilUnlocked(_ path: String, seconds: Int64) -> Bool {
    eventually(seconds: seconds) { !isLocked(path) }
  }
}

/// Looks until the condition holds, for what rings no bell that a test can hear. False: it never did.
func eventually(seconds: Int64 = 120, _ condition: () -> Bool) -> Bool {
  let pause = Doorbell()
  let deadline = Clock.monotonic() + seconds * 1_000_000_000
  while !condition() {
    guard Clock.monotonic() < deadline else { return false }
    pause.wait(until: Clock.monotonic() + 2_000_000)
  }
  return true
}

/// What `misbehaving.c` does, and where.
struct Misbehaviour {
  var what: String
  var place: String

  var kind: String { "\(what)-\(place)".replacing("_", with: "-") }
}

/// The fixture plugins, each compiled once per test process.
enum Fixtures {
  private static let home = TemporaryDirectory()
  private static let built = Mutex<[String: String]>([:])

  /// The directory `Tests`.
  static let tests = "/" + "\(#filePath)".split(separator: "/").dropLast(2).joined(separator: "/")

  /// Where `libsluice-<name>.so` lies, compiled from Tests/FixturePlugins/<name>.c or, for a `table`, from tables.c; those
  /// whose name begins with `swift-` from <name>.swift and the kit. A path names a plugin that is built already.
  static func directory(_ name: String, table: Bool = false, misbehaving: Misbehaviour? = nil) -> String {
    guard !PluginLibrary.isPath(name) else { return home.path }
    var options: [String] = []
    if table { options = ["-DCASE=case_\(name)", "-DKIND=\"\(name)\""] }
    if let misbehaving {
      options = ["-DMISBEHAVE=\(misbehaving.what)", "-DWHERE=\(misbehaving.place)", "-DKIND=\"\(name)\""]
    }
    return directory(name, from: misbehaving == nil ? table ? "tables" : name : "misbehaving", options)
  }

  /// The file that breaking.c makes when it is to break one rule; `what` as in the table of breaking.h.
  static func breaking(_ what: String) -> String {
    let name = "breaking-\(what)"
    let options = ["-DBREAKS=breaks_\(what)", "-DBREAKS_\(what)"]
    return "\(directory(name, from: "breaking", options))/libsluice-\(name).so"
  }

  private static func directory(_ name: String, from source: String, _ options: [String]) -> String {
    built.withLock { built in
      if let known = built[name] { return known }
      let directory = home.folder(name)
      let target = "\(directory)/libsluice-\(name).so"
      if name.hasPrefix("swift-") {
        compileSwift(name, to: target)
      } else {
        compile("\(tests)/FixturePlugins/\(source)", options, to: target)
      }
      built[name] = directory
      return directory
    }
  }

  /// The program compiled from Tests/FixturePlugins/<name>.c.
  static func program(_ name: String) -> String {
    built.withLock { built in
      if let known = built["program \(name)"] { return known }
      let path = "\(home.folder("program-\(name)"))/\(name)"
      run(
        ["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "\(tests)/FixturePlugins/\(name).c", "-o", path],
        "\(name).c does not compile")
      built["program \(name)"] = path
      return path
    }
  }

  private static func compile(_ file: String, _ options: [String], to target: String) {
    let isC = Paths.exists(file + ".c")
    let source = file + (isC ? ".c" : ".cpp")
    var arguments = isC ? ["cc", "-std=c11", "-D_GNU_SOURCE"] : ["c++", "-std=c++17"]
    arguments += ["-O1", "-shared", "-fPIC", "-pthread"]
    arguments += ["-I\(tests)/../Sources/CSluice/include", source, "-o", target] + options
    run(arguments, "\(source) does not compile")
  }

  /// With the kit's sources in the same module: a kit of the fixture's own, as every plugin has.
  private static func compileSwift(_ name: String, to target: String) {
    let root = "\(tests)/.."
    var arguments = ["swiftc", "-swift-version", "6", "-parse-as-library", "-suppress-warnings", "-emit-library"]
    arguments += ["-module-name", "SluicePluginKit", "-I\(root)/Sources/CSluice/include", "-o", target]
    for option in ["--version-script=\(root)/Plugins/plugin.map", "-Bsymbolic", "-z", "nodelete"] {
      arguments += ["-Xlinker", option]
    }
    let sources = "'\(root)/Sources/SluicePluginKit' '\(tests)/FixturePlugins/\(name).swift'"
    run(
      ["sh", "-c", "exec \"$@\" $(find \(sources) -name '*.swift')", "sh"] + arguments,
      "\(name).swift does not compile")
  }

  private static func run(_ arguments: [String], _ failure: String) {
    precondition(ChildDescriptors.run(arguments) == 0, failure)
  }

  /// The fixture's plugin, as a library of its own loads it: its code shares nothing with other tests'.
  static func load(
    _ name: String, table: Bool = false, misbehaving: Misbehaviour? = nil, state: String
  ) throws -> LoadedPlugin {
    let folder = directory(name, table: table, misbehaving: misbehaving)
    return try PluginLibrary(searchPaths: [folder], stateDirectory: state, runner: nil).load(name)
  }

  /// The same in a process of its own for each instance; `misbehaving` is what it is compiled to do.
  static func isolate(_ name: String, misbehaving: Misbehaviour? = nil, state: String) throws -> LoadedPlugin {
    try PluginLibrary(searchPaths: [directory(name, misbehaving: misbehaving)], stateDirectory: state)
      .load(name, place: .process)
  }
}

/// Keeps what is logged, and lets a test wait for a line.
final class LogCapture: Sendable {
  private let lines = Mutex<[String]>([])
  private let changed = Doorbell()
  private let reaction = Mutex<(text: String, act: @Sendable () -> Void)?>(nil)

  var logger: Logger {
    var logger = Logger(label: "test") { _ in Handler(capture: self) }
    logger.logLevel = .trace
    return logger
  }

  var all: [String] { lines.withLock { $0 } }

  func count(_ text: String) -> Int { all.count { $0.contains(text) } }

  /// Waits until a line has `text` in it. One thread at a time.
  func wait(for text: String, count: Int = 1, seconds: Int64 = 120) -> Bool {
    let deadline = Clock.monotonic() + seconds * 1_000_000_000
    while self.count(text) < count {
      if !changed.wait(until: deadline) { return self.count(text) >= count }
    }
    return true
  }

  /// Has who first logs a line with `text` in it do something before it goes on: what a test that only waits for the line may
  /// come too late for.
  func first(_ text: String, _ act: @escaping @Sendable () -> Void) { reaction.withLock { $0 = (text, act) } }

  fileprivate func add(_ line: String) {
    let act = reaction.withLock { reaction -> (@Sendable () -> Void)? in
      guard let due = reaction, line.contains(due.text) else { return nil }
      reaction = nil
      return due.act
    }
    act?()
    lines.withLock { $0.append(line) }
    changed.ring()
  }

  private struct Handler: LogHandler {
    let capture: LogCapture
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let all = metadata.merging(event.metadata ?? [:]) { $1 }
      let pairs = all.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }
      capture.add("\(event.level) \(event.message)\(pairs.joined())")
    }
  }
}
