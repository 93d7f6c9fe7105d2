/// What the loader needs to know of a plugin before anything starts.
package struct PluginSchema: Sendable {
  package var kind: String
  /// The JSON Schema of its config, as the plugin carries it. Empty: the plugin takes no config.
  package var schemaJSON: String

  package init(kind: String, schemaJSON: String) {
    self.kind = kind
    self.schemaJSON = schemaJSON
  }
}

/// Why no schema could be had.
package struct PluginLookupError: Error, Sendable, CustomStringConvertible {
  /// What is wrong, for example "no plugin of kind 'dsk'".
  package var message: String
  /// What to do about it, for example where was looked.
  package var remedy: String?
  /// The nearest kind that exists.
  package var suggestion: String?

  package init(message: String, remedy: String? = nil, suggestion: String? = nil) {
    self.message = message
    self.remedy = remedy
    self.suggestion = suggestion
  }

  package var description: String { message }
}

/// Finds plugins and reads their schemas.
package protocol PluginSchemaProvider: Sendable {
  /// Told before any plugin is asked for: where the daemon that is described keeps its data.
  func note(data: String)
  /// `kindOrPath` as in `SubscriberSettings.plugin`; `pluginDirectories` as in `DaemonSettings.plugins`; `user`: who its code
  /// is to be run as, nil for the daemon's own.
  func describe(
    plugin kindOrPath: String, pluginDirectories: [String], as user: String?
  ) throws(PluginLookupError) -> PluginSchema
}

extension PluginSchemaProvider {
  package func note(data: String) {}
}
