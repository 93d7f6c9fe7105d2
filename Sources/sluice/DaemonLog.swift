import Glibc
import Logging
import SluiceCore
import SluiceTopology
import Synchronization

/// The daemon's own log: one line per event, text or JSON, written with one `write` so that lines never interleave.
///
/// text:  2026-11-22T10:29:44.123Z info  source=api address=127.0.0.1:8080 listening
/// json:  {"time":"…","level":"info","message":"listening","source":"api","address":"127.0.0.1:8080"}
struct DaemonLogHandler: LogHandler {
  enum Format: Sendable { case text, json }

  var metadata: Logger.Metadata = [:]
  /// That of one logger alone; nil: what the topology says, which a reload may change.
  private var ownLevel: Logger.Level?
  private let target: LogTarget
  private static let ownFields: Set<String> = ["time", "level", "message"]

  init(_ target: LogTarget) { self.target = target }

  var logLevel: Logger.Level {
    get { ownLevel ?? target.level }
    set { ownLevel = newValue }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: Logging.LogEvent) {
    // A plugin names its fields as it likes; those that every line has are not its to give.
    let fields = metadata.merging(event.metadata ?? [:]) { $1 }
      .map { (Self.ownFields.contains($0.key) ? "\($0.key)_" : $0.key, $0.value) }.sorted { $0.0 < $1.0 }
    let time = Timestamp.text(Clock.wall())
    var line: String
    let (format, output) = target.current
    switch format {
    case .text:
      line = "\(time) \(event.level.rawValue)"
      line += String(repeating: " ", count: max(0, 8 - event.level.rawValue.utf8.count))
      for (key, value) in fields { line += " \(key)=\(Self.quoted("\(value)"))" }
      // A message is words of our own or of a plugin's: its line breaks must not look like lines of the log.
      line += " " + event.message.description.onOneLine
    case .json:
      line = "{\"time\":\"\(time)\",\"level\":\"\(event.level.rawValue)\",\"message\":"
      line += JSONValue.string(event.message.description).canonicalText
      for (key, value) in fields {
        line += ",\(JSONValue.string(key).canonicalText):\(JSONValue.string("\(value)").canonicalText)"
      }
      line += "}"
    }
    output.write(line + "\n")
  }

  private static func quoted(_ text: String) -> String {
    text.isEmpty || text.utf8.contains { $0 <= 0x20 || $0 == 0x22 || $0 == 0x3d }
      ? JSONValue.string(text).canonicalText : text
  }
}

extension String {
  /// As it is; with control characters in it, as a JSON string: one line that does nothing to a terminal.
  var onOneLine: String { utf8.contains { $0 < 0x20 || $0 == 0x7F } ? JSONValue.string(self).canonicalText : self }
}

/// Where log lines go. A full disk or a closed pipe loses lines, never the daemon.
///
/// Sendable because the descriptor never changes and `write` with O_APPEND is atomic per call.
final class LogOutput: Sendable {
  private let descriptor: Int32
  private let isFile: Bool

  /// Descriptor 1 or 2, which stay open for the life of the process.
  init(standard descriptor: Int32) {
    self.descriptor = descriptor
    isFile = false
  }

  /// A file to append to, or nil with errno set. A named pipe that nobody reads is ENXIO, and one that is full loses lines:
  /// whoever reads the log must not be able to stop the daemon.
  init?(file path: String) {
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0o640)
    isFile = true
    if descriptor < 0 { return nil }
  }

  deinit { if isFile, descriptor >= 0 { close(descriptor) } }

  func write(_ line: String) {
    var line = line
    line.withUTF8 { bytes in
      var rest = bytes[...]
      while !rest.isEmpty {
        let n = Glibc.write(descriptor, UnsafeBufferPointer(rebasing: rest).baseAddress, rest.count)
        if n < 0 && errno == EINTR { continue }
        guard n > 0 else { return }
        rest = rest.dropFirst(n)
      }
    }
  }
}

/// What all loggers of the process share, so that a reload can change it.
final class LogTarget: Sendable {
  private let shared: Mutex<(format: DaemonLogHandler.Format, output: LogOutput)>
  /// Place among `Logger.Level.allCases`: asked for before each line that may be dropped.
  private let place: Atomic<Int>

  init(_ settings: DaemonSettings, _ output: LogOutput) {
    shared = Mutex((LogTarget.format(settings), output))
    place = Atomic(LogTarget.place(settings))
  }

  var level: Logger.Level { Logger.Level.allCases[place.load(ordering: .relaxed)] }
  var current: (format: DaemonLogHandler.Format, output: LogOutput) { shared.withLock { $0 } }

  func change(to settings: DaemonSettings, _ output: LogOutput) {
    shared.withLock { $0 = (LogTarget.format(settings), output) }
    place.store(LogTarget.place(settings), ordering: .relaxed)
  }

  private static func format(_ settings: DaemonSettings) -> DaemonLogHandler.Format {
    settings.logFormat == .json ? .json : .text
  }

  private static func place(_ settings: DaemonSettings) -> Int {
    let level = Logger.Level(rawValue: settings.logLevel.rawValue) ?? .info
    return Logger.Level.allCases.firstIndex(of: level) ?? 0
  }
}

enum DaemonLog {
  /// Set once, by `start`.
  private static let target = Mutex<LogTarget?>(nil)

  /// Goes on with other settings from the next line on; a file is opened anew, so that one that was moved away is let go.
  static func change(to settings: DaemonSettings) throws(DaemonError) {
    guard let target = target.withLock({ $0 }) else { return }
    target.change(to: settings, try output(settings.logTarget))
  }

  private static func output(_ target: DaemonSettings.LogTarget) throws(DaemonError) -> LogOutput {
    switch target {
    case .stdout: return LogOutput(standard: STDOUT_FILENO)
    case .stderr: return LogOutput(standard: STDERR_FILENO)
    case .file(let path):
      guard let file = LogOutput(file: path) else {
        throw DaemonError(
          message: "cannot open the log file \(path): \(String(cString: strerror(errno)))",
          status: ExitStatus.cannotCreate)
      }
      return file
    }
  }

  /// Sends what the process logs from now on where the topology wants it. Throws the exit status, after it has said why.
  static func start(_ settings: DaemonSettings) throws -> Logger {
    let first: LogTarget
    do throws(DaemonError) {
      first = LogTarget(settings, try output(settings.logTarget))
    } catch {
      StandardError.print("\(error.message)")
      throw error.status
    }
    target.withLock { $0 = first }
    LoggingSystem.bootstrap { _ in DaemonLogHandler(first) }
    return Logger(label: "sluice")
  }
}
