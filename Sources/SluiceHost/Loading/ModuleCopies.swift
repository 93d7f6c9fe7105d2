import Glibc
import SluiceCore
import Synchronization

/// A directory of this process with private copies of modules, which goes with the last who needs it, at the latest with the
/// process.
final class ModuleCopies: Sendable {
  private let copies: PrivateCopy
  private let own: OwnCopies

  /// A temporary one; what a killed process has left there, the next one removes.
  init() throws(PluginLoadError) {
    guard let made = OwnDirectory.make("modules") else {
      throw PrivateCopy.failure("make a directory in", OwnDirectory.base, errno, "TMPDIR")
    }
    own = OwnCopies(directory: made, data: nil)
    copies = PrivateCopy(modules: made, setting: "TMPDIR")
    ModuleCopies.keep(own)
  }

  /// `<data>/modules/<process>-…`. A data directory that is not there yet is made as the daemon would.
  init(data: String) throws(PluginLoadError) {
    let isNew = !Paths.exists(data)
    for (directory, mode) in [(data, 0o750), ("\(data)/\(CopyShelf.name)", 0o700)] as [(String, mode_t)] {
      let code = Paths.make(directory, mode: mode)
      guard code == 0 else { throw PrivateCopy.failure("make", directory, code, "daemon.data") }
    }
    let shelf = "\(data)/\(CopyShelf.name)"
    try ModuleCopies.refuseUntrusted(shelf)
    guard let made = OwnDirectory.make(in: shelf) else {
      throw PrivateCopy.failure("make a directory in", shelf, errno, "daemon.data")
    }
    own = OwnCopies(directory: made, data: isNew ? data : nil)
    copies = PrivateCopy(modules: made, setting: "daemon.data")
    ModuleCopies.keep(own)
  }

  deinit {
    _ = ModuleCopies.present.withLock { $0.remove(own) }
    own.remove()
  }

  /// Copies `file` and returns the path to load.
  func make(of file: borrowing TrustedFile) throws(PluginLoadError) -> String { try copies.make(of: file) }

  /// Lets processes of other users load a copy, through a descriptor of the directory that it lies in, and what lies beside that.
  /// It is no secret, and they can't change it; what is above stays the daemon's own.
  func openToOthers(_ copy: String) {
    chmod(copy, 0o555)
    var directory = Paths.split(copy).directory
    while directory.hasPrefix(copies.modules), directory != copies.modules {
      chmod(directory, 0o711)
      directory = Paths.split(directory).directory
    }
  }

  /// Who can write to it could put another directory in the place of this process's.
  private static func refuseUntrusted(_ shelf: String) throws(PluginLoadError) {
    var about = stat()
    guard lstat(shelf, &about) == 0 else { throw PrivateCopy.failure("look at", shelf, errno, "daemon.data") }
    guard about.st_mode & S_IFMT == S_IFDIR else {
      throw PluginLoadError(.untrusted, "\(shelf) is not a directory", remedy: "remove it: a daemon makes it anew")
    }
    let seen = Ownership(role: .copies, path: shelf, owner: about.st_uid, mode: about.st_mode & 0o7777)
    if let fault = seen.fault(user: geteuid()) { throw fault }
  }

  // MARK: Of this process

  private struct OwnCopies: Hashable {
    var directory: String
    /// The data directory that was made for it: it goes as well, if nothing else came into it.
    var data: String?

    func remove() {
      Paths.remove(directory)
      guard let data else { return }
      rmdir("\(data)/\(CopyShelf.name)")
      rmdir(data)
    }
  }

  private static let present = Mutex<Set<OwnCopies>>([])
  /// Once in a process.
  private static let cleaning: Void = {
    atexit { for own in ModuleCopies.present.withLock({ $0 }) { own.remove() } }
  }()

  private static func keep(_ own: OwnCopies) {
    cleaning
    _ = present.withLock { $0.insert(own) }
  }

  /// Whether it belongs to a part of this process that lives.
  static func isPresent(_ directory: String) -> Bool {
    present.withLock { $0.contains { $0.directory == directory } }
  }
}
