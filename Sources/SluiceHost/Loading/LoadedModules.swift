/// A plugin's file as it was when it was loaded: into the daemon's process, where it stays until that ends, or to be run in
/// processes of its own.
package struct LoadedModule: Sendable {
  /// Where it was found, free of symbolic links; another file may be there by now.
  package let path: String
  /// As the module calls itself.
  package let name: String
  package let version: String
  package let place: PluginPlace
  /// Of the files that were at that path, counted from 1 as they were loaded.
  package let generation: Int
  let identity: FileIdentity
  private let kinds: [LoadedPlugin]

  init(_ kinds: [LoadedPlugin], path: String, identity: FileIdentity, place: PluginPlace, generation: Int) {
    (name, version) = (kinds.first?.moduleName ?? "", kinds.first?.version ?? "")
    self.path = path
    self.place = place
    self.generation = generation
    self.identity = identity
    self.kinds = kinds
  }

  /// Whether `plugin` is a kind of it.
  package func carries(_ plugin: LoadedPlugin) -> Bool { kinds.contains { $0 === plugin } }
}

/// What a library has loaded, in that order.
struct LoadedModules: Sendable {
  private(set) var all: [LoadedModule] = []

  mutating func note(_ kinds: [LoadedPlugin], path: String, identity: FileIdentity, place: PluginPlace) {
    let there = all.filter { $0.path == path }
    let generation =
      there.first { $0.identity == identity }?.generation ?? (there.map(\.generation).max() ?? 0) + 1
    all.append(LoadedModule(kinds, path: path, identity: identity, place: place, generation: generation))
  }
}
