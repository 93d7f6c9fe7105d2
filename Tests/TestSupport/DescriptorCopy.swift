import Glibc

/// A copy of this process's descriptor of a file, as a child has one from its fork to its exec, whatever the descriptor's
/// flags say.
package final class DescriptorCopy {
  private let copy: Int32

  /// Nil when no descriptor of this process leads to the file.
  package init?(of path: String) {
    var named = stat()
    guard stat(path, &named) == 0, let list = opendir("/proc/self/fd") else { return nil }
    defer { closedir(list) }
    while let entry = readdir(list) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      var open = stat()
      guard let descriptor = Int32(name), fstat(descriptor, &open) == 0, open.st_ino == named.st_ino,
        open.st_dev == named.st_dev
      else { continue }
      copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
      return
    }
    return nil
  }

  deinit { close(copy) }
}
