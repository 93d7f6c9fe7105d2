// Maps a module into the process, for good: nothing that may hold Swift or a thread of its own can be unmapped.
//
//   RTLD_NOW       what is missing shows here, not in the first call
//   RTLD_LOCAL     its symbols are nobody else's
//   RTLD_NODELETE  whatever it may dlclose itself, the code stays

import CSluice
import Glibc
import Synchronization

struct ModuleImage {
  typealias Entry = @convention(c) (UInt32) -> UnsafePointer<slu_module>?

  /// A major version of the ABI that this host serves.
  struct Major: Equatable, Sendable {
    var number: Int
    var minor: UInt32
    var symbol: String { "sluice_module_v\(number)" }
  }

  /// The newest first; N and N − 1 are kept. A major whose tables differ brings a reader of its own.
  static let served = [Major(number: Int(SLU_ABI_MAJOR), minor: UInt32(SLU_ABI_MINOR))]
  /// Majors that are asked for only to say what a module speaks.
  private static let probed = 1...9

  let module: UnsafePointer<slu_module>
  let major: Major
  /// Signals whose handlers the module changed when it was loaded; they were put back.
  let changedSignals: [Int32]

  /// Held while a module is loaded: signal handlers are the process's, and what one module changed must not be blamed on
  /// another.
  private static let loading = Mutex<Void>(())

  /// `path`: the private copy; `name`: how messages call the module; of the majors `served` that it has, the first is taken;
  /// `beforeEntry` is called when its code is mapped and before its entry is called.
  static func load(
    _ path: String, calling name: String, served: [Major] = served, beforeEntry: @Sendable () -> Void = {}
  ) throws(PluginLoadError) -> ModuleImage {
    try loading.withLock { _ throws(PluginLoadError) in
      try ModuleImage(loading: path, calling: name, served, beforeEntry)
    }
  }

  private init(
    loading path: String, calling name: String, _ served: [Major], _ beforeEntry: @Sendable () -> Void
  ) throws(PluginLoadError) {
    let before = SignalHandlers.current()
    guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) else {
      throw ModuleImage.notLoadable(name, dlerror().map { String(cString: $0) } ?? "dlopen gave no reason", path)
    }
    var found: (Major, Entry)?
    for major in served where found == nil {
      if let symbol = dlsym(handle, major.symbol) { found = (major, unsafeBitCast(symbol, to: Entry.self)) }
    }
    guard let (major, entry) = found else { throw ModuleImage.noEntry(name, served, handle) }
    beforeEntry()
    guard let module = entry(major.minor) else {
      throw PluginLoadError(
        .refused, "\(name) refuses to work with this sluice (\(major.symbol)(\(major.minor)) returned NULL)",
        remedy: "use a sluice with a newer ABI than \(major.number).\(major.minor), or another version of the plugin")
    }
    self.module = module
    self.major = major
    changedSignals = before.restore()
  }

  private static func notLoadable(_ name: String, _ reason: String, _ path: String) -> PluginLoadError {
    let shown = reason.split(separator: path, omittingEmptySubsequences: false).joined(separator: name)
    let remedy =
      if reason.contains("cannot open shared object file") {
        "install the library that it names, or put it beside the plugin with an rpath of $ORIGIN"
      } else if reason.contains("undefined symbol") {
        "link the plugin with the library that has the symbol (cc -Wl,-z,defs finds this when it is built)"
      } else if reason.contains("invalid ELF header") || reason.contains("file too short") {
        "build it as a shared object for this machine (cc -shared -fPIC)"
      } else if reason.contains("wrong ELF class") || reason.contains("cannot open shared object: ") {
        "build it for this machine's architecture"
      } else {
        "ldd and readelf -d on the plugin show what it needs"
      }
    return PluginLoadError(.notLoadable, "\(name) can't be loaded: \(shown)", remedy: remedy)
  }

  private static func noEntry(
    _ name: String, _ served: [Major], _ handle: UnsafeMutableRawPointer
  ) -> PluginLoadError {
    let spoken = served.map { "ABI \($0.number)" }.joined(separator: " and ")
    for number in probed.reversed() where dlsym(handle, Major(number: number, minor: 0).symbol) != nil {
      return PluginLoadError(
        .otherVersion, "\(name) speaks ABI \(number), this sluice speaks \(spoken)",
        remedy: "use a sluice that speaks ABI \(number), or build the plugin with this one's headers")
    }
    return PluginLoadError(
      .noEntry, "\(name) does not export \(served[0].symbol)",
      remedy: "a Sluice plugin defines it with SLU_EXPORT; check that no version script or -fvisibility hides it")
  }
}

/// The process's signal handlers. A module that brings its own (a language runtime, a crash reporter) would take the
/// daemon's signals away.
struct SignalHandlers {
  private static let watched: [Int32] = [
    SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM,
    SIGTERM, SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPROF,
  ]

  private var actions: [sigaction] = []

  static func current() -> SignalHandlers {
    SignalHandlers(actions: watched.map(action))
  }

  /// Puts back what differs now, and returns those signals.
  func restore() -> [Int32] {
    var changed: [Int32] = []
    for (signal, was) in zip(SignalHandlers.watched, actions) {
      guard !SignalHandlers.same(was, SignalHandlers.action(of: signal)) else { continue }
      changed.append(signal)
      var was = was
      sigaction(signal, &was, nil)
    }
    return changed
  }

  private static func action(of signal: Int32) -> sigaction {
    var action = sigaction()
    sigaction(signal, nil, &action)
    return action
  }

  private static func same(_ left: sigaction, _ right: sigaction) -> Bool {
    // Both members of the union are one pointer.
    unsafeBitCast(left.__sigaction_handler, to: UInt.self) == unsafeBitCast(right.__sigaction_handler, to: UInt.self)
      && left.sa_flags == right.sa_flags
  }
}
