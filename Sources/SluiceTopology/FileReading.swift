import Glibc

/// Why a file could not be read.
package struct FileReadError: Error {
  package var message: String
  /// The remedy, from who looks at the file and refuses it: then `message` is a sentence of its own.
  package var help: String?

  package init(message: String, help: String? = nil) {
    self.message = message
    self.help = help
  }
}

package enum FileReading {
  /// The whole file, at most `limit` bytes. With `regularOnly`, devices and pipes are refused, so that a path out of a
  /// topology can't make the loader wait for ever. `inspect` may refuse the file by its owner and mode: those of what is
  /// read, whatever takes the path's place meanwhile.
  package static func bytes(
    of path: String, limit: Int, regularOnly: Bool, inspect: (stat) throws(FileReadError) -> Void = { _ in }
  ) throws(FileReadError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (regularOnly ? O_NONBLOCK : 0))
    guard descriptor >= 0 else { throw FileReadError(message: reason(errno)) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw FileReadError(message: reason(errno)) }
    let type = status.st_mode & S_IFMT
    guard type != S_IFDIR else { throw FileReadError(message: "it is a directory") }
    guard type == S_IFREG || !regularOnly else { throw FileReadError(message: "it is not a regular file") }
    try inspect(status)
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(descriptor, &chunk, chunk.count)
      if count == 0 { return bytes }
      if count < 0 {
        if errno == EINTR { continue }
        throw FileReadError(message: reason(errno))
      }
      bytes.append(contentsOf: chunk[..<count])
      guard bytes.count <= limit else { throw FileReadError(message: "it has more than \(limit) bytes") }
    }
  }

  /// What a glob pattern finds, sorted. More than `limit` is an error; nothing is not.
  static func glob(_ pattern: String, limit: Int) throws(FileReadError) -> [String] {
    var found = glob_t()
    defer { globfree(&found) }
    let code = Glibc.glob(pattern, GLOB_ERR, nil, &found)
    if code == GLOB_NOMATCH || code == GLOB_ABORTED && errno == ENOENT { return [] }
    guard code == 0 else { throw FileReadError(message: code == GLOB_ABORTED ? reason(errno) : "no memory") }
    let count = Int(found.gl_pathc)
    guard count <= limit else { throw FileReadError(message: "it finds more than \(limit) files") }
    return (0..<count).compactMap { index in found.gl_pathv[index].map { String(cString: $0) } }
  }

  /// The file's name without symbolic links and dots: the same for every way that leads to it.
  static func canonical(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  /// `path` as seen from the file `from`: absolute paths stay; `./` and doubled slashes go; nothing is made absolute.
  static func resolve(_ path: String, from file: String) -> String {
    if path.hasPrefix("/") { return path }
    let directory = file.lastIndex(of: "/").map { file[...$0] } ?? ""
    let isAbsolute = directory.hasPrefix("/")
    let parts = (String(directory) + path).split(separator: "/").filter { $0 != "." }
    if parts.isEmpty { return isAbsolute ? "/" : "." }
    return (isAbsolute ? "/" : "") + parts.joined(separator: "/")
  }

  /// The system's words for an error number, thread-safe.
  private static func reason(_ code: Int32) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
    let text = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return String(decoding: text, as: UTF8.self).lowercased()
  }
}
