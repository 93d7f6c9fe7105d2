import PluginTestSupport
import SluicePluginKit
import StdoutSubscriber
import Testing

@Suite struct SchemaTests {
  /// As it was written by hand, before schemas were derived.
  private let written = """
    {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "format": {
          "type": "string", "enum": ["ndjson", "raw"], "default": "ndjson",
          "description": "ndjson: each record is one line of JSON. raw: each record's payload, then a newline."
        }
      }
    }
    """

  @Test("The derived schema takes and refuses what the one that was written by hand did")
  func theDerivedSchemaIsEquivalent() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    let comparison = SchemaComparison(written, try StdoutConfig.schema(), count: 400, seed: seed)
    #expect(comparison.differences.isEmpty, "seed \(seed)")
    #expect(comparison.accepted > 40, "seed \(seed)")
  }

  @Test("What the daemon accepts decodes")
  func acceptedConfigsDecode() throws {
    let schema = try StdoutConfig.schema()
    let seed = UInt64.random(in: 0...UInt64.max)
    var configs = RandomConfig(schema, seed: seed)
    for _ in 0..<200 {
      guard case .delivered(let json) = DaemonCheck(configs.next(), schema: schema.description) else { continue }
      #expect(throws: Never.self, "seed \(seed): \(json)") { _ = try StdoutConfig(json: json) }
    }
  }
}
