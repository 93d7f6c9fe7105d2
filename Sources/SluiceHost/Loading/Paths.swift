import Glibc
import SluiceCore

/// The little that the loader does with paths.
package enum Paths {
  /// The directory and the last component of an absolute path.
  static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let directory = path[..<slash]
    return (directory.isEmpty ? "/" : String(directory), String(path[path.index(after: slash)...]))
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// The names in a directory, sorted, without `.` and `..`; empty if it can't be read.
  package static func entries(of directory: String) -> [String] { names(opendir(directory)) }

  /// The same, and closes it.
  private static func names(_ handle: OpaquePointer?) -> [String] {
    guard let handle else { return [] }
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
  static func makePrivate(_ directory: String) -> Int32 { make(directory, mode: 0o700) }

  /// Makes a directory and those above it. Returns errno, 0 if it is there.
  static func make(_ directory: String, mode: mode_t) -> Int32 {
    if mkdir(directory, mode) == 0 || errno == EEXIST { return 0 }
    guard errno == ENOENT else { return errno }
    let above = make(split(directory).directory, mode: mode)
    guard above == 0 else { return above }
    return mkdir(directory, mode) == 0 || errno == EEXIST ? 0 : errno
  }

  /// Makes a directory, with all that is in it, another user's; links are given, not followed. What is that user's already is let
  /// be: a process of the user's may be at work in it. What it could put there while another's is given is told by descriptors,
  /// each of what was looked at; a file with another name elsewhere may be anybody's and is left out.
  static func give(_ path: String, to user: uid_t, _ group: gid_t) {
    let directory = LinuxCalls.openEntry(path, of: AT_FDCWD)
    guard directory >= 0 else { return }
    defer { close(directory) }
    var about = stat()
    guard fstat(directory, &about) == 0, about.st_mode & S_IFMT == S_IFDIR, about.st_uid != user else { return }
    give(directory, to: user, group, depth: 0)
  }

  /// Last what holds the others, so that what was broken off is begun anew.
  private static func give(_ entry: Int32, to user: uid_t, _ group: gid_t, depth: Int) {
    var about = stat()
    guard fstat(entry, &about) == 0, depth < Limits.maxGivenDepth else { return }
    let isDirectory = about.st_mode & S_IFMT == S_IFDIR
    guard isDirectory || about.st_nlink == 1 else { return }
    if isDirectory {
      let listing = openat(entry, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      for name in names(listing >= 0 ? fdopendir(listing) : nil) {
        let inner = LinuxCalls.openEntry(name, of: entry)
        guard inner >= 0 else { continue }
        defer { close(inner) }
        give(inner, to: user, group, depth: depth + 1)
      }
    }
    LinuxCalls.give(entry, to: user, group)
  }

  /// Removes a file, or a directory with all that is in it; links are removed, not followed.
  static func remove(_ path: String) {
    guard unlink(path) != 0 else { return }
    for name in entries(of: path) { remove(path + "/" + name) }
    rmdir(path)
  }
}
