/// The table as it is: which of its columns are written, in which binary form.
package struct TableShape: Equatable, Sendable {
  /// One column of it, as the catalog has it.
  package struct Found: Equatable, Sendable {
    package var name: String
    package var oid: UInt32
    package var type: String
    /// NOT NULL without a default.
    package var isRequired: Bool
    package var isWritable: Bool

    package init(name: String, oid: UInt32, type: String, isRequired: Bool = false, isWritable: Bool = true) {
      self.name = name
      self.oid = oid
      self.type = type
      self.isRequired = isRequired
      self.isWritable = isWritable
    }
  }

  package let columns: [Column]
  package let types: [ColumnType]
  /// Begins the rows.
  package let copySQL: String

  /// The shape for writing `columns` into `table`, which has the columns `found`; throws what stands in the way.
  package init(_ table: TableName, columns: [Column], found: [Found]) throws(ServerError) {
    var types: [ColumnType] = []
    for column in columns {
      guard let actual = found.first(where: { $0.name == column.rawValue }) else {
        throw ServerError(
          sqlstate: "42703",
          message:
            "table \(table.text) has no column \"\(column.rawValue)\": add it as \(column.type.sql), or leave it out "
            + "of config.columns")
      }
      guard let type = ColumnType(rawValue: actual.oid), column.accepted.contains(type) else {
        throw ServerError(
          sqlstate: "42804",
          message: "column \"\(column.rawValue)\" of table \(table.text) is \(actual.type), and must be "
            + column.accepted.map(\.sql).joined(separator: " or ") + ": alter it, or name another table in config.table"
        )
      }
      guard actual.isWritable else {
        throw ServerError(
          sqlstate: "42501", message: "permission denied for column \"\(column.rawValue)\" of table \(table.text)")
      }
      types.append(type)
    }
    let written = Set(columns.map(\.rawValue))
    if let missing = found.first(where: { $0.isRequired && !written.contains($0.name) }) {
      throw ServerError(
        sqlstate: "42P16",
        message:
          "column \"\(missing.name)\" of table \(table.text) is NOT NULL, has no default, and nothing is written to "
          + "it: give it a default")
    }
    self.columns = columns
    self.types = types
    let names = columns.map { quotedIdentifier($0.rawValue) }.joined(separator: ", ")
    copySQL = "COPY \(table.sql) (\(names)) FROM STDIN (FORMAT binary)"
  }

  package static func createSQL(_ table: TableName, columns: [Column]) -> String {
    let list = columns.map { "\(quotedIdentifier($0.rawValue)) \($0.type.sql)" }.joined(separator: ", ")
    return "CREATE TABLE IF NOT EXISTS \(table.sql) (\(list))"
  }

  package static func describeSQL(_ table: TableName) -> String {
    """
    SELECT a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
      a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
      pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT')
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = pg_catalog.to_regclass(\(quotedLiteral(table.sql))) AND a.attnum > 0 AND NOT a.attisdropped
    """
  }

  /// Rows of `describeSQL`.
  package static func found(_ rows: [[String?]]) -> [Found] {
    rows.compactMap { row in
      guard row.count == 5, let name = row[0], let oid = row[1].flatMap({ UInt32($0) }), let type = row[2] else {
        return nil
      }
      return Found(name: name, oid: oid, type: type, isRequired: row[3] == "t", isWritable: row[4] == "t")
    }
  }
}
