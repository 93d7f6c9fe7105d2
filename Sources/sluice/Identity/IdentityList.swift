import ArgumentParser
import SluiceCore
import SluiceTopology

/// `sluice identity list`.
struct IdentityList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Show who there is, what they may do, and which keys they have.")

  @OptionGroup var location: IdentitiesLocation

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let identities = try location.read()
    let now = Clock.wall()
    let output = try CheckedOutput(orElse: "the list can't be shown")
    guard !json else { return try output.show(JSONValue.array(identities.map { Self.json($0, now) }).canonicalText) }
    guard !identities.isEmpty else { return StandardError.print("nobody; `sluice identity add NAME` makes one") }
    try output.show(identities.flatMap { Self.lines($0, now) }.joined(separator: "\n"))
  }

  private static func lines(_ identity: IdentityDefinition, _ now: Int64) -> [String] {
    let scopes = identity.scopes.map(\.text).joined(separator: " ")
    let producers = identity.ownProducers.joined(separator: " ")
    var lines = [
      "\(identity.name)  \(identity.kind.rawValue)  \(scopes.isEmpty ? "(no scopes)" : scopes)",
      "  producers \(producers.isEmpty ? "(none)" : producers)",
    ]
    if let fingerprint = identity.fingerprint { lines.append("  fingerprint \(fingerprint)") }
    if let certificate = identity.certificate { lines.append("  certificate \(Hexadecimal.text(certificate))") }
    if let quota = identity.quota { lines.append("  quota \(text(quota))") }
    if identity.keys.isEmpty { lines.append("  no key: revoked") }
    return lines + identity.keys.map { "  key \($0.id)\(times($0, now))" }
  }

  private static func text(_ quota: IdentityDefinition.Quota) -> String {
    let records = quota.recordsPerSecond.map { ["\($0) records/s"] } ?? []
    let bytes = quota.bytesPerSecond.map { ["\(Units.describe(bytes: Int64($0)))/s"] } ?? []
    return (records + bytes).joined(separator: ", ")
      + ", \(Units.describe(nanoseconds: quota.burstNanoseconds)) at once"
  }

  private static func times(_ key: IdentityDefinition.Key, _ now: Int64) -> String {
    let created = key.created.map { "  made \(Timestamp.text($0))" } ?? ""
    let expires = key.expires.map { "  \($0 <= now ? "over since" : "good until") \(Timestamp.text($0))" } ?? ""
    return created + expires
  }

  private static func json(_ identity: IdentityDefinition, _ now: Int64) -> JSONValue {
    func text(_ text: String?) -> JSONValue { text.map(JSONValue.string) ?? .null }
    let quota = identity.quota.map { quota -> JSONValue in
      [
        "records": quota.recordsPerSecond.map { .count($0) } ?? .null,
        "bytes": quota.bytesPerSecond.map { .count($0) } ?? .null, "burst_ns": .count(quota.burstNanoseconds),
      ]
    }
    return [
      "name": .string(identity.name), "kind": .string(identity.kind.rawValue),
      "scopes": .array(identity.scopes.map { .string($0.text) }),
      "producers": .array(identity.ownProducers.map { .string($0) }), "fingerprint": text(identity.fingerprint),
      "certificate": text(identity.certificate.map { Hexadecimal.text($0) }), "quota": quota ?? .null,
      "keys": .array(
        identity.keys.map { key in
          [
            "id": .string(key.id), "created": text(key.created.map { Timestamp.text($0) }),
            "expires": text(key.expires.map { Timestamp.text($0) }),
            "valid": .bool(key.expires.map { $0 > now } ?? true),
          ]
        }),
    ]
  }
}
