import Glibc
import SluiceCore
import Synchronization

/// Signals are taken by one thread with `sigwait`; every other thread has them blocked, which is why `block` must be
/// the first act of the process: a SIGHUP that comes before it would end the daemon.
enum Signals {
  private static var handled: sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in [SIGHUP, SIGINT, SIGTERM] { sigaddset(&set, signal) }
    return set
  }

  /// Whether there is a daemon to stop in order.
  private static let isServing = Atomic<Bool>(false)

  /// From now on a request to stop is left to the reader of `stream`.
  static func serve() { isServing.store(true, ordering: .releasing) }

  /// As if it came from outside: there is one way to stop.
  static func requestStop() { kill(getpid(), SIGTERM) }

  /// Blocks the handled signals for this thread and all it will start, and ignores SIGPIPE and SIGXFSZ: writes report
  /// EPIPE and EFBIG.
  static func block() {
    var set = handled
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  /// The handled signals as they come, from a thread of its own. Before `serve` a request to stop ends the process: what
  /// loads then, a file or a plugin, may never return, and nothing runs yet. A second request ends it at once, with the
  /// status that a shell gives to a process that the signal killed.
  static func stream() -> AsyncStream<Int32> {
    let (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
    _ = OSThread(name: "signals") {
      // Threads that async code starts have the pool's mask, so that it is set here again.
      block()
      var set = handled
      var isStopping = false
      while true {
        var number: Int32 = 0
        guard sigwait(&set, &number) == 0 else { continue }
        if number != SIGHUP {
          if !isServing.load(ordering: .acquiring) { _exit(EXIT_SUCCESS) }
          if isStopping { _exit(128 + number) }
          isStopping = true
        }
        continuation.yield(number)
      }
    }
    return stream
  }
}
