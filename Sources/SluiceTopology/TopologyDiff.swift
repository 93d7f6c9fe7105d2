/// What is different between two topologies, by name. Where things stand in a file makes no difference, nor do comments
/// or the way a value is written.
package struct TopologyDiff: Sendable, Equatable {
  /// The names of one collection; each name is in exactly one list.
  package struct Names: Sendable, Equatable {
    /// In the order of the new topology.
    package var added: [String] = []
    package var changed: [String] = []
    package var untouched: [String] = []
    /// In the order of the old one.
    package var removed: [String] = []

    package var isEmpty: Bool { added.isEmpty && changed.isEmpty && removed.isEmpty }
  }

  package var streams: Names
  package var sources: Names
  package var subscribers: Names
  /// Whether `daemon:` or `identities:` says something else.
  package var daemonChanged: Bool
  package var identitiesChanged: Bool

  package init(from old: Topology, to new: Topology) {
    streams = Self.names(old.streams, new.streams, \.name)
    sources = Self.names(old.sources, new.sources, \.name)
    subscribers = Self.names(old.subscribers, new.subscribers, \.name)
    daemonChanged = old.daemon != new.daemon
    identitiesChanged = old.identities != new.identities
  }

  package var isEmpty: Bool {
    streams.isEmpty && sources.isEmpty && subscribers.isEmpty && !daemonChanged && !identitiesChanged
  }

  private static func names<Settings: Equatable>(
    _ old: [Settings], _ new: [Settings], _ name: (Settings) -> String
  ) -> Names {
    var result = Names()
    let before = Dictionary(old.map { (name($0), $0) }, uniquingKeysWith: { first, _ in first })
    for settings in new {
      if let earlier = before[name(settings)] {
        if earlier == settings {
          result.untouched.append(name(settings))
        } else {
          result.changed.append(name(settings))
        }
      } else {
        result.added.append(name(settings))
      }
    }
    let after = Set(new.map(name))
    result.removed = old.map(name).filter { !after.contains($0) }
    return result
  }
}
