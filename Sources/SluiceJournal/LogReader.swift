import SluiceCore
import Synchronization

/// One subscriber's way out of a stream: in place from the ring while it keeps up, from segment files while it doesn't.
/// Owned by the subscriber's thread; `lag` and `cursor` only look at atomics.
final class LogReader: StreamReader {
  private let core: LogCore
  private let own: Cursor
  /// The log keeps the cursor, and keeps records for it. A scan only looks.
  private let isSubscription: Bool
  private let bells = ReaderBells()
  private let cold: ColdReader
  private let extents: UnsafeMutableBufferPointer<Extent>
  private(set) var position: UInt64
  /// One past what was handed out or told so far.
  private var front: UInt64
  /// Where the last hot batch ended.
  private var hint: (lsn: UInt64, slab: Int, generation: UInt64, at: UnsafeMutableRawPointer)?
  private var isOpen = true

  /// `cursor` is in the log's table and connected by the caller, or, for a scan, nobody else's.
  init(_ core: LogCore, _ cursor: Cursor, isSubscription: Bool) {
    self.core = core
    own = cursor
    self.isSubscription = isSubscription
    cold = ColdReader(core)
    extents = .allocate(capacity: Limits.maxExtentsPerBatch)
    position = cursor.lsn.load(ordering: .acquiring)
    front = position
    core.ring.readerOpened()
    core.readers.add(bells)
  }

  deinit {
    close()
    extents.deallocate()
  }

  var streamName: String { core.options.name }
  var logUUID: LogUUID { core.uuid }
  func sourceName(_ id: UInt16) -> String { core.names.sourceName(id) }
  func producerName(_ id: UInt32) -> String { core.names.producerName(id) }
  var cursor: UInt64 { own.lsn.load(ordering: .acquiring) }
  func setDoorbell(_ bell: Doorbell?) { bells.setDelivery(bell) }

  func seek(to lsn: UInt64) {
    precondition(lsn >= cursor, "what is settled is not delivered again")
    // What was read just now is behind the front, whether or not another read follows.
    front = max(front, position)
    position = lsn
  }

  // MARK: Reading

  func read(into batch: RecordBatch, maxRecords: Int, maxBytes: Int) throws(StreamReadError) -> ReadOutcome {
    precondition(batch.count == 0 && isOpen, "a batch is released before it is filled again")
    let most = max(1, min(maxRecords, batch.capacity))
    front = max(front, position)
    // What was handed out before may be read again as long as it is there.
    let dropped = own.dropped.load(ordering: .acquiring)
    if position == front, position < dropped { return gap(position, dropped - 1, .dropped) }
    while true {
      if core.hasFailed.load(ordering: .acquiring) { throw failure() }
      let limit = core.committedLSN.load(ordering: .acquiring)
      guard position <= limit else { return .nothingYet }
      if cold.holds(position) {
        guard cold.fill(batch, from: position, limit: limit, maxRecords: most, maxBytes: maxBytes) else {
          return try damage(position, position)
        }
        position = batch.lastLSN + 1
        return .records
      }
      if let span = core.ring.locate(position, limit: limit, into: extents) {
        fillHot(batch, span, limit: limit, maxRecords: most, maxBytes: maxBytes)
        return .records
      }
      switch try cold.load(position, limit: limit) {
      case .loaded: continue
      case .moved(let lsn): position = max(position, lsn)
      case .gap(let first, let last, .corruption): return try damage(first, last)
      case .gap(let first, let last, .retention): return gap(first, last, isDropping(first) ? .dropped : .retention)
      case .gap(let first, let last, let reason): return gap(first, last, reason)
      }
    }
  }

  private func fillHot(_ batch: RecordBatch, _ span: HotSpan, limit: UInt64, maxRecords: Int, maxBytes: Int) {
    batch.firstLSN = position
    batch.pin = span.slab
    var lsn = extents[0].firstLSN
    var at = extents[0].start
    if let hint, hint.lsn == position, hint.slab == span.slabIndex, hint.generation == span.generation, position > lsn {
      lsn = position
      at = hint.at
    }
    walk: for place in 0..<span.extents {
      if place > 0 { at = extents[place].start }
      let end = extents[place].start + extents[place].length
      while at < end {
        let length = Int(at.loadLE(RecordLayout.length) as UInt32)
        if lsn >= position {
          if lsn > limit || batch.count == maxRecords || (batch.count > 0 && batch.bytes + length > maxBytes) {
            break walk
          }
          batch.append(UnsafeRawPointer(at), length: length)
        }
        at += length
        lsn += 1
      }
    }
    precondition(batch.count > 0, "the span begins with the record asked for")
    position = batch.lastLSN + 1
    hint = (position, span.slabIndex, span.generation, at)
  }

  private func gap(_ first: UInt64, _ last: UInt64, _ reason: GapReason) -> ReadOutcome {
    position = last + 1
    if isSubscription { core.counters.countGap(records: last - first + 1, reason) }
    return .gap(first: first, last: last, reason)
  }

  /// With `on_corruption: halt` a subscriber goes no further, and stays where it is; who only looks is told of the gap.
  private func damage(_ first: UInt64, _ last: UInt64) throws(StreamReadError) -> ReadOutcome {
    guard isSubscription, core.live.onCorruption == .halt else { return gap(first, last, .corruption) }
    throw StreamReadError(
      "stream \(core.options.name): the records with LSN \(first)...\(last) are damaged or missing, and on_corruption "
        + "is halt: look with `sluice stream verify \(core.options.directory)`; then repair it, restore a backup, or set "
        + "`on_corruption: gap` to go on without them")
  }

  /// Whether records that the log has no more were dropped for a subscriber that had not settled them.
  private func isDropping(_ lsn: UInt64) -> Bool {
    isSubscription && (core.live.whenFull == .dropOldest || lsn < own.dropped.load(ordering: .acquiring))
  }

  private func failure() -> StreamReadError {
    StreamReadError("stream \(core.options.name) stopped: \(core.fault?.description ?? "a write failed")")
  }

  // MARK: Settling

  func settle(below lsn: UInt64) {
    precondition(lsn <= position, "only what was read can be settled")
    guard lsn > own.lsn.load(ordering: .relaxed) else { return }
    own.lsn.store(lsn, ordering: .sequentiallyConsistent)
    guard isSubscription else { return }
    core.cursorMoved()
    if core.isFull(.lag) { core.lagWatch.look(core) }
  }

  func flushCursor() throws(StreamReadError) {
    guard isSubscription else { return }
    let wanted = cursor - 1
    bells.waitsForSync.store(true, ordering: .sequentiallyConsistent)
    defer { bells.waitsForSync.store(false, ordering: .relaxed) }
    while core.durableLSN.load(ordering: .sequentiallyConsistent) < wanted {
      if core.hasFailed.load(ordering: .acquiring) { throw failure() }
      core.syncRequested.store(true, ordering: .releasing)
      core.commitBell.ring()
      bells.sync.wait(until: Clock.monotonic() + Limits.fullRetryNanoseconds)
    }
    var isWritten = false
    do throws(IOFault) { isWritten = try core.writeCursors() } catch {
      throw StreamReadError("stream \(core.options.name): the cursor was not written: \(error)")
    }
    guard isWritten else {
      throw StreamReadError("stream \(core.options.name): the cursor was not written: the stream is closed")
    }
  }

  var lag: StreamLag { core.lag(of: own.needed) }

  func close() {
    guard isOpen else { return }
    isOpen = false
    core.readers.remove(bells)
    core.ring.readerClosed()
    guard isSubscription else { return }
    own.updatedTime.store(Clock.wall(), ordering: .relaxed)
    own.setLagBound(nil)
    own.connected.store(false, ordering: .releasing)
    core.cursorMoved()
    core.lagWatch.look(core)
  }
}
