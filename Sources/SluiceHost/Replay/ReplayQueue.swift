// Records that one subscriber is given once more because an operator asked for it. To the subscriber's thread this is
// one more stream, whose LSNs number what was handed in; so attempts, backoff and verdicts are as everywhere. The plugin
// sees the records' own stream, log and LSNs, in batches with SLU_BATCH_REPLAY.
//
//   handed in ──► read into a batch ──► acknowledged: the cursor passes it          → delivered
//      │                  └───────────► rejected, attempts used up                  → rejected
//      └── cancelled, subscriber ended: a gap that nobody is told of                → stays open
//
// A rejected one makes no second dead letter: the one it came from stays.

import SluiceCore
import Synchronization

/// One record that is to be delivered again.
package struct ReplayRecord: Sendable {
  package var letter: DeadLetter
  package var record: RecordCopy

  package init(letter: DeadLetter, record: RecordCopy) {
    self.letter = letter
    self.record = record
  }
}

/// `@unchecked Sendable`: what `locked` guards may be asked for by any thread; `position`, `batchStream`, `batchLog` and
/// `names` belong to the subscriber's thread.
final class ReplayQueue: StreamReader, @unchecked Sendable {
  private struct Item {
    var stream: String
    var logUUID: LogUUID
    var lsn: UInt64
    /// Nil: it is not to be delivered any more.
    var copy: RecordCopy?
    var ticket: ReplayTicket
    var index: Int
  }

  private struct State {
    /// Item i has the number `first + i`.
    var items: [Item] = []
    var first: UInt64 = 1
    var bytes = 0
    var isClosed = false
    var bell: Doorbell?
    var sources = [""]
    var producers = [""]
  }

  private let locked = Mutex(State())
  private let waiting = Atomic<Int>(0)
  /// `State.first`, for who looks without the lock.
  private let settled = Atomic<UInt64>(1)
  private(set) var position: UInt64 = 1
  private var names: [String: CText] = [:]
  /// Where the records of the last batch come from.
  private(set) var batchStream = CText("")
  private(set) var batchLog: [UInt8] = Array(repeating: 0, count: 16)

  /// Whether there is anything that is not settled: one atomic load.
  var hasWork: Bool { waiting.load(ordering: .acquiring) > 0 }

  // MARK: For who hands in

  /// Nil if the subscriber has ended or has enough to do with what is there.
  func submit(_ records: [ReplayRecord]) -> ReplayTicket? {
    let ticket = ReplayTicket(records: records.count)
    let bytes = records.reduce(0) { $0 + $1.record.length }
    let bell = locked.withLock { state -> Doorbell?? in
      guard !state.isClosed, state.bytes == 0 || state.bytes + bytes <= Limits.maxReplayBytes else { return nil }
      for (index, record) in records.enumerated() {
        record.record.name(
          source: UInt16(truncatingIfNeeded: ReplayQueue.intern(record.letter.source, &state.sources)),
          producer: UInt32(truncatingIfNeeded: ReplayQueue.intern(record.letter.producer, &state.producers)))
        state.items.append(
          Item(
            stream: record.letter.stream, logUUID: record.letter.logUUID, lsn: record.letter.lsn, copy: record.record,
            ticket: ticket, index: index))
      }
      state.bytes += bytes
      waiting.wrappingAdd(records.count, ordering: .releasing)
      return .some(state.bell)
    }
    guard let bell else { return nil }
    bell?.ring()
    return ticket
  }

  /// Gives up what is not in the plugin's hands.
  func cancel(_ ticket: ReplayTicket) {
    locked.withLock { state in
      for index in state.items.indices where state.items[index].ticket === ticket { drop(index, &state) }
    }
  }

  private static func intern(_ name: String, _ names: inout [String]) -> Int {
    if let known = names.firstIndex(of: name) { return known }
    names.append(name)
    return names.count - 1
  }

  /// The item is not to be delivered any more.
  private func drop(_ index: Int, _ state: inout State) {
    guard let copy = state.items[index].copy else { return }
    state.items[index].copy = nil
    state.bytes -= copy.length
    waiting.wrappingSubtract(1, ordering: .releasing)
  }

  // MARK: For the subscriber's thread

  /// The LSN that a record has in its own log.
  func ownLSN(_ number: UInt64) -> UInt64 { locked.withLock { $0.items[Int(number - $0.first)].lsn } }

  /// Which record has this number; nil: it is settled. From any thread.
  func identity(of number: UInt64) -> (log: LogUUID, lsn: UInt64)? {
    locked.withLock { state in
      guard number >= state.first, number - state.first < UInt64(state.items.count) else { return nil }
      let item = state.items[Int(number - state.first)]
      return (item.logUUID, item.lsn)
    }
  }

  /// The records were rejected again.
  func reject(first: UInt64, last: UInt64) {
    locked.withLock { state in
      for number in max(first, state.first)...last {
        let index = Int(number - state.first)
        state.items[index].ticket.settle(state.items[index].index, .rejected)
        drop(index, &state)
      }
    }
  }

  // MARK: StreamReader

  var streamName: String { "replay" }
  var logUUID: LogUUID { LogUUID(high: 0, low: 0) }
  func sourceName(_ id: UInt16) -> String { locked.withLock { $0.sources[Int(id)] } }
  func producerName(_ id: UInt32) -> String { locked.withLock { $0.producers[Int(id)] } }
  var cursor: UInt64 { settled.load(ordering: .acquiring) }
  func seek(to lsn: UInt64) { position = lsn }
  func setDoorbell(_ bell: Doorbell?) { locked.withLock { $0.bell = bell } }
  func flushCursor() throws(StreamReadError) {}
  var lag: StreamLag { StreamLag(records: UInt64(waiting.load(ordering: .acquiring)), bytes: 0, ageNanoseconds: 0) }

  /// Records of one log whose LSNs rise.
  func read(into batch: RecordBatch, maxRecords: Int, maxBytes: Int) throws(StreamReadError) -> ReadOutcome {
    precondition(batch.count == 0 && maxRecords > 0)
    return locked.withLock { state in
      let start = Int(position - state.first)
      guard start < state.items.count else { return .nothingYet }
      if state.items[start].copy == nil {
        let end = state.items[start...].firstIndex { $0.copy != nil } ?? state.items.count
        defer { position = state.first + UInt64(end) }
        return .gap(first: position, last: state.first + UInt64(end) - 1, .unknown)
      }
      var copies: [RecordCopy] = []
      batch.firstLSN = position
      for index in start..<state.items.count {
        let item = state.items[index]
        guard let copy = item.copy, batch.count < maxRecords, batch.count == 0 || batch.bytes + copy.length <= maxBytes
        else { break }
        if index > start {
          let before = state.items[index - 1]
          guard item.stream == before.stream, item.logUUID == before.logUUID, item.lsn > before.lsn else { break }
        }
        batch.append(copy.bytes, length: copy.length)
        copies.append(copy)
      }
      position += UInt64(batch.count)
      batch.pin = CopiesPin(copies)
      batchLog = state.items[start].logUUID.bytes
      batchStream = text(state.items[start].stream)
      return .records
    }
  }

  /// A stream's name as the plugin sees it, valid until the subscriber ends.
  private func text(_ name: String) -> CText {
    if let known = names[name] { return known }
    let text = CText(name)
    names[name] = text
    return text
  }

  func settle(below lsn: UInt64) {
    locked.withLock { state in
      guard lsn > state.first else { return }
      let count = Int(lsn - state.first)
      for index in 0..<count {
        // Who was dropped has its outcome, or is to have none.
        if state.items[index].copy != nil { state.items[index].ticket.settle(state.items[index].index, .delivered) }
        drop(index, &state)
      }
      state.items.removeFirst(count)
      state.first = lsn
      settled.store(lsn, ordering: .releasing)
    }
  }

  func close() {
    locked.withLock { state in
      state.isClosed = true
      for index in state.items.indices {
        state.items[index].ticket.end()
        drop(index, &state)
      }
    }
  }
}
