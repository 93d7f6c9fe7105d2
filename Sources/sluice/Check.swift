import ArgumentParser
import Glibc
import SluiceTopology

/// `sluice check FILE`: everything that `run` and `reload` would check, and nothing started.
struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check a topology file, the plugins it names and their configs; start nothing.",
    discussion: """
      Every mistake is reported at once, with its file, line and column, and what was expected. Exit status: 0 when the \
      file is good (warnings allowed), 1 when it is not.

        sluice check sluice.yaml
        sluice check sluice.yaml && systemctl reload sluice

      Plugins are asked for their schemas and checks in processes of their own. With --no-load none of their code \
      runs: that their files are there, and may be trusted, is all that is checked of them, and nothing of what `config` \
      and `publish` say.
      """)

  @Argument(help: "The topology file.", completion: .file(extensions: ["yaml", "yml"]))
  var file: String

  @Flag(help: "Run no plugin's code; their configs are not checked then.")
  var noLoad = false

  func run() throws {
    do throws(LoadedTopology.Failure) {
      let loaded = try LoadedTopology.load(
        path: file, environment: Environment.current, isLoading: !noLoad)
      LoadedTopology.report(loaded.warnings)
      let topology = loaded.topology
      print(
        "\(file): ok (\(topology.sources.count) sources, \(topology.streams.count) streams, "
          + "\(topology.subscribers.count) subscribers)"
          + (noLoad ? "; plugins were not loaded, nor their configs checked" : ""))
    } catch {
      switch error {
      case .unreadable(let why): StandardError.print("\(why)")
      case .mistakes(let diagnostics): LoadedTopology.report(diagnostics)
      }
      throw ExitCode(1)
    }
  }
}
