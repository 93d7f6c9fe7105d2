import ArgumentParser
import Glibc
import SluiceCore
import SluiceTopology

/// `sluice identity`: who may do what.
struct IdentityCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "identity",
    abstract: "Make, list, rotate and revoke the identities that may send records, read metrics, administer.",
    discussion: """
      Identities stand in a file that the topology names (`identities: ./identities.yaml`). A token is printed once, when it \
      is made; the file keeps only what it can be checked with. A daemon that runs learns of a change with `sluice reload`.

        sluice identity add press-7 --publish 'events/press.*'     prints a token
        curl -H "Authorization: Bearer $TOKEN" https://…/log -d '{"message":"hello"}'
        sluice send --tcp host:7400 --token-file press-7.token --count 10
        sluice identity rotate press-7 --grace 24h                 another token; the old one is good for a day
        sluice identity revoke press-7                             with the next reload, live connections included
        sluice identity list

      Exit status: 0 done, 64 wrong options or names, 66 no such identity or file, 71 the change is made, but may not \
      survive a loss of power, 74 the file, the token or the list can't be written, and nothing was changed, 78 the file has a \
      mistake, or others may read it.
      """,
    subcommands: [IdentityAdd.self, IdentityList.self, IdentityRotate.self, IdentityRevoke.self])
}

/// Where the file of identities is.
struct IdentitiesLocation: ParsableArguments {
  @Option(
    name: [.short, .customLong("config")], help: "The topology file that names it.",
    completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(help: "The file of identities itself. Default: ./identities.yaml.", completion: .file(extensions: ["yaml"]))
  var file: String?

  func validate() throws {
    if config != nil && file != nil { throw ValidationError("-c and --file say the same thing: give one of them") }
  }

  func path() throws -> String {
    guard let config else { return file ?? "./identities.yaml" }
    guard let topology = TopologyLoader.outline(path: config, environment: Environment.current) else {
      StandardError.print("\(config) can't be read as a topology; `sluice check \(config)` says why")
      throw ExitStatus.noInput
    }
    guard let path = topology.identities else {
      StandardError.print("\(config) names no file of identities; add `identities: ./identities.yaml` to it")
      throw ExitStatus.configuration
    }
    return path
  }

  /// Changes the file. Throws the exit status, after it has said why.
  func update(_ change: (inout [IdentityDefinition]) throws -> Void) throws {
    try reporting(path()) { try IdentitiesFile.update($0, change) }
  }

  /// Changes the file by a new token, which is shown first: if that fails, nothing is changed.
  func showToken(
    makesFile: Bool = false, _ change: (inout [IdentityDefinition]) throws -> MintedToken
  ) throws {
    // A pipe that nobody reads is an error like others, not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    let output = try CheckedOutput(orElse: "the token can't be shown, and nothing was changed")
    try reporting(path()) { path in
      _ = try IdentitiesFile.update(path, makesFile: makesFile, change) { try output.show($0.text) }
    }
  }

  private func reporting(_ path: String, _ update: (String) throws -> Void) throws {
    do {
      try update(path)
    } catch let fault as IdentitiesFileFault {
      switch fault {
      case .mistakes(let diagnostics):
        LoadedTopology.report(diagnostics)
        throw ExitStatus.configuration
      case .missing:
        StandardError.print("there is no file \(path); `sluice identity add` makes it")
        throw ExitStatus.noInput
      case .danglingLink(let path):
        StandardError.print("\(path) is \(IdentitiesFile.danglingLink)")
        throw ExitStatus.noInput
      case .io(let why):
        StandardError.print(why)
        throw ExitStatus.ioError
      case .unsynced(let why):
        StandardError.print("the change is made, but may not survive a loss of power: \(why)")
        throw ExitStatus.systemError
      }
    }
  }

  func read() throws -> [IdentityDefinition] {
    // Root may look at everybody's.
    switch IdentitiesFile.load(try path(), anyOwner: geteuid() == 0) {
    case .identities(let found): return found
    case .failed(let diagnostics):
      LoadedTopology.report(diagnostics)
      throw try access(path(), F_OK) == 0 ? ExitStatus.configuration : ExitStatus.noInput
    }
  }

  /// What is to be done for the change to count.
  var reloadHint: String { "a daemon that runs learns of it with `sluice reload\(config.map { " -c \($0)" } ?? "")`" }

  /// The place of `name`. Throws the exit status, after it has said what there is.
  static func index(of name: String, in identities: [IdentityDefinition]) throws -> Int {
    if let index = identities.firstIndex(where: { $0.name == name }) { return index }
    let nearest = nearestName(to: name, in: identities.map(\.name)).map { "; did you mean \($0)?" } ?? ""
    StandardError.print("there is no identity \(name)\(nearest)")
    throw ExitStatus.noInput
  }
}
