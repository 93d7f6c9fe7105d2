import ArgumentParser
import Glibc
import Logging
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology

/// `sluice worker`.
struct Worker: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Deliver from a directory without a daemon, and end.",
    discussion: """
      For recovery and batch jobs: delivers the streams of one subscriber from where it was, moves its cursor, and ends when \
      it has come to what was the last record at the start. A daemon that is started afterwards goes on behind it. Rejected \
      records become dead letters, as with the daemon. It takes the data directory as a daemon would, and refuses while \
      one has it.

      With --from the records are delivered as a replay, once more if they were delivered before, and no cursor moves.

        sluice worker -c sluice.yaml --subscriber archive
        sluice worker -c sluice.yaml --subscriber archive --stream events --from 2026-08-01T10:00:00Z
        sluice worker data/streams/events --plugin disk --plugin-config '{"path": "rescued"}'
        sluice worker data/streams/events --plugin ./mine.so --plugin-config @mine.json --from 1

      Without a topology file the subscriber is called worker, or as --as says: under that name its cursor is kept in the \
      stream. Nothing is deleted by retention then.

      Exit status: 0 all was delivered; 1 all is settled, but some records were rejected or are gone; 75 it was stopped and \
      records are left, or another process has the directory; 66 there is no such directory, stream, subscriber or part; \
      otherwise as `sluice run`.
      """)

  @Argument(help: "A stream's directory: DATA/streams/NAME. Goes with --plugin.", completion: .directory)
  var directory: String?

  @Option(
    name: [.short, .customLong("config")], help: "The topology file. Goes with --subscriber.",
    completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(help: "The subscriber of the topology that is given its records.")
  var subscriber: String?

  @Option(help: "Only this one of the subscriber's streams.")
  var stream: String?

  @Option(help: "The plugin's kind, or the path of a .so.")
  var plugin: String?

  @Option(help: "The plugin's config as JSON, or @FILE. Default: {}.")
  var pluginConfig: String?

  @Option(help: "thread or process. Default: auto, a process for a .so that is not an installed one.")
  var isolation = "auto"

  @Option(name: .customLong("as"), help: "The subscriber's name without a topology. Default: worker.")
  var name: String?

  @Option(help: "Replay from this LSN on, or from what came in at this time.")
  var from: String?

  @Option(help: "Replay up to this LSN, or to before what came in at this time. Default: the last record.")
  var until: String?

  @Flag(name: .shortAndLong, help: "Log what a daemon would, not only warnings.")
  var verbose = false

  @Flag(help: "Print the summary as JSON.")
  var json = false

  func validate() throws {
    switch (config, directory) {
    case (nil, nil): throw ValidationError("give -c FILE with --subscriber NAME, or a stream's directory with --plugin")
    case (_?, _?): throw ValidationError("-c FILE names the streams already: leave the directory out")
    case (_?, nil):
      if subscriber == nil { throw ValidationError("--subscriber says which subscriber of the file is meant") }
      if plugin != nil || pluginConfig != nil || name != nil || isolation != "auto" {
        throw ValidationError("--plugin, --plugin-config, --isolation and --as go with a directory; -c FILE has them")
      }
    case (nil, _?):
      if plugin == nil { throw ValidationError("--plugin says what the records are given to") }
      if subscriber != nil || stream != nil {
        throw ValidationError("--subscriber and --stream go with -c FILE; with a directory --as names the subscriber")
      }
    }
    if until != nil && from == nil { throw ValidationError("--until goes with --from") }
    guard ["auto", "thread", "process"].contains(isolation) else {
      throw ValidationError("--isolation takes auto, thread or process")
    }
  }

  func run() throws {
    let part: (from: ReplayRequest.Place?, until: ReplayRequest.Place?)?
    if let from {
      part = (try Self.place(from, "--from"), try until.map { try Self.place($0, "--until") })
    } else {
      part = nil
    }
    let signals = Signals.stream()
    guard let here = getcwd(nil, 0) else {
      StandardError.print("the working directory is gone: \(String(cString: strerror(errno)))")
      throw ExitStatus.noInput
    }
    defer { free(here) }
    let plan = try WorkPlan(self, in: String(cString: here))
    let logger = try DaemonLog.start(plan.logSettings(verbose: verbose))
    try Run.enterDirectory(of: plan.loaded.topology)
    ResourceLimits.raise(logger)
    let showsBar = !json
    let (outcome, isClean) = try Blocking.wait {
      await Self.work(plan, part, showsBar, signals, logger)
    }.get()
    print(json ? Self.json(plan.subscriber, outcome).canonicalText : Self.summary(plan.subscriber, outcome))
    if !isClean { throw ExitStatus.software }
    if outcome.left > 0 { throw ExitStatus.temporary }
    if outcome.rejected + outcome.gone > 0 { throw ExitCode(1) }
  }

  private static func place(_ text: String, _ option: String) throws -> ReplayRequest.Place {
    switch try StreamFiles.Position(text, option: option) {
    case .lsn(let lsn): .lsn(option == "--from" ? max(lsn, 1) : lsn)
    case .time(let time): .time(max(time, 0))
    }
  }

  /// The worker's life. The failure is an exit status that was told.
  private static func work(
    _ plan: WorkPlan, _ part: (from: ReplayRequest.Place?, until: ReplayRequest.Place?)?, _ showsBar: Bool,
    _ signals: AsyncStream<Int32>, _ logger: Logger
  ) async -> Result<(DeliveryWork.Outcome, Bool), ExitCode> {
    Signals.serve()
    PluginCrashes.report()
    let daemon = Daemon(plan.loaded, from: plan.origin, storage: LinuxStorage(), logger: logger)
    let work: DeliveryWork
    do throws(DaemonError) {
      work = try await daemon.startWork(among: plan.streams, replaying: part)
    } catch {
      StandardError.print(error.message)
      if error.status == ExitStatus.cannotCreate {
        StandardError.print(
          "  a worker writes cursors and dead letters: copy the directory, or read it with `sluice stream export`")
      }
      // The streams that are open close as ever.
      _ = await daemon.stop()
      return .failure(error.status)
    }
    let stopper = Task {
      for await signal in signals where signal != SIGHUP { work.stop() }
    }
    var outcome = await Blocking.run("work") { () throws(Never) in
      var bar = ProgressBar("worker", unit: .things("records"), isShown: showsBar)
      defer { bar.clear() }
      return work.run { bar.update(Int($0), of: Int($1)) }
    }
    let isClean = await daemon.stop()
    // What was in the plugin's hands has its verdicts by now.
    if part == nil { outcome = work.deliveredSoFar }
    stopper.cancel()
    return .success((outcome, isClean))
  }

  // MARK: What it says

  private static func summary(_ subscriber: String, _ outcome: DeliveryWork.Outcome) -> String {
    let parts = outcome.parts.map {
      $0.first > $0.last ? "\($0.stream) (nothing new)" : "\($0.stream) LSN \($0.first) to \($0.last)"
    }
    var line = "\(outcome.delivered) records delivered to \(subscriber) from \(parts.joined(separator: ", "))"
    for (count, what) in [
      (outcome.rejected, "rejected"), (outcome.gone, "gone"), (outcome.left, "left, since it was stopped"),
    ] where count > 0 {
      line += "; \(count) \(what)"
    }
    for (stream, next) in outcome.next.sorted(by: { $0.key < $1.key }) where outcome.left > 0 {
      line += "; go on in \(stream) with --from \(next)"
    }
    return line
  }

  private static func json(_ subscriber: String, _ outcome: DeliveryWork.Outcome) -> JSONValue {
    [
      "subscriber": .string(subscriber), "total": .count(outcome.total), "delivered": .count(outcome.delivered),
      "rejected": .count(outcome.rejected), "gone": .count(outcome.gone), "left": .count(outcome.left),
      "streams": .array(
        outcome.parts.map { part in
          [
            "name": .string(part.stream), "first": .count(part.first), "last": .count(part.last),
            "replay_next": outcome.next[part.stream].map { .count($0) } ?? .null,
          ]
        }),
    ]
  }
}
