import Glibc
import SluiceCore
import SluiceHost
import SluiceIngest
import SluiceJournal
import SluiceTopology

/// What `sluice status` shows of the daemon, as JSON. Made from what is in memory; nothing waits.
enum StatusReport {
  static func make(_ view: DaemonView) -> JSONValue {
    let state = view.state
    let problems = view.readiness()
    let leftovers = Leftovers(state)
    return [
      "version": .string(Version.text), "pid": .count(getpid()), "started": .string(Timestamp.text(view.startedAt)),
      "uptime_seconds": .count((Clock.wall() - view.startedAt) / 1_000_000_000),
      "topology": .string(state.topology), "generation": .count(state.generation),
      "reloads": .object(
        ReloadOutcome.Kind.allCases.filter { $0 != .planned }.map {
          .init($0.rawValue, .count(state.reloads[$0, default: 0]))
        }),
      "last_reload": state.lastReload.map(reload) ?? .null, "ready": .bool(problems.isEmpty),
      "problems": .array(problems.map(JSONValue.string)),
      "streams": .array(state.streams.map { stream($0, leftovers, state.replacedLogs[$0.settings.name]) }),
      "orphaned_streams": .array(
        state.orphans.map {
          [
            "name": .string($0.name), "log_uuid": $0.uuid.map { .string("\($0)") } ?? .null, "bytes": .count($0.bytes),
          ]
        }),
      "sources": .array(state.sources.map { source($0, "accepting") } + state.retired.map { source($0, "ending") }),
      "subscribers": .array(state.subscribers.map { subscriber($0.instance.status) }),
      "modules": .array(view.modules.map { module($0, users: $1) }),
    ]
  }

  /// `resident`: its code is in the daemon's process, and stays there whoever uses it.
  private static func module(_ module: LoadedModule, users: [String]) -> JSONValue {
    [
      "path": .string(module.path), "name": .string(module.name), "version": .string(module.version),
      "generation": .count(module.generation), "isolation": .string(module.place.rawValue),
      "resident": .bool(module.place == .thread), "used_by": .array(users.map(JSONValue.string)),
    ]
  }

  private static func reload(_ outcome: ReloadOutcome) -> JSONValue {
    [
      "outcome": .string(outcome.kind.rawValue), "time": .string(Timestamp.text(outcome.time)),
      "reasons": .array(outcome.reasons.map(JSONValue.string)),
    ]
  }

  private static func stream(
    _ running: RunningStream, _ leftovers: Leftovers, _ replaced: (what: String, count: UInt64)?
  ) -> JSONValue {
    let status = running.log.status
    return [
      "name": .string(status.name), "state": .string(status.state.rawValue),
      "full": status.fullReason.map { .string($0.rawValue) } ?? .null,
      "durability": .string(running.settings.durability.rawValue), "log_uuid": .string("\(running.log.uuid)"),
      "oldest_lsn": .count(status.oldestLSN), "committed_lsn": .count(status.committedLSN),
      "durable_lsn": .count(status.durableLSN), "next_lsn": .count(status.nextLSN),
      "segments": .count(status.segments), "retained_bytes": .count(status.retainedBytes),
      "retain_bytes": .count(running.settings.retainBytes), "ring_bytes_in_use": .count(status.ringBytesInUse),
      "replaced_log": replaced.map { .string($0.what) } ?? .null,
      "cursors": .array(
        status.subscribers.map { cursor in
          [
            "subscriber": .string(cursor.name), "connected": .bool(cursor.connected),
            "orphaned": .bool(leftovers.isOrphaned(cursor, of: status.name)), "next_lsn": .count(cursor.cursor),
            "lag": lag(cursor.lag), "last_seen": .string(Timestamp.text(cursor.lastSeen)),
            "holds_bytes": .count(cursor.holdsBytes),
          ]
        }),
    ]
  }

  private static func source(_ running: RunningSource, _ state: String) -> JSONValue {
    let address = running.socket.map(\.addressText) ?? running.listen.map { "\($0)" }
    return [
      "name": .string(running.name), "type": .string(running.settings?.kind.rawValue ?? "admin"),
      "state": .string(state), "address": address.map(JSONValue.string) ?? .null,
      "stream": running.settings.map { .string($0.stream) } ?? .null,
      "connections": .count(running.source.openConnections), "generation": .count(running.generation),
    ]
  }

  private static func subscriber(_ status: SubscriberStatus) -> JSONValue {
    [
      "name": .string(status.name), "plugin": .string(status.plugin), "version": .string(status.version),
      "isolation": .string(status.isIsolated ? "process" : "thread"),
      "state": .string(status.state.rawValue), "health": .string(status.health.rawValue),
      "ready": .bool(status.isReady), "why_not_ready": status.whyNotReady.map(JSONValue.string) ?? .null,
      "last_error": status.lastError.isEmpty ? .null : .string(status.lastError),
      "generation": .count(status.generation), "delivered": .count(status.counts.delivered),
      "acked": .count(status.counts.acked), "retried": .count(status.counts.retried),
      "rejected": .count(status.counts.rejected), "dead_letter": .string(status.deadLetterStream),
      "held": status.held.map(JSONValue.string) ?? .null,
      "unreadable": status.unreadable.map(JSONValue.string) ?? .null, "gaps": .count(status.gaps),
      "lost_records": .count(status.lostRecords), "open_records": .count(status.openRecords),
      "restarts": .count(status.restarts),
      "published": .array(
        status.published.map {
          [
            "output": .string($0.output), "stream": .string($0.stream), "records": .count($0.records),
            "duplicates": .count($0.duplicates), "refused": .count($0.refused),
          ]
        }),
      "replay": status.replay.map { ReplayRequest.json($0, $0.progress) } ?? .null,
      "last_delivery": status.lastDelivery == 0 ? .null : .string(Timestamp.text(status.lastDelivery)),
      "streams": .array(
        status.streams.map { ["name": .string($0.name), "next_lsn": .count($0.cursor), "lag": lag($0.lag)] }),
    ]
  }

  private static func lag(_ lag: StreamLag) -> JSONValue {
    [
      "records": .count(lag.records), "bytes": .count(lag.bytes),
      "seconds": .double((Double(lag.ageNanoseconds) / 1e6).rounded() / 1e3),
    ]
  }
}
