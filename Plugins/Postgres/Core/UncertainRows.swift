// What was sent and not answered.
//
// A connection that is lost between the end of a COPY and its answer leaves rows of which nobody knows whether they are
// stored. Written again at once they might stand twice. So the transaction's number is asked for before its rows, and
// after reconnecting the server says what became of it:
//
//   same cluster and timeline?  txid_status    fate       the rows
//   no, or not known            –              unknown    written again: may stand twice, counted
//   yes                         committed      stored     acknowledged without being written
//   yes                         aborted        gone       written again
//   yes                         in progress    open       wait: the batch is retried until there is an end
//   yes                         NULL, error    unknown    written again: may stand twice, counted
//
// The timeline matters: after a failover the same number may belong to somebody else's transaction.
//
// Not promised: exactly once. An instance that ends (a crash of the daemon, say) forgets what was uncertain, and what its
// cursor has not passed is written again: at least once.

import SluicePluginKit

/// The rows of one transaction, by their LSNs.
package struct UncertainRows: Sendable {
  package enum Fate: Equatable, Sendable {
    case stored
    case gone
    case open
    case unknown

    /// From what `txid_status` says.
    package init(status: String?) {
      switch status {
      case "committed": self = .stored
      case "aborted": self = .gone
      case "in progress": self = .open
      default: self = .unknown
      }
    }
  }

  package let transaction: String
  package let server: String?
  package let logUUID: LogUUID
  /// Rising.
  package let lsns: [UInt64]

  package init(transaction: String, server: String?, logUUID: LogUUID, lsns: [UInt64]) {
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
