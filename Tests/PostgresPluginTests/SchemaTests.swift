import PluginTestSupport
import PostgresSubscriber
import SluicePluginKit
import Testing

@Suite struct SchemaTests {
  /// As it was written by hand, before schemas were derived.
  private let written = """
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
          "type": "array", "minItems": 1, "maxItems": 10,
          "items": { "type": "string", "enum": ["time", "source", "topic", "message", "body", \
    "ingest_time", "lsn", "log_uuid", "key", "payload"] },
          "default": ["time", "source", "topic", "message", "body"],
          "description": "What is written of a record, each into the column of its name. lsn and log_uuid together \
    identify a record for ever."
        },
        "connect_timeout": {
          "type": ["string", "integer"], "format": "sluice-duration", "minimum": 100000000, \
    "maximum": 3600000000000, "default": "10s",
          "description": "How long connecting may take, over all addresses of the host."
        },
        "statement_timeout": {
          "type": ["string", "integer"], "format": "sluice-duration", "minimum": 100000000, \
    "maximum": 3600000000000, "default": "30s",
          "description": "How long one statement may take: a batch that takes longer is rolled back and tried again."
        }
      }
    }
    """

  @Test("The derived schema takes and refuses what the one that was written by hand did")
  func theDerivedSchemaIsEquivalent() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    let comparison = SchemaComparison(written, try PostgresConfig.schema(), count: 400, seed: seed)
    #expect(comparison.differences.isEmpty, "seed \(seed)")
    #expect(comparison.accepted > 40, "seed \(seed)")
  }
}
