import Glibc
import SluiceCore

/// Signals are taken by one thread with `sigwait`; every other thread has them blocked, which is why `block` must be
/// the first act of the process: a SIGHUP that comes before it would end the daemon.
enum Signals {
  private static var handled: sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in [SIGHUP, SIGINT, SIGTERM] { sigaddset(&set, signal) }
    return set
  }

  /// Blocks the handled signals for this thread and all it will start, and ignores SIGPIPE: writes report EPIPE.
  static func block() {
    var set = handled
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// Calls `handler` on a thread of its own for each signal that comes.
  static func listen(_ handler: @escaping @Sendable (Int32) -> Void) -> OSThread {
    OSThread(name: "signals") {
      var set = handled
      while true {
        var number: Int32 = 0
        if sigwait(&set, &number) == 0 { handler(number) }
      }
    }
  }
}
