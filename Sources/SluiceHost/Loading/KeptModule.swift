import SluiceCore
import Synchronization

/// The copy of a module that processes load, for as long as any may be started. Should it be removed, as by who cleans up,
/// it is made again, as long as the file that it was made from is still there: no descriptor is held for it, since of a plugin
/// that is often replaced each generation is kept.
final class KeptModule: Sendable {
  /// The copy.
  let path: String
  private let copies: ModuleCopies
  private let source: String
  private let identity: FileIdentity
  /// Held while a copy is made.
  private let making = Mutex<Void>(())

  /// `path`: the copy of `file` in `copies`.
  init(_ path: String, of file: borrowing TrustedFile, in copies: ModuleCopies) {
    self.path = path
    copies.openToOthers(path)
    self.copies = copies
    source = file.path
    identity = file.identity
  }

  /// Returns with the copy in its place. From any thread.
  func makeSure() throws(PluginLoadError) {
    let failure = making.withLock { _ -> PluginLoadError? in
      guard !Paths.exists(path) else { return nil }
      do throws(PluginLoadError) {
        // Made of other content it would have another path, and nobody has looked at it.
        let file = try TrustedFile(opening: source)
        guard file.identity == identity, try copies.make(of: file) == path else {
          return PluginLoadError(
            .notLoadable, "the copy of \(source) that is in use was removed, and the file is another now",
            remedy: "a reload takes the file as it is now")
        }
      } catch {
        return error
      }
      copies.openToOthers(path)
      return nil
    }
    if let failure { throw failure }
  }
}
