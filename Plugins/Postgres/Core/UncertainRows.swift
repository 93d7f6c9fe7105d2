// What was sent and not answered.
//
// A connection that is lost between the end of a COPY and its answer leaves rows of which nobody knows whether they are
// stored. Written again at once they might stand twice. So the transaction's number is asked for before its rows, and
// after reconnecting the server says what became of it:
//
//   same cluster and timeline?  txid_status    crashed?   fate       the rows
//   no, or not known            –              –          unknown    written again: may stand twice, counted
//   yes                         committed      no         stored     acknowledged without being written
//   yes                         committed      yes        unknown    written again: may stand twice, counted
//   yes                         aborted        –          gone       written again
//   yes                         in progress    –          open       wait: the batch is retried until there is an end
//   yes                         NULL, error    –          unknown    written again: may stand twice, counted
//
// The timeline matters: after a failover the same number may belong to somebody else's transaction. So it may after a
// crash, which takes back the numbers of transactions of which nothing had reached the log on the server's disk. A
// crash shows in the server's statistics, which begin anew (as they do when somebody resets them: then a row is written
// twice rather than lost).
//
// Not promised: exactly once. An instance that ends (a crash of the daemon, say) forgets what was uncertain, and what its
// cursor has not passed is written again: at least once.

import SluicePluginKit

/// In what the numbers of transactions are unique.
package struct ServerHistory: Equatable, Sendable {
  /// Cluster and timeline.
  package let line: String
  /// When statistics began: another after a crash. Nil when the server doesn't tell.
  package let statistics: String?

  package init(line: String, statistics: String?) {
    self.line = line
    self.statistics = statistics
  }

  /// Whether a number from `earlier` can have been given twice.
  package func mayReuse(_ earlier: ServerHistory) -> Bool { statistics == nil || statistics != earlier.statistics }
}

/// The rows of one transaction, by their LSNs.
package struct UncertainRows: Sendable {
  package enum Fate: Equatable, Sendable {
    case stored
    case gone
    case open
    case unknown

    /// From what `txid_status` says; `mayBeReused`: the number can be another transaction's.
    package init(status: String?, mayBeReused: Bool) {
      switch status {
      case "committed": self = mayBeReused ? .unknown : .stored
      case "aborted": self = .gone
      case "in progress": self = .open
      default: self = .unknown
      }
    }
  }

  package let transaction: String
  package let server: ServerHistory?
  package let logUUID: LogUUID
  /// Rising.
  package let lsns: [UInt64]

  package init(transaction: String, server: ServerHistory?, logUUID: LogUUID, lsns: [UInt64]) {
    self.transaction = transaction
    self.server = server
    self.logUUID = logUUID
    self.lsns = lsns
  }
}

/// Rows that are known to be stored, and will be delivered once more.
package struct StoredRows {
  private let logUUID: LogUUID
  private let lsns: [UInt64]
  private var left: Int

  package init(_ rows: UncertainRows) {
    logUUID = rows.logUUID
    lsns = rows.lsns
    left = lsns.count
  }

  /// Whether the row is one of them; each is asked for once.
  package mutating func takes(_ lsn: UInt64, of log: LogUUID) -> Bool {
    guard log == logUUID else { return false }
    var low = 0
    var high = lsns.count
    while low < high {
      let middle = (low + high) / 2
      if lsns[middle] < lsn { low = middle + 1 } else { high = middle }
    }
    guard low < lsns.count, lsns[low] == lsn else { return false }
    left -= 1
    return true
  }

  package var isEmpty: Bool { left <= 0 }
}
