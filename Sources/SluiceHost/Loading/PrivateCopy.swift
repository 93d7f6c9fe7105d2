// The copy that is loaded. Loading the installed file itself would be unsound: overwritten in place it crashes the
// daemon, and replaced by rename the same path still gives the old code.
//
//   <modules>/<size>-<crc32c>[-n]/          0700; n tells different contents with one checksum apart
//     <folder>/libsluice-<kind>.so          0500; the copy; <folder> is the name of the folder that it came from
//     <folder>/<other>.so*                  links to the libraries that lay beside it: $ORIGIN
//     <name>                                links to what lay beside that folder: $ORIGIN/../name
//
// So a dependency that is named relative to $ORIGIN is found where the plugin came from, up to one level above.
// The path is new for each content, so dlopen never answers with an older image. A copy that is there already
// is compared byte by byte before it is used again; it appears by rename, so a crash leaves no torn one.

import Glibc
import SluiceCore

struct PrivateCopy {
  /// ST_NOEXEC, which <sys/statvfs.h> shows to GNU C only.
  private static let mountedNoExec: UInt = 8

  /// The directory that all copies live in.
  let modules: String
  /// What the operator sets to have them elsewhere.
  let setting: String

  /// Copies `file` and returns the path to load.
  func make(of file: borrowing TrustedFile) throws(PluginLoadError) -> String {
    let (origin, name) = Paths.split(file.path)
    let content = try PrivateCopy.content(of: file)
    defer { content.deallocate() }
    if let needed = ModuleLayout.neededBytes(UnsafeRawBufferPointer(content)), needed > UInt64(content.count) {
      throw PluginLoadError(
        .notLoadable, "\(file.path) is cut short: it has \(content.count) bytes, its program headers ask for \(needed)",
        remedy: "copy it again, under another name, and rename it when it is whole")
    }
    guard Paths.makePrivate(modules) == 0 else { throw failed("make", modules) }
    try refuseNoExec()
    let folder = Paths.split(origin).name.isEmpty ? "root" : Paths.split(origin).name
    // Only names the directory: sameness is told by comparing bytes.
    let hash = String(CRC32C.of(UnsafeRawBufferPointer(content)), radix: 16)
    for attempt in 0..<Limits.maxModuleHashCollisions {
      let home = "\(modules)/\(content.count)-\(hash)" + (attempt == 0 ? "" : "-\(attempt)")
      let target = "\(home)/\(folder)/\(name)"
      if Paths.exists(target) {
        guard PrivateCopy.equal(target, UnsafeRawBufferPointer(content)) else { continue }
      } else {
        guard Paths.makePrivate("\(home)/\(folder)") == 0 else { throw failed("make", home) }
        try write(UnsafeRawBufferPointer(content), to: target)
      }
      link(entriesOf: origin, into: "\(home)/\(folder)", except: name) { $0.contains(".so") }
      link(entriesOf: Paths.split(origin).directory, into: home, except: folder) { _ in true }
      return target
    }
    throw PluginLoadError(.unreadable, "\(modules) holds too many modules like \(name)", remedy: "empty that directory")
  }

  private func refuseNoExec() throws(PluginLoadError) {
    var about = statvfs()
    guard statvfs(modules, &about) == 0, about.f_flag & PrivateCopy.mountedNoExec != 0 else { return }
    throw PluginLoadError(
      .noExec, "\(modules) is on a file system that is mounted noexec, so no plugin can be loaded from it",
      remedy: "set \(setting) to a directory on one that is not, or remount it with exec")
  }

  private func write(_ content: UnsafeRawBufferPointer, to target: String) throws(PluginLoadError) {
    let partial = target + ".partial"
    unlink(partial)
    let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o500)
    guard descriptor >= 0 else { throw failed("write", partial) }
    defer { close(descriptor) }
    var written = 0
    while written < content.count {
      let n = Glibc.write(descriptor, content.baseAddress! + written, content.count - written)
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else {
        defer { unlink(partial) }
        throw failed("write", partial)
      }
      written += n
    }
    guard rename(partial, target) == 0 else { throw failed("write", target) }
  }

  private func link(
    entriesOf origin: String, into directory: String, except own: String, where wanted: (String) -> Bool
  ) {
    for name in Paths.entries(of: origin).filter(wanted).prefix(Limits.maxModuleSiblings) where name != own {
      // A link that is there already leads to the same place unless the plugin moved; then it is made anew.
      let path = "\(directory)/\(name)"
      unlink(path)
      symlink("\(origin)/\(name)", path)
    }
  }

  private func failed(_ verb: String, _ path: String) -> PluginLoadError {
    PrivateCopy.failure(verb, path, errno, setting)
  }

  static func failure(_ verb: String, _ path: String, _ code: Int32, _ setting: String) -> PluginLoadError {
    let isFull = code == ENOSPC || code == EDQUOT
    return PluginLoadError(
      .noPlace, "can't \(verb) \(path): \(String(cString: strerror(code)))",
      remedy: isFull
        ? "make room there, or set \(setting) to a directory that has some"
        : "the daemon needs to write below \(setting)")
  }

  private static func content(of file: borrowing TrustedFile) throws(PluginLoadError) -> UnsafeMutableRawBufferPointer {
    guard file.identity.size <= Limits.maxModuleBytes else {
      throw PluginLoadError(
        .unreadable, "\(file.path) has \(file.identity.size) bytes, more than \(Limits.maxModuleBytes)",
        remedy: "strip it")
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(file.identity.size), alignment: 16)
    var filled = 0
    while filled < buffer.count {
      let n = pread(file.descriptor, buffer.baseAddress! + filled, buffer.count - filled, off_t(filled))
      if n < 0 && errno == EINTR { continue }
      guard n > 0 else {
        buffer.deallocate()
        throw PluginLoadError(
          .unreadable, "\(file.path) changed while it was read", remedy: "install plugins by rename, not in place")
      }
      filled += n
    }
    return buffer
  }

  private static func equal(_ path: String, _ content: UnsafeRawBufferPointer) -> Bool {
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var about = stat()
    guard fstat(descriptor, &about) == 0, Int(about.st_size) == content.count else { return false }
    guard content.count > 0 else { return true }
    let map = mmap(nil, content.count, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard let map, map != MAP_FAILED else { return false }
    defer { munmap(map, content.count) }
    return memcmp(map, content.baseAddress!, content.count) == 0
  }
}
