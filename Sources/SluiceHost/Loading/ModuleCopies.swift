import Glibc
import SluiceCore
import Synchronization

/// Where the private copies of one file are. Without a state directory that is a temporary one, which goes with the last
/// who needs it, at the latest with the process; what a killed process has left there, the next one removes.
final class ModuleCopies: Sendable {
  private let copies: PrivateCopy
  private let temporary: String?

  init(_ stateDirectory: String?) throws(PluginLoadError) {
    if let stateDirectory {
      temporary = nil
      copies = PrivateCopy(modules: "\(stateDirectory)/modules", setting: "daemon.data")
    } else {
      let made = try ModuleCopies.makeTemporaryDirectory()
      temporary = made
      copies = PrivateCopy(modules: made, setting: "TMPDIR")
    }
  }

  deinit {
    guard let temporary else { return }
    _ = ModuleCopies.present.withLock { $0.remove(temporary) }
    Paths.remove(temporary)
  }

  /// Copies `file` and returns the path to load.
  func make(of file: borrowing TrustedFile) throws(PluginLoadError) -> String { try copies.make(of: file) }

  /// Lets processes of other users load a copy, and pass through to it. It is no secret, and they can't change it.
  func openToOthers(_ copy: String) {
    chmod(copy, 0o555)
    var directory = Paths.split(copy).directory
    while directory.hasPrefix(copies.modules) {
      chmod(directory, 0o711)
      guard directory != copies.modules else { return }
      directory = Paths.split(directory).directory
    }
  }

  // MARK: Temporary ones

  private static let present = Mutex<Set<String>>([])
  /// Once in a process.
  private static let cleaning: Void = {
    atexit { for directory in ModuleCopies.present.withLock({ $0 }) { Paths.remove(directory) } }
  }()

  private static func makeTemporaryDirectory() throws(PluginLoadError) -> String {
    cleaning
    guard let made = OwnDirectory.make("modules") else {
      throw PluginLoadError(
        .unreadable, "no directory can be made in \(OwnDirectory.base): \(String(cString: strerror(errno)))",
        remedy: "set TMPDIR to a directory that can be written to")
    }
    _ = present.withLock { $0.insert(made) }
    return made
  }
}
