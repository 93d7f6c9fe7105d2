import SluiceCore
import Synchronization

/// What the parts of one open log share: lanes, the commit thread, the keeper and readers. Everything here is atomic
/// or behind a mutex of its own; no two of the mutexes are ever held together, but for the ring's, under which a lane's
/// atomics are touched.
final class LogCore: Sendable {
  /// As the log was opened; `live` has what may have changed since.
  let options: StreamOptions
  let live: LiveOptions
  let uuid: LogUUID
  let storage: any LogStorage
  let observer: any LogObserver
  let ring: TailRing
  let catalog: SegmentCatalog
  let cursors: CursorTable
  let cursorFile: CursorFile
  let names: LogNames
  let buffers = ReadBufferPool()
  let counters = LogCounters()
  let lagWatch = LagWatch()
  let supply: SegmentSupply

  /// The last LSN that may be handed out: written, and with `fsync` synced.
  let committedLSN: Atomic<UInt64>
  let writtenLSN: Atomic<UInt64>
  let durableLSN: Atomic<UInt64>
  /// The lowest LSN that is kept.
  let trimLSN: Atomic<UInt64>
  /// Below this nobody wants records any more, settled as they must be.
  let trimRequest = Atomic<UInt64>(0)
  /// Bytes written, less those that some subscriber has not settled, as the keeper last found them.
  let settledMark = Atomic<Int>(0)
  /// Bits of `FullBit`.
  private let fullBits = Atomic<UInt8>(0)
  private let lock: Mutex<HeldLock?>
  private let failure = Mutex<IOFault?>(nil)
  let hasFailed = Atomic<Bool>(false)
  let isClosing = Atomic<Bool>(false)
  let syncRequested = Atomic<Bool>(false)

  /// Bytes that end the commit thread's rest; 0 while it does not rest.
  let restBytes = Atomic<Int>(0)

  let commitBell = Doorbell()
  let keeperBell = Doorbell()
  let lanes = SharedList<LogLane>()
  let readers = SharedList<ReaderBells>()

  init(
    _ start: LogStart, cursorFile: CursorFile, options: StreamOptions, storage: any LogStorage,
    observer: any LogObserver, lock: consuming HeldLock
  ) {
    self.options = options
    live = LiveOptions(options)
    self.storage = storage
    self.observer = observer
    self.cursorFile = cursorFile
    uuid = start.header.uuid
    let next = start.header.baseLSN
    ring = TailRing(slabBytes: options.slabBytes, slabCount: options.slabCount, nextLSN: next)
    catalog = SegmentCatalog(start.segments)
    cursors = CursorTable(start.cursors)
    supply = SegmentSupply(options, spares: start.spares, on: storage)
    names = LogNames(
      start.definitions, recoveredLSN: next - 1,
      maxBytes: min(options.effectiveSegmentBytes / 4, Limits.maxDefinitionBytes))
    committedLSN = Atomic(next - 1)
    writtenLSN = Atomic(next - 1)
    durableLSN = Atomic(next - 1)
    trimLSN = Atomic(start.trimLSN)
    self.lock = Mutex(lock)
  }

  /// Whether the directory is still the one that was opened: a log whose directory was removed or replaced writes to files
  /// that nobody will find.
  func checkIdentity() throws(IOFault) {
    try lock.withLock { lock throws(IOFault) in try lock?.checkIdentity() }
    let newest = path(SegmentFile.name(catalog.newestBase))
    do throws(IOFault) { _ = try LogFile(newest, .read, on: storage) } catch {
      if error.code == ErrorCode.notFound { throw IOFault(.identity, newest, ErrorCode.stale) }
      throw error
    }
  }

  /// Another process may open the log from here on.
  func releaseLock() { _ = lock.withLock { $0.take() } }

  func path(_ name: String) -> String { options.directory + "/" + name }

  /// The last LSN whose producer may be answered: what was answered can be handed out, and what was not published
  /// because the device failed is not answered either.
  var acknowledgedLSN: UInt64 { committedLSN.load(ordering: .sequentiallyConsistent) }

  // MARK: Full

  enum FullBit: UInt8, CaseIterable {
    case closing = 1
    /// Too little free space.
    case reserve = 2
    /// A write found no space, or the next segment no descriptor.
    case noSpace = 4
    case retention = 8
    /// A subscriber's `max_lag … then: reject`.
    case lag = 16

    var reason: FullReason {
      switch self {
      case .closing: .closing
      case .reserve, .noSpace: .disk
      case .retention, .lag: .retention
      }
    }
  }

  /// Why no record is taken just now, the ring apart.
  var fullReason: FullReason? {
    let bits = fullBits.load(ordering: .relaxed)
    if bits == 0 { return nil }
    return FullBit.allCases.first { bits & $0.rawValue != 0 }?.reason
  }

  func isFull(_ bit: FullBit) -> Bool { fullBits.load(ordering: .relaxed) & bit.rawValue != 0 }

  /// Sets or clears one reason, and tells the observer when that changes what producers see. Of a lag, which may come
  /// and go with every batch, the keeper tells.
  func setFull(_ bit: FullBit, _ isSet: Bool) {
    let before =
      isSet
      ? fullBits.bitwiseOr(bit.rawValue, ordering: .acquiringAndReleasing).oldValue
      : fullBits.bitwiseAnd(~bit.rawValue, ordering: .acquiringAndReleasing).oldValue
    guard (before & bit.rawValue != 0) != isSet, bit != .closing else { return }
    if bit == .lag { return keeperBell.ring() }
    observer.logEvent(.full(fullReason))
  }

  func countReject(_ reason: FullReason) {
    let isLag = reason == .retention && !isFull(.retention)
    counters.countReject(isLag ? .maxLag : RejectReason(reason))
  }
  func removeLane(_ lane: LogLane) { lanes.remove(lane) }

  // MARK: Failure

  /// A write or sync failed: from here on nothing is acknowledged, handed out, or tried again.
  func fail(_ fault: IOFault) {
    let isFirst = failure.withLock { known -> Bool in
      defer { if known == nil { known = fault } }
      return known == nil
    }
    guard isFirst else { return }
    hasFailed.store(true, ordering: .releasing)
    setFull(.closing, true)
    observer.logEvent(.failed(fault))
  }

  var fault: IOFault? { failure.withLock { $0 } }

  // MARK: Between threads

  /// A lane has queued records up to `last`, and this many bytes wait now.
  func submitted(last: UInt64, pendingBytes: Int) {
    lagWatch.submitted(last: last, self)
    // While the commit thread rests it is woken only by the bytes it rests for; it looks again after each rest.
    if pendingBytes >= restBytes.load(ordering: .sequentiallyConsistent) { commitBell.ring() }
  }

  /// The commit thread has made records up to `last` ready to be handed out.
  func publish(committed last: UInt64) {
    committedLSN.store(last, ordering: .sequentiallyConsistent)
    readers.forEach { $0.ringDelivery() }
  }

  /// A group was written: whether what nobody has settled has reached the bound.
  func noteWritten() {
    lagWatch.look(self)
    guard live.whenFull != .dropOldest, !isFull(.retention) else { return }
    let unsettled = Int(counters.diskBytes.load(ordering: .relaxed)) - settledMark.load(ordering: .relaxed)
    guard unsettled >= live.retainBytes else { return }
    // The mark is as old as the last look. Near the bound every commit looks.
    if measureUnsettled() >= live.retainBytes {
      setFull(.retention, true)
      keeperBell.ring()
    }
  }

  /// Bytes that some subscriber has not settled.
  func measureUnsettled() -> Int {
    let unsettled = cursors.lowest.map { catalog.bytes(from: $0) } ?? 0
    settledMark.store(Int(counters.diskBytes.load(ordering: .relaxed)) - unsettled, ordering: .relaxed)
    return unsettled
  }

  /// A cursor rose, or a subscriber left: the keeper writes it down in a while.
  func cursorMoved() {
    if !cursors.dirty.exchange(true, ordering: .sequentiallyConsistent) { keeperBell.ring() }
  }

  func lag(of cursor: UInt64) -> StreamLag {
    let last = committedLSN.load(ordering: .acquiring)
    let from = max(cursor, trimLSN.load(ordering: .acquiring))
    guard from <= last else { return StreamLag(records: 0, bytes: 0, ageNanoseconds: 0) }
    return StreamLag(
      records: catalog.records(from: from, through: last), bytes: UInt64(catalog.bytes(from: from)),
      ageNanoseconds: max(0, catalog.time(of: from).map { Clock.wall() - $0 } ?? 0))
  }

  /// What the cursor slots say now.
  func cursorSlot(_ generation: UInt64) -> CursorSlot {
    let durable = durableLSN.load(ordering: .acquiring)
    return CursorSlot(
      generation: generation, uuid: uuid, durableLSN: durable, trimLSN: trimLSN.load(ordering: .acquiring),
      writtenTime: Clock.wall(), entries: cursors.entries(durableLSN: durable))
  }

  /// Writes the cursors now. A failed sync is final, as anywhere. False: the log is closed, and its directory perhaps another's.
  @discardableResult
  func writeCursors(at moment: CursorFile.Moment = .move) throws(IOFault) -> Bool {
    cursors.dirty.store(false, ordering: .sequentiallyConsistent)
    do throws(IOFault) {
      var durable: UInt64 = 0
      let isOpen = try cursorFile.write(at: moment) {
        let slot = cursorSlot($0)
        durable = slot.durableLSN
        return slot
      }
      guard isOpen else { return false }
      // A position above what is durable was written lower than it is; it is due again when a sync has come.
      if cursors.highest > durable + 1 { cursors.dirty.store(true, ordering: .sequentiallyConsistent) }
      return true
    } catch {
      cursors.dirty.store(true, ordering: .sequentiallyConsistent)
      if !error.isNoSpace { fail(error) }
      throw error
    }
  }
}

/// What recovery hands to a log that starts, its open files apart.
struct LogStart: Sendable {
  var segments: [SegmentInfo]
  var header: SegmentHeader
  var definitions: DefinitionTable
  var cursors: [CursorEntry]
  var trimLSN: UInt64
  /// Retired segments that can be used anew.
  var spares: [String]
  var lastTime: Int64
}

/// A list that one thread walks often and others change seldom.
final class SharedList<Element: AnyObject & Sendable>: Sendable {
  private let elements = Mutex<[Element]>([])

  func add(_ element: Element) { elements.withLock { $0.append(element) } }
  func remove(_ element: Element) { elements.withLock { $0.removeAll { $0 === element } } }
  var count: Int { elements.withLock { $0.count } }

  /// Calls `body` with each element, not holding the mutex, so that `body` may end in a change of the list.
  func forEach(_ body: (Element) -> Void) {
    for element in elements.withLock({ $0 }) { body(element) }
  }
}

/// How a reader is told of new records and of syncs.
final class ReaderBells: Sendable {
  private let delivery = Mutex<Doorbell?>(nil)
  /// Rung after each sync while the reader waits for one.
  let sync = Doorbell()
  let waitsForSync = Atomic<Bool>(false)

  func setDelivery(_ bell: Doorbell?) { delivery.withLock { $0 = bell } }
  func ringDelivery() { delivery.withLock { $0 }?.ring() }
  func ringSync() { if waitsForSync.load(ordering: .sequentiallyConsistent) { sync.ring() } }
}
