// The file of identities: who may do what, and what their secrets are checked with. `sluice identity` writes it; a person can.
//
//   sluice_identities: 1
//   identities:
//     press-7:
//       kind: module                          # user | module | core
//       scopes: [ "publish:events/press.*" ]  # publish:STREAM[/TOPICS] | read:metrics | admin
//       fingerprint: "00:11:22:33:44:55"      # optional, as are the next three
//       certificate: "…"                      # SHA-256 of the client certificate (DER), 64 hexadecimal digits
//       producers: [ press-7, "press-7/*" ]   # whom it may number records as, globs; these are the default
//       quota: { records: 1000, bytes: 1MiB, burst: 1s }      # per second; burst: how much may come at once
//       keys:
//         - id: "5f3a9c01"
//           stored_key: "…"                   # 64 hexadecimal digits; docs/wire-protocol.md has how they are made
//           server_key: "…"
//           created: 2026-08-01T10:00:00Z
//           expires: 2026-08-02T10:00:00Z     # a key that was rotated, until the end of its grace period
//
// Nobody but its owner may read or write it: whoever has it and a recorded handshake can pose as those it names.

import Glibc
import SluiceCore

package enum IdentitiesFile {
  package enum Result: Sendable {
    case identities([IdentityDefinition])
    case failed([Diagnostic])
  }

  private static let top = ["sluice_identities", "identities"]
  private static let identityKeys = ["kind", "scopes", "fingerprint", "certificate", "producers", "quota", "keys"]

  /// Reads the file, which has to be its owner's alone, and that owner this process's user or root, unless it may be anybody.
  package static func load(_ path: String, anyOwner: Bool = false) -> Result {
    var status = stat()
    return load(path, anyOwner: anyOwner, status: &status)
  }

  /// The same; `status` is that of the file that was read.
  static func load(_ path: String, anyOwner: Bool, status: inout stat) -> Result {
    let start = SourcePosition(file: path, line: 1, column: 1)
    do throws(FileReadError) {
      let bytes = try FileReading.bytes(of: path, limit: Limits.maxIdentitiesBytes, regularOnly: true) {
        found throws(FileReadError) in
        status = found
        try checkAccess(found, path, anyOwner: anyOwner)
      }
      return read(bytes, name: path)
    } catch {
      if let help = error.help { return .failed([Diagnostic(at: start, error.message, help: help)]) }
      let makes = "`sluice identity add` makes it, or leave `identities:` out"
      let isThere = access(path, F_OK) == 0
      return .failed([
        Diagnostic(
          at: start, "the file of identities can't be read: \(error.message)",
          help: isThere ? nil : isLink(path) ? "it is \(danglingLink)" : makes)
      ])
    }
  }

  /// What a path is whose file `sluice identity` does not make.
  package static let danglingLink =
    "a symbolic link to a file that is not there: remove it, or make that file with `sluice identity add --file`"

  static func isLink(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
  }

  static func checkAccess(_ status: stat, _ path: String, anyOwner: Bool) throws(FileReadError) {
    guard status.st_mode & 0o077 == 0 else {
      let mode = String(status.st_mode & 0o777, radix: 8)
      throw FileReadError(
        message: "others than its owner may read or write the file of identities (mode 0\(mode))",
        help: "chmod 600 \(path)")
    }
    guard anyOwner || status.st_uid == geteuid() || status.st_uid == 0 else {
      throw FileReadError(
        message: "the file of identities belongs to another user (uid \(status.st_uid))",
        help: "chown \(geteuid()) \(path)")
    }
  }

  /// The same for bytes in memory.
  package static func read(_ bytes: [UInt8], name: String) -> Result {
    let sink = DiagnosticSink()
    let start = SourcePosition(file: name, line: 1, column: 1)
    var identities: [IdentityDefinition] = []
    if let root = YAMLReader.read(bytes, file: name, sink: sink),
      let section = Section(root, path: "the file of identities", at: start, known: top, sink: sink)
    {
      _ = section.required("sluice_identities", "1").map { node in
        if case .scalar(let scalar) = node.content, scalar.value == .integer(1) { return }
        sink.error(
          at: node.position, "the format of the file of identities can't be \(node.describedKind)", expected: "1")
      }
      // Required, and no empty value either: half of a file is not one that has nobody.
      if let node = section.required("identities", "{}") { identities = read(node, sink: sink) }
    } else if !sink.hasErrors {
      sink.error(at: start, "the file of identities is empty", expected: "sluice_identities: 1")
    }
    return sink.hasErrors ? .failed(sink.sorted()) : .identities(identities)
  }

  private static func read(_ node: YAMLNode, sink: DiagnosticSink) -> [IdentityDefinition] {
    guard let all = Section(node, path: "identities", known: [], sink: sink) else { return [] }
    guard all.entries.count <= Limits.maxIdentities else {
      sink.error(at: node.position, "more than \(Limits.maxIdentities) identities")
      return []
    }
    return all.entries.compactMap { entry in
      if !isValidName(entry.key) {
        sink.error(
          at: entry.keyPosition, "\(quoted(entry.key)) is not a name",
          expected: "a-z first, then a-z, 0-9, _ and -; at most \(Limits.maxNameCharacters) characters")
      }
      return identity(entry, sink: sink)
    }
  }

  private static func identity(_ entry: YAMLPair, sink: DiagnosticSink) -> IdentityDefinition? {
    let path = "identities.\(entry.key)"
    guard
      let section = Section(entry.value, path: path, at: entry.keyPosition, known: identityKeys, sink: sink)
    else { return nil }
    _ = section.required("kind", "user, module or core")
    let kind: IdentityDefinition.Kind? = section.choice("kind")
    var identity = IdentityDefinition(name: entry.key, kind: kind ?? .module)
    identity.scopes = scopes(section)
    if let text = section.string("fingerprint") {
      identity.fingerprint = text
      if text.isEmpty || text.utf8.count > Limits.maxWireNameBytes, let node = section["fingerprint"] {
        sink.error(
          at: node.position, "\(path).fingerprint is empty or too long",
          expected: "1 to \(Limits.maxWireNameBytes) bytes")
      }
    }
    identity.certificate = digest(section, "certificate")
    identity.producers = producers(section)
    if let node = section["quota"] { identity.quota = quota(node, "\(path).quota", sink) }
    if let node = section["keys"] { identity.keys = keys(node, "\(path).keys", sink) }
    return identity
  }

  private static func scopes(_ section: Section) -> [IdentityDefinition.Scope] {
    let texts = section.strings("scopes", example: "[ \"publish:events\" ]") ?? []
    if texts.count > Limits.maxIdentityScopes, let node = section["scopes"] {
      section.sink.error(at: node.position, "more than \(Limits.maxIdentityScopes) scopes")
    }
    return texts.compactMap { text, node in
      if let scope = IdentityDefinition.Scope(parsing: text) { return scope }
      section.sink.error(
        at: node.position, "\(quoted(text)) is not a scope",
        expected: "publish:STREAM, publish:STREAM/TOPICS, read:metrics or admin",
        suggestion: nearestName(to: text, in: ["read:metrics", "admin"]))
      return nil
    }
  }

  private static func producers(_ section: Section) -> [String]? {
    guard let texts = section.strings("producers", example: "[ press-7, \"press-7/*\" ]") else { return nil }
    if texts.count > Limits.maxIdentityProducers, let node = section["producers"] {
      section.sink.error(at: node.position, "more than \(Limits.maxIdentityProducers) patterns of producers")
    }
    for (text, node) in texts where !(1...Limits.maxInternedNameBytes).contains(text.utf8.count) {
      section.sink.error(
        at: node.position, "a pattern of producers is empty or too long",
        expected: "1 to \(Limits.maxInternedNameBytes) bytes")
    }
    return texts.map(\.text)
  }

  private static func quota(_ node: YAMLNode, _ path: String, _ sink: DiagnosticSink) -> IdentityDefinition.Quota? {
    guard let section = Section(node, path: path, known: ["records", "bytes", "burst"], sink: sink) else { return nil }
    let records = section.integer("records", in: Limits.quotaRecords)
    let bytes = section.size("bytes", in: Limits.quotaBytes)
    let burst = section.duration("burst", in: Limits.quotaBurstNanoseconds) ?? Limits.defaultQuotaBurstNanoseconds
    if section["records"] == nil, section["bytes"] == nil {
      sink.error(at: node.position, "\(path) bounds nothing", expected: "records: 1000 or bytes: 1MiB, per second")
    }
    return IdentityDefinition.Quota(recordsPerSecond: records, bytesPerSecond: bytes, burstNanoseconds: burst)
  }

  private static func keys(_ node: YAMLNode, _ path: String, _ sink: DiagnosticSink) -> [IdentityDefinition.Key] {
    guard case .sequence(let items) = node.content else {
      sink.error(at: node.position, "expected a list for \(path), found \(node.describedKind)")
      return []
    }
    if items.count > Limits.maxIdentityKeys {
      sink.error(
        at: items[Limits.maxIdentityKeys].position, "more than \(Limits.maxIdentityKeys) keys at \(path)",
        help: "take the oldest away, or those that are over")
    }
    var seen: Set<String> = []
    return items.compactMap { item in
      guard
        let section = Section(
          item, path: path, known: ["id", "stored_key", "server_key", "created", "expires"], sink: sink)
      else { return nil }
      let id = section.required("id", "\"5f3a9c01\"").flatMap { section.text($0, "\(path).id", expected: "an id") }
      _ = section.required("stored_key", "64 hexadecimal digits")
      _ = section.required("server_key", "64 hexadecimal digits")
      let stored = digest(section, "stored_key")
      let server = digest(section, "server_key")
      guard let id, let stored, let server else { return nil }
      let isName = id.utf8.allSatisfy { byte in
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
      }
      if !isName || id.utf8.count > Limits.maxIdentityKeyIDBytes || !seen.insert(id).inserted {
        sink.error(
          at: section.position, "\(quoted(id)) is not the id of a key, or stands twice",
          expected: "a-z and 0-9; at most \(Limits.maxIdentityKeyIDBytes) characters")
      }
      return IdentityDefinition.Key(
        id: id, storedKey: stored, serverKey: server, created: time(section, "created"),
        expires: time(section, "expires"))
    }
  }

  /// 32 bytes in hexadecimal.
  private static func digest(_ section: Section, _ key: String) -> [UInt8]? {
    guard let node = section[key] else { return nil }
    if case .scalar(let scalar) = node.content, let bytes = Hexadecimal.bytes(scalar.text),
      bytes.count == Limits.identityKeyBytes
    {
      return bytes
    }
    // What stands there may be a secret in the wrong place.
    section.sink.error(
      at: node.position, "\(section.path(of: key)) is not of 64 hexadecimal digits", expected: "64 hexadecimal digits")
    return nil
  }

  private static func time(_ section: Section, _ key: String) -> Int64? {
    guard let node = section[key] else { return nil }
    if case .scalar(let scalar) = node.content, let time = Timestamp.nanoseconds(scalar.text) { return time }
    section.sink.error(
      at: node.position, "\(section.path(of: key)) can't be \(node.describedKind)", expected: "2026-08-01T10:00:00Z")
    return nil
  }
}
