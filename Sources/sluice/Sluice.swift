import ArgumentParser
import Glibc
import SluiceHost

/// The entry. Signals are blocked before anything that takes time, so that an early SIGHUP can't end a daemon that is starting; it
/// is synchronous because an asynchronous one runs on some other thread, whose mask is not the main thread's.
@main
enum Main {
  static func main() {
    // A plugin's process: before anything that only the commands need.
    if CommandLine.arguments.dropFirst().first == PluginRunner.command { exit(PluginRunner.run()) }
    if CommandLine.arguments.dropFirst().first == RuleRunner.command { RuleRunner.run() }
    StandardDescriptors.reserve()
    if [Run._commandName, Worker._commandName].contains(CommandLine.arguments.dropFirst().first) { Signals.block() }
    Sluice.main()
  }
}

/// The command line. Each verb is a type of its own; what they share of the daemon is in `Daemon`.
struct Sluice: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluice",
    abstract: "Takes records in, makes them durable before it acknowledges them, and hands them to subscribers.",
    discussion: """
      Sources (HTTP and TCP) put records into streams: durable, ordered logs. Subscribers, loaded from .so files, \
      receive them in batches at their own pace. One YAML file says what is joined to what.

      Begin with:
        sluice run                 built-in topology: HTTP on :8080, ./data
        sluice check sluice.yaml   finds every mistake before anything runs
        sluice run -c sluice.yaml
        sluice status              of the daemon whose data is in ./data
        sluice reload              makes it read its file again
      """,
    version: "sluice \(Version.text)",
    subcommands: [
      Run.self, Check.self, Reload.self, Status.self, Send.self, Tap.self, Dead.self, Stream.self, Worker.self,
      Plugin.self, IdentityCommand.self,
    ])
}

/// What this build calls itself.
enum Version {
  static let text = "0.2.0"
}
