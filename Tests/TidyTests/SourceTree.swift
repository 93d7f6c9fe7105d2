import Foundation
import TestSupport

/// The checkout that this test was built from.
enum SourceTree {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path(percentEncoded: false)

  /// Files that git tracks or would track, relative to the root, sorted.
  static func files() throws -> [String] {
    try git("ls-files", "--cached", "--others", "--exclude-standard").filter(exists).sorted()
  }

  /// Files that git tracks.
  static func trackedFiles() throws -> [String] { try git("ls-files") }

  static func git(_ arguments: String...) throws -> [String] {
    let output = try Command.run(["git", "-c", "safe.directory=*", "-c", "core.quotePath=off", "-C", root] + arguments)
    guard output.status == 0 else { throw TidyError(message: "git \(arguments[0]) failed: \(output.output)") }
    return output.output.split(separator: "\n").map(String.init)
  }

  /// The text of a file, or nil if it is not text.
  static func text(_ path: String) -> String? {
    guard let data = FileManager.default.contents(atPath: root + "/" + path), !data.contains(0) else { return nil }
    return String(data: data, encoding: .utf8)
  }

  static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: root + "/" + path) }

  static func isExecutable(_ path: String) -> Bool { FileManager.default.isExecutableFile(atPath: root + "/" + path) }
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
