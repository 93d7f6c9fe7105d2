import SluiceCore
import SluiceTopology

/// What is to be known of a module before its rules are run.
struct ModuleLook {
  var kinds: [Kind] = []
  /// The loader could make nothing of the file.
  var fault: PluginLoadError?

  struct Kind {
    var name: String
    /// What is wrong with the config that is given, for this kind.
    var errors: [String]
  }

  /// In the module's process. What is wrong with the module's tables the rules say.
  static func take(_ bench: RuleBench) throws(RuleVerdict) -> RuleVerdict {
    var members: [JSONValue.Member] = []
    bench.phase("it was loaded")
    do throws(PluginLoadError) {
      let image = try ModuleImage.load(bench.request.file, calling: bench.request.name)
      let module = try ModuleReader(path: bench.request.name, major: image.major).read(image.module)
      members.append(JSONValue.Member("kinds", .array(module.kinds.map { describe($0, bench.request.config) })))
    } catch {
      members.append(JSONValue.Member("code", .string(error.code.rawValue)))
      members.append(JSONValue.Member("message", .string(error.message)))
      members.append(JSONValue.Member("remedy", .string(error.remedy)))
    }
    return RuleVerdict(status: .passed, reason: JSONValue.object(members).canonicalText)
  }

  private static func describe(_ kind: KindDescription, _ config: String) -> JSONValue {
    var errors: [String] = []
    // Where the schema is at fault there is nothing to say; a rule says that.
    if let schema = try? PluginConfigCheck(schemaJSON: kind.schemaJSON), schema.wrongDefaults.isEmpty,
      let json = try? JSONValue(parsing: config)
    {
      errors = schema.check(json).errors
    }
    return .object([
      JSONValue.Member("name", .string(kind.kind)),
      JSONValue.Member("errors", .array(errors.prefix(10).map { .string(String($0.prefix(200))) })),
    ])
  }

  /// From what `take` said. A process that died in the attempt tells nothing: the rules will say where.
  init(_ verdict: RuleVerdict) {
    guard verdict.status == .passed, let json = try? JSONValue(parsing: verdict.reason) else { return }
    if case .string(let code) = json["code"], case .string(let message) = json["message"],
      case .string(let remedy) = json["remedy"]
    {
      fault = PluginLoadError.Code(rawValue: code).map { PluginLoadError($0, message, remedy: remedy) }
    }
    guard case .array(let items) = json["kinds"] else { return }
    for item in items {
      guard case .string(let name) = item["name"], case .array(let errors) = item["errors"] else { continue }
      kinds.append(
        Kind(name: name, errors: errors.compactMap { if case .string(let text) = $0 { text } else { nil } }))
    }
  }
}
