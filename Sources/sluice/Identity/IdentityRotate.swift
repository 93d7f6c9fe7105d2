import ArgumentParser
import SluiceCore
import SluiceTopology

/// `sluice identity rotate NAME`.
struct IdentityRotate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotate", abstract: "Print another token for an identity; the old one stays good for a while.",
    discussion: """
        sluice identity rotate press-7                the old token is good for 24 hours
        sluice identity rotate press-7 --grace 0      not at all from the next reload on
      """)

  @Argument(help: "The identity.")
  var name: String

  @Option(help: "How long the old token stays good.")
  var grace = Nanoseconds(Limits.defaultKeyGraceNanoseconds)

  @OptionGroup var location: IdentitiesLocation

  func validate() throws {
    guard Limits.keyGraceNanoseconds.contains(grace.value) else {
      throw ValidationError(
        "--grace takes at most \(Units.describe(nanoseconds: Limits.keyGraceNanoseconds.upperBound)).")
    }
  }

  func run() throws {
    var dropped: [IdentityDefinition.Key] = []
    try location.showToken { identities in
      let index = try IdentitiesLocation.index(of: name, in: identities)
      let token = MintedToken(identity: name)
      dropped = identities[index].rotate(to: token.key, grace: grace.value, at: Clock.wall())
      return token
    }
    for key in dropped {
      let until = key.expires.map { " until \(Timestamp.text($0))" } ?? ""
      StandardError.print(
        "key \(key.id), which would have been good\(until), is gone: an identity has at most \(Limits.maxIdentityKeys)")
    }
    StandardError.print("this is the new token of \(name), and is not shown again; \(location.reloadHint)")
  }
}

/// `sluice identity revoke NAME`.
struct IdentityRevoke: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "revoke", abstract: "Take an identity's keys away, or one of them; live connections end.",
    discussion: """
        sluice identity revoke press-7                  all of its keys; `rotate` gives it a new one
        sluice identity revoke press-7 --key 5f3a9c01   one of them; `list` shows their ids
        sluice identity revoke press-7 --remove         the identity too
      """)

  @Argument(help: "The identity.")
  var name: String

  @Option(help: ArgumentHelp("Only this key.", valueName: "id"))
  var key: String?

  @Flag(help: "Remove the identity itself.")
  var remove = false

  @OptionGroup var location: IdentitiesLocation

  func validate() throws {
    if key != nil && remove { throw ValidationError("--key takes one key away, --remove everything: give one of them") }
  }

  func run() throws {
    try location.update { identities in
      let index = try IdentitiesLocation.index(of: name, in: identities)
      if let key {
        guard identities[index].keys.contains(where: { $0.id == key }) else {
          StandardError.print("\(name) has no key \(key); `sluice identity list` shows which it has")
          throw ExitStatus.noInput
        }
        identities[index].keys.removeAll { $0.id == key }
      } else if remove {
        identities.remove(at: index)
      } else {
        identities[index].keys = []
      }
    }
    StandardError.print("revoked; \(location.reloadHint)")
  }
}

extension IdentityDefinition {
  /// Takes another key; those that it had are good for `grace` nanoseconds more, or as long as they were already told. What is
  /// over goes, and so does the oldest of too many: those are returned, which were still good.
  mutating func rotate(to key: Key, grace: Int64, at now: Int64) -> [Key] {
    for index in keys.indices {
      let end = now + grace
      keys[index].expires = min(keys[index].expires ?? end, end)
    }
    keys.removeAll { ($0.expires ?? .max) <= now }
    keys.append(key)
    let dropped = Array(keys.dropLast(Limits.maxIdentityKeys))
    keys = Array(keys.suffix(Limits.maxIdentityKeys))
    return dropped
  }
}
