import SluiceCore

/// Which producers belong to somebody: the patterns of all identities at once, for those who have none. The default patterns,
/// which most have, are looked up; only others are tried one by one.
struct ProducerClaims: Sendable {
  private var names: Set<ProducerName> = []
  /// Those of `FOLDER/*`.
  private var folders: Set<ProducerName> = []
  private var globs: [TopicGlob] = []

  init(_ definitions: [IdentityDefinition] = []) {
    for pattern in definitions.flatMap(\.ownProducers) {
      let folder = pattern.hasSuffix("/*") ? String(pattern.dropLast(2)) : nil
      if Self.isPlain(pattern) {
        names.insert(ProducerName(pattern))
      } else if let folder, Self.isPlain(folder) {
        folders.insert(ProducerName(folder))
      } else {
        globs.append(TopicGlob(pattern))
      }
    }
  }

  func cover(_ name: String) -> Bool {
    if names.contains(ProducerName(name)) { return true }
    // By bytes: what combines with a slash makes another character of it.
    let bytes = name.utf8
    for slash in bytes.indices where bytes[slash] == UInt8(ascii: "/") {
      if folders.contains(ProducerName(String(name[..<slash]))) { return true }
    }
    guard !globs.isEmpty else { return false }
    var name = name
    return name.withUTF8 { name in globs.contains { $0.matches(UnsafeRawBufferPointer(name)) } }
  }

  private static func isPlain(_ pattern: String) -> Bool { !pattern.utf8.contains { $0 == 0x2A || $0 == 0x3F } }
}
