import ArgumentParser
import Glibc
import Logging
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology

/// `sluice run`: the daemon, in the foreground.
struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the daemon in the foreground.",
    discussion: """
      Without -c a built-in topology is used: HTTP on $ADDR (default :8080), one stream with fsync durability, and the \
      disk subscriber writing to ./data/out. Try it with:

        curl -i -X POST http://localhost:8080/log -d '{"message":"hello"}'
        tail -F data/out/current.ndjson

      SIGTERM and SIGINT stop it, and so does the end of standard input if that is the only source: sources stop, what was acknowledged is delivered, and the exit status is 0. A second \
      signal ends it at once; what was acknowledged is delivered at the next start.
      SIGHUP reads the topology file again, as `sluice reload` does: what did not change is not touched, and a file with \
      a mistake changes nothing.
      Exit status: 0 stopped, 65 a stream's directory holds another log, or is damaged and on_corruption is halt, 66 no such file, 74 the disk failed, 75 another process has the data directory, 78 the topology is wrong, 69 it could not start.
      """)

  @Option(
    name: [.short, .customLong("config")], help: "The topology file.", completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  func run() throws {
    let signals = Signals.stream()
    guard let here = getcwd(nil, 0) else {
      StandardError.print("the working directory is gone: \(String(cString: strerror(errno)))")
      throw ExitStatus.noInput
    }
    defer { free(here) }
    let crashes = try crashPoints()
    let origin = TopologyOrigin(path: config, workingDirectory: String(cString: here), runs: true)
    let loaded = try LoadedTopology.orExit { () throws(LoadedTopology.Failure) in try origin.load(calling: config) }
    LoadedTopology.report(loaded.warnings)
    let logger = try DaemonLog.start(loaded.topology.daemon)
    try Self.enterDirectory(of: loaded.topology)
    ResourceLimits.raise(logger)
    let status = Blocking.wait { await Self.serve(loaded, from: origin, crashes, signals, logger) }
    if status != .success { throw status }
  }

  /// The daemon's life: start, signals, stop.
  private static func serve(
    _ loaded: LoadedTopology, from origin: TopologyOrigin, _ crashes: CrashPoints?, _ signals: AsyncStream<Int32>,
    _ logger: Logger
  ) async -> ExitCode {
    Signals.serve()
    PluginCrashes.report()
    let daemon = Daemon(loaded, from: origin, storage: crashes ?? LinuxStorage(), logger: logger)
    do throws(DaemonError) {
      try await daemon.start()
    } catch {
      logger.critical("\(error.message)")
      // Its subscribers may deliver already: they end as ever, and what was settled is written down.
      _ = await daemon.stop()
      return error.status
    }
    for await signal in signals {
      guard signal == SIGHUP else { break }
      await daemon.reloadSoon()
    }
    let isClean = await daemon.stop()
    if let crashes {
      logger.notice("the crash point was not reached so often", metadata: ["times": "\(crashes.reached)"])
    }
    return isClean ? .success : ExitStatus.software
  }

  /// Tests may ask for a crash at a named point of the logs' life.
  private func crashPoints() throws -> CrashPoints? {
    guard let text = Environment.current[CrashPoint.variable] else { return nil }
    do throws(CrashPoint.Mistake) {
      return CrashPoints(try CrashPoint(parsing: text))
    } catch {
      StandardError.print("\(error)")
      throw ExitStatus.usage
    }
  }

  /// Relative paths resolve against the topology's file, those in a plugin's own config too, which only the plugin
  /// knows to be paths: so the file's directory becomes the working directory.
  static func enterDirectory(of topology: Topology) throws {
    guard chdir(topology.directory) == 0 else {
      StandardError.print("cannot enter \(topology.directory): \(String(cString: strerror(errno)))")
      throw ExitStatus.noInput
    }
  }
}

/// Descriptors: every connection takes one.
enum ResourceLimits {
  static func raise(_ logger: Logger) {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    if setrlimit(resource, &limit) != 0 {
      logger.warning("cannot raise the limit of open files", metadata: ["limit": "\(limit.rlim_cur)"])
    }
  }
}
