// Where a library's copies of modules lie:
//
//   who                              where                              until
//   the daemon                       <data>/modules/<process>-…/        it ends
//   where that can't be              $TMPDIR/sluice-modules-…           the module is loaded, or nothing runs it any more
//   commands that only look          the same                           the same
//
// <data> is the daemon's own, stays where it is, and has no cleaner, as /tmp may. Plugins are looked at before the data
// directory is taken, so that a topology with a mistake takes nothing; so each process has a directory of its own there, and
// who then has the lock removes those of processes that are gone.
//
// <data> may be full, mounted noexec, or hold a `modules` that others may write to. None of these is to keep a daemon from
// delivering what it has, so copies go to the temporary directory then, and a warning says why. Where that has no place either,
// the error names both.

import Glibc
import SluiceCore
import Synchronization

final class CopyShelf: Sendable {
  /// Of the directory in a data directory.
  static let name = "modules"

  private struct State {
    var data: String?
    var awaitsData: Bool
    var copies: ModuleCopies?
    var warning: String?
    var isWarned = false
  }

  private let state: Mutex<State>

  init(data: String?, awaitsData: Bool) { state = Mutex(State(data: data, awaitsData: awaitsData)) }

  /// The first counts: another data directory takes a restart.
  func note(data: String) {
    state.withLock { state in
      guard state.awaitsData else { return }
      state.awaitsData = false
      // A daemon may go elsewhere after it has read its topology.
      guard !data.hasPrefix("/"), let here = getcwd(nil, 0) else {
        state.data = data
        return
      }
      defer { free(here) }
      state.data = "\(String(cString: here))/\(data)"
    }
  }

  func takeWarning() -> String? {
    state.withLock { state in
      defer { state.warning = nil }
      return state.warning
    }
  }

  /// The path to load, and what has to be held for as long as it is needed.
  func copy(of file: borrowing TrustedFile) throws(PluginLoadError) -> (path: String, copies: ModuleCopies) {
    let fault: PluginLoadError
    do throws(PluginLoadError) {
      guard let copies = try dataCopies() else {
        let copies = try ModuleCopies()
        return (try copies.make(of: file), copies)
      }
      return (try copies.make(of: file), copies)
    } catch {
      guard state.withLock({ $0.data != nil }), [.noPlace, .noExec, .untrusted].contains(error.code) else {
        throw error
      }
      fault = error
    }
    do throws(PluginLoadError) {
      let copies = try ModuleCopies()
      let path = try copies.make(of: file)
      warn(fault)
      return (path, copies)
    } catch {
      throw PluginLoadError(fault.code, "\(fault.message); and \(error.message)", remedy: fault.remedy)
    }
  }

  private func dataCopies() throws(PluginLoadError) -> ModuleCopies? {
    let made = state.withLock { state -> Result<ModuleCopies?, PluginLoadError> in
      Result { () throws(PluginLoadError) in
        guard let data = state.data else { return nil }
        if let copies = state.copies { return copies }
        let copies = try ModuleCopies(data: data)
        state.copies = copies
        return copies
      }
    }
    return try made.get()
  }

  private func warn(_ fault: PluginLoadError) {
    state.withLock { state in
      guard !state.isWarned else { return }
      state.isWarned = true
      state.warning = "\(fault); until then copies of plugins are in \(OwnDirectory.base)"
    }
  }

  static func removeLeftovers(in data: String) {
    let shelf = "\(data)/\(name)"
    for name in Paths.entries(of: shelf) {
      guard let process = OwnDirectory.process(of: name), !ModuleCopies.isPresent("\(shelf)/\(name)") else { continue }
      // Another that begins, and will find the lock taken. The number of this process is its own.
      guard process == getpid() || OwnDirectory.isGone(process) else { continue }
      Paths.remove("\(shelf)/\(name)")
    }
  }
}
