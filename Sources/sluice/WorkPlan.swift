import Glibc
import SluiceCore
import SluiceHost
import SluiceTopology

/// The topology of a worker: one subscriber, its streams, and the stream of its dead letters.
struct WorkPlan: Sendable {
  var loaded: LoadedTopology
  let origin: TopologyOrigin
  let subscriber: String
  /// All that the data directory has, so that none is taken for one that is no more.
  private(set) var streams: Set<String>

  /// Throws the exit status, after it has said why.
  init(_ command: Worker, in workingDirectory: String) throws {
    origin = TopologyOrigin(path: command.config, workingDirectory: workingDirectory, runs: false)
    let (origin, name) = (origin, command.subscriber ?? command.name ?? "worker")
    subscriber = name
    if let directory = command.directory {
      loaded = try Self.topology(command, of: directory, as: name, origin)
    } else {
      loaded = try LoadedTopology.orExit { () throws(LoadedTopology.Failure) in
        try origin.load(calling: command.config)
      }
    }
    LoadedTopology.report(loaded.warnings)
    streams = Set(loaded.topology.streams.map(\.name))
    try reduce(to: command.stream)
    streams.formUnion(Paths.entries(of: "\(loaded.topology.daemon.data)/streams").filter { !$0.hasPrefix(".") })
  }

  /// Warnings only, unless they ask for more, and not into what the command prints.
  func logSettings(verbose: Bool) -> DaemonSettings {
    var settings = loaded.topology.daemon
    if settings.logTarget == .stdout { settings.logTarget = .stderr }
    if !verbose, [.trace, .debug, .info, .notice].contains(settings.logLevel) { settings.logLevel = .warning }
    return settings
  }

  /// Leaves out what the subscriber does not need, and sees that the streams are there.
  private mutating func reduce(to stream: String?) throws {
    let names = loaded.topology.subscribers.map(\.name)
    guard var settings = loaded.topology.subscribers.first(where: { $0.name == subscriber }) else {
      StandardError.print(
        "there is no subscriber '\(subscriber)'; there are: \(names.joined(separator: ", "))")
      throw ExitStatus.noInput
    }
    if let stream {
      guard settings.streams.contains(stream) else {
        StandardError.print(
          "subscriber '\(subscriber)' does not read '\(stream)'; it reads: \(settings.streams.joined(separator: ", "))")
        throw ExitStatus.noInput
      }
      settings.streams = [stream]
    }
    for name in settings.streams {
      try Self.mustHoldALog("\(loaded.topology.daemon.data)/streams/\(name)")
    }
    loaded.topology.subscribers = [settings]
    loaded.topology.sources = []
    loaded.topology.daemon.admin = nil
    let needed = settings.streams + [settings.deadLetter] + settings.publish.map(\.stream)
    loaded.topology.streams.removeAll { !needed.contains($0.name) }
  }

  // MARK: Without a topology file

  private static func topology(
    _ command: Worker, of directory: String, as name: String, _ origin: TopologyOrigin
  ) throws -> LoadedTopology {
    let path = directory.hasPrefix("/") ? directory : "\(origin.workingDirectory)/\(directory)"
    let parts = path.split(separator: "/").filter { $0 != "." }
    guard parts.count >= 2, parts[parts.count - 2] == "streams", let stream = parts.last else {
      StandardError.print("\(directory) is not a stream's directory, which is DATA/streams/NAME")
      StandardError.print(
        "  a copy of one has to lie in such a place: mkdir -p rescue/streams && cp -a \(directory) rescue/streams/")
      throw ExitStatus.noInput
    }
    try mustBeDirectory(path)
    let data = "/" + parts.dropLast(2).joined(separator: "/")
    let isolation = command.isolation == "auto" ? "" : "isolation: \(command.isolation)"
    let yaml = """
      sluice: 1
      daemon: { data: \(quoted(data)) }
      streams: { \(quoted(String(stream))): {} }
      subscribers:
        \(quoted(name)):
          plugin: \(quoted(command.plugin ?? ""))
          streams: [ \(quoted(String(stream))) ]
          start: oldest
          config: \(try pluginConfig(command.pluginConfig ?? "{}"))
          \(isolation)
      """
    var loaded = try LoadedTopology.orExit { () throws(LoadedTopology.Failure) in
      try LoadedTopology.load(
        TopologyLoader.load(text: yaml, name: "command line", environment: origin.environment, plugins: origin.library),
        library: origin.library)
    }
    loaded.topology = loaded.topology.absolute(from: origin.workingDirectory)
    for place in loaded.topology.streams.indices {
      // Who rescues records must not delete any.
      loaded.topology.streams[place].retainBytes = Limits.maxWorkerRetainBytes
      loaded.topology.streams[place].cursorExpiryNanoseconds = .max
    }
    return loaded
  }

  /// JSON is YAML, and `${…}` is read as in a topology file.
  private static func pluginConfig(_ text: String) throws -> String {
    var bytes = Array(text.utf8)
    if text.hasPrefix("@") {
      do throws(FileReadError) {
        bytes = try FileReading.bytes(of: String(text.dropFirst()), limit: Limits.maxTopologyBytes, regularOnly: false)
      } catch {
        StandardError.print("--plugin-config \(text): \(error.message)")
        throw ExitStatus.noInput
      }
    }
    guard let value = try? JSONValue(parsing: bytes), value.members != nil else {
      StandardError.print("--plugin-config takes a JSON object, or @FILE with one")
      throw ExitStatus.usage
    }
    return value.canonicalText
  }

  private static func quoted(_ text: String) -> String {
    JSONValue.string(text.replacing("${", with: "$${")).canonicalText
  }

  // MARK: The disk

  private static func mustBeDirectory(_ path: String) throws {
    var info = stat()
    let result = stat(path, &info)
    guard result == 0, info.st_mode & S_IFMT == S_IFDIR else {
      StandardError.print("\(path): \(result == 0 ? "not a directory" : String(cString: strerror(errno)))")
      throw ExitStatus.noInput
    }
  }

  private static func mustHoldALog(_ path: String) throws {
    try mustBeDirectory(path)
    guard Paths.entries(of: path).contains(where: { $0.hasSuffix(".slog") && !$0.hasPrefix(".") }) else {
      StandardError.print("\(path) holds no log")
      throw ExitStatus.noInput
    }
  }
}
