import SluicePluginKit

/// A connection that is ready for rows: its timeouts are set, the table is there and its shape known.
package final class PostgresSession {
  /// How much longer than the server's own timeout the client waits: the server's answer leaves the connection usable.
  private static let graceNanoseconds: Int64 = 2_000_000_000

  package let connection: PostgresConnection
  package let shape: TableShape
  /// Nil when the server doesn't tell.
  package let server: ServerHistory?
  private let config: PostgresConfig

  /// Connects, and makes the table if it may. Connecting takes until `deadline` at most, each statement as long as the
  /// config lets it.
  package init(
    _ config: PostgresConfig, interruption: Interruption, until deadline: Int64
  ) throws(PostgresFailure) {
    self.config = config
    let limit = min(deadline, Interruption.now + config.connectTimeout.count)
    connection = try PostgresConnection(url: config.url.revealed, interruption: interruption, until: limit)
    let milliseconds = config.statementTimeout.count / 1_000_000
    try connection.run(
      "SET statement_timeout = \(milliseconds); SET idle_in_transaction_session_timeout = \(milliseconds)",
      until: PostgresSession.limit(config))
    shape = try PostgresSession.shape(config, connection)
    server = try PostgresSession.server(config, connection)
  }

  /// When a statement that begins now must have ended.
  package var statementLimit: Int64 { PostgresSession.limit(config) }

  private static func limit(_ config: PostgresConfig) -> Int64 {
    Interruption.now + config.statementTimeout.count + graceNanoseconds
  }

  /// Whether the table still has the shape that the rows were made for.
  package func isCurrent() throws(PostgresFailure) -> Bool {
    try PostgresSession.shape(config, connection) == shape
  }

  private static func shape(
    _ config: PostgresConfig, _ connection: PostgresConnection
  ) throws(PostgresFailure) -> TableShape {
    var found = try columns(config, connection)
    if found.isEmpty, config.create {
      do {
        try connection.run(TableShape.createSQL(config.table, columns: config.columns), until: limit(config))
      } catch .refused(let error) where ["23505", "42P07", "42710"].contains(error.sqlstate) {
        // Somebody else made it at the same moment.
      }
      found = try columns(config, connection)
    }
    guard !found.isEmpty else {
      throw .refused(ServerError(sqlstate: "42P01", message: "there is no table \(config.table.text)"))
    }
    do {
      return try TableShape(config.table, columns: config.columns, found: found)
    } catch {
      throw .refused(error)
    }
  }

  private static func columns(
    _ config: PostgresConfig, _ connection: PostgresConnection
  ) throws(PostgresFailure) -> [TableShape.Found] {
    TableShape.found(try connection.run(TableShape.describeSQL(config.table), until: limit(config)))
  }

  private static func server(
    _ config: PostgresConfig, _ connection: PostgresConnection
  ) throws(PostgresFailure) -> ServerHistory? {
    let sql = """
      SELECT system_identifier || '/' ||
        pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8),
        pg_catalog.pg_stat_get_bgwriter_stat_reset_time()
      FROM pg_catalog.pg_control_system()
      """
    do {
      guard let row = try connection.run(sql, until: limit(config)).first, let line = row[0] else { return nil }
      return ServerHistory(line: line, statistics: row[1])
    } catch .refused {
      return nil
    }
  }

  /// What became of a transaction whose end was not heard of.
  package func fate(of transaction: UncertainRows) throws(PostgresFailure) -> UncertainRows.Fate {
    guard let server, let before = transaction.server, server.line == before.line else { return .unknown }
    do {
      let rows = try connection.run(
        "SELECT pg_catalog.txid_status(\(transaction.transaction))", until: statementLimit)
      return UncertainRows.Fate(status: rows.first?[0], mayBeReused: server.mayReuse(before))
    } catch .refused {
      return .unknown
    }
  }
}
