// Finds plugins, and loads each file once.
//
// A plugin is named by its kind, found as libsluice-<kind>.so in the first of these directories that has it:
//   1. the topology's daemon.plugins, in order
//   2. the directory of the executable (where `swift build` leaves them)
//   3. ../lib/sluice/plugins from there (where an installation has them)
// or by the path of a .so, which is anything with a slash or the ending .so.
//
// A file that was replaced (another inode, size or time) is another module: it is loaded beside the old one.

import CSluice
import Glibc
import SluiceCore
import SluiceTopology
import Synchronization

/// One line of `sluice plugin list`.
package struct PluginListing: Sendable {
  package var kind: String
  package var path: String
  package var plugin: Result<LoadedPlugin, PluginLoadError>
}

/// Where a plugin's code is to run.
package enum PluginPlace: String, Hashable, Sendable, CaseIterable {
  /// In the daemon's process.
  case thread
  /// In a process for each of its instances.
  case process
}

package final class PluginLibrary: PluginSchemaProvider {
  private struct Key: Hashable {
    var file: FileIdentity
    var place: PluginPlace
  }

  private let searchPaths: [String]
  private let shelf: CopyShelf
  private let runner: String?
  private let loaded = Mutex<[Key: [LoadedPlugin]]>([:])
  /// The same for people, apart, because `loaded` is locked while plugin code runs.
  private let register = Mutex(LoadedModules())

  /// `stateDirectory`: where private copies go, `daemon.data`; nil puts them into a temporary directory, for commands that only
  /// look, which is gone when nobody needs it any more. `usesData`: the first topology that is read says which. `runner`: a `sluice` that has the first look at
  /// modules, and runs those that get processes of their own; nil: modules are loaded unseen, and into this process only.
  package init(
    searchPaths: [String] = PluginLibrary.builtInSearchPaths, stateDirectory: String?, usesData: Bool = false,
    runner: String? = PluginLibrary.builtInRunner
  ) {
    self.searchPaths = searchPaths
    shelf = CopyShelf(data: stateDirectory, awaitsData: usesData)
    self.runner = runner
  }

  /// This executable, if it is `sluice`, or the one beside it.
  package static let builtInRunner: String? = {
    guard let resolved = realpath(PluginProcess.executable, nil) else { return nil }
    defer { free(resolved) }
    let (directory, name) = Paths.split(String(cString: resolved))
    // Through /proc it is this very file, even when another has been put in its place.
    if name == "sluice" { return PluginProcess.executable }
    return Paths.exists("\(directory)/sluice") ? "\(directory)/sluice" : nil
  }()

  /// Beside the executable, and where an installation has its plugins.
  package static let builtInSearchPaths: [String] = {
    guard let resolved = realpath("/proc/self/exe", nil) else { return [] }
    defer { free(resolved) }
    let beside = Paths.split(String(cString: resolved)).directory
    return [beside, Paths.split(beside).directory + "/lib/sluice/plugins"]
  }()

  /// Whether a plugin's file, free of symbolic links, lies where installed plugins do: those may share the daemon's
  /// process unless told otherwise.
  package static func isInstalled(_ path: String) -> Bool {
    let directory = Paths.split(path).directory
    return builtInSearchPaths.contains { installed in
      guard let resolved = realpath(installed, nil) else { return false }
      defer { free(resolved) }
      return String(cString: resolved) == directory
    }
  }

  // MARK: Finding

  /// Whether `plugin` is a path rather than a kind.
  package static func isPath(_ plugin: String) -> Bool { plugin.contains("/") || plugin.hasSuffix(".so") }

  /// The plugin's file. Says where it looked, and what kinds there are, when there is none.
  package func find(_ kindOrPath: String, pluginDirectories: [String] = []) throws(PluginLoadError) -> String {
    guard !PluginLibrary.isPath(kindOrPath) else { return kindOrPath }
    let directories = pluginDirectories + searchPaths
    for directory in directories {
      let path = "\(directory)/\(PluginLibrary.fileName(kindOrPath))"
      if Paths.exists(path) { return path }
    }
    throw PluginLoadError(
      .notFound, "there is no plugin of kind '\(kindOrPath)'",
      remedy: "looked for \(PluginLibrary.fileName(kindOrPath)) in \(directories.joined(separator: ", "))")
  }

  /// The kinds that files in the search path claim to have, in the order of the search; the first of a name counts.
  package func kinds(pluginDirectories: [String] = []) -> [(kind: String, path: String)] {
    var found: [(kind: String, path: String)] = []
    for directory in pluginDirectories + searchPaths {
      for name in Paths.entries(of: directory) {
        guard let kind = PluginLibrary.kind(ofFile: name), !found.contains(where: { $0.kind == kind }) else { continue }
        found.append((kind, "\(directory)/\(name)"))
      }
    }
    return found
  }

  /// Every kind in the search path, loaded, or why it can't be.
  package func list(pluginDirectories: [String] = []) -> [PluginListing] {
    kinds(pluginDirectories: pluginDirectories).map { kind, path in
      PluginListing(
        kind: kind, path: path, plugin: Result { () throws(PluginLoadError) in try load(path, place: lookingPlace) })
    }
  }

  private static func fileName(_ kind: String) -> String { "libsluice-\(kind).so" }

  static func kind(ofFile name: String) -> String? {
    guard name.hasPrefix("libsluice-"), name.hasSuffix(".so") else { return nil }
    let kind = name.dropFirst("libsluice-".count).dropLast(".so".count)
    return ModuleReader.isName(String(kind), also: "-") ? String(kind) : nil
  }

  // MARK: Copies

  package func note(data: String) { shelf.note(data: data) }

  /// Why copies are not where they should be, to be said once; nil: they are.
  package func takeCopyWarning() -> String? { shelf.takeWarning() }

  /// Removes the copies that daemons which did not end by themselves have left in a data directory. The caller holds its lock.
  package static func removeLeftovers(in data: String) { CopyShelf.removeLeftovers(in: data) }

  // MARK: Loading

  /// What was loaded since the library was made, in that order, and what was only looked at. From any thread.
  package var modules: [LoadedModule] { register.withLock { $0.all } }

  package func describe(
    plugin kindOrPath: String, pluginDirectories: [String], as user: String? = nil
  ) throws(PluginLookupError) -> PluginSchema {
    try lookUp(kindOrPath, in: pluginDirectories) { () throws(PluginLoadError) in
      let plugin = try load(kindOrPath, pluginDirectories: pluginDirectories, place: lookingPlace, as: user)
      return PluginSchema(kind: plugin.kind, schemaJSON: plugin.schemaJSON)
    }
  }

  /// With what was probably meant, where there is no such plugin.
  func lookUp(
    _ kindOrPath: String, in pluginDirectories: [String], _ look: () throws(PluginLoadError) -> PluginSchema
  ) throws(PluginLookupError) -> PluginSchema {
    do throws(PluginLoadError) {
      return try look()
    } catch {
      let nearest =
        error.code == .notFound && !PluginLibrary.isPath(kindOrPath)
        ? nearestName(to: kindOrPath, in: kinds(pluginDirectories: pluginDirectories).map(\.kind)) : nil
      throw PluginLookupError(message: error.message, remedy: error.remedy, suggestion: nearest)
    }
  }

  /// Has no library of this process look at plugins any more, also where that is under way: for a daemon that stops.
  package static func endLooks() { FirstLook.endAll() }

  /// For who only wants to know what a plugin says of itself.
  package var lookingPlace: PluginPlace { runner == nil ? .thread : .process }

  /// Loads the plugin, or returns what was loaded from the same file before. `user`: who looks at it, where that is still to be
  /// done in a process of its own; nil for the daemon's own.
  package func load(
    _ kindOrPath: String, pluginDirectories: [String] = [], place: PluginPlace = .thread, as user: String? = nil
  ) throws(PluginLoadError) -> LoadedPlugin {
    let wanted = PluginLibrary.isPath(kindOrPath) ? nil : kindOrPath
    let file = try TrustedFile(opening: find(kindOrPath, pluginDirectories: pluginDirectories))
    let name = Paths.split(file.path).name
    let key = Key(file: file.identity, place: place)
    // Under the lock: a module is loaded by one thread, once.
    let outcome = loaded.withLock { cache -> Result<[LoadedPlugin], PluginLoadError> in
      if let known = cache[key] { return .success(known) }
      do throws(PluginLoadError) {
        let seen = cache[Key(file: file.identity, place: .process)]
        let kinds = try place == .process ? describe(file, as: user) : map(file, seen: seen)
        cache[key] = kinds
        register.withLock { $0.note(kinds, path: file.path, identity: file.identity, place: place) }
        return .success(kinds)
      } catch {
        return .failure(error)
      }
    }
    let kinds = try outcome.get()
    if let plugin = kinds.first(where: { $0.kind == wanted ?? PluginLibrary.kind(ofFile: name) }) { return plugin }
    if wanted == nil, kinds.count == 1 { return kinds[0] }
    let carried = kinds.map(\.kind).joined(separator: ", ")
    throw PluginLoadError(
      .wrongKind, "\(file.path) carries \(carried), not \(wanted ?? "one kind that its name tells")",
      remedy: "name the file libsluice-<kind>.so after the kind in slu_subscriber.kind")
  }

  /// `seen`: what a look in a process has found.
  private func map(_ file: borrowing TrustedFile, seen: [LoadedPlugin]?) throws(PluginLoadError) -> [LoadedPlugin] {
    let name = file.path
    let isSeen = seen != nil
    for kind in seen ?? [] { try mustShare(kind.reasonForOwnProcess, name) }
    let (copy, copies) = try shelf.copy(of: file)
    defer { withExtendedLifetime(copies) {} }
    if let runner, !isSeen {
      let found = try FirstLook(runner: runner).describe(copy, calling: name)
      for kind in found.kinds {
        try mustShare(LoadedPlugin.reasonForOwnProcess(flags: kind.flags, runtime: found.runtime), name)
      }
    }
    PluginCrashes.note(name)
    let image = try ModuleImage.load(copy, calling: name)
    let identity = file.identity
    let module = try ModuleReader(path: name, major: image.major).read(image.module)
    return module.kinds.map { LoadedPlugin($0, of: module, image: image, path: name, file: identity, loadedPath: copy) }
  }

  private func mustShare(_ reason: String?, _ name: String) throws(PluginLoadError) {
    guard let reason else { return }
    throw PluginLoadError(
      .notShareable, "\(name) must not run in the daemon's process: \(reason)",
      remedy: "say `isolation: process` for this subscriber, or leave isolation out")
  }

  /// Why the plugin's file and what is in the process already would not be told apart there: see `SwiftConformances`.
  package enum Confusion: Equatable, Sendable {
    /// With an earlier generation of the file.
    case replaced
    /// With another file, or the same one at another path.
    case alike(path: String)
  }

  /// Nil if the file may be loaded into the process beside what is there, or is there itself.
  package func confusion(_ kindOrPath: String, pluginDirectories: [String] = []) throws(PluginLoadError) -> Confusion? {
    let file = try TrustedFile(opening: find(kindOrPath, pluginDirectories: pluginDirectories))
    let (path, identity) = (file.path, file.identity)
    let there = loaded.withLock { loaded -> [LoadedPlugin] in
      guard loaded[Key(file: identity, place: .thread)] == nil else { return [] }
      return loaded.filter { $0.key.place == .thread }.values.compactMap(\.first)
    }
    let before = there.filter { $0.path == path }
    let suspect = there.first { $0.mayHaveRetroactive }
    guard !before.isEmpty || suspect != nil else { return nil }
    let next = try load(kindOrPath, pluginDirectories: pluginDirectories, place: lookingPlace)
    if !before.isEmpty, (before + [next]).contains(where: \.mayHaveRetroactive) { return .replaced }
    guard let suspect, next.mayHaveRetroactive else { return nil }
    return .alike(path: suspect.path)
  }

  /// What a file's kinds say of themselves, ready to be run in processes.
  private func describe(
    _ file: borrowing TrustedFile, as user: String?
  ) throws(PluginLoadError) -> [LoadedPlugin] {
    guard let runner else {
      throw PluginLoadError(
        .notLoadable, "\(file.path) is to run in a process of its own, and there is no sluice to run it", remedy: "")
    }
    let name = file.path
    let (copy, copies) = try shelf.copy(of: file)
    let kept = KeptModule(copy, of: file, in: copies)
    let identity = file.identity
    let module = try FirstLook(runner: runner, user: user).describe(kept.path, calling: name)
    return module.kinds.map {
      LoadedPlugin($0, of: module, path: name, file: identity, kept: kept, runner: runner)
    }
  }
}
