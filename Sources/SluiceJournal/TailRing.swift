import SluiceCore
import Synchronization

// The newest records in memory. Slabs fill one after the other; each lane takes a chunk of the current slab, writes
// records into it without a lock, and at `submit` its bytes become an extent with the next LSNs. Extents stand in one
// bounded queue in LSN order:
//
//      head ................ taken ................ tail
//      written (readers)  |  being written  |  waiting
//                      written              (written ≤ taken)
//
// A slab is used anew when it is closed, no lane holds a piece of it, all its extents are written, and nobody has it
// pinned. Its extents leave the queue then: readers that still want them read the segment file.
//
// While subscribers hold slabs, others take their place, so that producers go on; when they let go, what is more than the
// ring's size is parked: its pages go back to the system.

/// Where a reader finds consecutive records: extents of one slab.
struct HotSpan {
  var slab: Slab
  var slabIndex: Int
  var generation: UInt64
  var extents: Int
}

final class TailRing: Sendable {
  private let state: Mutex<RingState>

  init(slabBytes: Int, slabCount: Int, nextLSN: UInt64) {
    state = Mutex(RingState(slabBytes: slabBytes, slabCount: slabCount, nextLSN: nextLSN))
  }

  deinit { state.withLock { $0.freeExtents() } }

  // MARK: Lanes

  func add(_ lane: LogLane) { state.withLock { $0.lanes.append(lane) } }

  func remove(_ lane: LogLane) {
    state.withLock { state in
      state.releaseChunk(of: lane)
      state.lanes.removeAll { $0 === lane }
    }
  }

  /// Room for `size` bytes for `lane`, in place of its chunk. Nil when the ring is full.
  func reserve(_ size: Int, for lane: LogLane) -> LaneChunk? { state.withLock { $0.reserve(size, for: lane) } }

  /// Room for records of `bytes` in all, more than a slab holds, and of at most `largest` each, for `lane`: chunks of
  /// several slabs, to be filled in this order, the first in place of the lane's. Nil when there is not that much.
  func reserve(_ bytes: Int, largest: Int, for lane: LogLane) -> [LaneChunk]? {
    state.withLock { $0.reserve(bytes, largest: largest, for: lane) }
  }

  /// Numbers the lane's ranges and queues them. Returns the last LSN, and whether the lane keeps its chunk.
  func submit(
    _ ranges: UnsafeBufferPointer<LaneRange>, from lane: LogLane
  ) -> (last: UInt64, keepsChunk: Bool, pendingBytes: Int) {
    state.withLock { $0.submit(ranges, from: lane) }
  }

  // MARK: Commit thread

  /// Moves extents that wait to `target`, up to `maxBytes` (but at least one), and returns how many.
  func take(into target: UnsafeMutableBufferPointer<Extent>, maxBytes: Int) -> Int {
    state.withLock { $0.take(into: target, maxBytes: maxBytes) }
  }

  /// Everything taken is written.
  func finishWrite() { state.withLock { $0.written = $0.taken } }

  // MARK: Readers

  func readerOpened() { state.withLock { $0.readers += 1 } }
  func readerClosed() { state.withLock { $0.readers -= 1 } }

  /// Pins the slab that holds `lsn` and copies its extents from there on that lie in it, none that begins above `limit`.
  func locate(_ lsn: UInt64, limit: UInt64, into target: UnsafeMutableBufferPointer<Extent>) -> HotSpan? {
    state.withLock { $0.locate(lsn, limit: limit, into: target) }
  }

  // MARK: Anyone

  /// Bytes accepted and not yet written, and the last LSN given out.
  var pending: (bytes: Int, lastLSN: UInt64) { state.withLock { ($0.pendingBytes, $0.nextLSN - 1) } }
}

/// What the ring's mutex guards.
///
/// `@unchecked Sendable`: it holds one raw buffer that belongs to it alone, and lives inside a mutex.
struct RingState: @unchecked Sendable {
  var slabs: [Slab] = []
  var lanes: [LogLane] = []
  var readers = 0
  var nextLSN: UInt64
  /// Numbers of extents since the log was opened.
  var head: UInt64 = 0
  var written: UInt64 = 0
  var taken: UInt64 = 0
  var tail: UInt64 = 0
  private(set) var submittedBytes = 0
  private(set) var takenBytes = 0
  /// Chunks and ranges that lanes hold: each may become an extent, so the queue keeps room for them.
  private var holds = 0
  private let slabBytes: Int
  private let slabCount: Int
  private let memory: SlabMemory
  private var current: Int?
  /// Slabs beyond the ring's size that are not needed just now.
  private var parked: [Int] = []
  /// Slabs that are full or were left, oldest first.
  private var closed: [Int] = []
  private let extents: UnsafeMutablePointer<Extent>
  private let capacity: UInt64

  init(slabBytes: Int, slabCount: Int, nextLSN: UInt64) {
    self.slabBytes = slabBytes
    self.slabCount = slabCount
    self.nextLSN = nextLSN
    memory = SlabMemory(slabBytes: slabBytes)
    let wanted = max(1024, slabBytes * slabCount / Limits.ringBytesPerExtent)
    capacity = UInt64(1) << UInt64(Int.bitWidth - (wanted - 1).leadingZeroBitCount)
    extents = .allocate(capacity: Int(capacity))
    closed.reserveCapacity(slabCount + Limits.maxCursorsPerLog)
    slabs.reserveCapacity(slabCount + Limits.maxCursorsPerLog)
  }

  var pendingBytes: Int { submittedBytes - takenBytes }

  private subscript(_ number: UInt64) -> Extent {
    get { extents[Int(number & (capacity - 1))] }
    nonmutating set { extents[Int(number & (capacity - 1))] = newValue }
  }

  func freeExtents() { extents.deallocate() }

  // MARK: Reserving

  mutating func reserve(_ size: Int, for lane: LogLane) -> LaneChunk? {
    precondition(size <= slabBytes)
    guard tail - written + UInt64(holds) < capacity else { return nil }
    let position = lane.cursor
    if !lane.isInPiece, let held = lane.heldSlab, held == current,
      slabs[held].memory + slabs[held].reserved == lane.chunkEnd
    {
      // Nobody took bytes behind the lane's chunk: what it has not used is given back, and most likely taken again.
      slabs[held].reserved = slabs[held].memory.distance(to: position)
    }
    guard let index = slab(withRoomFor: size) else {
      // What was given back is no longer the lane's, so its chunk ends here.
      if !lane.isInPiece { lane.chunkEnd = position }
      return nil
    }
    let slab = slabs[index]
    let bytes = min(max(size, Limits.laneChunkBytes), slabBytes - slab.reserved)
    var chunk = LaneChunk(
      slab: index, start: slab.memory + slab.reserved, end: slab.memory + slab.reserved + bytes,
      continuesRange: false)
    slab.reserved += bytes
    if lane.hasOpenRange, !lane.isInPiece, lane.heldSlab == index, chunk.start == position,
      lane.openRangeBytes + size <= Limits.maxExtentBytes
    {
      chunk.continuesRange = true
      return chunk
    }
    leaveChunk(of: lane)
    hold(index)
    lane.heldSlab = index
    return chunk
  }

  /// Room in several slabs. A chunk may stay empty at its end by a little less than a record, all but the last.
  mutating func reserve(_ bytes: Int, largest: Int, for lane: LogLane) -> [LaneChunk]? {
    let useful = slabBytes - (largest - 8)
    precondition(bytes > slabBytes && useful > 0)
    let wanted = (bytes - (largest - 8) + useful - 1) / useful
    guard tail - written + UInt64(holds + wanted) < capacity, canOpen(wanted, for: lane) else { return nil }
    leaveChunk(of: lane)
    var chunks: [LaneChunk] = []
    for place in 1...wanted {
      if let current { closed.append(current) }
      guard let index = openSlab() else { preconditionFailure("they were counted under this lock") }
      current = index
      let room = place < wanted ? slabBytes : RecordLayout.padded(bytes - (wanted - 1) * useful)
      slabs[index].reserved = room
      let start = slabs[index].memory
      chunks.append(LaneChunk(slab: index, start: start, end: start + room, continuesRange: false))
      hold(index)
      if place == 1 { lane.heldSlab = index } else { lane.pieceHolds.append(index) }
    }
    return chunks
  }

  private mutating func hold(_ index: Int) {
    slabs[index].holders += 1
    holds += 1
  }

  /// The lane goes on elsewhere. Its chunk's hold stays with the open range that lies in it; without one it is let go.
  /// When the open range lies in a piece, what is before it needs its holds until the submit.
  private mutating func leaveChunk(of lane: LogLane) {
    if lane.isInPiece, let held = lane.heldSlab {
      lane.pieceHolds.append(held)
      lane.heldSlab = nil
    } else if lane.hasOpenRange {
      lane.heldSlab = nil
    } else {
      releaseChunk(of: lane)
    }
  }

  /// The current slab if it has the room, else a fresh one in its place.
  private mutating func slab(withRoomFor size: Int) -> Int? {
    if let current {
      if slabBytes - slabs[current].reserved >= size { return current }
      closed.append(current)
    }
    if let fresh = openSlab() {
      current = fresh
    } else if current != nil {
      // Smaller records still find room in it.
      closed.removeLast()
      return nil
    }
    return current
  }

  /// Whether that many slabs can be opened, without those that only pins make necessary. The current one counts when nobody
  /// has it but `lane`, which will leave it: an empty ring gives all that it has.
  private mutating func canOpen(_ wanted: Int, for lane: LogLane) -> Bool {
    var found = slabCount - liveCount
    for index in closed where found < wanted {
      if isReusable(slabs[index]) || revokeIdleLanes(of: index) { found += 1 }
    }
    if found + 1 == wanted, let current, slabs[current].extentsEnd <= written, !slabs[current].isPinned {
      _ = revokeIdleLanes(of: current)
      let isLeft = lane.heldSlab == current && !lane.hasOpenRange && !lane.isInPiece
      if slabs[current].holders == (isLeft ? 1 : 0) { found += 1 }
    }
    return found >= wanted
  }

  mutating func releaseChunk(of lane: LogLane) {
    guard let held = lane.heldSlab else { return }
    release(held)
    lane.heldSlab = nil
  }

  private var liveCount: Int { slabs.count - parked.count }

  private mutating func openSlab() -> Int? {
    if liveCount < slabCount { return addSlab() }
    // A subscriber's pins must not stop producers: other memory takes the place of what it has in its hands, a batch,
    // and of what it may keep by leases, which are charged at a slab's full size.
    let most = readers * (1 + Limits.pluginLeaseBytes / slabBytes)
    let pinned = closed.count { slabs[$0].isPinned && slabs[$0].extentsEnd <= written }
    let limit = slabCount + min(most, pinned)
    park(downTo: limit)
    for (place, index) in closed.enumerated() where isReusable(slabs[index]) || revokeIdleLanes(of: index) {
      closed.remove(at: place)
      empty(index)
      return index
    }
    return liveCount < limit ? addSlab() : nil
  }

  private mutating func addSlab() -> Int {
    if let index = parked.popLast() { return index }
    slabs.append(Slab(slabs.count, size: slabBytes, in: memory))
    return slabs.count - 1
  }

  private mutating func park(downTo limit: Int) {
    while liveCount > limit, let place = closed.firstIndex(where: { isReusable(slabs[$0]) }) {
      let index = closed.remove(at: place)
      empty(index)
      slabs[index].releasePages()
      parked.append(index)
    }
  }

  /// Its extents go, and with them whatever is older: the queue stays one run of LSNs.
  private mutating func empty(_ index: Int) {
    head = max(head, slabs[index].extentsEnd)
    slabs[index].reserved = 0
    slabs[index].generation += 1
  }

  private func isReusable(_ slab: Slab) -> Bool {
    slab.holders == 0 && slab.extentsEnd <= written && !slab.isPinned
  }

  /// Takes back what idle lanes hold of a closed slab. True when it is reusable then.
  private mutating func revokeIdleLanes(of index: Int) -> Bool {
    guard slabs[index].extentsEnd <= written, !slabs[index].isPinned else { return false }
    for lane in lanes where lane.heldSlab == index && lane.revokeIfIdle() { releaseChunk(of: lane) }
    return isReusable(slabs[index])
  }

  // MARK: Submitting and taking

  mutating func submit(
    _ ranges: UnsafeBufferPointer<LaneRange>, from lane: LogLane
  ) -> (last: UInt64, keepsChunk: Bool, pendingBytes: Int) {
    for range in ranges {
      push(range)
      if range.hasHold { release(range.slab) }
    }
    if lane.hasReservation { giveBack(lane) }
    // A lane leaves its chunk when the others have moved on, so that readers see few changes of slab, and when the
    // queue has no room for one more extent from it.
    let keeps =
      !lane.hasReservation && lane.heldSlab == current && current != nil
      && tail - written + UInt64(holds) <= capacity
    if !keeps { releaseChunk(of: lane) }
    lane.becomeIdle(keepingChunk: keeps)
    return (nextLSN - 1, keeps, pendingBytes)
  }

  /// What a reservation has left over: its last bytes go to whoever comes next, its holds go.
  private mutating func giveBack(_ lane: LogLane) {
    let rest = lane.unused
    if rest.slab == current, slabs[rest.slab].memory + slabs[rest.slab].reserved == rest.end {
      slabs[rest.slab].reserved = slabs[rest.slab].memory.distance(to: rest.start)
    }
    for index in lane.pieceHolds { release(index) }
    lane.pieceHolds.removeAll(keepingCapacity: true)
  }

  private mutating func release(_ index: Int) {
    slabs[index].holders -= 1
    holds -= 1
  }

  private mutating func push(_ range: LaneRange) {
    submittedBytes += range.length
    defer { nextLSN += UInt64(range.count) }
    if tail > taken {
      var last = self[tail - 1]
      if last.slab == range.slab, last.start + last.length == range.start,
        last.length + range.length <= Limits.maxExtentBytes
      {
        last.length += range.length
        last.count += range.count
        self[tail - 1] = last
        return
      }
    }
    // Full of extents that are written: the oldest are forgotten, their readers go to the file.
    if tail - head == capacity { head += 1 }
    precondition(tail - head < capacity && head <= written, "reserve keeps room for what is not written")
    self[tail] = Extent(
      firstLSN: nextLSN, slab: range.slab, start: range.start, length: range.length, count: range.count)
    tail += 1
    slabs[range.slab].extentsEnd = tail
  }

  mutating func take(into target: UnsafeMutableBufferPointer<Extent>, maxBytes: Int) -> Int {
    precondition(taken == written, "one write at a time")
    var count = 0
    var bytes = 0
    while taken < tail, count < target.count {
      let extent = self[taken]
      if count > 0, bytes + extent.length > maxBytes { break }
      target[count] = extent
      bytes += extent.length
      count += 1
      taken += 1
    }
    takenBytes += bytes
    return count
  }

  // MARK: Reading

  func locate(_ lsn: UInt64, limit: UInt64, into target: UnsafeMutableBufferPointer<Extent>) -> HotSpan? {
    guard head < written, self[head].firstLSN <= lsn, lsn < self[written - 1].nextLSN else { return nil }
    var low = head
    var high = written
    while high - low > 1 {
      let middle = low + (high - low) / 2
      if self[middle].firstLSN <= lsn { low = middle } else { high = middle }
    }
    let index = self[low].slab
    var count = 0
    while low < written, count < target.count {
      let extent = self[low]
      guard extent.slab == index, extent.firstLSN <= limit else { break }
      target[count] = extent
      count += 1
      low += 1
    }
    guard count > 0 else { return nil }
    let slab = slabs[index]
    slab.retain()
    return HotSpan(slab: slab, slabIndex: index, generation: slab.generation, extents: count)
  }
}
