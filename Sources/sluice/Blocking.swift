import SluiceCore

/// Runs work that blocks on a disk, a lock or a plugin on a thread of its own, and lets async code await it: such work
/// never runs on Swift's cooperative pool or on an event loop.
enum Blocking {
  static func run<Value: Sendable, Failure: Error>(
    _ threadName: String, _ work: @escaping @Sendable () throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    let result = await withCheckedContinuation { continuation in
      _ = OSThread(name: threadName, stackBytes: 8 << 20) {
        continuation.resume(returning: Result { () throws(Failure) in try work() })
      }
    }
    return try result.get()
  }
}
