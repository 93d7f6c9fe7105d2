import Synchronization

/// A value behind a mutex, where a noncopyable one can't stand.
package final class Locked<Value: Sendable>: Sendable {
  private let mutex: Mutex<Value>
  package init(_ value: Value) { mutex = Mutex(value) }
  package func with<T: Sendable>(_ body: (inout Value) -> T) -> T { mutex.withLock { value in body(&value) } }
}
