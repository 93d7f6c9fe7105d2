import Glibc
import SluiceCore

/// Why the file of identities was not changed, or not for sure.
package enum IdentitiesFileFault: Error {
  /// It has mistakes, or others may read it.
  case mistakes([Diagnostic])
  /// There is none to change.
  case missing
  /// There is none behind the symbolic link of this path.
  case danglingLink(String)
  case io(String)
  /// It is changed, but its directory was not synced: after a loss of power it may be the old one.
  case unsynced(String)
}

extension IdentitiesFile {
  /// Changes the file as a whole: under a lock (`FILE.lock`), into a new file with mode 0600 and the old one's owner, which
  /// then takes its name. Who reads meanwhile sees the old or the new one; after a loss of power it is one of both. Of a
  /// symbolic link it is the file behind it, and everybody's if root changes it. A file that is not there counts as one
  /// without identities if `makesFile`.
  ///
  /// `beforeCommit` runs when all that can fail has been done but for the new file's taking the name: if it throws, nothing was
  /// changed. So a token that it shows may be worthless after a failure, but no key counts whose token nobody saw.
  package static func update<Value>(
    _ path: String, makesFile: Bool = false, _ change: (inout [IdentityDefinition]) throws -> Value,
    beforeCommit: (Value) throws -> Void = { _ in }
  ) throws -> Value {
    let path = try realPath(path, makesFile: makesFile)
    let (lock, isNew) = try openLock(path + ".lock")
    defer {
      // A child that is being started has a copy of the descriptor until its exec, and would keep the lock for that long.
      _ = flock(lock, LOCK_UN)
      close(lock)
    }
    while flock(lock, LOCK_EX) != 0 {
      guard errno == EINTR else { throw fault("cannot lock \(path).lock") }
    }
    var identities: [IdentityDefinition] = []
    var owner: (uid_t, gid_t)?
    if access(path, F_OK) == 0 {
      var status = stat()
      switch load(path, anyOwner: geteuid() == 0, status: &status) {
      case .identities(let found): identities = found
      case .failed(let diagnostics): throw IdentitiesFileFault.mistakes(diagnostics)
      }
      owner = (status.st_uid, status.st_gid)
    } else if errno != ENOENT {
      throw fault("cannot look at \(path)")
    }
    // The owner has to be able to take it.
    if isNew, let owner, fchown(lock, owner.0, owner.1) != 0 { throw fault("cannot give \(path).lock its owner") }
    let value = try change(&identities)
    try write(contents(identities), to: path, owner: owner) { try beforeCommit(value) }
    return value
  }

  /// The file behind symbolic links, so that it is changed and none of the links, and all who come by different ways meet at one lock.
  private static func realPath(_ path: String, makesFile: Bool) throws -> String {
    if let found = FileReading.canonical(path) { return found }
    guard errno == ENOENT else { throw fault("cannot look at \(path)") }
    guard !isLink(path) else { throw IdentitiesFileFault.danglingLink(path) }
    guard makesFile else { throw IdentitiesFileFault.missing }
    let slash = path.lastIndex(of: "/")
    let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    guard let directory = FileReading.canonical(directory) else { throw fault("cannot look at \(directory)") }
    let name = slash.map { path[path.index(after: $0)...] } ?? path[...]
    return directory == "/" ? "/\(name)" : "\(directory)/\(name)"
  }

  /// The lock's file, and whether it is of this call's making.
  private static func openLock(_ path: String) throws -> (descriptor: Int32, isNew: Bool) {
    let flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW
    let new = open(path, flags | O_CREAT | O_EXCL, 0o600)
    if new >= 0 { return (new, true) }
    guard errno == EEXIST else { throw fault("cannot make \(path)") }
    let old = open(path, flags)
    guard old >= 0 else { throw fault("cannot open \(path)") }
    return (old, false)
  }

  /// The file's bytes, which are sure to be read back as what they are to say.
  private static func contents(_ identities: [IdentityDefinition]) throws -> [UInt8] {
    let bytes = Array(text(of: identities).utf8)
    guard bytes.count <= Limits.maxIdentitiesBytes else {
      throw IdentitiesFileFault.io(
        "the file of identities would have more than \(Units.describe(bytes: Int64(Limits.maxIdentitiesBytes))), and nothing "
          + "was changed: remove identities or scopes that are not needed")
    }
    switch read(bytes, name: "the new file of identities") {
    // Of times it keeps less than there is, so its text is what has to be the same.
    case .identities(let found):
      if Array(text(of: found).utf8) == bytes { return bytes }
      throw IdentitiesFileFault.io("the file of identities would not say what was asked for; nothing was changed")
    case .failed(let mistakes): throw IdentitiesFileFault.mistakes(mistakes)
    }
  }

  private static func write(
    _ bytes: [UInt8], to path: String, owner: (uid_t, gid_t)?, beforeCommit: () throws -> Void
  ) throws {
    let new = path + ".new"
    // One that a crash left behind: whoever has the lock may take its place.
    unlink(new)
    let file = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw fault("cannot make \(new)") }
    var isWritten = false
    defer {
      close(file)
      if !isWritten { unlink(new) }
    }
    guard fchmod(file, 0o600) == 0 else { throw fault("cannot set the mode of \(new)") }
    if let owner, fchown(file, owner.0, owner.1) != 0 { throw fault("cannot give \(new) the owner of \(path)") }
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw fault("cannot write \(new)") }
      rest = rest.dropFirst(count)
    }
    guard fsync(file) == 0 else { throw fault("cannot sync \(new)") }
    // A real path: it has a slash. Opened before anything counts: one that can't be read can't be synced.
    let slash = path.lastIndex(of: "/")
    let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw fault("nothing was changed: cannot open \(parent), which is to be synced") }
    defer { close(directory) }
    try beforeCommit()
    guard rename(new, path) == 0 else { throw fault("nothing was changed: cannot replace \(path)") }
    isWritten = true
    guard fsync(directory) == 0 else {
      throw IdentitiesFileFault.unsynced("cannot sync \(parent): \(String(cString: strerror(errno)).lowercased())")
    }
  }

  private static func fault(_ what: String) -> IdentitiesFileFault {
    .io("\(what): \(String(cString: strerror(errno)).lowercased())")
  }

  /// The file's text.
  package static func text(of identities: [IdentityDefinition]) -> String {
    var text = """
      # Who may do what; written by `sluice identity`, and may be edited: docs/identities.md has the format. There are no secrets
      # in here, but keep it to yourself (mode 0600). A daemon reads it at its start and with each reload.
      sluice_identities: 1
      identities:

      """
    for identity in identities { text += self.text(of: identity) }
    if identities.isEmpty { text += "  {}\n" }
    return text
  }

  private static func text(of identity: IdentityDefinition) -> String {
    var text = "  \(identity.name):\n    kind: \(identity.kind.rawValue)\n"
    text += "    scopes: [ \(identity.scopes.map { quotedScalar($0.text) }.joined(separator: ", ")) ]\n"
    if let fingerprint = identity.fingerprint { text += "    fingerprint: \(quotedScalar(fingerprint))\n" }
    if let certificate = identity.certificate { text += "    certificate: \"\(Hexadecimal.text(certificate))\"\n" }
    if let producers = identity.producers {
      text += "    producers: [ \(producers.map(quotedScalar).joined(separator: ", ")) ]\n"
    }
    if let quota = identity.quota {
      var parts: [String] = []
      if let records = quota.recordsPerSecond { parts.append("records: \(records)") }
      if let bytes = quota.bytesPerSecond { parts.append("bytes: \(bytes)") }
      parts.append("burst: \(Units.describe(nanoseconds: quota.burstNanoseconds))")
      text += "    quota: { \(parts.joined(separator: ", ")) }\n"
    }
    text += identity.keys.isEmpty ? "    keys: []\n" : "    keys:\n"
    for key in identity.keys {
      text += "      - id: \"\(key.id)\"\n"
      text += "        stored_key: \"\(Hexadecimal.text(key.storedKey))\"\n"
      text += "        server_key: \"\(Hexadecimal.text(key.serverKey))\"\n"
      if let created = key.created { text += "        created: \(Timestamp.text(created))\n" }
      if let expires = key.expires { text += "        expires: \(Timestamp.text(expires))\n" }
    }
    return text
  }

  /// As a double-quoted scalar.
  private static func quotedScalar(_ text: String) -> String {
    var scalar = "\""
    for character in text.unicodeScalars {
      switch character {
      case "\"": scalar += "\\\""
      case "\\": scalar += "\\\\"
      case _ where character.value < 0x20 || (0x7F..<0xA0).contains(character.value):
        let digits = String(character.value, radix: 16)
        scalar += "\\x" + (digits.utf8.count < 2 ? "0" : "") + digits
      case _ where !character.isText:
        // At least U+2028.
        let digits = String(character.value, radix: 16)
        scalar +=
          digits.utf8.count == 4
          ? "\\u\(digits)" : "\\U\(String(repeating: "0", count: 8 - digits.utf8.count))\(digits)"
      default: scalar.unicodeScalars.append(character)
      }
    }
    return scalar + "\""
  }
}

extension Unicode.Scalar {
  /// No control character, separator of lines, mark of the byte order or noncharacter: the same wherever it is written down.
  package var isText: Bool {
    switch properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator: false
    default: value != 0xFEFF && !properties.isNoncharacterCodePoint
    }
  }
}
