import ArgumentParser
import Glibc
import SluiceCore
import SluiceTopology

/// Where the daemon is that a command is for.
struct DaemonLocation: ParsableArguments {
  @Option(
    name: [.short, .customLong("config")], help: "The topology file that the daemon was started with.",
    completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(help: "The daemon's data directory, instead of a topology file. Default: ./data.", completion: .directory)
  var data: String?

  func validate() throws {
    if config != nil && data != nil { throw ValidationError("-c and --data say the same thing: give one of them") }
  }

  /// Sends one request and hands each item of the answer to `each`. Throws the exit status, after it has said why.
  func ask(_ request: JSONValue, each: (JSONValue) throws -> Void) throws {
    let directory = try directory()
    let descriptor: Int32
    do {
      descriptor = try ControlSocket.connect(to: directory)
    } catch {
      StandardError.print("no daemon answers at \(directory)/\(ControlSocket.name): \(error.message)")
      StandardError.print("  say which with -c FILE or --data DIR; `sluice run` starts one")
      throw error.code == EACCES ? ExitStatus.noPermission : ExitStatus.unavailable
    }
    defer { close(descriptor) }
    // A daemon that refuses the connection closes it before it has read this, and has said why.
    _ = ControlSocket.send(Array((request.canonicalText + "\n").utf8), to: descriptor)
    var lines = LineReader(descriptor, limit: Limits.maxControlReplyBytes)
    while let line = lines.next() {
      guard let value = try? JSONValue(parsing: line) else { throw cut() }
      if let item = value["item"] {
        try each(item)
      } else if value["end"]?.string == "ok" {
        return
      } else {
        StandardError.print(value["message"]?.string ?? "the daemon refused without a word")
        throw Self.status(of: value["code"]?.string)
      }
    }
    throw cut()
  }

  private func cut() -> ExitCode {
    StandardError.print("the daemon cut its answer short")
    return ExitStatus.unavailable
  }

  private static func status(of code: String?) -> ExitCode {
    switch code.flatMap(ControlError.Code.init) {
    case .badRequest: ExitStatus.usage
    case .forbidden: ExitStatus.noPermission
    case .busy: ExitStatus.temporary
    case .notFound: ExitStatus.noInput
    case .stopping, .failed, nil: ExitStatus.unavailable
    }
  }

  private func directory() throws -> String {
    guard let config else { return data ?? "./data" }
    guard let found = TopologyLoader.dataDirectory(path: config, environment: Environment.current) else {
      StandardError.print("\(config) does not say where the daemon's data is; say it with --data DIR")
      throw ExitStatus.noInput
    }
    return found
  }
}
