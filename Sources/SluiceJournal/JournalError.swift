import SluiceCore

/// Why a log cannot be opened or used. The message says what to do.
package struct JournalError: Error, Sendable, CustomStringConvertible {
  package enum Kind: Sendable, Equatable {
    /// Another process has it.
    case locked
    /// Written by a newer version, or with features that this one doesn't know.
    case incompatible
    /// The disk refused.
    case io
    /// The options contradict each other.
    case options
    /// The directory holds something else than this log.
    case foreign
    /// Acknowledged records are damaged or missing, and the log is to halt then.
    case damaged
    /// Too many cursors, or threads of the process.
    case limit
  }
  package var kind: Kind
  package var message: String

  package init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  package init(_ fault: IOFault) {
    kind = .io
    message = fault.description
  }

  package var description: String { message }
}

/// What a log tells its observer. Called on the thread that found it; must not call back into the log.
package enum LogEvent: Sendable, Equatable {
  /// The tail was cut by a crash: bytes from `offset` on were never acknowledged, and are kept in `quarantine`.
  case tornTail(segment: String, offset: Int, bytes: Int, quarantine: String)
  /// Acknowledged bytes are damaged: the records `first...last` are gone (none, when `last` < `first`).
  case corruption(segment: String, offset: Int, first: UInt64, last: UInt64, reason: String)
  /// Neither cursor slot can be read: every subscriber begins at its `start` again.
  case cursorsLost(reason: String)
  /// A cursor was forgotten, since its subscriber was not seen after `lastSeen`, ns since 1970. `lsn`: the lowest that
  /// it had not settled. `frees`: bytes that nobody else holds back.
  case cursorExpired(name: String, lsn: UInt64, lastSeen: Int64, frees: Int)
  /// The subscriber's records `first...last` were dropped (`drop_oldest`).
  case dropped(first: UInt64, last: UInt64)
  /// The stream stopped taking records, or takes them again (nil).
  case full(FullReason?)
  /// A write or sync failed. Nothing is acknowledged any more: the process must end.
  case failed(IOFault)
  /// Something went wrong that will be tried again.
  case retrying(IOFault)
}

package protocol LogObserver: Sendable {
  func logEvent(_ event: LogEvent)
}

/// What `StreamLog.open` found.
package struct RecoveryReport: Sendable, Equatable {
  package enum Tail: String, Sendable, Equatable { case new, sealed, clean, torn, corrupt }
  package var tail: Tail
  package var segments: Int
  package var groupsScanned: Int
  package var bytesScanned: Int
  package var lastLSN: UInt64
  package var nextLSN: UInt64
  /// Files in `quarantine/` that this recovery wrote.
  package var quarantined: [String]
  package var findings: [LogEvent]
  package var nanoseconds: Int64
  /// Of the thread that recovered: without what it waited for the disk, and for other threads.
  package var cpuNanoseconds: Int64
}

/// How a stream is, for health, ready, `status` and metrics.
package struct StreamStatus: Sendable {
  package enum State: String, Sendable { case open, full, failed, closed }
  package struct Subscriber: Sendable {
    package var name: String
    package var connected: Bool
    package var cursor: UInt64
    package var lag: StreamLag
    /// When its reader was last there, ns since 1970.
    package var lastSeen: Int64
    /// Bytes that are kept for it although no subscriber that is there needs them any more; 0 while it is connected.
    package var holdsBytes: Int
  }
  package var name: String
  package var state: State
  package var fullReason: FullReason?
  package var oldestLSN: UInt64
  package var committedLSN: UInt64
  package var durableLSN: UInt64
  package var nextLSN: UInt64
  package var segments: Int
  package var retainedBytes: Int
  package var ringBytesInUse: Int
  package var ringBytes: Int
  package var durability: Durability
  package var whenFull: WhenFull
  package var retainBytes: Int
  /// Bytes that some subscriber has not settled.
  package var unsettledBytes: Int
  package var producers: Int
  /// Committed since the log was opened.
  package var records: UInt64
  package var recordBytes: UInt64
  package var commits: UInt64
  /// Appends refused since then, whatever the reason.
  package var rejected: UInt64
  package var subscribers: [Subscriber]
}
