import Glibc

/// Temporary directories of this process, named after it: what a killed process has left, the next one removes.
enum OwnDirectory {
  /// Where they are made.
  static var base: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }

  /// A new one, `<base>/sluice-<purpose>-<process>-…`; nil, and errno, if it can't be had.
  static func make(_ purpose: String) -> String? {
    let prefix = "sluice-\(purpose)-"
    removeLeftovers(prefix)
    var template = Array("\(base)/\(prefix)\(getpid())-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { return nil }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func removeLeftovers(_ prefix: String) {
    for name in Paths.entries(of: base) where name.hasPrefix(prefix) {
      let owner = name.dropFirst(prefix.count).prefix { $0 != "-" }
      var about = stat()
      guard let pid = pid_t(owner), kill(pid, 0) != 0, errno == ESRCH, lstat("\(base)/\(name)", &about) == 0,
        about.st_uid == geteuid(), about.st_mode & S_IFMT == S_IFDIR
      else { continue }
      Paths.remove("\(base)/\(name)")
    }
  }
}
