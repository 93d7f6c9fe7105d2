import SluiceTopology
import Synchronization
import Testing

@Test func aPointerIntoTheConfigLeadsToItsValueOrTheNearestAroundIt() {
  let here = SourcePosition(file: "a.yaml", line: 9, column: 3)
  var settings = SubscriberSettings(name: "s", plugin: "disk", streams: ["e"], position: here)
  #expect(settings.position(ofPointer: "/x") == here)
  let root = SourcePosition(file: "a.yaml", line: 10, column: 5)
  let item = SourcePosition(file: "a.yaml", line: 12, column: 9)
  settings.configPositions.value = ["": root, "/list/0": item]
  #expect(settings.position(ofPointer: "/list/0/name") == item)
  #expect(settings.position(ofPointer: "/list/1") == root)
  #expect(settings.position(ofPointer: "nonsense") == root)
}

/// Keeps as whom plugins are asked.
private final class AskedPlugins: PluginSchemaProvider {
  let users = Mutex<[String?]>([])

  func describe(
    plugin kindOrPath: String, pluginDirectories: [String], as user: String?
  ) throws(PluginLookupError) -> PluginSchema {
    users.withLock { $0.append(user) }
    return PluginSchema(kind: kindOrPath, schemaJSON: #"{"type":"object"}"#)
  }
}

@Test(
  "A plugin is asked for its schema as the user that its isolation names, and not at all where that can't be read",
  arguments: [
    ("thread", [nil]), ("process", [nil]), ("{ process: { user: nobody } }", ["nobody"]),
    ("{ process: { user: 1.5 } }", []), ("{ process: { usr: nobody } }", []), ("{ proces: { user: nobody } }", []),
    ("{ process: { user: nobody, memory: much } }", []), ("proces", []),
  ] as [(String, [String?])])
func asksAsTheUser(isolation: String, users: [String?]) {
  let plugins = AskedPlugins()
  let text = """
    sluice: 1
    streams: { events: {} }
    subscribers:
      s: { plugin: ./libsluice-x.so, streams: [ events ], isolation: \(isolation), config: {} }
    """
  _ = TopologyLoader.load(text: text, name: "t.yaml", environment: [:], plugins: plugins)
  #expect(plugins.users.withLock { $0 } == users)
}
