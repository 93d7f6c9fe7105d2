// Records as rows of a table.
//
// Order    connect, make the table if it may, learn its shape → a batch as one binary COPY in one transaction → its
//          answer, which comes when the server has committed → return, which acknowledges it.
// Bad row  the server refuses the COPY for the sake of a row: its rows are tried again in halves, with savepoints, in one
//          transaction (`RowSearch`). Good rows are committed and acknowledged, bad ones rejected with the SQLSTATE
//          as the reason. A search that takes too long commits what it knows; the rest is retried.
// Failure  anything else: the connection is closed, which rolls back what was under way, and the batch is retried over a
//          new one. Rows whose commit was not heard of are asked for first (`UncertainRows`).
// Crash    of the server: as a failure. Of the daemon: batches that were committed and whose cursor was not durable yet
//          are written again: at least once. The columns lsn and log_uuid tell such rows apart.
//
// Not promised: that rows stand in the order of their LSNs after a retry; durability beyond what the server's
// synchronous_commit gives.

import SluicePluginKit

/// The kind `postgres`.
package final class PostgresSubscriber: Subscriber {
  package static let kind = "postgres"
  package static let summary = "Writes records as rows of a PostgreSQL table, by binary COPY."

  private let host: Host
  private let config: PostgresConfig
  private let interruption: Interruption
  private let metrics: PostgresMetrics
  private let rows = RowBuffer()
  private var session: PostgresSession?
  private var uncertain: UncertainRows?
  private var stored: [StoredRows] = []
  private var health: HealthReport

  package init(_ config: PostgresConfig, host: Host) throws {
    try config.checkURL()
    self.config = config
    self.host = host
    health = HealthReport(host)
    interruption = try Interruption()
    metrics = PostgresMetrics(host)
  }

  package static func validate(_ config: PostgresConfig) throws -> [Finding] {
    // A placeholder is no URL; `init` looks at the real one.
    if config.url.revealed.contains("://") || config.url.revealed.contains("=") { try config.checkURL() }
    return []
  }

  package func start(deadline: Deadline) throws {
    let left = deadline.remaining(host)
    try reporting { () throws(PostgresFailure) in
      _ = try connected(until: left == Int64.max ? left : Interruption.now + left)
    }
  }

  package func deliver(_ batch: borrowing Batch) throws -> Delivery {
    // Half of the time until the tokens die: verdicts that come later count for nothing.
    let left = batch.ackDeadline.remaining(host)
    let budget = left == Int64.max ? left : Interruption.now + left / 2
    let log = batch.logUUID
    do throws(PostgresFailure) {
      let session = try connected(until: Int64.max)
      fill(batch, as: session.shape)
      if !rows.rows.isEmpty { try store(session, log, budget) }
    } catch {
      throw failed(error)
    }
    for refused in rows.refused { reject(refused.token, refused.error) }
    health.say(.ok)
    return .done
  }

  package func stop() throws { session = nil }

  package func interrupt() { interruption.interrupt() }

  // MARK: The connection

  /// A session whose server has not hung up, and no rows whose fate could be known and is not.
  private func connected(until deadline: Int64) throws(PostgresFailure) -> PostgresSession {
    if let session, session.connection.isOpen() { return session }
    session = nil
    let fresh = try PostgresSession(config, interruption: interruption, until: deadline)
    metrics.connections.add()
    host.log(
      .info, "connected",
      ["server": fresh.connection.place, "version": fresh.connection.version, "table": config.table.text])
    if let uncertain {
      try resolve(uncertain, over: fresh)
      self.uncertain = nil
    }
    session = fresh
    return fresh
  }

  private func resolve(_ uncertain: UncertainRows, over session: PostgresSession) throws(PostgresFailure) {
    let count = uncertain.lsns.count
    switch try session.fate(of: uncertain) {
    case .gone: break
    case .open: throw .late("the server has not ended a transaction that a lost connection left behind")
    case .stored:
      stored.append(StoredRows(uncertain))
      metrics.rows.add(count)
      metrics.found.add(count)
      host.log(
        .notice, "the server had stored rows whose answer was lost; they are not written again", ["rows": "\(count)"])
    case .unknown:
      metrics.uncertain.add(count)
      host.log(
        .warning, "the server can't say whether it stored rows whose answer was lost; they may stand twice",
        ["rows": "\(count)"])
    }
  }

  // MARK: Rows

  /// Makes rows of the batch; what is known to be stored is acknowledged at once.
  private func fill(_ batch: borrowing Batch, as shape: TableShape) {
    let log = batch.logUUID
    rows.begin(batch.count)
    batch.forEach { message in
      if !stored.isEmpty, isStored(message.lsn, log) {
        host.settle(first: message.token, .ack)
      } else {
        rows.append(message, of: log, as: shape)
      }
    }
    stored.removeAll { $0.isEmpty }
  }

  private func isStored(_ lsn: UInt64, _ log: LogUUID) -> Bool {
    for index in stored.indices where stored[index].takes(lsn, of: log) { return true }
    return false
  }

  /// Writes all rows; bad ones are rejected. The rest of the batch may be acknowledged after it.
  private func store(_ session: PostgresSession, _ log: LogUUID, _ budget: Int64) throws(PostgresFailure) {
    let all = 0..<rows.rows.count
    do throws(PostgresFailure) {
      try session.connection.copy(
        "SELECT pg_catalog.txid_current(); " + session.shape.copySQL, rows: rows.bytes(all),
        until: session.statementLimit
      ) { before in note(before, session, log, [all]) }
      uncertain = nil
      metrics.rows.add(all.count)
    } catch .refused(let error) {
      uncertain = nil
      guard error.blamesARow, try session.isCurrent() else { throw .refused(error) }
      try search(RowSearch(count: all.count, error: error), session, log, budget)
    }
  }

  private func search(
    _ begun: RowSearch, _ session: PostgresSession, _ log: LogUUID, _ budget: Int64
  ) throws(PostgresFailure) {
    var search = begun
    let connection = session.connection
    if search.next != nil {
      // Deferred constraints would speak at COMMIT, too late to know of which row.
      let before = try connection.run(
        "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SELECT pg_catalog.txid_current()", until: session.statementLimit)
      while let range = search.next, Interruption.now < budget {
        do throws(PostgresFailure) {
          try connection.copy(
            "SAVEPOINT sluice; " + session.shape.copySQL, rows: rows.bytes(range), until: session.statementLimit)
          try connection.run("RELEASE SAVEPOINT sluice", until: session.statementLimit)
          search.stored()
        } catch .refused(let error) {
          guard error.blamesARow else { throw .refused(error) }
          try connection.run(
            "ROLLBACK TO SAVEPOINT sluice; RELEASE SAVEPOINT sluice", until: session.statementLimit)
          search.refused(error)
        }
      }
      note(before, session, log, search.good)
      do throws(PostgresFailure) {
        try connection.run("COMMIT", until: session.statementLimit)
      } catch .refused(let error) {
        uncertain = nil
        throw .refused(error)
      }
      uncertain = nil
    }
    settle(search)
  }

  /// From here on the server may have stored these rows although no answer comes.
  private func note(_ before: [[String?]], _ session: PostgresSession, _ log: LogUUID, _ ranges: [Range<Int>]) {
    guard let transaction = before.first?.first ?? nil else { return }
    uncertain = UncertainRows(
      transaction: transaction, server: session.server, logUUID: log,
      lsns: ranges.flatMap { range in rows.rows[range].map(\.lsn) })
  }

  // MARK: Verdicts

  private func settle(_ search: RowSearch) {
    for bad in search.bad { reject(rows.rows[bad.row].token, bad.error) }
    metrics.rows.add(search.good.reduce(0) { $0 + $1.count })
    for range in search.open {
      for row in rows.rows[range] {
        host.settle(first: row.token, .retry(reason: "the search for bad rows took too long"))
      }
    }
  }

  private func reject(_ token: UInt64, _ error: ServerError) {
    host.settle(first: token, .reject(code: error.code, reason: error.text))
    metrics.rejected.add()
  }

  // MARK: Health

  private func reporting(_ body: () throws(PostgresFailure) -> Void) throws(SubscriberError) {
    do throws(PostgresFailure) {
      try body()
    } catch {
      throw failed(error)
    }
    health.say(.ok)
  }

  /// Lets go of the connection, which rolls back whatever was under way.
  private func failed(_ failure: PostgresFailure) -> SubscriberError {
    session = nil
    let error = failure.explained
    health.say(.down, error.message)
    return error
  }
}

/// What the kind counts.
struct PostgresMetrics {
  let rows: Counter
  let rejected: Counter
  let found: Counter
  let uncertain: Counter
  let connections: Counter

  init(_ host: Host) {
    rows = host.counter("postgres_rows", help: "Rows committed.")
    rejected = host.counter("postgres_rejected_rows", help: "Records that can't be a row of the table.")
    found = host.counter(
      "postgres_found_rows", help: "Rows found committed after a lost connection, and not written again.")
    uncertain = host.counter(
      "postgres_uncertain_rows", help: "Rows written again because nobody could say whether they were committed.")
    connections = host.counter("postgres_connections", help: "Connections made.")
  }
}

extension PostgresFailure {
  /// For the daemon and the operator.
  var explained: SubscriberError {
    let wait = "The records wait in the stream."
    switch self {
    case .refused(let error):
      let remedy = error.remedy.isEmpty ? wait : "\(error.remedy) \(wait)"
      return SubscriberError(.retryable, "PostgreSQL refuses: \(error.text). \(remedy)", code: error.code)
    case .broken(let why): return SubscriberError(.retryable, "no connection to PostgreSQL: \(why). \(wait)")
    case .late(let why): return SubscriberError(.timeout, "PostgreSQL: \(why). \(wait)")
    case .interrupted: return SubscriberError(.timeout, "interrupted while waiting for PostgreSQL")
    }
  }
}
