import ArgumentParser
import Glibc
import SluiceCore
import SluiceIdentity
import SluiceTopology

extension IdentityDefinition.Kind: ExpressibleByArgument {}

/// `sluice identity add NAME`.
struct IdentityAdd: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add", abstract: "Make an identity and print its token, which is not shown again.",
    discussion: """
        sluice identity add press-7 --publish 'events/press.*' --fingerprint 00:11:22:33:44:55
        sluice identity add prometheus --kind user --read-metrics
        sluice identity add gateway --kind core --publish events --quota-records 1000 --quota-bytes 1MiB
        sluice identity add relay --publish events --producer 'press-*' --producer relay

      The token goes to the standard output, everything else to the standard error.
      """)

  @Argument(help: "Its name: a-z first, then a-z, 0-9, _ and -.")
  var name: String

  @Option(help: "What it is.")
  var kind = IdentityDefinition.Kind.module

  @Option(
    help: ArgumentHelp(
      "It may publish to this stream, or to topics of it; again for more.", valueName: "stream[/topics]"))
  var publish: [String] = []

  @Flag(help: "It may read metrics.")
  var readMetrics = false

  @Flag(help: "It may do what the admin address offers.")
  var admin = false

  @Option(
    help: ArgumentHelp(
      "It may number records as these producers, and no others; again for more. (default: NAME and NAME/*)",
      valueName: "glob"))
  var producer: [String] = []

  @Option(help: "It has to name this, a MAC address, say.")
  var fingerprint: String?

  @Option(
    help: ArgumentHelp("It has to show this certificate: a file, PEM or DER.", valueName: "file"), completion: .file())
  var certificate: String?

  @Option(help: ArgumentHelp("Records per second that it may send.", valueName: "n"))
  var quotaRecords: Int?

  @Option(help: ArgumentHelp("Bytes per second that it may send.", valueName: "size"))
  var quotaBytes: ByteCount?

  @Option(help: "How much of the quota may come at once: 1s, 1m.")
  var quotaBurst: Nanoseconds?

  @OptionGroup var location: IdentitiesLocation

  func validate() throws {
    for text in publish { try Self.check(text, "--publish") }
    try fingerprint.map { try Self.check($0, "--fingerprint") }
    _ = try scopes()
    guard fingerprint.map({ (1...Limits.maxWireNameBytes).contains($0.utf8.count) }) ?? true else {
      throw ValidationError("--fingerprint takes 1 to \(Limits.maxWireNameBytes) bytes.")
    }
    guard producer.count <= Limits.maxIdentityProducers,
      producer.allSatisfy({ (1...Limits.maxInternedNameBytes).contains($0.utf8.count) })
    else {
      throw ValidationError(
        "--producer takes 1 to \(Limits.maxInternedNameBytes) bytes, at most \(Limits.maxIdentityProducers) times.")
    }
    _ = try quota()
  }

  /// What is no text can't be named by a client either.
  private static func check(_ text: String, _ option: String) throws {
    // U+FFFD stands for bytes that are not UTF-8.
    guard let odd = text.unicodeScalars.first(where: { !$0.isText || $0 == "\u{FFFD}" }) else { return }
    let code = String(odd.value, radix: 16, uppercase: true)
    throw ValidationError(
      "\(option) takes text in UTF-8 without control characters and noncharacters; U+\(code) is not that.")
  }

  private func scopes() throws -> [IdentityDefinition.Scope] {
    var scopes = try publish.map { text in
      guard let scope = IdentityDefinition.Scope(parsing: "publish:\(text)") else {
        throw ValidationError("--publish takes STREAM or STREAM/TOPICS; '\(text)' is not that.")
      }
      return scope
    }
    if readMetrics { scopes.append(.readMetrics) }
    if admin { scopes.append(.admin) }
    guard scopes.count <= Limits.maxIdentityScopes else {
      throw ValidationError("At most \(Limits.maxIdentityScopes) scopes.")
    }
    return scopes
  }

  private func quota() throws -> IdentityDefinition.Quota? {
    guard quotaRecords != nil || quotaBytes != nil else {
      guard quotaBurst == nil else { throw ValidationError("--quota-burst needs --quota-records or --quota-bytes.") }
      return nil
    }
    let burst = quotaBurst?.value ?? Limits.defaultQuotaBurstNanoseconds
    guard quotaRecords.map(Limits.quotaRecords.contains) ?? true,
      quotaBytes.map({ Limits.quotaBytes.contains($0.value) })
        ?? true, Limits.quotaBurstNanoseconds.contains(burst)
    else { throw ValidationError("A quota is out of range.") }
    return IdentityDefinition.Quota(
      recordsPerSecond: quotaRecords, bytesPerSecond: quotaBytes?.value, burstNanoseconds: burst)
  }

  func run() throws {
    guard isValidName(name) else {
      StandardError.print("'\(name)' is not a name: a-z first, then a-z, 0-9, _ and -")
      throw ExitStatus.usage
    }
    let certificate = try certificate.map(CertificateFile.digest)
    try location.showToken(makesFile: true) { identities in
      guard !identities.contains(where: { $0.name == name }) else {
        StandardError.print(
          "there is an identity \(name) already; `sluice identity rotate \(name)` gives it another token")
        throw ExitStatus.usage
      }
      guard identities.count < Limits.maxIdentities else {
        StandardError.print("there are \(Limits.maxIdentities) identities already")
        throw ExitStatus.usage
      }
      let token = MintedToken(identity: name)
      identities.append(
        IdentityDefinition(
          name: name, kind: kind, scopes: try scopes(), fingerprint: fingerprint, certificate: certificate,
          quota: try quota(), producers: producer.isEmpty ? nil : producer, keys: [token.key]))
      return token
    }
    StandardError.print("this is the token of \(name), and is not shown again; \(location.reloadHint)")
    if try scopes().isEmpty {
      StandardError.print("it may do nothing: --publish, --read-metrics and --admin say what it may")
    }
  }
}

/// A new token, and what the file keeps of it.
struct MintedToken {
  let text: String
  let key: IdentityDefinition.Key

  init(identity: String) {
    let secret = IdentitySecret()
    let id = Hexadecimal.text(IdentitySecret().bytes.prefix(4))
    text = IdentityToken(identity: identity, keyID: id, secret: secret).text
    key = IdentityDefinition.Key(
      id: id, storedKey: secret.storedKey, serverKey: secret.serverKey, created: Clock.wall())
  }
}

/// A certificate as its SHA-256.
enum CertificateFile {
  static func digest(_ path: String) throws -> [UInt8] {
    do {
      let bytes = try FileReading.bytes(of: path, limit: Limits.maxSecretFileBytes, regularOnly: true)
      if let der = CertificateDER.of(bytes) { return Digest.sha256(der) }
      StandardError.print("\(path) is not a certificate in PEM or DER")
      throw ExitStatus.dataError
    } catch let error as FileReadError {
      StandardError.print("\(path) can't be read: \(error.message)")
      throw ExitStatus.noInput
    }
  }
}
