import SluiceCore
import SluiceTopology

/// Knows of plugins only that their files are there and may be trusted: none of their code runs, in no process. Whatever a
/// config says is taken.
package struct UnloadedPlugins: PluginSchemaProvider {
  private let library: PluginLibrary
  private static let anything = #"{"type":"object"}"#

  package init(_ library: PluginLibrary) { self.library = library }

  package func describe(
    plugin kindOrPath: String, pluginDirectories: [String], as user: String?
  ) throws(PluginLookupError) -> PluginSchema {
    try library.lookUp(kindOrPath, in: pluginDirectories) { () throws(PluginLoadError) in
      let file = try TrustedFile(opening: library.find(kindOrPath, pluginDirectories: pluginDirectories))
      let name = Paths.split(file.path).name
      return PluginSchema(kind: PluginLibrary.kind(ofFile: name) ?? name, schemaJSON: Self.anything)
    }
  }
}
