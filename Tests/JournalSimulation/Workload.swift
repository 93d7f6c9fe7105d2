import SluiceCore
import SluiceJournal

/// One log's life under a seeded load: producers, subscribers, the commit thread and the keeper take turns as the seed
/// has it, and power is lost now and then. Everything is driven by hand, so that a seed says all.
struct Workload {
  static let subscribers = ["fast", "slow"]
  static let producers = ["p1", "p2", "p3"]

  let options: StreamOptions
  let fault: SyncFault?
  private(set) var storage: SimulatedStorage
  private(set) var log: StreamLog
  private(set) var world = World()
  private var lanes: [any IngestLane] = []
  private var readers: [any StreamReader] = []
  private let batch = RecordBatch(capacity: 64)
  /// Never behind the clock by which the keeper knows when its log was opened.
  private var now = Clock.monotonic()
  private var events = SimulationEvents()

  static func options(_ durability: Durability) -> StreamOptions {
    var options = StreamOptions(name: "simulated", directory: SimulatedStorage.directory)
    options.durability = durability
    options.ringBytes = Limits.minRingBytes
    options.minSegmentBytes = 96 << 10
    options.segmentBytes = 96 << 10
    options.retainBytes = 256 << 10
    options.maxRecordBytes = 8 << 10
    options.diskReserveBytes = 0
    // Due at once: a round of the commit thread without records writes it.
    options.idleMarkerNanoseconds = 0
    return options
  }

  /// A new log, with copies of the disk before every change that its first opening makes.
  init(_ durability: Durability, fault: SyncFault?) throws {
    options = Workload.options(durability)
    self.fault = fault
    var disk = SimulatedDisk()
    disk.makeDirectory(SimulatedStorage.directory)
    // A disk that fails before a log is there at all keeps it from being opened, and that is all.
    let isFailing = if case .fails? = fault { true } else { false }
    storage = SimulatedStorage(disk, fault: isFailing ? nil : fault)
    storage.keepCopies { _, _ in true }
    log = try StreamLog.openByHand(options, observer: events, storage: storage)
    storage.keepCopies(nil)
    storage.set(fault)
    try connect()
  }

  private mutating func connect() throws {
    lanes = ["api", "modules"].map { log.openLane(source: $0) {} }
    readers = []
    for name in Workload.subscribers {
      let reader = try log.openReader(subscriber: name, start: .oldest)
      readers.append(reader)
      world.settled[name] = reader.cursor
      world.flushed[name] = min(world.flushed[name] ?? 0, reader.cursor)
    }
  }

  /// The commit thread has ended: it has no more rounds.
  private(set) var hasCommitEnded = false
  /// The disk failed when the log was to be opened again.
  private(set) var isOver = false

  /// A fault of the disk is the log's to live with; after it, it takes nothing and promises nothing.
  var hasFailed: Bool { log.status.state == .failed }

  // MARK: Steps

  mutating func step(_ random: inout SimulationRandom) throws {
    switch random.below(100) {
    case ..<45: append(&random)
    case ..<70: commit()
    case ..<85: try read(&random)
    case ..<95: keep(&random)
    case ..<97: reopen()
    default: flush(&random)
    }
  }

  private mutating func append(_ random: inout SimulationRandom) {
    guard !lanes.isEmpty else { return }
    let lane = lanes[random.below(lanes.count)]
    let producer = random.below(Workload.producers.count + 1)
    let handle = producer == 0 ? nil : log.producer(named: Workload.producers[producer - 1])
    var sequence = handle.map { _ in world.lastSequence(of: producer, through: .max) } ?? 0
    var sent: [World.Record] = []
    for _ in 0...random.below(6) {
      let isLarge = random.chance(35)
      let bytes = 8 + random.below(isLarge ? 6_000 : 300)
      if producer != 0 { sequence += 1 }
      let record = World.Record(id: world.nextID, payloadBytes: bytes, producer: producer, sequence: sequence)
      guard put(record, lane, handle) else { break }
      world.nextID += 1
      sent.append(record)
    }
    guard !sent.isEmpty else { return }
    world.submitted(sent, last: lane.submit())
  }

  private func put(_ record: World.Record, _ lane: any IngestLane, _ producer: Producer?) -> Bool {
    let payload = UnsafeMutableRawBufferPointer.allocate(byteCount: record.payloadBytes, alignment: 8)
    defer { payload.deallocate() }
    payload.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: record.id))
    payload.storeBytes(of: record.id, as: UInt64.self)
    let fields = RecordFields(
      eventTime: Int64(record.id), sequence: record.sequence, payload: UnsafeRawBufferPointer(payload))
    if let producer { return lane.append(fields, producer: producer.id, epoch: 1) == .accepted }
    return lane.append(fields) == .accepted
  }

  mutating func commit() {
    let isIdle = log.status.ringBytesInUse == 0
    if !log.stepCommit() { hasCommitEnded = true }
    noteCommitted()
    // Without records the round wrote the marker, if one was due: all that is durable has its witness.
    if isIdle, !hasFailed { world.isWitnessed = log.durableLSN == log.committedLSN }
  }

  private mutating func noteCommitted() {
    if log.committedLSN > world.handedOut { world.isWitnessed = false }
    world.handedOut = max(world.handedOut, log.committedLSN)
    world.survivesKill = max(world.survivesKill, log.committedLSN)
    let durable = options.durability == .fsync ? log.committedLSN : log.durableLSN
    world.survivesPower = max(world.survivesPower, durable)
  }

  private mutating func read(_ random: inout SimulationRandom) throws {
    let place = random.chance(70) ? 0 : 1
    let reader = readers[place]
    // Now and then one catches up, and retention gets on.
    let most = random.chance(30) ? 100 : 1
    for _ in 0..<most {
      guard case .records? = try? reader.read(into: batch, maxRecords: 1 + random.below(64), maxBytes: 256 << 10) else {
        return
      }
      let next = batch.lastLSN + 1
      batch.release()
      reader.settle(below: next)
      world.settled[Workload.subscribers[place]] = next
    }
  }

  private mutating func keep(_ random: inout SimulationRandom) {
    now = max(now, Clock.monotonic()) + Int64(random.below(10)) * Limits.cursorIntervalNanoseconds / 2
    let before = storage.cursorWrites
    log.stepKeeper(now: now)
    if storage.cursorWrites > before { noteFlushed() }
  }

  /// A cursor write that returned covers what was settled, up to what is durable.
  private mutating func noteFlushed() {
    for (place, name) in Workload.subscribers.enumerated() {
      world.flushed[name] = max(world.flushed[name] ?? 0, min(readers[place].cursor, log.durableLSN + 1))
    }
  }

  /// A reader that flushes: only where no sync must be waited for, which by hand nobody would make.
  private mutating func flush(_ random: inout SimulationRandom) {
    guard readers.allSatisfy({ $0.cursor <= log.durableLSN + 1 }), !hasFailed else { return }
    if (try? readers[random.below(readers.count)].flushCursor()) != nil { noteFlushed() }
  }

  /// An orderly end and a new start.
  private mutating func reopen() {
    guard !hasFailed else { return }
    close()
    guard !hasFailed else { return }
    do { try start(on: storage.disk) } catch { giveUp() }
  }

  mutating func close() {
    for reader in readers { reader.close() }
    closeLanes()
    log.close()
    hasCommitEnded = true
    noteCommitted()
    guard !hasFailed else { return }
    world.survivesPower = world.handedOut
    for name in Workload.subscribers { world.flushed[name] = world.settled[name] }
    world.isClosed = true
    world.isWitnessed = true
  }

  /// Goes on with a disk as a crash left it.
  mutating func start(on disk: SimulatedDisk) throws {
    abandon()
    events = SimulationEvents()
    storage = SimulatedStorage(disk, fault: fault)
    log = try StreamLog.openByHand(options, observer: events, storage: storage)
    hasCommitEnded = false
    world.recovered(through: log.recovery.lastLSN)
    for name in Workload.subscribers { world.flushed[name] = nil }
    try connect()
  }

  mutating func giveUp() { isOver = true }

  private mutating func closeLanes() {
    for lane in lanes { lane.close() }
    lanes = []
  }

  /// Lanes and log would keep each other.
  mutating func abandon() {
    closeLanes()
    log.abandon()
  }
}
