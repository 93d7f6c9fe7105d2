/// What the server said no to.
package struct ServerError: Error, Equatable, Sendable {
  /// Five characters; the first two are the class.
  package var sqlstate: String
  package var message: String
  package var detail = ""

  package init(sqlstate: String, message: String, detail: String = "") {
    self.sqlstate = sqlstate
    self.message = message
    self.detail = detail
  }

  /// As a dead letter or an operator sees it.
  package var text: String { "\(sqlstate) \(message)" + (detail.isEmpty ? "" : " (\(detail))") }

  /// The five characters as a number in base 36.
  package var code: UInt32 { UInt32(sqlstate, radix: 36) ?? 0 }

  /// Whether one row can be at fault: the same statement with other rows may succeed, with this one it never will.
  ///
  /// | class | what |
  /// |---|---|
  /// | 22 | data exception: not valid in its type, too long, no JSON; but not 22P03, 22P04: those speak of the binary form, which is ours |
  /// | 23 | integrity constraint: NOT NULL, UNIQUE, CHECK, foreign keys, no partition for it |
  /// | 44 | a view's check option |
  /// | 54 | a limit of the program: too large for an index, nested too deep |
  /// | P0001 | raised by a trigger |
  ///
  /// Everything else (no privilege, no disk, no memory, a lock, a deadlock, shutting down) is the world's fault.
  package var blamesARow: Bool {
    switch sqlstate.prefix(2) {
    case "22": sqlstate != "22P03" && sqlstate != "22P04"
    case "23", "44", "54": true
    default: sqlstate == "P0001"
    }
  }

  /// What an operator can do about it.
  package var remedy: String {
    switch sqlstate {
    case "28P01", "28000": "Correct the user or the password in config.url, or let the user in (pg_hba.conf)."
    case "3D000": "Create the database, or name another one in config.url."
    case "3F000": "Create the schema, or name another one in config.table."
    case "42P01": "Create the table, or set config.create to true."
    case "42501": "Grant the user INSERT on the table (and CREATE on its schema if the table is to be made)."
    case "25006": "Point config.url to the primary: this server only reads."
    case "53100": "Free some space on the server."
    case "53300": "Raise the server's max_connections, or end other connections."
    case "57014": "The server is busy or something holds a lock on the table; config.statement_timeout bounds the wait."
    default: ""
    }
  }
}

/// Why a conversation with the server did not go on.
package enum PostgresFailure: Error, Equatable, Sendable {
  /// The server answered no. The connection is good for more.
  case refused(ServerError)
  /// There is no connection, or no more.
  case broken(String)
  /// The deadline passed without an answer.
  case late(String)
  /// `interrupt` came.
  case interrupted
}
