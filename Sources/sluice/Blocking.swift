import SluiceCore
import Synchronization

/// Runs work that blocks on a disk, a lock or a plugin on a thread of its own, and lets async code await it: such work
/// never runs on Swift's cooperative pool or on an event loop.
enum Blocking {
  static func run<Value: Sendable, Failure: Error>(
    _ threadName: String, _ work: @escaping @Sendable () throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    let result = await withCheckedContinuation { continuation in
      start(threadName) { continuation.resume(returning: Result { () throws(Failure) in try work() }) }
    }
    return try result.get()
  }

  /// Where no thread is to be had the work waits until there is.
  private static func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
    do throws(OSThread.Failure) {
      _ = try OSThread(starting: name, stackBytes: 8 << 20, body: body)
    } catch {
      Task {
        try? await Task.sleep(nanoseconds: UInt64(Limits.threadRetryNanoseconds))
        start(name, body)
      }
    }
  }

  /// Waits on the calling thread, which is not one of the pool's, for async work to end.
  static func wait<Value: Sendable>(for work: @escaping @Sendable () async -> Value) -> Value {
    let outcome = Outcome<Value>()
    Task {
      let value = await work()
      outcome.value.withLock { $0 = value }
      outcome.bell.ring()
    }
    while true {
      outcome.bell.wait(until: .max)
      if let value = outcome.value.withLock({ $0 }) { return value }
    }
  }

  private final class Outcome<Value: Sendable>: Sendable {
    let value = Mutex<Value?>(nil)
    let bell = Doorbell()
  }
}
