// What a reload comes to, found out before anything is touched. Pure: two topologies in, names and effects out.
//
//   part         added            changed                                          removed
//   streams      opened           told, or refused (`LiveSettings`)                closed; its files stay
//   sources      started          another on the same listening socket; what       drained
//                                 becomes of connections says `LiveSettings`
//   subscribers  started          ended behind a batch, started on its cursor      ended; its cursor stays until it expires
//
// One refusal refuses all of it: a generation is one file, not half of it.

/// What a reload would do, by name.
package struct ReloadPlan: Sendable, Equatable {
  package struct Change: Sendable, Equatable {
    package var name: String
    /// The settings that differ, as the topology calls them.
    package var settings: [String]
    /// The strongest effect of them.
    package var effect: ChangeEffect
  }

  package struct Part: Sendable, Equatable {
    /// In the order of the new topology.
    package var added: [String] = []
    package var changed: [Change] = []
    package var untouched: [String] = []
    /// In the order of the old one.
    package var removed: [String] = []

    package var isEmpty: Bool { added.isEmpty && changed.isEmpty && removed.isEmpty }
  }

  package var streams: Part
  package var sources: Part
  package var subscribers: Part
  /// `daemon:`, as one change; nil when it says the same.
  package var daemon: Change?
  /// Why the daemon can't get there without a restart. Empty: it can.
  package var refusals: [Diagnostic]

  package var isEmpty: Bool { streams.isEmpty && sources.isEmpty && subscribers.isEmpty && daemon == nil }

  /// `restarts`: subscribers that begin anew though their settings may be the same, and why: their plugin's file is
  /// another, or they do not run.
  package init(from old: Topology, to new: Topology, restarts: [String: String] = [:]) {
    var diff = TopologyDiff(from: old, to: new)
    Self.leaveBuiltin(&diff.streams, old, new)
    var refusals: [Diagnostic] = []
    streams = Self.part(diff.streams, old.streams, new.streams, \.name, LiveSettings.streams) { settings, row in
      refusals.append(
        new.diagnostic(
          at: settings.position.value, .error,
          "streams.\(settings.name).\(row.key) can't change while the daemon runs: \(row.why)", help: Self.remedy))
    }
    sources = Self.part(diff.sources, old.sources, new.sources, \.name, LiveSettings.sources) { _, _ in }
    subscribers = Self.part(
      diff.subscribers, old.subscribers, new.subscribers, \.name, LiveSettings.subscribers
    ) { _, _ in }
    for (place, change) in subscribers.changed.enumerated() {
      if let why = restarts[change.name] { subscribers.changed[place].settings.append(why) }
    }
    subscribers.changed += subscribers.untouched.compactMap { name in
      restarts[name].map { Change(name: name, settings: [$0], effect: .restarted) }
    }
    subscribers.untouched.removeAll { restarts[$0] != nil }
    let top = SourcePosition(file: new.file, line: 1, column: 1)
    daemon = Self.change("daemon", old.daemon, new.daemon, LiveSettings.daemon) { _, row in
      refusals.append(
        Diagnostic(
          at: top, "daemon.\(row.key) can't change while the daemon runs: \(row.why)", help: Self.remedy))
    }
    if (old.identities == nil) != (new.identities == nil) {
      refusals.append(
        Diagnostic(
          at: top, "identities can't come or go while the daemon runs; their file may change", help: Self.remedy))
    }
    refusals += Self.collisions(from: old, to: new) + Self.secondReaders(from: old, to: new, diff.sources)
    self.refusals = refusals
  }

  private static let remedy = "restart the daemon, or take the old value back"

  private static func part<Settings: Equatable>(
    _ names: TopologyDiff.Names, _ old: [Settings], _ new: [Settings], _ name: (Settings) -> String,
    _ rows: [LiveSetting<Settings>], refuse: (Settings, LiveSetting<Settings>) -> Void
  ) -> Part {
    let before = Dictionary(old.map { (name($0), $0) }) { first, _ in first }
    let after = Dictionary(new.map { (name($0), $0) }) { first, _ in first }
    let changed = names.changed.compactMap { key -> Change? in
      guard let earlier = before[key], let later = after[key] else { return nil }
      return change(key, earlier, later, rows, refuse: refuse)
    }
    return Part(added: names.added, changed: changed, untouched: names.untouched, removed: names.removed)
  }

  private static func change<Settings>(
    _ name: String, _ old: Settings, _ new: Settings, _ rows: [LiveSetting<Settings>],
    refuse: (Settings, LiveSetting<Settings>) -> Void
  ) -> Change? {
    let different = rows.filter { $0.differs(old, new) }
    for row in different where row.isRefused(old, new) { refuse(new, row) }
    guard let effect = different.map({ $0.isRefused(old, new) ? .refused : $0.effect }).max() else { return nil }
    return Change(name: name, settings: different.map(\.key), effect: effect)
  }

  /// The built-in stream is made to the measure of the others at the start. When those change it stays as it is: it takes
  /// the letters of larger records without what does not fit.
  private static func leaveBuiltin(_ streams: inout TopologyDiff.Names, _ old: Topology, _ new: Topology) {
    let kept = streams.changed.filter { name in
      old.stream(named: name)?.isBuiltin == true && new.stream(named: name)?.isBuiltin == true
    }
    streams.changed.removeAll(where: kept.contains)
    streams.untouched += kept
  }

  /// Standard input has one reader, which can't hand over what it has read.
  private static func secondReaders(
    from old: Topology, to new: Topology, _ names: TopologyDiff.Names
  ) -> [Diagnostic] {
    guard old.sources.contains(where: { $0.kind == .stdin }) else { return [] }
    let begins = Set(names.added + names.changed)
    return new.sources.filter { $0.kind == .stdin && begins.contains($0.name) }.map { source in
      new.diagnostic(
        at: source.position.value, .error,
        "sources.\(source.name) can't take standard input over while the daemon runs", help: remedy)
    }
  }

  /// A new address is bound while the old ones are held, so that the old topology can go on if anything fails. Two that
  /// the kernel takes for the same therefore can't replace each other; an address that stays is handed over.
  private static func collisions(from old: Topology, to new: Topology) -> [Diagnostic] {
    let held = old.sources.compactMap(\.listen) + [old.daemon.admin].compactMap(\.self)
    func fault(_ who: String, _ listen: ListenAddress?, at position: SourcePosition) -> Diagnostic? {
      guard let listen, !held.contains(listen), let other = held.first(where: { $0.collides(with: listen) }) else {
        return nil
      }
      return new.diagnostic(
        at: position, .error, "\(who) can't listen on \(listen) while the daemon holds \(other)",
        help: "restart the daemon, or choose another port")
    }
    let top = SourcePosition(file: new.file, line: 1, column: 1)
    return [fault("daemon.admin", new.daemon.admin, at: top)].compactMap(\.self)
      + new.sources.compactMap { fault("sources.\($0.name)", $0.listen, at: $0.position.value) }
  }
}

// MARK: Words

extension ReloadPlan {
  /// One line for each part that has anything, and one for what is untouched.
  package var lines: [String] {
    var lines: [String] = []
    for (kind, part) in [("stream", streams), ("source", sources), ("subscriber", subscribers)] {
      lines += part.added.map { "added     \(kind) \($0)" }
      lines += part.changed.map { "changed   \(kind) \($0.name) (\($0.settings.joined(separator: ", ")))" }
      lines += part.removed.map { "removed   \(kind) \($0)" }
    }
    if let daemon { lines.append("changed   daemon (\(daemon.settings.joined(separator: ", ")))") }
    let untouched = [
      (streams.untouched.count, "streams"), (sources.untouched.count, "sources"),
      (subscribers.untouched.count, "subscribers"),
    ]
    return lines + ["untouched " + untouched.map { "\($0.0) \($0.1)" }.joined(separator: ", ")]
  }

  package var json: JSONValue {
    func names(_ list: [String]) -> JSONValue { .array(list.map(JSONValue.string)) }
    func object(_ change: Change) -> JSONValue {
      .object([
        .init("name", .string(change.name)), .init("settings", names(change.settings)),
        .init("effect", .string("\(change.effect)")),
      ])
    }
    func object(_ part: Part) -> JSONValue {
      .object([
        .init("added", names(part.added)), .init("changed", .array(part.changed.map(object))),
        .init("removed", names(part.removed)), .init("untouched", names(part.untouched)),
      ])
    }
    return .object([
      .init("streams", object(streams)), .init("sources", object(sources)),
      .init("subscribers", object(subscribers)), .init("daemon", daemon.map(object) ?? .null),
    ])
  }
}
