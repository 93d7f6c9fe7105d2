import CPQ
import SluicePluginKit

/// What the topology says under `config`.
package struct PostgresConfig: Equatable, Sendable {
  package var url: String
  package var table: TableName
  package var create: Bool
  package var columns: [Column]
  /// Nanoseconds.
  package var connectTimeout: Int64
  package var statementTimeout: Int64

  package static let defaultColumns: [Column] = [.time, .source, .topic, .message, .body]
  package static let minTimeout: Int64 = 100_000_000
  package static let maxTimeout: Int64 = 3_600_000_000_000
  package static let defaultConnectTimeout: Int64 = 10_000_000_000
  package static let defaultStatementTimeout: Int64 = 30_000_000_000

  package static let schema = """
    {
      "type": "object",
      "required": ["url"],
      "additionalProperties": false,
      "properties": {
        "url": {
          "type": "string", "minLength": 1, "x-sluice-secret": true,
          "description": "Where the database is: postgresql://user:password@host:port/database?sslmode=verify-full, \
    or key=value pairs as libpq reads them."
        },
        "table": {
          "type": "string", "minLength": 1, "maxLength": 127, "default": "logs",
          "description": "The table, or schema.table. Names are taken as they are written, upper case included."
        },
        "create": {
          "type": "boolean", "default": true,
          "description": "Make the table when it is missing."
        },
        "columns": {
          "type": "array", "minItems": 1, "maxItems": \(Column.allCases.count),
          "items": { "type": "string", "enum": [\(names(Column.allCases))] },
          "default": [\(names(defaultColumns))],
          "description": "What is written of a record, each into the column of its name. lsn and log_uuid together \
    identify a record for ever."
        },
        "connect_timeout": {
          "type": ["string", "integer"], "format": "sluice-duration", "minimum": \(minTimeout), \
    "maximum": \(maxTimeout), "default": "10s",
          "description": "How long connecting may take, over all addresses of the host."
        },
        "statement_timeout": {
          "type": ["string", "integer"], "format": "sluice-duration", "minimum": \(minTimeout), \
    "maximum": \(maxTimeout), "default": "30s",
          "description": "How long one statement may take: a batch that takes longer is rolled back and tried again."
        }
      }
    }
    """

  private static func names(_ columns: [Column]) -> String {
    columns.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
  }

  package init(_ config: Config) throws(ConfigError) {
    url = try config.string("url")
    let name = try config.string("table", default: "logs")
    guard let table = TableName(name) else {
      throw config.error(
        "table", "\"\(name)\" is no table: table or schema.table is expected, each at most \(TableName.maxBytes) bytes")
    }
    self.table = table
    create = try config.bool("create", default: true)
    columns = try PostgresConfig.columns(config)
    let timeouts = PostgresConfig.minTimeout...PostgresConfig.maxTimeout
    connectTimeout = try config.integer(
      "connect_timeout", in: timeouts, default: PostgresConfig.defaultConnectTimeout)
    statementTimeout = try config.integer(
      "statement_timeout", in: timeouts, default: PostgresConfig.defaultStatementTimeout)
    // Last, since it is passed over where the URL is a placeholder.
    guard PostgresConfig.isConnectionString(url) else {
      // libpq's own words would quote parts of the URL, and so perhaps of the password.
      throw config.error(
        "url",
        "is neither a URL (postgresql://user:password@host:port/database?option=value) nor key=value pairs that libpq "
          + "can read; in a URL, write %40 for @, %2F for / and %25 for % within the password")
    }
  }

  private static func columns(_ config: Config) throws(ConfigError) -> [Column] {
    var columns: [Column] = []
    for (index, name) in try config.strings("columns").enumerated() {
      let place = config.pointer(to: "columns") + "/\(index)"
      guard let column = Column(rawValue: name) else {
        throw ConfigError(at: place, "\"\(name)\" is none of \(names(Column.allCases))")
      }
      guard !columns.contains(column) else { throw ConfigError(at: place, "\"\(name)\" stands twice") }
      columns.append(column)
    }
    return columns.isEmpty ? defaultColumns : columns
  }

  private static func isConnectionString(_ text: String) -> Bool {
    guard !text.utf8.contains(0) else { return false }
    var problem: UnsafeMutablePointer<CChar>?
    let options = PQconninfoParse(text, &problem)
    if let problem { PQfreemem(problem) }
    guard let options else { return false }
    PQconninfoFree(options)
    return true
  }
}

/// A table's name, perhaps with its schema.
package struct TableName: Equatable, Sendable {
  /// What PostgreSQL cuts names off at, one byte less than NAMEDATALEN.
  package static let maxBytes = 63

  private let parts: [String]

  package init?(_ text: String) {
    parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard parts.count <= 2 else { return nil }
    for part in parts {
      guard !part.isEmpty, part.utf8.count <= TableName.maxBytes, !part.utf8.contains(0) else { return nil }
    }
  }

  /// As SQL wants it, quoted: nothing in a name can end it.
  package var sql: String { parts.map(quotedIdentifier).joined(separator: ".") }
  /// For people.
  package var text: String { parts.joined(separator: ".") }
}

/// A name as SQL wants it.
package func quotedIdentifier(_ name: String) -> String {
  "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
}

/// A string as SQL wants it, whatever `standard_conforming_strings` says.
package func quotedLiteral(_ text: String) -> String {
  var quoted = "E'"
  for character in text.unicodeScalars {
    if character == "'" || character == "\\" { quoted.unicodeScalars.append("\\") }
    quoted.unicodeScalars.append(character)
  }
  return quoted + "'"
}
