import Foundation
import Glibc

/// A directory of its own for one test, removed with the object.
package final class TemporaryDirectory {
  package let path: String

  package init() {
    var template = Array("/tmp/sluice-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { preconditionFailure("no temporary directory: \(errno)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Names in it, sorted, hidden ones left out.
  package func names(in sub: String = "") -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "\(path)/\(sub)")) ?? []
    return names.filter { !$0.hasPrefix(".") }.sorted()
  }
}

/// All bytes of a file, or nil if there is none.
package func contents(of path: String) -> [UInt8]? {
  let fd = open(path, O_RDONLY | O_CLOEXEC)
  guard fd >= 0 else { return nil }
  defer { close(fd) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 64 << 10)
  while true {
    let count = read(fd, &chunk, chunk.count)
    guard count > 0 else { return bytes }
    bytes += chunk[0..<count]
  }
}

/// A file's text, or nil if there is none.
package func text(of path: String) -> String? { contents(of: path).map { String(decoding: $0, as: UTF8.self) } }

/// Makes or replaces a file.
package func write(_ text: String, to path: String) {
  let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
  precondition(fd >= 0, "\(path): \(errno)")
  defer { close(fd) }
  let bytes = Array(text.utf8)
  precondition(Glibc.write(fd, bytes, bytes.count) == bytes.count, "\(path): \(errno)")
}
