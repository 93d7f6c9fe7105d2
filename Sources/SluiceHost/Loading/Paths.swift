import Glibc

/// The little that the loader does with paths.
enum Paths {
  /// The directory and the last component of an absolute path.
  static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let directory = path[..<slash]
    return (directory.isEmpty ? "/" : String(directory), String(path[path.index(after: slash)...]))
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// The names in a directory, sorted, without `.` and `..`; empty if it can't be read.
  static func entries(of directory: String) -> [String] {
    guard let handle = opendir(directory) else { return [] }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = readdir(handle) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Makes a directory and those above it, each for this user alone. Returns errno, 0 if it is there.
  static func makePrivate(_ directory: String) -> Int32 {
    if mkdir(directory, 0o700) == 0 || errno == EEXIST { return 0 }
    guard errno == ENOENT else { return errno }
    let above = makePrivate(split(directory).directory)
    guard above == 0 else { return above }
    return mkdir(directory, 0o700) == 0 || errno == EEXIST ? 0 : errno
  }

  /// Makes a directory, with all that is in it, another user's; links are given, not followed.
  static func give(_ path: String, to user: uid_t, _ group: gid_t) {
    var about = stat()
    guard lstat(path, &about) == 0 else { return }
    if about.st_uid != user || about.st_gid != group { lchown(path, user, group) }
    guard about.st_mode & S_IFMT == S_IFDIR else { return }
    for name in entries(of: path) { give("\(path)/\(name)", to: user, group) }
  }

  /// Removes a file, or a directory with all that is in it; links are removed, not followed.
  static func remove(_ path: String) {
    guard unlink(path) != 0 else { return }
    for name in entries(of: path) { remove(path + "/" + name) }
    rmdir(path)
  }
}
