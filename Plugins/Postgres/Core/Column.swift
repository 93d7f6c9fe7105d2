/// What of a record is written, and the name of the column it goes to.
package enum Column: String, Codable, CaseIterable, Sendable {
  case time
  case source
  case topic
  case message
  case body
  case ingestTime = "ingest_time"
  case lsn
  case logUUID = "log_uuid"
  case key
  case payload

  /// The type that a new table gets.
  package var type: ColumnType {
    switch self {
    case .time, .ingestTime: .timestamptz
    case .source, .topic, .message, .key: .text
    case .body: .jsonb
    case .lsn: .int8
    case .logUUID: .uuid
    case .payload: .bytea
    }
  }

  /// The types that a table which is there already may have.
  package var accepted: [ColumnType] {
    switch self {
    case .time, .ingestTime: [.timestamptz, .timestamp]
    case .source, .topic, .message, .key: [.text, .varchar]
    case .body: [.jsonb, .json, .text]
    case .lsn: [.int8]
    case .logUUID: [.uuid]
    case .payload: [.bytea]
    }
  }
}

/// PostgreSQL's types by their OIDs, which never change. Values travel in their binary form, so a column must have a type
/// whose form is known: the server converts nothing.
package enum ColumnType: UInt32, Sendable {
  case bytea = 17
  case int8 = 20
  case text = 25
  case json = 114
  case varchar = 1043
  case timestamp = 1114
  case timestamptz = 1184
  case uuid = 2950
  case jsonb = 3802

  /// Its name in SQL.
  package var sql: String { "\(self)" == "int8" ? "bigint" : "\(self)" }
}
