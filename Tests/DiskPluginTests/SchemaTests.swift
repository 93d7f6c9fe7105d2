import DiskSubscriber
import PluginTestSupport
import SluicePluginKit
import Testing

@Suite struct SchemaTests {
  /// As it was written by hand, before schemas were derived.
  private let written = """
    {
      "type": "object",
      "required": ["path"],
      "additionalProperties": false,
      "properties": {
        "path": {
          "type": "string", "minLength": 1,
          "description": "Directory for the files; made if it is missing."
        },
        "format": {
          "type": "string", "enum": ["ndjson", "raw"], "default": "ndjson",
          "description": "ndjson: each record is one line of JSON. raw: each record's payload, then a newline."
        },
        "rotate_bytes": {
          "type": ["string", "integer"], "format": "sluice-size", "minimum": 4096,
          "default": 268435456,
          "description": "A file that reaches this size is sealed under its final name."
        },
        "file_prefix": {
          "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$", "maxLength": 128,
          "default": "records",
          "description": "What the names of sealed files begin with."
        }
      }
    }
    """

  @Test("The derived schema takes and refuses what the one that was written by hand did")
  func theDerivedSchemaIsEquivalent() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    let comparison = SchemaComparison(written, try DiskConfig.schema(), count: 400, seed: seed)
    #expect(comparison.differences.isEmpty, "seed \(seed)")
    #expect(comparison.accepted > 40, "seed \(seed)")
  }

  @Test("What the daemon accepts decodes")
  func acceptedConfigsDecode() throws {
    let schema = try DiskConfig.schema()
    let seed = UInt64.random(in: 0...UInt64.max)
    var configs = RandomConfig(schema, seed: seed)
    for _ in 0..<200 {
      guard case .delivered(let json) = DaemonCheck(configs.next(), schema: schema.description) else { continue }
      #expect(throws: Never.self, "seed \(seed): \(json)") { _ = try DiskConfig(json: json) }
    }
  }
}
