import Glibc
import SluiceCore
import Synchronization

/// A stream in memory: what the host sees of a log, with slabs of a few records, gaps and faults made to order.
///
/// `@unchecked Sendable`: everything mutable is in `unlockedState`, behind its lock; records are never moved or freed while the
/// reader lives.
final class MemoryReader: StreamReader, @unchecked Sendable {
  let streamName: String
  let logUUID = LogUUID.random()

  private struct State {
    var records: [UnsafeMutableRawPointer] = []
    var bytes: UInt64 = 0
    var cursor: UInt64 = 1
    var position: UInt64 = 1
    var doorbell: Doorbell?
    var gaps: [ClosedRange<UInt64>] = []
    var gapReason = GapReason.retention
    /// Everything below that was not handed out yet is dropped.
    var dropped: UInt64 = 1
    /// One past what was handed out or told.
    var front: UInt64 = 1
    /// LSNs that no record ever had: passed over in silence.
    var skips: [ClosedRange<UInt64>] = []
    var faults = 0
    var reads: [Int] = []
    var settles: [UInt64] = []
    var flushes = 0
    var isClosed = false
    /// Of one that was closed.
    var lateUses = 0
  }

  /// Only touched through `locked`.
  private var unlockedState = State()
  private let lock = Mutex<Void>(())
  private let changed = Doorbell()
  private let recordsPerSlab: UInt64
  private let pins = Atomic<Int>(0)

  init(_ name: String = "events", recordsPerSlab: Int = 1 << 20) {
    streamName = name
    self.recordsPerSlab = UInt64(recordsPerSlab)
  }

  deinit { locked { state in state.records.forEach { $0.deallocate() } } }

  private func locked<Result>(_ body: (inout State) -> Result) -> Result {
    lock.withLock { _ in body(&unlockedState) }
  }

  // MARK: For tests

  /// Adds records with these payloads and rings.
  func append(_ payloads: [String]) {
    let bell = locked { state -> Doorbell? in
      for payload in payloads {
        let record = MemoryReader.encode(payload, number: state.records.count)
        state.bytes += UInt64(RecordView(trusted: record).length)
        state.records.append(record)
      }
      return state.doorbell
    }
    bell?.ring()
  }

  func append(numbered range: Range<Int>) { append(range.map { "m\($0)" }) }

  func lose(_ range: ClosedRange<UInt64>, _ reason: GapReason = .retention) {
    locked { state in
      state.gaps.append(range)
      state.gapReason = reason
    }
  }

  /// As a log does whose subscriber is too far behind.
  func drop(below lsn: UInt64) { locked { $0.dropped = lsn } }

  func skip(_ range: ClosedRange<UInt64>) { locked { $0.skips.append(range) } }

  func failReads(_ count: Int) { locked { $0.faults = count } }

  /// Holds on slabs that are not let go.
  var pinCount: Int { pins.load(ordering: .acquiring) }
  var isClosed: Bool { locked { $0.isClosed } }
  var lateUses: Int { locked { $0.lateUses } }
  var flushes: Int { locked { $0.flushes } }
  /// How many records each read gave.
  var reads: [Int] { locked { $0.reads } }
  var settles: [UInt64] { locked { $0.settles } }

  /// Waits until every record below `lsn` is settled. One thread at a time.
  func waitUntilSettled(below lsn: UInt64, seconds: Int64 = 120) -> Bool {
    let deadline = Clock.monotonic() + seconds * 1_000_000_000
    while cursor < lsn { if !changed.wait(until: deadline) { return cursor >= lsn } }
    return true
  }

  /// A record to the test's taste.
  struct Draft {
    var payload: String
    var topic = ""
    var key = ""
    var headers: [UInt8] = []
    var source: UInt16 = 1
    var producer: UInt32 = 0
    var type = RecordLayout.typeData
  }

  func append(_ drafts: [Draft]) {
    let bell = locked { state -> Doorbell? in
      for draft in drafts {
        let record = MemoryReader.encode(draft, number: state.records.count)
        state.bytes += UInt64(RecordView(trusted: record).length)
        state.records.append(record)
      }
      return state.doorbell
    }
    bell?.ring()
  }

  private static func encode(_ payload: String, number: Int) -> UnsafeMutableRawPointer {
    encode(Draft(payload: payload, topic: "t\(number % 3)", producer: UInt32(number % 2)), number: number)
  }

  private static func encode(_ draft: Draft, number: Int) -> UnsafeMutableRawPointer {
    Array(draft.payload.utf8).withUnsafeBytes { payload in
      Array(draft.topic.utf8).withUnsafeBytes { topic in
        Array(draft.key.utf8).withUnsafeBytes { key in
          draft.headers.withUnsafeBytes { headers in
            let fields = RecordFields(
              eventTime: Int64(number), sequence: UInt64(number), topic: topic, key: key, headers: headers,
              payload: payload)
            let record = UnsafeMutableRawPointer.allocate(byteCount: fields.recordBytes, alignment: 8)
            let crc = fields.encodeProducerPart(to: record + RecordLayout.producerPart, type: draft.type)
            record.storeLE(UInt32(fields.recordBytes), RecordLayout.length)
            record.storeLE(crc, RecordLayout.crc)
            record.storeLE(Int64(1000 + number), RecordLayout.ingestTime)
            record.storeLE(draft.producer, RecordLayout.producer)
            record.storeLE(draft.source, RecordLayout.source)
            record.storeLE(UInt16(0), RecordLayout.epoch)
            return record
          }
        }
      }
    }
  }

  // MARK: StreamReader

  func sourceName(_ id: UInt16) -> String { "source-\(id)" }
  func producerName(_ id: UInt32) -> String { "producer-\(id)" }
  var cursor: UInt64 { locked { $0.cursor } }
  var position: UInt64 { locked { $0.position } }

  func seek(to lsn: UInt64) {
    locked { state in
      precondition(lsn >= state.cursor, "seek below the cursor")
      state.front = max(state.front, state.position)
      state.position = lsn
    }
  }

  func read(into batch: RecordBatch, maxRecords: Int, maxBytes: Int) throws(StreamReadError) -> ReadOutcome {
    precondition(maxRecords > 0 && batch.count == 0)
    let outcome = locked { state -> ReadOutcome? in
      guard state.faults == 0 else {
        state.faults -= 1
        return nil
      }
      if let skip = state.skips.first(where: { $0.contains(state.position) }) {
        state.position = skip.upperBound + 1
      }
      state.front = max(state.front, state.position)
      if state.position == state.front, state.position < state.dropped {
        let first = state.position
        state.position = state.dropped
        return .gap(first: first, last: state.dropped - 1, .dropped)
      }
      if let gap = state.gaps.first(where: { $0.contains(state.position) }) {
        let first = state.position
        state.position = gap.upperBound + 1
        return .gap(first: first, last: gap.upperBound, state.gapReason)
      }
      guard state.position <= UInt64(state.records.count) else { return .nothingYet }
      batch.firstLSN = state.position
      let slabEnd = ((state.position - 1) / recordsPerSlab + 1) * recordsPerSlab
      while state.position <= min(UInt64(state.records.count), slabEnd), batch.count < maxRecords,
        !(state.gaps + state.skips).contains(where: { $0.contains(state.position) })
      {
        let record = state.records[Int(state.position - 1)]
        let length = RecordView(trusted: record).length
        guard batch.count == 0 || batch.bytes + length <= maxBytes else { break }
        batch.append(record, length: length)
        state.position += 1
      }
      state.reads.append(batch.count)
      return .records
    }
    guard let outcome else { throw StreamReadError("the disk hums") }
    if outcome == .records {
      pins.wrappingAdd(1, ordering: .releasing)
      batch.pin = Pin(self)
    }
    return outcome
  }

  func settle(below lsn: UInt64) {
    locked { state in
      precondition(lsn > state.cursor, "a cursor never goes back")
      precondition(lsn <= state.position, "only what was read can be settled")
      state.cursor = lsn
      state.settles.append(lsn)
    }
    changed.ring()
  }

  func flushCursor() throws(StreamReadError) {
    locked { state in
      state.flushes += 1
      state.lateUses += state.isClosed ? 1 : 0
    }
  }

  func setDoorbell(_ bell: Doorbell?) {
    locked { state in
      state.doorbell = bell
      state.lateUses += state.isClosed ? 1 : 0
    }
  }

  var lag: StreamLag {
    locked { state in
      let open = UInt64(state.records.count) + 1 - state.cursor
      let bytes = state.records.isEmpty ? 0 : state.bytes / UInt64(state.records.count) * open
      return StreamLag(records: open, bytes: bytes, ageNanoseconds: open > 0 ? 5_000_000_000 : 0)
    }
  }

  func close() {
    locked { state in
      state.lateUses += state.isClosed ? 1 : 0
      state.isClosed = true
    }
  }

  private final class Pin: RecordPin {
    let reader: MemoryReader
    init(_ reader: MemoryReader) { self.reader = reader }
    var chargedBytes: Int { 2 << 20 }
    func retain() { reader.pins.wrappingAdd(1, ordering: .releasing) }
    func unpin() { reader.pins.wrappingSubtract(1, ordering: .releasing) }
  }
}
