import SluiceCore
import Synchronization

/// Memory that segment files are read into. Batches and leases point into it; it goes back to its pool with the last.
///
/// `@unchecked Sendable`: `memory` is written only by a reader that holds the buffer alone; the count is atomic.
final class ReadBuffer: RecordPin, @unchecked Sendable {
  let memory: UnsafeMutableRawBufferPointer
  private let holders = Atomic<Int>(1)
  private let pool: ReadBufferPool

  fileprivate init(bytes: Int, pool: ReadBufferPool) {
    memory = .allocate(byteCount: bytes, alignment: Limits.groupAlignment)
    self.pool = pool
  }

  deinit { memory.deallocate() }

  var chargedBytes: Int { memory.count }
  /// Whether the caller, who holds it, is the only one.
  var isHeldOnce: Bool { holders.load(ordering: .acquiring) == 1 }

  func retain() { holders.add(1, ordering: .relaxed) }

  func unpin() {
    let left = holders.subtract(1, ordering: .acquiringAndReleasing).newValue
    precondition(left >= 0, "a buffer was unpinned more often than pinned")
    if left == 0 { pool.giveBack(self) }
  }

  fileprivate func takenAgain() { holders.store(1, ordering: .releasing) }
}

/// Buffers of the ordinary size that nobody uses just now, a few of them.
final class ReadBufferPool: Sendable {
  /// Nil once the log is closed: buffers and their pool would keep each other for ever.
  private let spare = Mutex<[ReadBuffer]?>([])

  /// A buffer of at least `bytes`, held once.
  func take(atLeast bytes: Int) -> ReadBuffer {
    if bytes <= Limits.coldReadBufferBytes, let buffer = spare.withLock({ $0?.popLast() }) {
      buffer.takenAgain()
      return buffer
    }
    return ReadBuffer(bytes: max(GroupHeader.padded(bytes), Limits.coldReadBufferBytes), pool: self)
  }

  /// Keeps none from here on.
  func close() { spare.withLock { $0 = nil } }

  fileprivate func giveBack(_ buffer: ReadBuffer) {
    guard buffer.memory.count == Limits.coldReadBufferBytes else { return }
    spare.withLock { if let count = $0?.count, count < Limits.maxSpareReadBuffers { $0?.append(buffer) } }
  }
}
