import SluiceCore
import Synchronization

/// A piece of the tail ring's memory, in the format that records have on disk.
///
/// `@unchecked Sendable`: `memory` is written only by the lane that reserved the bytes, until its submit, and by the
/// commit thread, until it publishes them; after that it is only read, by whoever holds a pin. The counters below
/// `pins` are touched only under the ring's mutex.
final class Slab: RecordPin, @unchecked Sendable {
  let memory: UnsafeMutableRawPointer
  let size: Int
  /// Its place in the ring's memory.
  let index: Int
  private let ring: SlabMemory
  /// Batches and leases that point into it. Raised by the ring under its mutex, or by a holder; lowered anywhere.
  private let pins = Atomic<Int>(0)

  /// Bytes handed out to lanes.
  var reserved = 0
  /// Chunks and ranges that lanes have not given back.
  var holders = 0
  /// One past the number of the last extent that lies in it.
  var extentsEnd: UInt64 = 0
  /// Rises when the slab is used anew: what a reader remembers of it is void then.
  var generation: UInt64 = 0

  init(_ index: Int, size: Int, in ring: SlabMemory) {
    self.size = size
    self.index = index
    self.ring = ring
    memory = ring.map(index)
  }

  deinit { ring.unmap(memory) }

  /// Its pages go back to the system until it is used again. Nobody reads it, or will before it is written anew.
  func releasePages() { ring.release(memory) }

  var chargedBytes: Int { size }
  var isPinned: Bool { pins.load(ordering: .acquiring) > 0 }

  func retain() { pins.add(1, ordering: .relaxed) }

  func unpin() {
    let before = pins.subtract(1, ordering: .releasing).oldValue
    precondition(before > 0, "a slab was unpinned more often than pinned")
  }
}

/// Consecutive records in one slab: what one submit, or several adjacent ones, added.
struct Extent {
  var firstLSN: UInt64
  var slab: Int
  /// Slabs are never freed before their ring.
  var start: UnsafeMutableRawPointer
  var length: Int
  var count: Int

  var nextLSN: UInt64 { firstLSN + UInt64(count) }
}

/// Bytes of a slab that a lane may write without a lock.
struct LaneChunk {
  var slab: Int
  var start: UnsafeMutableRawPointer
  var end: UnsafeMutableRawPointer
  /// It begins where the lane's records end, so its open range goes on.
  var continuesRange: Bool
}

/// Records of a lane that are not submitted yet.
struct LaneRange {
  var slab: Int
  var start: UnsafeMutableRawPointer
  var length: Int
  var count: Int
  /// The hold of the chunk it lies in went over to it when the lane left that chunk.
  var hasHold: Bool
}
