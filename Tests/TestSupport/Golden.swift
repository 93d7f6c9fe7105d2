import Foundation

/// Golden bytes below Tests/Golden: hex digits, white space, and comments from `#` to the end of the line.
package enum Golden {
  package struct NotHex: Error {
    package let path: String
  }

  package static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  package static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appending(path: path), encoding: .utf8)
  }

  package static func bytes(_ path: String) throws -> [UInt8] {
    let digits = try text("Tests/Golden/" + path).split(separator: "\n").flatMap { line in
      line.prefix { $0 != "#" }.filter { !$0.isWhitespace }
    }
    guard digits.count % 2 == 0 else { throw NotHex(path: path) }
    return try stride(from: 0, to: digits.count, by: 2).map {
      guard let byte = UInt8(String(digits[$0...($0 + 1)]), radix: 16) else { throw NotHex(path: path) }
      return byte
    }
  }

  /// The names of the `.hex` files in a folder, sorted.
  package static func names(_ folder: String) throws -> [String] {
    let directory = root.appending(path: "Tests/Golden/" + folder).path(percentEncoded: false)
    return try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasSuffix(".hex") }.sorted()
  }
}
