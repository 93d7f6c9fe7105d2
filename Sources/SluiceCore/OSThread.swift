internal import CSluiceSystem
import Glibc
import Synchronization

/// A named POSIX thread that owns the data its body captures: the data plane runs on these, never on Swift's
/// cooperative pool, because plugin code and `fdatasync` block.
package final class OSThread: Sendable {
  private let handle: Mutex<pthread_t?>
  package let name: String

  /// Why a thread can't be had: there are as many as there may be, or no memory for its stack.
  package struct Failure: Error, CustomStringConvertible {
    /// An errno.
    package let code: Int32

    package var description: String { "no thread can be started: \(String(cString: strerror(code)))" }
  }

  /// Starts a thread without which the process can't go on.
  package convenience init(name: String, stackBytes: Int = 1 << 20, body: @escaping @Sendable () -> Void) {
    do throws(Failure) {
      try self.init(starting: name, stackBytes: stackBytes, body: body)
    } catch {
      preconditionFailure(error.description)
    }
  }

  /// Starts the thread, if one is to be had: plugins have threads and processes of the same supply. `name` is cut to 15 bytes by
  /// the kernel, so put what tells threads apart first.
  package init(
    starting name: String, stackBytes: Int = 1 << 20, body: @escaping @Sendable () -> Void
  ) throws(Failure) {
    self.name = name
    let box = Unmanaged.passRetained(Start(name: name, body: body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, stackBytes)
    defer { pthread_attr_destroy(&attributes) }
    var thread = pthread_t()
    let rc = pthread_create(
      &thread, &attributes,
      { argument in
        let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
        csluice_name_thread(start.name)
        CrashReport.prepareThread()
        start.body()
        return nil
      }, box.toOpaque())
    guard rc == 0 else {
      box.release()
      throw Failure(code: rc)
    }
    handle = Mutex(thread)
  }

  /// Nobody can wait for it any more: its stack goes when its body has returned.
  deinit {
    if let thread = handle.withLock({ $0 }) { pthread_detach(thread) }
  }

  /// Waits for the body to return. Only the first call waits.
  package func join() {
    let thread = handle.withLock { state -> pthread_t? in
      defer { state = nil }
      return state
    }
    if let thread { pthread_join(thread, nil) }
  }

  /// The kernel's id of the calling thread, as in /proc/<pid>/task.
  package static var currentID: Int32 { csluice_thread_id() }

  /// Names the calling thread, for threads that others made (event loops).
  package static func nameCurrent(_ name: String) { csluice_name_thread(name) }

  private final class Start: Sendable {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }
}
