import SluiceCore
import Synchronization

/// One event loop's way into the ring.
///
/// `@unchecked Sendable`: everything but `state`, `wakeAt` and `heldSlab` is touched only on the thread of the loop
/// that opened the lane, where the ring's calls back into it run too; the first two are atomic, and `heldSlab` is
/// guarded by the ring's mutex.
final class LogLane: IngestLane, @unchecked Sendable {
  private enum State {
    static let noChunk: UInt8 = 0
    /// The chunk may be taken back by the ring.
    static let idle: UInt8 = 1
    /// Between the first append and the submit: the chunk is being written to.
    static let active: UInt8 = 2
  }

  private let core: LogCore
  private let source: UInt16
  private let wake: @Sendable () -> Void
  private let state = Atomic<UInt8>(State.noChunk)
  /// The position that a wake is asked for; 0 = none.
  private let wakeAt = Atomic<UInt64>(0)
  /// The slab of the chunk that the lane holds. Guarded by the ring's mutex.
  var heldSlab: Int?

  private(set) var cursor: UnsafeMutableRawPointer
  var chunkEnd: UnsafeMutableRawPointer
  private var chunkSlab = 0
  private var rangeStart: UnsafeMutableRawPointer
  private var rangeCount = 0
  private let ranges: UnsafeMutablePointer<LaneRange>
  /// Beside what a lane may hold by chunks, one for each slab that a reservation may span.
  private let maxRanges: Int
  private var rangesUsed = 0
  private var isActive = false
  /// Chunks reserved beyond the current one, and how many of them are in use or done with.
  private(set) var pieces: [LaneChunk] = []
  private var piecesUsed = 0
  /// Slabs with a hold for this lane beside `heldSlab` and its ranges'. Touched under the ring's mutex.
  var pieceHolds: [Int] = []
  /// Room was reserved in this tick: what of it is not used goes back with the submit.
  private(set) var hasReservation = false
  /// The stream's, as it was when this tick began, or what a reservation of the tick is for, if that is more.
  private var maxRecord = 0
  /// When this tick's first record came: one look at the clock for all of them.
  private var tickTime: Int64 = 0
  private var lastLSN: UInt64

  init(core: LogCore, source: UInt16, wake: @escaping @Sendable () -> Void) {
    self.core = core
    self.source = source
    self.wake = wake
    maxRanges = Limits.maxLaneRanges + core.options.slabCount
    ranges = .allocate(capacity: maxRanges)
    // An empty chunk: the first append asks for a real one.
    cursor = UnsafeMutableRawPointer(ranges)
    chunkEnd = cursor
    rangeStart = cursor
    lastLSN = core.committedLSN.load(ordering: .acquiring)
    core.ring.add(self)
  }

  deinit { ranges.deallocate() }

  // MARK: What the ring asks, on this lane's thread

  var hasOpenRange: Bool { rangeCount > 0 }
  var openRangeBytes: Int { rangeStart.distance(to: cursor) }
  /// The current chunk is one of `pieces`, whose hold is in `pieceHolds`.
  var isInPiece: Bool { piecesUsed > 0 }
  /// The end of what was reserved and not written.
  var unused: LaneChunk {
    let current = LaneChunk(slab: chunkSlab, start: cursor, end: chunkEnd, continuesRange: false)
    return piecesUsed < pieces.count ? pieces[pieces.count - 1] : current
  }

  func becomeIdle(keepingChunk: Bool) {
    state.store(keepingChunk ? State.idle : State.noChunk, ordering: .releasing)
  }

  /// Called by the ring on any thread, under its mutex.
  func revokeIfIdle() -> Bool {
    state.compareExchange(expected: State.idle, desired: State.noChunk, ordering: .acquiringAndReleasing).exchanged
  }

  // MARK: Appending

  func append(_ record: RecordFields) -> AppendResult { append(record, producer: 0, epoch: 0) }

  func append(_ record: RecordFields, producer: UInt32, epoch: UInt16) -> AppendResult {
    let size = record.recordBytes
    if let refusal = makeRoom(size) { return refusal }
    let crc = record.encodeProducerPart(to: cursor + RecordLayout.producerPart)
    writeServerPart(size: size, crc: crc, producer: producer, epoch: epoch)
    return .accepted
  }

  func append(
    encoded producerPart: UnsafeRawBufferPointer, crc: UInt32, producer: UInt32, epoch: UInt16
  ) -> AppendResult {
    let size = Limits.serverPartBytes + producerPart.count
    precondition(size % 8 == 0, "the caller has validated the producer part")
    if let refusal = makeRoom(size) { return refusal }
    if let base = producerPart.baseAddress {
      (cursor + RecordLayout.producerPart).copyMemory(from: base, byteCount: producerPart.count)
    }
    writeServerPart(size: size, crc: crc, producer: producer, epoch: epoch)
    return .accepted
  }

  @inline(__always)
  private func writeServerPart(size: Int, crc: UInt32, producer: UInt32, epoch: UInt16) {
    cursor.storeLE(UInt64(UInt32(size)) | UInt64(crc) << 32, RecordLayout.length)
    cursor.storeLE(tickTime, RecordLayout.ingestTime)
    cursor.storeLE(UInt64(producer) | UInt64(source) << 32 | UInt64(epoch) << 48, RecordLayout.producer)
    cursor += size
    rangeCount += 1
  }

  /// Makes sure that `size` bytes may be written at `cursor`; otherwise says why not.
  @inline(__always)
  private func makeRoom(_ size: Int) -> AppendResult? {
    if isActive, size <= cursor.distance(to: chunkEnd), size <= maxRecord { return nil }
    return makeRoomSlowly(size)
  }

  @inline(never)
  private func makeRoomSlowly(_ size: Int) -> AppendResult? {
    if !isActive { maxRecord = core.live.maxRecordBytes }
    guard size <= maxRecord else { return .tooLarge(limit: maxRecord) }
    if !isActive {
      if let reason = core.fullReason { return refuse(reason) }
      begin()
      if size <= cursor.distance(to: chunkEnd) { return nil }
    }
    while piecesUsed < pieces.count {
      closeRange()
      enter(pieces[piecesUsed])
      piecesUsed += 1
      if size <= cursor.distance(to: chunkEnd) { return nil }
    }
    return takeChunk(size) ? nil : refuse(.ring)
  }

  /// Goes on in a chunk of the ring with room for `size` bytes.
  private func takeChunk(_ size: Int) -> Bool {
    let wasInPiece = isInPiece
    guard rangesUsed < maxRanges - 1, let chunk = core.ring.reserve(size, for: self) else { return false }
    forgetPieces()
    if chunk.continuesRange {
      chunkEnd = chunk.end
    } else {
      closeRange(leavingChunk: !wasInPiece)
      enter(chunk)
    }
    return true
  }

  private func enter(_ chunk: LaneChunk) {
    rangeStart = chunk.start
    cursor = chunk.start
    chunkSlab = chunk.slab
    chunkEnd = chunk.end
  }

  private func forgetPieces() {
    pieces.removeAll(keepingCapacity: true)
    piecesUsed = 0
  }

  private func begin() {
    let before = state.exchange(State.active, ordering: .acquiringAndReleasing)
    if before == State.noChunk { chunkEnd = cursor }
    rangeStart = cursor
    isActive = true
    tickTime = Clock.wall()
  }

  private func refuse(_ reason: FullReason) -> AppendResult { .full(countReject(reason)) }

  private func closeRange(leavingChunk: Bool = false) {
    guard rangeCount > 0 else { return }
    precondition(rangesUsed < maxRanges, "there is room for what was taken of the ring")
    ranges[rangesUsed] = LaneRange(
      slab: chunkSlab, start: rangeStart, length: openRangeBytes, count: rangeCount, hasHold: leavingChunk)
    rangesUsed += 1
    rangeCount = 0
  }

  func reserve(bytes wanted: Int, largest: Int) -> FullReason? {
    precondition(2 * largest <= core.options.slabBytes, "no max_record of this log was ever larger")
    let bytes = RecordLayout.padded(wanted)
    if !isActive {
      if let reason = core.fullReason { return countReject(reason) }
      maxRecord = core.live.maxRecordBytes
      begin()
    }
    maxRecord = max(maxRecord, largest)
    if bytes <= cursor.distance(to: chunkEnd) { return nil }
    if bytes <= core.options.slabBytes {
      guard takeChunk(bytes) else { return countReject(.ring) }
    } else {
      let wasInPiece = isInPiece
      // The range that is open, and one for each piece, of which there are no more than slabs.
      guard rangesUsed < Limits.maxLaneRanges,
        let chunks = core.ring.reserve(bytes, largest: largest, for: self)
      else { return countReject(.ring) }
      closeRange(leavingChunk: !wasInPiece)
      enter(chunks[0])
      pieces.replaceSubrange(0..., with: chunks.dropFirst())
      piecesUsed = 0
    }
    hasReservation = true
    return nil
  }

  private func countReject(_ reason: FullReason) -> FullReason {
    core.countReject(reason)
    return reason
  }

  func appendConsumed(producer: UInt32, epoch: UInt16, sequence: UInt64) -> AppendResult {
    let size = Limits.serverPartBytes + Limits.producerFixedBytes
    if let refusal = makeRoom(size) { return refusal }
    let note = RecordFields(eventTime: tickTime, sequence: sequence, payload: .empty)
    let crc = note.encodeProducerPart(to: cursor + RecordLayout.producerPart, type: RecordLayout.typeConsumed)
    writeServerPart(size: size, crc: crc, producer: producer, epoch: epoch)
    return .accepted
  }

  // MARK: Submitting

  func submit() -> UInt64 {
    guard isActive else { return lastLSN }
    closeRange()
    isActive = false
    let (last, keepsChunk, pendingBytes) = core.ring.submit(
      UnsafeBufferPointer(start: ranges, count: rangesUsed), from: self)
    if !keepsChunk { chunkEnd = cursor }
    if hasReservation {
      hasReservation = false
      forgetPieces()
    }
    guard rangesUsed > 0 else { return lastLSN }
    rangesUsed = 0
    lastLSN = last
    core.submitted(last: last, pendingBytes: pendingBytes)
    return last
  }

  var acknowledged: UInt64 {
    // In memory is enough, and everything submitted is.
    core.options.durability == .memory ? .max : core.acknowledgedLSN
  }

  func requestWake(at position: UInt64) -> Bool {
    // First asked, then looked; the commit thread first publishes, then looks for requests: one of the two sees.
    wakeAt.store(position, ordering: .sequentiallyConsistent)
    guard acknowledged >= position else { return true }
    // Reached already, or just now: if the commit thread took the request in the meantime, its wake comes.
    return wakeAt.exchange(0, ordering: .sequentiallyConsistent) == 0
  }

  /// On the commit thread: wakes the loop if what it waits for is reached.
  func wakeIfReached(_ acknowledged: UInt64) {
    let wanted = wakeAt.load(ordering: .sequentiallyConsistent)
    guard wanted != 0, wanted <= acknowledged else { return }
    if wakeAt.compareExchange(expected: wanted, desired: 0, ordering: .sequentiallyConsistent).exchanged { wake() }
  }

  func close() {
    precondition(!isActive || rangeCount + rangesUsed == 0, "a lane is closed only after its last submit")
    core.ring.remove(self)
    core.removeLane(self)
  }
}
