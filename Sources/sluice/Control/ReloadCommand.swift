import ArgumentParser
import SluiceTopology

/// `sluice reload`.
struct Reload: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make a running daemon read its topology file again.",
    discussion: """
      Prints what changes, and waits until it has. What did not change is not touched: its connections stay open. If the \
      file has a mistake, or asks for what can't change without a restart, or something of it does not start, the old \
      topology goes on. With --dry-run it only says what would happen. SIGHUP does the same.

        sluice reload -c sluice.yaml --dry-run
        sluice reload -c sluice.yaml

      The daemon reads the file that it was started with; -c says only where that daemon is.
      Exit status: 0 done, 78 the file can't be taken, 69 it did not start or no daemon answers.
      """)

  @OptionGroup var daemon: DaemonLocation

  @Flag(help: "Say what would happen, and change nothing.")
  var dryRun = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var outcome: JSONValue = .null
    try daemon.ask(["verb": "reload", "dry_run": .bool(dryRun)]) { outcome = $0 }
    if json { print(outcome.canonicalText) } else { show(outcome) }
    switch outcome["outcome"]?.string {
    case "applied", "planned": return
    case "refused": throw ExitStatus.configuration
    default: throw ExitStatus.unavailable
    }
  }

  private func show(_ outcome: JSONValue) {
    for line in outcome["lines"]?.array ?? [] { print(line.string ?? "") }
    for diagnostic in outcome["diagnostics"]?.array ?? [] { StandardError.print(diagnostic.string ?? "") }
    if let failure = outcome["failure"]?.string { StandardError.print(failure) }
    let generation = outcome["generation"]?.canonicalText ?? "?"
    switch outcome["outcome"]?.string {
    case "applied": print("generation \(generation) runs")
    case "planned": print("nothing was changed; generation \(generation) runs")
    case let kind: StandardError.print("\(kind ?? "failed"): generation \(generation) goes on")
    }
  }
}
