import Foundation

/// The checkout that this test was built from.
enum SourceTree {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path(percentEncoded: false)

  /// Files that git tracks or would track, relative to the root, sorted.
  static func files() throws -> [String] {
    try git("ls-files", "--cached", "--others", "--exclude-standard").filter {
      FileManager.default.fileExists(atPath: root + "/" + $0)
    }.sorted()
  }

  /// Files that git tracks.
  static func trackedFiles() throws -> [String] { try git("ls-files") }

  static func git(_ arguments: String...) throws -> [String] {
    let output = try run(["git", "-c", "safe.directory=*", "-c", "core.quotePath=off", "-C", root] + arguments)
    guard output.status == 0 else { throw TidyError(message: "git \(arguments[0]) failed: \(output.text)") }
    return output.text.split(separator: "\n").map(String.init)
  }

  /// The text of a file, or nil if it is not text.
  static func text(_ path: String) -> String? {
    guard let data = FileManager.default.contents(atPath: root + "/" + path), !data.contains(0) else { return nil }
    return String(data: data, encoding: .utf8)
  }

  static func isExecutable(_ path: String) -> Bool { FileManager.default.isExecutableFile(atPath: root + "/" + path) }

  /// Runs a program found in PATH to its end; its standard output and error together.
  static func run(_ command: [String]) throws -> (status: Int32, text: String) {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = command
    process.currentDirectoryURL = URL(filePath: root)
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }
}

struct TidyError: Error, CustomStringConvertible {
  var message: String
  var description: String { message }
}

/// Something untidy, where it is, and what to do.
struct Finding: Equatable, CustomStringConvertible {
  var file: String
  var line: Int
  var message: String
  var description: String { "\(file):\(line): \(message)" }
}
