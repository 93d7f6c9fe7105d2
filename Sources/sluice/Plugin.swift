import ArgumentParser
import Glibc
import SluiceHost
import SluiceTopology

/// `sluice plugin list|describe|new|check`.
struct Plugin: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List the plugins that can be found, describe one, begin a new one, or test one.",
    subcommands: [PluginList.self, PluginDescribe.self, PluginNew.self, PluginCheck.self])
}

/// What both verbs share.
struct PluginOptions: ParsableArguments {
  @Option(name: .customLong("plugins"), help: "Another folder to look in, as `daemon.plugins` names it; repeatable.")
  var folders: [String] = []

  @Flag(help: "Print JSON.")
  var json = false
}

/// `sluice plugin list`.
struct PluginList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List every kind of subscriber in the search path.",
    discussion: """
      A plugin is a file libsluice-KIND.so. The folders of --plugins are searched first, then the executable's own, then \
      ../lib/sluice/plugins from there. The first file of a name counts. A file that can't be loaded is listed with the \
      reason, and the exit status is 69.

        sluice plugin list
        sluice plugin list --plugins ./plugins --json
      """)

  @OptionGroup var options: PluginOptions

  func run() throws {
    let rows = PluginLibrary(stateDirectory: nil).list(pluginDirectories: options.folders)
    let failed = rows.contains { if case .failure = $0.plugin { true } else { false } }
    if options.json {
      print(JSONValue.array(rows.map(Self.json)).canonicalText)
    } else {
      let width = rows.map(\.kind.count).max() ?? 0
      for row in rows {
        let name = row.kind + String(repeating: " ", count: width - row.kind.count)
        switch row.plugin {
        case .success(let plugin): print("\(name)  \(plugin.version)  \(plugin.summary)  (\(row.path))")
        case .failure(let error): print("\(name)  cannot be loaded: \(error)")
        }
      }
      if rows.isEmpty { print("no plugins found; `sluice plugin list --help` says where they are looked up") }
    }
    if failed { throw ExitStatus.unavailable }
  }

  private static func json(_ row: PluginListing) -> JSONValue {
    switch row.plugin {
    case .success(let plugin):
      [
        "kind": .string(row.kind), "path": .string(row.path), "version": .string(plugin.version),
        "summary": .string(plugin.summary), "vendor": .string(plugin.vendor), "abi": .string(plugin.abi),
        "runtime": .string(plugin.runtime),
      ]
    case .failure(let error):
      [
        "kind": .string(row.kind), "path": .string(row.path), "error": .string(error.message),
        "remedy": .string(error.remedy),
      ]
    }
  }
}

/// `sluice plugin describe KIND|FILE`.
struct PluginDescribe: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe",
    abstract: "Show what a plugin is, what its config takes and what it wants.",
    discussion: """
        sluice plugin describe disk
        sluice plugin describe ./build/libsluice-mine.so --json
      """)

  @Argument(help: "A kind, or the path of a .so.")
  var plugin: String

  @OptionGroup var options: PluginOptions

  func run() throws {
    let library = PluginLibrary(stateDirectory: nil)
    let found: LoadedPlugin
    do {
      found = try library.load(plugin, pluginDirectories: options.folders)
    } catch {
      StandardError.print("\(error.message)")
      if !error.remedy.isEmpty { StandardError.print("  \(error.remedy)") }
      if error.code == .notFound {
        let kinds = library.kinds(pluginDirectories: options.folders).map(\.kind)
        if let near = nearestName(to: plugin, in: kinds) { StandardError.print("  did you mean '\(near)'?") }
        StandardError.print("  there are: \(kinds.joined(separator: ", "))")
      }
      throw ExitStatus.unavailable
    }
    let schema = (try? JSONValue(parsing: found.schemaJSON)) ?? .object([])
    if options.json {
      print(Self.json(found, schema: schema).canonicalText)
    } else {
      Self.show(found, schema: schema)
    }
  }

  private static func json(_ plugin: LoadedPlugin, schema: JSONValue) -> JSONValue {
    [
      "kind": .string(plugin.kind), "summary": .string(plugin.summary), "path": .string(plugin.path),
      "module": .string(plugin.moduleName), "version": .string(plugin.version), "vendor": .string(plugin.vendor),
      "abi": .string(plugin.abi), "runtime": .string(plugin.runtime),
      "outputs": .array(plugin.outputs.map(JSONValue.string)),
      "exclusive": .bool(plugin.isExclusive), "process_only": .bool(plugin.needsOwnProcess),
      "wants": [
        "records": .count(plugin.wants.records), "bytes": .count(plugin.wants.bytes),
        "linger_ms": .count(plugin.wants.lingerMilliseconds), "max_inflight": .count(plugin.wants.maxInflight),
        "ack_deadline_ms": .count(plugin.wants.ackDeadlineMilliseconds),
      ],
      "config_schema": schema,
    ]
  }

  private static func show(_ plugin: LoadedPlugin, schema: JSONValue) {
    print("\(plugin.kind)  \(plugin.summary)")
    print("  file     \(plugin.path)")
    print("  module   \(plugin.moduleName) \(plugin.version)\(plugin.vendor.isEmpty ? "" : ", \(plugin.vendor)")")
    print("  abi      \(plugin.abi)\(plugin.runtime.isEmpty ? "" : ", runtime \(plugin.runtime)")")
    if !plugin.outputs.isEmpty { print("  outputs  \(plugin.outputs.joined(separator: ", "))") }
    let required = (schema["required"]?.array ?? []).compactMap(\.string)
    guard let properties = schema["properties"]?.members, !properties.isEmpty else { return }
    print("  config")
    for member in properties {
      let (name, property) = (member.key, member.value)
      var about: [String] = []
      if let type = property["type"]?.string { about.append(type) }
      if let format = property["format"]?.string { about.append(format) }
      if let choices = property["enum"]?.array {
        about.append("one of " + choices.map(\.canonicalText).joined(separator: ", "))
      }
      if required.contains(name) { about.append("required") }
      if let value = property["default"] { about.append("default \(value.canonicalText)") }
      print("    \(name): \(about.joined(separator: ", "))")
      if let text = property["description"]?.string { print("      \(text)") }
    }
  }
}
