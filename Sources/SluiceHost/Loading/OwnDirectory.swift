import Glibc

/// Temporary directories of this process, named after it: what a killed process has left, the next one removes.
enum OwnDirectory {
  /// Where they are made.
  static var base: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }

  /// A new one, `<base>/sluice-<purpose>-<process>-…`; nil, and errno, if it can't be had.
  static func make(_ purpose: String) -> String? {
    let prefix = "sluice-\(purpose)-"
    removeLeftovers(prefix)
    return make(in: base, prefix)
  }

  /// A new one, `<directory>/<prefix><process>-…`; nil, and errno, if it can't be had.
  static func make(in directory: String, _ prefix: String = "") -> String? {
    var template = Array("\(directory)/\(prefix)\(getpid())-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { return nil }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func removeLeftovers(_ prefix: String) {
    for name in Paths.entries(of: base) where name.hasPrefix(prefix) {
      var about = stat()
      guard let pid = process(of: name, prefix), isGone(pid), lstat("\(base)/\(name)", &about) == 0,
        about.st_uid == geteuid(), about.st_mode & S_IFMT == S_IFDIR
      else { continue }
      Paths.remove("\(base)/\(name)")
    }
  }

  /// The one that made the directory of that name.
  static func process(of name: String, _ prefix: String = "") -> pid_t? {
    pid_t(name.dropFirst(prefix.count).prefix { $0 != "-" })
  }

  static func isGone(_ process: pid_t) -> Bool { kill(process, 0) != 0 && errno == ESRCH }
}
