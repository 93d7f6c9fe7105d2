import SluiceCore
import Synchronization

/// What is said when the process crashes on a thread that is not known to run a plugin's code: which plugins are in it. A
/// module is never unmapped, so none is ever taken back.
package enum PluginCrashes {
  private static let paths = Mutex<[String]>([])

  /// From now on a crash is told.
  package static func report() {
    paths.withLock { CrashReport.noteProcess(words($0)) }
    CrashReport.install()
  }

  /// Comes before handlers that a plugin has put in place of those that tell.
  static func reportAgain() { paths.withLock { _ in CrashReport.install() } }

  /// Before the module's first instruction.
  static func note(_ path: String) {
    paths.withLock { paths in
      guard !paths.contains(path) else { return }
      paths.append(path)
      CrashReport.noteProcess(words(paths.sorted()))
    }
  }

  private static func words(_ paths: [String]) -> String {
    paths.isEmpty
      ? "sluice: a crash, and no plugin is in this process.\n"
      : "sluice: a crash. Plugins in this process: \(paths.joined(separator: ", ")). "
        + "With `isolation: process` each has a process of its own.\n"
  }
}
