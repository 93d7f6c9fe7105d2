import SluiceCore

/// One loaded and checked topology. Every name it refers to exists and every value is within its bounds.
package struct Topology: Sendable {
  /// The file as the user gave it; `built-in` for the built-in one.
  package var file: String
  /// Every file that was read: the topology, what it includes, and the files of `${file:…}`.
  package var files: [String] = []
  package var daemon: DaemonSettings
  /// The file of users, modules and cores.
  package var identities: String?
  /// In the order of the file; the built-in stream `dead` comes last when some subscriber needs it.
  package var streams: [StreamSettings]
  package var sources: [SourceSettings]
  package var subscribers: [SubscriberSettings]
  /// The text of the files, for diagnostics that are made later (a plugin's own validation).
  package var texts: SourceTexts

  /// The name of the stream that dead records go to when a subscriber names none.
  package static let defaultDeadLetter = "dead"

  package func stream(named name: String) -> StreamSettings? { streams.first { $0.name == name } }

  /// A finding at a place of this topology, with its line shown and secrets blanked.
  package func diagnostic(
    at position: SourcePosition, _ severity: Diagnostic.Severity, _ message: String, suggestion: String? = nil,
    help: String? = nil
  ) -> Diagnostic {
    texts.illustrated(Diagnostic(severity, at: position, message, suggestion: suggestion, help: help))
  }
}

/// `daemon:`.
package struct DaemonSettings: Sendable, Equatable {
  package enum LogLevel: String, Sendable, CaseIterable { case trace, debug, info, notice, warning, error, critical }
  package enum LogFormat: String, Sendable, CaseIterable { case text, json }
  package enum LogTarget: Sendable, Equatable {
    case stdout
    case stderr
    case file(String)
  }

  /// Streams, cursors, plugin state.
  package var data = "./data"
  /// Where kinds are looked up, beside the built-in search path.
  package var plugins: [String] = []
  package var admin: ListenAddress?
  /// Threads that serve the network; nil: one per core.
  package var eventLoops: Int?
  package var logLevel = LogLevel.info
  package var logFormat = LogFormat.text
  package var logTarget = LogTarget.stdout

  package init() {}
}

/// An address to listen on.
package struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
  /// Each has ports of its own.
  package enum Transport: Sendable { case tcp, udp }

  /// A name or a literal address without brackets; `0.0.0.0` when the file gives only a port.
  package var host: String
  /// 0: the system chooses.
  package var port: Int
  package var transport: Transport

  package init(host: String, port: Int, transport: Transport = .tcp) {
    self.host = host
    self.port = port
    self.transport = transport
  }

  package var isWildcard: Bool { host == "0.0.0.0" || host == "::" }
  package var isLoopback: Bool { host == "localhost" || host == "::1" || host.hasPrefix("127.") }
  package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// One entry of `streams:`.
package struct StreamSettings: Sendable, Equatable {
  package enum WhenFull: String, Sendable, CaseIterable {
    case reject, block
    case dropOldest = "drop_oldest"
  }
  package enum CorruptionPolicy: String, Sendable, CaseIterable { case gap, halt }

  package var name: String
  package var durability = Durability.fsync
  package var ringBytes = Limits.defaultRingBytes
  package var segmentBytes = Limits.defaultSegmentBytes
  package var retainBytes = Limits.defaultRetainBytes
  package var retainAgeNanoseconds: Int64?
  /// How long the cursor of a subscriber that does not come holds records back.
  package var cursorExpiryNanoseconds = Limits.cursorExpiryNanoseconds
  package var whenFull = WhenFull.reject
  /// With `block`: how long an HTTP request waits before it is answered 503.
  package var blockTimeoutNanoseconds = Limits.defaultBlockTimeoutNanoseconds
  package var maxRecordBytes = Limits.defaultMaxRecordBytes
  /// Time that a commit waits for company.
  package var commitLingerNanoseconds: Int64 = 0
  package var onCorruption = CorruptionPolicy.gap
  /// Not declared in the file: the stream `dead`.
  package var isBuiltin = false
  package var position: Unequated<SourcePosition>

  package init(name: String, position: SourcePosition) {
    self.name = name
    self.position = Unequated(position)
  }
}

/// One entry of `sources:`.
package struct SourceSettings: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable { case tcp, http, udp, stdin }
  /// How bytes become records; HTTP has its own way.
  package enum Framing: String, Sendable, CaseIterable {
    /// The protocol of `docs/wire-protocol.md`.
    case sluice
    /// Each line is a record.
    case lines
    /// RFC 5424 and 3164: `docs/syslog.md`.
    case syslog
    /// Each datagram is a record.
    case messages
  }
  package enum Authentication: String, Sendable, CaseIterable { case none, optional, required }
  package var name: String
  package var kind: Kind
  package var framing: Framing
  /// Nil for a source that listens nowhere.
  package var listen: ListenAddress?
  package var stream: String
  package var authentication: Authentication
  /// What is asked of connections; nil: they are plain.
  package var tls: TLS?
  /// Where the certificates of `tls` are; nil without it.
  package var tlsFiles: TLSFiles?
  /// The topic of records that bring none.
  package var topic: String
  /// The stream's `block_timeout` unless the source has its own.
  package var blockTimeoutNanoseconds: Int64
  /// The stream's `when_full` is `block`.
  package var waitsWhenFull = false
  /// HTTP: the largest body.
  package var maxBodyBytes = Limits.defaultMaxBodyBytes
  package var headerTimeoutNanoseconds = Limits.defaultHeaderTimeoutNanoseconds
  package var bodyTimeoutNanoseconds = Limits.defaultBodyTimeoutNanoseconds
  package var idleTimeoutNanoseconds = Limits.defaultIdleTimeoutNanoseconds
  package var maxConnections = Limits.defaultMaxConnections
  package var socket = SocketOptions()
  package var position: Unequated<SourcePosition>
}
