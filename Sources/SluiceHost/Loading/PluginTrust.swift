// Whose code is run. A plugin runs with all that the daemon may do, so only root and the daemon's own user may have
// put it where it is:
//
//   what              must be owned by         must not be writable by
//   the file          root or the daemon       group, others
//   its directory     root or the daemon       group, others (also when sticky: a library that the plugin needs could
//                                              be put beside it)
//
// Symbolic links are followed first: what counts is the file that is loaded and the directory that it lies in. Both
// are checked through the descriptors that are then used, so that nothing can be exchanged in between.
// Not promised: anything about the directories above, which the operator's installation answers for.

import Glibc

/// What trust is judged by, of a file or a directory.
struct Ownership: Equatable {
  enum Role: String {
    case file = "plugin", directory = "plugin directory", copies = "the directory of plugins' copies"
  }

  var role: Role
  var path: String
  var owner: UInt32
  /// Permission bits, with set-id and sticky.
  var mode: UInt32

  /// Why this is not to be trusted by a daemon that runs as `user`; nil if it is.
  func fault(user: UInt32) -> PluginLoadError? {
    if owner != 0 && owner != user {
      return PluginLoadError(
        .untrusted,
        "\(role.rawValue) \(path) belongs to user \(owner), who is neither root nor the daemon's user \(user)",
        remedy: "if you trust it: chown \(user) \(path)")
    }
    guard mode & 0o022 != 0 else { return nil }
    let who =
      switch mode & 0o022 {
      case 0o022: "its group and others"
      case 0o020: "its group"
      default: "others"
      }
    let shown = "0" + String(mode, radix: 8)
    if role == .directory && mode & 0o1000 != 0 {
      return PluginLoadError(
        .untrusted,
        "\(role.rawValue) \(path) (mode \(shown)) is shared like /tmp: anyone can put a library beside the plugin",
        remedy: "move the plugin to a directory of its own")
    }
    let change = mode & 0o022 == 0o020 ? "g-w" : mode & 0o022 == 0o002 ? "o-w" : "go-w"
    return PluginLoadError(
      .untrusted, "\(role.rawValue) \(path) (mode \(shown)) can be written by \(who)",
      remedy: "chmod \(change) \(path)")
  }
}

/// A plugin's file, opened once and found trustworthy: everything after this goes through the descriptor.
struct TrustedFile: ~Copyable {
  let descriptor: Int32
  /// Free of symbolic links.
  let path: String
  let identity: FileIdentity

  /// Opens the file that `path` leads to, if it and its directory can be trusted.
  init(opening path: String, user: UInt32 = geteuid()) throws(PluginLoadError) {
    guard let resolved = realpath(path, nil) else { throw TrustedFile.unreadable(path, errno) }
    defer { free(resolved) }
    let real = String(cString: resolved)
    let (folder, name) = Paths.split(real)
    let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw TrustedFile.unreadable(folder, errno) }
    defer { close(directory) }
    let file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw TrustedFile.unreadable(real, errno) }
    do throws(PluginLoadError) {
      let about = try TrustedFile.status(directory, folder)
      if let fault = Ownership(role: .directory, path: folder, owner: about.st_uid, mode: about.st_mode & 0o7777)
        .fault(user: user)
      {
        throw fault
      }
      let status = try TrustedFile.status(file, real)
      guard status.st_mode & S_IFMT == S_IFREG else {
        throw PluginLoadError(.unreadable, "\(real) is not a regular file", remedy: "name the .so itself")
      }
      if let fault = Ownership(role: .file, path: real, owner: status.st_uid, mode: status.st_mode & 0o7777)
        .fault(user: user)
      {
        throw fault
      }
      identity = FileIdentity(status)
    } catch {
      close(file)
      throw error
    }
    descriptor = file
    self.path = real
  }

  deinit { close(descriptor) }

  private static func status(_ descriptor: Int32, _ path: String) throws(PluginLoadError) -> stat {
    var about = stat()
    guard fstat(descriptor, &about) == 0 else { throw unreadable(path, errno) }
    return about
  }

  private static func unreadable(_ path: String, _ code: Int32) -> PluginLoadError {
    let why = String(cString: strerror(code))
    guard code != ENOENT else {
      return PluginLoadError(.notFound, "there is no file \(path)", remedy: "check the path")
    }
    return PluginLoadError(.unreadable, "\(path) can't be opened: \(why)", remedy: "make it readable for the daemon")
  }
}

/// Tells one version of a file from the next.
struct FileIdentity: Hashable, Sendable {
  let device: UInt64
  let inode: UInt64
  let size: Int64
  let modified: Int64

  init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    size = Int64(status.st_size)
    modified = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
  }
}
