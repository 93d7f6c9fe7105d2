// What an operator does with the letters of one dead letter stream.
//
// A cursor of its own holds the stream's records from the lowest open letter on: letters are neither dropped for age or
// size while they are open, nor is their stream ever emptied behind an operator's back; it becomes full instead, and holds
// the subscribers that write to it. Settling a letter is a resolution in the same stream, and the cursor moving up
// when everything below is settled. Settled letters that the cursor has passed need no resolution any more.
//
// Crash: what was settled last may be open again, as after any delivery that was not acknowledged durably.

import SluiceCore
import SluiceJournal
import Synchronization

/// `@unchecked Sendable`: `hold` is only touched under `settled`; the rest is immutable or Sendable.
package final class DeadLetterLog: @unchecked Sendable {
  /// Of the cursor that holds open letters. No subscriber has a name like this.
  package static let cursorName = ".dead-letters"

  private struct Settled {
    /// What resolutions cover, from the cursor on.
    var ranges = LSNRanges()
    /// Resolutions below this LSN are in `ranges`.
    var scanned: UInt64
  }

  private let log: StreamLog
  private let hold: any StreamReader
  private let settled: Mutex<Settled>

  /// Blocks on the disk. One for each dead letter stream, as long as the stream is open.
  package init(_ log: StreamLog) throws(JournalError) {
    self.log = log
    hold = try log.openReader(subscriber: DeadLetterLog.cursorName, start: .oldest)
    settled = Mutex(Settled(scanned: hold.cursor))
  }

  package var streamName: String { log.streamName }

  /// Before the stream is closed; no other call may be under way.
  package func close() { settled.withLock { _ in hold.close() } }

  // MARK: Looking

  /// Calls `body` with every open letter that is meant, oldest first, until it says false. Blocks on the disk.
  package func forEach(
    _ selection: DeadLetterSelection, _ body: (DeadLetterEntry) throws -> Bool
  ) throws {
    try scanOpen(selection) { lsn, letter, record, own in
      try body(DeadLetterEntry(lsn: lsn, letter, record, ownHeaders: own))
    }
  }

  /// The first `limit` open letters that are meant.
  package func list(_ selection: DeadLetterSelection, limit: Int) throws -> (entries: [DeadLetterEntry], hasMore: Bool)
  {
    var entries: [DeadLetterEntry] = []
    var hasMore = false
    try forEach(selection) { entry in
      hasMore = entries.count == limit
      if !hasMore { entries.append(entry) }
      return !hasMore
    }
    return (entries, hasMore)
  }

  // MARK: Settling

  /// Gives up the letters that are meant. Returns how many there were.
  package func purge(_ selection: DeadLetterSelection) throws -> Int {
    var lsns: [UInt64] = []
    try scanOpen(selection) { lsn, _, _, _ in
      lsns.append(lsn)
      return true
    }
    try settle(lsns, .purged)
    return lsns.count
  }

  /// Has the records delivered again to those that rejected them; what they acknowledge is settled. `subscriber` finds
  /// one that runs. Blocks until `deadline` (`Clock.monotonic`) at most, or until `isGivenUp`, and a little for the disk.
  package func retry(
    _ selection: DeadLetterSelection, deadline: Int64, isGivenUp: () -> Bool = { false },
    subscriber: (String) -> SubscriberInstance?
  ) throws -> DeadLetterRetry {
    var result = DeadLetterRetry()
    var chunks: [String: Chunk] = [:]
    func deliver(_ name: String) throws {
      guard let chunk = chunks.removeValue(forKey: name) else { return }
      try self.deliver(chunk, to: subscriber(name), deadline: deadline, isGivenUp, &result)
    }
    try scanOpen(selection) { lsn, letter, record, own in
      guard let copy = RecordCopy(letter, of: record, ownHeaders: own) else {
        result.incomplete += 1
        return true
      }
      var chunk = chunks[letter.subscriber] ?? Chunk()
      chunk.add(lsn, ReplayRecord(letter: letter, record: copy))
      chunks[letter.subscriber] = chunk
      if chunk.isFull || chunks.values.reduce(0, { $0 + $1.bytes }) > Limits.maxReplayBytes {
        for name in chunks.keys.sorted() { try deliver(name) }
      }
      return Clock.monotonic() < deadline && !isGivenUp()
    }
    for name in chunks.keys.sorted() { try deliver(name) }
    return result
  }

  /// Letters of one subscriber that are tried together.
  private struct Chunk {
    var letters: [(lsn: UInt64, record: ReplayRecord)] = []
    var bytes = 0

    var isFull: Bool { bytes >= Limits.replayChunkBytes || letters.count >= Limits.replayChunkRecords }

    mutating func add(_ lsn: UInt64, _ record: ReplayRecord) {
      letters.append((lsn, record))
      bytes += record.record.length
    }
  }

  private func deliver(
    _ chunk: Chunk, to subscriber: SubscriberInstance?, deadline: Int64, _ isGivenUp: () -> Bool,
    _ result: inout DeadLetterRetry
  ) throws {
    // As their own log has them, so that they travel in few batches.
    let letters = chunk.letters.sorted {
      ($0.record.letter.stream, $0.record.letter.lsn) < ($1.record.letter.stream, $1.record.letter.lsn)
    }
    guard let subscriber, let ticket = subscriber.replay(letters.map(\.record)) else {
      result.unavailable += letters.count
      return
    }
    let outcomes = ticket.wait(until: deadline, isGivenUp)
    subscriber.cancel(ticket)
    var delivered: [UInt64] = []
    for (letter, outcome) in zip(letters, outcomes) {
      switch outcome {
      case .delivered: delivered.append(letter.lsn)
      case .rejected: result.rejected += 1
      case .open: result.unsettled += 1
      }
    }
    result.delivered += delivered.count
    try settle(delivered.sorted(), .delivered)
  }

  // MARK: The stream

  /// Visits the open letters that are meant, as far as the stream goes now.
  private func scanOpen(
    _ selection: DeadLetterSelection,
    _ body: (UInt64, DeadLetter, RecordView, UnsafeRawBufferPointer) throws -> Bool
  ) throws {
    let (from, ranges) = try settled.withLock { settled in
      try catchUp(&settled)
      return (hold.cursor, settled.ranges)
    }
    try scan(from: max(from, selection.lsns?.lowerBound ?? 1), through: selection.lsns?.upperBound) { lsn, record in
      guard case .letter(let letter, let own) = DeadLetterFormat.decode(record), !ranges.contains(lsn),
        selection.includes(letter, at: lsn)
      else { return true }
      return try body(lsn, letter, record, own)
    }
  }

  /// Visits the records from `first` on until `body` says false, as far as the stream goes now.
  private func scan(
    from first: UInt64, through last: UInt64? = nil, _ body: (UInt64, RecordView) throws -> Bool
  ) throws {
    let end = min(log.committedLSN, last ?? .max)
    let reader = log.openScan(at: first)
    defer { reader.close() }
    let batch = RecordBatch(capacity: Limits.replayChunkRecords)
    while reader.position <= end {
      defer { batch.release() }
      switch try reader.read(into: batch, maxRecords: batch.capacity, maxBytes: Limits.replayChunkBytes) {
      case .nothingYet: return
      // Damage in a letter takes that letter; the others are shown.
      case .gap: continue
      case .records:
        for index in 0..<batch.count {
          let lsn = batch.firstLSN + UInt64(index)
          guard lsn <= end, try body(lsn, batch[index]) else { return }
        }
        reader.settle(below: reader.position)
      }
    }
  }

  /// Reads the resolutions that came since.
  private func catchUp(_ settled: inout Settled) throws {
    var ranges = settled.ranges
    var next = settled.scanned
    try scan(from: next) { lsn, record in
      // A letter that was written after its resolution is another one.
      if case .resolution(let resolution) = DeadLetterFormat.decode(record), resolution.letters.lowerBound < lsn {
        ranges.insert(resolution.letters.lowerBound...min(resolution.letters.upperBound, lsn - 1))
      }
      next = lsn + 1
      return true
    }
    settled.ranges = ranges
    settled.scanned = next
  }

  /// Settles the letters at these rising LSNs: the cursor passes what it can, the rest is written down.
  private func settle(_ lsns: [UInt64], _ outcome: DeadLetterResolution.Outcome) throws {
    guard !lsns.isEmpty else { return }
    var runs = LSNRanges()
    for lsn in lsns { runs.insert(lsn...lsn) }
    let cursor = try settled.withLock { settled -> UInt64 in
      try catchUp(&settled)
      for run in runs.ranges { settled.ranges.insert(run) }
      try advance(&settled)
      return hold.cursor
    }
    runs.remove(below: cursor)
    try write(runs.ranges.map { DeadLetterResolution(outcome: outcome, letters: $0, time: Clock.wall()) })
  }

  /// Moves the cursor to the lowest open letter and gives back what lies below.
  private func advance(_ settled: inout Settled) throws {
    var next = hold.cursor
    let ranges = settled.ranges
    try scan(from: next) { lsn, record in
      if case .letter = DeadLetterFormat.decode(record), !ranges.contains(lsn) { return false }
      next = lsn + 1
      return true
    }
    guard next > hold.cursor else { return }
    hold.seek(to: next)
    hold.settle(below: next)
    try hold.flushCursor()
    settled.ranges.remove(below: next)
    log.trim(below: next)
  }

  /// Returns when the resolutions have the stream's durability.
  private func write(_ resolutions: [DeadLetterResolution]) throws {
    guard !resolutions.isEmpty else { return }
    let bell = Doorbell()
    let lane = log.openLane(source: DeadLetterLog.cursorName) { bell.ring() }
    defer { lane.close() }
    let deadline = Clock.monotonic() + Limits.resolutionWaitNanoseconds
    for resolution in resolutions {
      while case .full(let reason) = append(resolution, lane) {
        _ = lane.submit()
        guard Clock.monotonic() < deadline else {
          throw DeadLetterError(
            "the stream \(streamName) is full (\(reason.rawValue)), so what was settled can't be written down; it is open "
              + "again after a restart")
        }
        bell.wait(until: Clock.monotonic() + Limits.fullRetryNanoseconds)
      }
    }
    let position = lane.submit()
    while lane.acknowledged < position, lane.requestWake(at: position) {
      guard bell.wait(until: deadline) else {
        throw DeadLetterError("the stream \(streamName) did not make durable what was settled in time")
      }
    }
  }

  private func append(_ resolution: DeadLetterResolution, _ lane: any IngestLane) -> AppendResult {
    DeadLetterFormat.encode(resolution).withUnsafeBytes { headers in
      lane.append(RecordFields(eventTime: resolution.time, headers: headers, payload: .empty))
    }
  }
}
