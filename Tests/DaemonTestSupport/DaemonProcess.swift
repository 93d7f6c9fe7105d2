import Foundation
import Synchronization

/// A folder of the test's own, removed at the end.
package final class TemporaryFolder: Sendable {
  package let path: String

  package init() {
    var template = Array("/tmp/sluice-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { fatalError("mkdtemp failed: errno \(errno)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  package func write(_ name: String, _ text: String) -> String {
    let file = path + "/" + name
    guard FileManager.default.createFile(atPath: file, contents: Data(text.utf8)) else {
      fatalError("cannot write \(file)")
    }
    return file
  }
}

package enum Products {
  /// Where `swift test` put the executable, the plugins and this test bundle.
  package static let folder: String = {
    var path = CommandLine.arguments[0]
    // Swift Testing runs the bundle through a helper elsewhere on some platforms; on Linux argv[0] is the bundle.
    if let index = CommandLine.arguments.firstIndex(of: "--test-bundle-path") {
      path = CommandLine.arguments[index + 1]
    }
    return (path as NSString).deletingLastPathComponent
  }()
  package static let sluice = folder + "/sluice"
  package static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent()
    .deletingLastPathComponent().path
}

/// `sluice run` with a topology of the test's, or the built-in one.
package final class Daemon: Sendable {
  package let process: ChildProcess
  /// Of the source that listened first.
  package let port: Int
  /// By the source's name.
  package let ports: [String: Int]

  /// Starts it, and does not wait. `wrapper`: a command that runs the rest of its arguments in its own place.
  package static func spawn(
    topology: String?, environment: [String: String] = [:], directory: String? = nil, wrapper: [String] = []
  ) -> ChildProcess {
    let command = wrapper + [Products.sluice, "run"] + (topology.map { ["-c", $0] } ?? [])
    return ChildProcess(command[0], Array(command.dropFirst()), environment: environment, directory: directory)
  }

  /// Starts it and waits until it runs; nil (with the output in the failure) if it doesn't.
  package convenience init?(topology: String?, environment: [String: String] = [:], directory: String? = nil) {
    let process = Self.spawn(topology: topology, environment: environment, directory: directory)
    self.init(awaiting: process)
  }

  /// A process that `spawn` started, once it runs; nil if it ends before, which some tests want.
  package init?(awaiting child: ChildProcess, isExpected: Bool = true) {
    process = child
    guard process.line(where: { $0.contains(" running") && $0.contains("subscribers=") }) != nil else {
      if isExpected { print(process.output.joined(separator: "\n")) }
      return nil
    }
    let listening = process.output.filter { $0.contains("listening") }.compactMap { line in
      field("source", of: line).flatMap { source in
        field("address", of: line)?.split(separator: ":").last.flatMap { Int($0) }.map { (source, $0) }
      }
    }
    guard let first = listening.first else { return nil }
    port = first.1
    ports = Dictionary(listening) { first, _ in first }
  }

  package func stop() -> Int32? {
    process.send(SIGTERM)
    return process.exitStatus()
  }

  package func crash() {
    process.send(SIGKILL)
    _ = process.exitStatus()
  }
}
