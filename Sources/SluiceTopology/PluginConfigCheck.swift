import SluiceCore

/// A plugin's config without a topology: checked by the schema and made into what the plugin gets.
package struct PluginConfigCheck: Sendable {
  private let schema: ConfigSchema
  private static let nowhere = SourcePosition(file: "config", line: 1, column: 1)

  /// Why a schema is none that Sluice takes: "uses the keyword …".
  package struct SchemaFault: Error, Sendable {
    package var message: String
  }

  /// One config and what is wrong with it.
  package struct Outcome: Sendable {
    /// Canonical JSON with defaults in place; only of use when there are no errors.
    package var configJSON: String
    package var errors: [String]
  }

  /// From the text that a plugin carries.
  package init(schemaJSON: String) throws(SchemaFault) {
    do throws(ConfigSchema.Fault) {
      schema = try ConfigSchema(text: schemaJSON)
    } catch {
      throw SchemaFault(message: error.message)
    }
  }

  /// Checks `config`, which must be an object, as a topology's `config` is checked.
  package func check(_ config: JSONValue) -> Outcome {
    guard case .object = config else { return Outcome(configJSON: "", errors: ["a config is an object"]) }
    var check = ConfigCheck(schema)
    let result = check.run(ConfigNode(config, at: Self.nowhere), path: "config")
    var errors = check.findings.filter { $0.severity == .error }.map { finding in
      [finding.message, finding.expected.map { "expected \($0)" }].compactMap(\.self).joined(separator: ": ")
    }
    let text = errors.isEmpty ? result.json().canonicalText : ""
    if text.utf8.count > Limits.maxPluginConfigBytes {
      errors.append("config has more than \(Limits.maxPluginConfigBytes) bytes")
    }
    return Outcome(configJSON: text, errors: errors)
  }

  /// Defaults anywhere in the schema that the schema itself does not allow, each with the place that has it.
  package var wrongDefaults: [String] {
    schema.nodes.indices.compactMap { index in
      guard let standard = schema.nodes[index].standard else { return nil }
      var check = ConfigCheck(schema)
      _ = check.run(ConfigNode(standard, at: Self.nowhere), by: index, path: "the default")
      guard let finding = check.findings.first(where: { $0.severity == .error }) else { return nil }
      return "\(schema.nodes[index].pointer)/default: \(finding.message)"
    }
  }
}
