import DaemonTestSupport
import Foundation

/// Sluice as `scripts/install` puts it, from what this build has made already; once for all tests.
enum Installation {
  static let made: (folder: TemporaryFolder, output: String, status: Int32?) = {
    let folder = TemporaryFolder()
    let installed = install(to: folder.path)
    // What is static lives as long as the process, and this is large.
    atexit { try? FileManager.default.removeItem(atPath: Installation.prefix) }
    return (folder, installed.text, installed.status)
  }()
  static var prefix: String { made.folder.path }
  static var sluice: String { prefix + "/bin/sluice" }

  static func install(to prefix: String, _ more: [String] = []) -> (status: Int32?, text: String) {
    let configuration = Products.folder.hasSuffix("release") ? "release" : "debug"
    return ChildProcess.run(
      Products.repository + "/scripts/install",
      ["--no-build", "--configuration", configuration, "--prefix", prefix] + more, within: 600)
  }

  /// What a shell has in which this installation is the one.
  static var environment: [String: String] {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return ["PATH": "\(prefix)/bin:\(path)", "PKG_CONFIG_PATH": "\(prefix)/lib/pkgconfig"]
  }

  /// Runs a command of an author's to its end.
  static func run(_ command: [String], in directory: String) -> (status: Int32?, text: String) {
    let child = ChildProcess("/usr/bin/env", command, environment: environment, directory: directory)
    let status = child.exitStatus(within: 600)
    return (status, child.output.joined(separator: "\n"))
  }
}

/// Whether a program is in PATH.
func hasTool(_ name: String) -> Bool {
  let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
  return path.split(separator: ":").contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }
}
