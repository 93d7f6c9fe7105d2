import DaemonTestSupport
import Foundation
import Synchronization

/// Posts numbered records on one connection, as fast as they are answered, until it is told to stop.
final class Posting: Sendable {
  private let isDone = Atomic<Bool>(false)
  private let count = Atomic<Int>(0)
  private let failed = Atomic<Int>(0)
  private let ended = DispatchSemaphore(value: 0)

  init(port: Int) {
    Thread.detachNewThread { [self] in
      defer { ended.signal() }
      guard let connection = HTTPConnection(port: port) else { return _ = failed.add(1, ordering: .relaxed) }
      var number = 0
      while !isDone.load(ordering: .relaxed) {
        guard connection.post(#"{"message":"\#(number)"}"#)?.status == 202 else {
          return _ = failed.add(1, ordering: .relaxed)
        }
        number += 1
        count.store(number, ordering: .relaxed)
      }
    }
  }

  var faults: Int { failed.load(ordering: .relaxed) }

  /// How many were acknowledged: the numbers from 0.
  func stop() -> Int {
    isDone.store(true, ordering: .relaxed)
    ended.wait()
    return count.load(ordering: .relaxed)
  }
}
