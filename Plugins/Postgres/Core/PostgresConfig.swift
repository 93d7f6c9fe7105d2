import CPQ
import SluicePluginKit

/// What the topology says under `config`.
package struct PostgresConfig: SubscriberConfiguration, Equatable {
  package var url: Secret
  package var table: TableName
  package var create: Bool
  package var columns: [Column]
  package var connectTimeout: Nanoseconds
  package var statementTimeout: Nanoseconds

  package static let minTimeout = Nanoseconds.milliseconds(100)
  package static let maxTimeout = Nanoseconds.hours(1)

  package enum CodingKeys: String, CodingKey {
    case url, table, create, columns
    case connectTimeout = "connect_timeout"
    case statementTimeout = "statement_timeout"
  }

  package static let fields = FieldTable(
    CodingKeys.self,
    [
      .url: Field(
        "Where the database is: postgresql://user:password@host:port/database?sslmode=verify-full, or key=value pairs as "
          + "libpq reads them.", minLength: 1),
      .table: Field(
        "The table, or schema.table. Names are taken as they are written, upper case included.",
        default: TableName("logs"), minLength: 1, maxLength: 2 * TableName.maxBytes + 1),
      .create: Field("Make the table when it is missing.", default: true),
      .columns: Field(
        "What is written of a record, each into the column of its name. lsn and log_uuid together identify a record for "
          + "ever.", default: [Column.time, .source, .topic, .message, .body], minItems: 1,
        maxItems: Column.allCases.count),
      .connectTimeout: Field(
        "How long connecting may take, over all addresses of the host.", default: .seconds(10), minimum: minTimeout,
        maximum: maxTimeout),
      .statementTimeout: Field(
        "How long one statement may take: a batch that takes longer is rolled back and tried again.",
        default: .seconds(30), minimum: minTimeout, maximum: maxTimeout),
    ])

  package func check() throws {
    for (index, column) in columns.enumerated() where columns[..<index].contains(column) {
      throw ConfigError(at: "/columns/\(index)", "\"\(column.rawValue)\" stands twice")
    }
  }

  /// Not a part of `check`: the URL is a secret, and may be a placeholder there.
  package func checkURL() throws(ConfigError) {
    guard PostgresConfig.isConnectionString(url.revealed) else {
      // libpq's own words would quote parts of the URL, and so perhaps of the password.
      throw ConfigError(
        at: "/url",
        "is neither a URL (postgresql://user:password@host:port/database?option=value) nor key=value pairs that libpq "
          + "can read; in a URL, write %40 for @, %2F for / and %25 for % within the password")
    }
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
package struct TableName: Equatable, Codable, Sendable {
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

  package init(from decoder: any Decoder) throws {
    let text = try String(from: decoder)
    guard let table = TableName(text) else {
      throw decoder.fault(
        "\"\(text)\" is no table: table or schema.table is expected, each at most \(TableName.maxBytes) bytes")
    }
    self = table
  }

  package func encode(to encoder: any Encoder) throws { try text.encode(to: encoder) }

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
