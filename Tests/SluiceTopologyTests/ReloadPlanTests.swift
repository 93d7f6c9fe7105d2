import SluiceCore
import Testing

@testable import SluiceTopology

/// Two streams, a source of each listening kind, a subscriber.
private func topology(
  daemon: String = "", events: String = "", api: String = "", listen: String = "127.0.0.1:8080",
  subscriber: String = "", more: String = ""
) throws -> Topology {
  try load(
    """
    sluice: 1
    daemon: { data: ./data\(daemon) }
    streams:
      events: { durability: fsync\(events) }
      other: {}
    sources:
      api: { type: http, listen: "\(listen)", stream: events\(api) }
    subscribers:
      archive: { plugin: disk, streams: [ events ], config: { path: ./out }\(subscriber) }
    \(more)
    """
  ).get()
}

/// The stored properties of a value, by name.
private func properties(of value: some Any) -> Set<String> {
  Set(Mirror(reflecting: value).children.compactMap(\.label))
}

@Suite struct ReloadPlanTests {
  @Test("Every setting of the topology has one row in the table of what can change live")
  func everySettingHasARow() throws {
    let topology = try topology()
    func check<Settings>(_ settings: Settings, _ rows: [LiveSetting<Settings>], without: Set<String>) {
      let own = properties(of: settings).subtracting(without)
      #expect(Set(rows.map(\.property)) == own)
      #expect(rows.count == own.count)
    }
    check(topology.daemon, LiveSettings.daemon, without: [])
    check(try #require(topology.streams.first), LiveSettings.streams, without: ["name", "position"])
    check(try #require(topology.sources.first), LiveSettings.sources, without: ["name", "position"])
    check(
      try #require(topology.subscribers.first), LiveSettings.subscribers,
      // A secret is shown in one of them only; the rest is about places.
      without: ["name", "position", "placeholderConfigJSON", "configPositions"])
  }

  @Test(
    "A stream's setting that can't change live is refused, with its name and the reason",
    arguments: [
      ("durability", ", durability: written"), ("ring", ", ring: 128MiB"), ("segment", ", segment: 32MiB"),
      ("max_record", ", max_record: 2MiB"),
    ])
  func refusedStreamSettings(key: String, setting: String) throws {
    let old = try topology()
    let text = setting.hasPrefix(", durability") ? setting.replacing(", durability", with: "durability") : nil
    let new =
      try text.map { changed in
        try load(
          """
          sluice: 1
          daemon: { data: ./data }
          streams: { events: { \(changed) }, other: {} }
          sources: { api: { type: http, listen: "127.0.0.1:8080", stream: events } }
          subscribers: { archive: { plugin: disk, streams: [ events ], config: { path: ./out } } }
          """
        ).get()
      } ?? topology(events: setting)
    let plan = ReloadPlan(from: old, to: new)
    #expect(plan.refusals.count == 1)
    #expect(plan.refusals.first?.message.contains("streams.events.\(key) can't change") == true)
    #expect(plan.streams.changed == [.init(name: "events", settings: [key], effect: .refused)])
  }

  @Test(
    "A daemon's setting is applied, drained or refused as its row says",
    arguments: [
      (", event_loops: 7", "event_loops", ChangeEffect.refused), (", log: { level: debug }", "log.level", .applied),
      (", log: { format: json }", "log.format", .applied), (", log: { to: stderr }", "log.to", .applied),
      (", plugins: [ ./more ]", "plugins", .applied), (", admin: 127.0.0.1:9400", "admin", .drained),
    ])
  func daemonSettings(setting: String, key: String, effect: ChangeEffect) throws {
    let plan = ReloadPlan(from: try topology(), to: try topology(daemon: setting))
    #expect(plan.daemon == .init(name: "daemon", settings: [key], effect: effect))
    #expect(plan.refusals.isEmpty == (effect != .refused))
    #expect(plan.streams.isEmpty && plan.sources.isEmpty && plan.subscribers.isEmpty && !plan.isEmpty)
  }

  @Test(
    "A source's setting keeps the open connections unless they would write elsewhere or speak another way",
    arguments: [
      (", topic: web", ["topic"], ChangeEffect.nextConnections), (", max_body: 1MiB", ["max_body"], .nextConnections),
      (", idle_timeout: 5s", ["idle_timeout"], .nextConnections),
      (", max_connections: 9, header_timeout: 3s", ["header_timeout", "max_connections"], .nextConnections),
      (", body_timeout: 3s", ["body_timeout"], .nextConnections),
      (", block_timeout: 9s", ["block_timeout"], .nextConnections),
      (", auth: none", ["auth"], .drained), (", auth: none, topic: web", ["auth", "topic"], .drained),
    ])
  func sourceSettings(setting: String, keys: [String], effect: ChangeEffect) throws {
    let plan = ReloadPlan(from: try topology(), to: try topology(api: setting))
    #expect(plan.sources.changed == [.init(name: "api", settings: keys, effect: effect)])
    #expect(plan.refusals.isEmpty && plan.streams.isEmpty && plan.subscribers.isEmpty)
  }

  @Test("Other certificates are for the next connections; what is asked of clients closes those that are open")
  func tlsSettings() throws {
    let files = "cert: a.pem, key: a.key"
    let old = try topology(api: ", tls: { \(files) }")
    func changes(_ new: Topology) -> [ReloadPlan.Change] { ReloadPlan(from: old, to: new).sources.changed }
    var renewed = old
    renewed.sources[0].tlsFiles?.contents = [1]
    #expect(changes(renewed) == [.init(name: "api", settings: ["tls files"], effect: .applied)])
    #expect(
      try changes(topology(api: ", tls: { cert: b.pem, key: a.key }"))
        == [.init(name: "api", settings: ["tls files"], effect: .applied)])
    for more in ["client: none, min_version: 1.3", "client_ca: ca.pem", "client_ca: ca.pem, client: optional"] {
      #expect(try changes(topology(api: ", tls: { \(files), \(more) }")).first?.effect == .drained)
    }
    #expect(try changes(topology()).first?.effect == .drained, "without TLS")
  }

  @Test("A source that goes to another stream drains its connections")
  func anotherStreamDrains() throws {
    let old = try topology()
    var new = old
    new.sources[0].stream = "other"
    #expect(
      ReloadPlan(from: old, to: new).sources.changed == [.init(name: "api", settings: ["stream"], effect: .drained)])
  }

  @Test(
    "What a stream keeps, and what it does when it is full, is applied",
    arguments: [
      (", retain: { bytes: 5GiB }", "retain.bytes"), (", retain: { age: 1d }", "retain.age"),
      (", when_full: drop_oldest", "when_full"), (", retain: { cursors: 1d }", "retain.cursors"),
      (", commit: { linger: 5ms }", "commit.linger"), (", on_corruption: halt", "on_corruption"),
      (", max_record: 64KiB", "max_record"),
    ])
  func appliedStreamSettings(setting: String, key: String) throws {
    let plan = ReloadPlan(from: try topology(), to: try topology(events: setting))
    #expect(plan.refusals.isEmpty && plan.sources.isEmpty)
    #expect(plan.streams.changed == [.init(name: "events", settings: [key], effect: .applied)])
  }

  @Test("A stream's block_timeout changes the sources that inherit it, and nothing else")
  func blockTimeoutIsLive() throws {
    let plan = ReloadPlan(from: try topology(), to: try topology(events: ", block_timeout: 2s"))
    #expect(plan.refusals.isEmpty)
    #expect(plan.streams.changed == [.init(name: "events", settings: ["block_timeout"], effect: .applied)])
    #expect(plan.sources.changed.map(\.settings) == [["block_timeout"]])
  }

  @Test(
    "A listener that moves is refused only where the kernel would take the old and the new address for the same",
    arguments: [
      ("127.0.0.1:8081", true), ("0.0.0.0:8081", true), ("0.0.0.0:8080", false), (":8080", false),
      ("127.0.0.1:0", true),
    ])
  func movingListeners(listen: String, isFine: Bool) throws {
    let plan = ReloadPlan(from: try topology(), to: try topology(listen: listen))
    #expect(plan.refusals.isEmpty == isFine, "\(plan.refusals)")
    #expect(plan.sources.changed.map(\.settings) == [["listen"]])
  }

  @Test("A renamed source takes the address of the one that goes")
  func renamedSource() throws {
    let old = try topology()
    var new = old
    new.sources[0].name = "web"
    let plan = ReloadPlan(from: old, to: new)
    #expect(plan.refusals.isEmpty && plan.sources.added == ["web"] && plan.sources.removed == ["api"])
  }

  @Test("Standard input is not read by a second source, nor by a changed one, and may be left")
  func standardInput() throws {
    func withInput(_ name: String, _ topic: String) throws -> Topology {
      try load(
        """
        sluice: 1
        streams: { events: {} }
        sources: { \(name): { type: stdin, stream: events, topic: \(topic) } }
        """
      ).get()
    }
    let old = try withInput("pipe", "a")
    #expect(ReloadPlan(from: old, to: old).refusals.isEmpty)
    for new in [try withInput("pipe", "b"), try withInput("other", "a")] {
      #expect(ReloadPlan(from: old, to: new).refusals.count == 1)
    }
    var without = old
    without.sources = []
    #expect(ReloadPlan(from: old, to: without).refusals.isEmpty)
    #expect(ReloadPlan(from: without, to: old).refusals.isEmpty)
  }

  @Test("The built-in stream stays as it was started, whatever the others would make of it")
  func builtinStream() throws {
    let old = try topology()
    var new = old
    let place = try #require(new.streams.firstIndex { $0.isBuiltin })
    new.streams[place].maxRecordBytes *= 2
    let plan = ReloadPlan(from: old, to: new)
    #expect(plan.isEmpty && plan.refusals.isEmpty && plan.streams.untouched.contains("dead"))
    new.streams[place].isBuiltin = false
    #expect(ReloadPlan(from: old, to: new).refusals.count == 1)
  }

  @Test("A plugin whose file was replaced restarts its subscriber, and only that one")
  func replacedPlugin() throws {
    let old = try topology()
    let plan = ReloadPlan(from: old, to: old, restarts: ["archive": "plugin file", "gone": "plugin file"])
    #expect(plan.subscribers.changed == [.init(name: "archive", settings: ["plugin file"], effect: .restarted)])
    #expect(plan.subscribers.untouched.isEmpty && plan.sources.untouched == ["api"])
  }

  @Test("The same topology plans nothing, and says what is untouched")
  func nothing() throws {
    let plan = ReloadPlan(from: try topology(), to: try topology())
    #expect(plan.isEmpty && plan.refusals.isEmpty)
    #expect(plan.lines == ["untouched 3 streams, 1 sources, 1 subscribers"])
  }

  @Test("The plan is told in words and as JSON, part by part")
  func words() throws {
    let old = try topology()
    let new = try topology(api: ", topic: web", subscriber: ", order: strict")
    var grown = new
    grown.streams.append(StreamSettings(name: "extra", position: SourcePosition(file: "x", line: 1, column: 1)))
    grown.subscribers.removeAll()
    let plan = ReloadPlan(from: old, to: grown)
    #expect(
      plan.lines == [
        "added     stream extra", "changed   source api (topic)", "removed   subscriber archive",
        "untouched 3 streams, 0 sources, 0 subscribers",
      ])
    #expect(plan.json["sources"]?["changed"] != nil && plan.json["daemon"] == .null)
    #expect(
      ReloadPlan(from: old, to: new).subscribers.changed
        == [.init(name: "archive", settings: ["order"], effect: .restarted)])
  }
}
