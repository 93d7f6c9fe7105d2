import Glibc
import SluiceTopology
import Testing

/// Schemas by kind, as a library of plugins would give them.
struct FakePlugins: PluginSchemaProvider {
  var schemas: [String: String]

  init(_ schemas: [String: String] = [:]) {
    self.schemas = schemas.merging(["disk": Self.disk, "s3": Self.s3]) { given, _ in given }
  }

  func describe(
    plugin kindOrPath: String, pluginDirectories: [String], as user: String?
  ) throws(PluginLookupError) -> PluginSchema {
    guard let schema = schemas[kindOrPath] else {
      throw PluginLookupError(
        message: "no plugin of kind '\(kindOrPath)'", remedy: "looked in ./plugins",
        suggestion: schemas.keys.sorted().first { $0.first == kindOrPath.first })
    }
    return PluginSchema(kind: kindOrPath, schemaJSON: schema)
  }

  static let disk = """
    {"type": "object", "additionalProperties": false, "required": ["path"], "properties": {
      "path": {"type": "string", "minLength": 1, "description": "where the files go"},
      "format": {"enum": ["ndjson", "raw"], "default": "ndjson"},
      "rotate": {"type": "string", "format": "sluice-size", "minimum": 1024, "default": "64MiB"},
      "flush": {"type": "string", "format": "sluice-duration"}}}
    """
  static let s3 = """
    {"type": "object", "additionalProperties": false, "properties": {
      "bucket": {"type": "string"}, "secret_key": {"type": "string", "x-sluice-secret": true, "minLength": 8}}}
    """
}

/// A directory of its own that goes when the test does.
final class TemporaryDirectory {
  let path: String
  private var written: [String] = []

  init() throws {
    var template = Array("/tmp/sluice-topology-XXXXXX".utf8CString)
    let made = try #require(mkdtemp(&template))
    path = String(cString: made)
    written = [path]
  }

  deinit { for name in written.reversed() { remove(name) } }

  /// Writes a file and gives its path back.
  func write(_ name: String, _ text: String) throws -> String {
    let full = "\(path)/\(name)"
    if let slash = name.lastIndex(of: "/"), mkdir("\(path)/\(name[..<slash])", 0o755) == 0 {
      written.append("\(path)/\(name[..<slash])")
    }
    written.append(full)
    let file = try #require(fopen(full, "w"))
    defer { fclose(file) }
    let bytes = Array(text.utf8)
    try #require(fwrite(bytes, 1, bytes.count, file) == bytes.count)
    return full
  }
}

func load(
  _ text: String, environment: [String: String] = [:], schemas: [String: String] = [:]
) -> TopologyResult {
  TopologyLoader.load(text: text, name: "t.yaml", environment: environment, plugins: FakePlugins(schemas))
}

extension TopologyResult {
  var diagnostics: [Diagnostic] {
    switch self {
    case .topology(_, let warnings): warnings
    case .failed(let all): all
    }
  }

  var errors: [Diagnostic] { diagnostics.filter { $0.severity == .error } }

  /// The topology; a recorded issue with everything that was found otherwise.
  func get(_ location: SourceLocation = #_sourceLocation) throws -> Topology {
    if case .topology(let topology, _) = self { return topology }
    Issue.record("\(Diagnostic.rendered(diagnostics))", sourceLocation: location)
    throw LoadFailed()
  }
}

struct LoadFailed: Error {}

/// A topology that is right, for tests that are about one part of it.
let minimal = """
  sluice: 1
  streams:
    events: {}
  sources:
    api: { type: http, listen: "127.0.0.1:8080", stream: events }
  subscribers:
    archive:
      plugin: disk
      streams: [ events ]
      config: { path: ./out }

  """

/// `minimal` with a config of its own for a plugin of kind `x` that has this schema.
func config(_ yaml: String, schema: String, environment: [String: String] = [:]) -> TopologyResult {
  let lines = yaml.split(separator: "\n", omittingEmptySubsequences: false).map { "      \($0)" }
  let text =
    "sluice: 1\nstreams: { e: {} }\nsubscribers:\n  s:\n    plugin: x\n    streams: [ e ]\n    config:\n"
    + lines.joined(separator: "\n") + "\n"
  return load(text, environment: environment, schemas: ["x": schema])
}
