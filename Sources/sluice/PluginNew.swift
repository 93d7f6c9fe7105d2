import ArgumentParser
import Glibc
import SluiceHost

extension PluginLanguage: ExpressibleByArgument {}

/// `sluice plugin new`.
struct PluginNew: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "new",
    abstract: "Begin a plugin: a project that builds, passes its tests, and is yours to change.",
    discussion: """
      The project has a subscriber that counts records and bytes per topic and keeps the totals in a file, tests, a \
      topology to try it with, and nothing that has to be fetched. Swift needs the kit of an installed Sluice \
      (scripts/install).

        sluice plugin new --language c my-counter && make -C my-counter check
        sluice plugin new --language swift my-counter --directory src/counter
      """)

  @Option(help: "c, swift or rust.")
  var language: PluginLanguage

  @Argument(help: "The kind: what `plugin:` in a topology names. [a-z][a-z0-9-]*")
  var name: String

  @Option(help: "The folder to make, or an empty one (default: the name).")
  var directory: String?

  func validate() throws {
    if let fault = PluginProject.fault(of: name) { throw ValidationError(fault) }
    if let known = PluginLibrary(stateDirectory: nil).kinds().first(where: { $0.kind == name }) {
      throw ValidationError("there is a plugin '\(name)' already, \(known.path): choose another name")
    }
  }

  func run() throws {
    let project = PluginProject(language: language, name: name)
    let folder = directory ?? name
    do {
      try project.write(to: folder)
    } catch {
      StandardError.print(error.text)
      throw ExitStatus.cannotCreate
    }
    print("made \(folder), a plugin of kind '\(name)':")
    for file in project.files { print("  \(file.path)") }
    print("next, it is built and tested:")
    let words = surroundings.map(Self.quoted) + [language == .swift ? "./check" : "make check"]
    print("  cd \(Self.quoted(folder)) && \(words.joined(separator: " "))")
    if language == .swift, kit == nil {
      print("This sluice is not installed, and has no Swift kit beside it: scripts/install puts it there.")
    }
  }

  /// A word as a shell takes it.
  private static func quoted(_ word: String) -> String {
    let isPlain = word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-=+:,@%".contains($0)) }
    return isPlain ? word : "'" + word.replacing("'", with: #"'\''"#) + "'"
  }

  /// What the project's commands have to be told: nothing, where the shell and pkg-config find this installation.
  private var surroundings: [String] {
    guard let executable = Self.resolved("/proc/self/exe") else { return [] }
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    let first = path.split(separator: ":").lazy.compactMap { Self.resolved("\($0)/sluice") }.first
    var settings: [String] = []
    if first != executable { settings.append("SLUICE=\(executable)") }
    if language == .swift, let kit { settings.append("SLUICE_KIT=\(kit)") }
    return settings
  }

  /// The Swift kit of this installation.
  private var kit: String? {
    guard let executable = Self.resolved("/proc/self/exe") else { return nil }
    let folder = executable.split(separator: "/").dropLast(2).joined(separator: "/")
    return Self.resolved("/\(folder)/share/sluice/SluicePluginKit")
  }

  /// The path, free of symbolic links; nil if nothing is there.
  private static func resolved(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
