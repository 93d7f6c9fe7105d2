// A part of one stream that one subscriber is given once more because an operator asked for it, beside its live
// delivery. To the subscriber's thread it is one more stream with a reader of its own, so nothing is held in memory;
// the plugin sees the stream's name, log and LSNs, in batches with SLU_BATCH_REPLAY.
//
//   waiting ──taken up──► running ──all settled──► completed
//      │                     │
//      ├──── cancel ─────────┴──► cancelled: nothing more is read; what is in the plugin's hands gets its verdicts
//      └──── the subscriber ends ──► ended
//
// The live cursor does not move, and no cursor is kept for a replay: one that held records back could fill the stream
// and so stop producers for an operator's sake, and a crash would leave it behind. What retention deletes in the
// meantime is counted as gone, and the plugin is not told: its live stream has no gap.
// A record that is rejected is counted, and makes no dead letter: it is still in the stream, its letter may be there
// from the first time, and letters that find no room must not hold what is live.

import SluiceCore
import Synchronization

/// How far a replay is.
package struct ReplayProgress: Sendable, Equatable {
  package enum State: String, Sendable { case waiting, running, completed, cancelled, ended }

  package var state = State.waiting
  /// The lowest LSN that is not settled.
  package var next: UInt64
  package var records = ReplayedRecords()
  /// The first that were rejected.
  package var rejections: [RejectedRange] = []

  package var isOver: Bool { state != .waiting && state != .running }
}

/// `@unchecked Sendable`: `reader` belongs to who made the replay until it is handed to the subscriber, then to the
/// subscriber's thread; the rest is immutable, atomic or locked.
package final class StreamReplay: @unchecked Sendable {
  package let streamName: String
  package let first: UInt64
  package let last: UInt64
  /// Records in the range when it began, those that were gone already included.
  package let total: UInt64
  /// Per second, at most.
  package let rate: Int?
  let reader: any StreamReader
  private let state: Mutex<ReplayProgress>
  private let cancelled = Atomic<Bool>(false)
  private let bell = Doorbell()
  private let subscriberBell = Mutex<Doorbell?>(nil)

  /// `reader`: one of its own that keeps no cursor, at `first`.
  package init(_ reader: any StreamReader, first: UInt64, last: UInt64, total: UInt64, rate: Int? = nil) {
    precondition(first >= 1 && first <= last && rate ?? 1 >= 1)
    streamName = reader.streamName
    self.reader = reader
    self.first = first
    self.last = last
    self.total = total
    self.rate = rate
    state = Mutex(ReplayProgress(next: first))
  }

  package var progress: ReplayProgress { state.withLock { $0 } }

  /// Gives up what is not in the plugin's hands. From any thread.
  package func cancel() {
    cancelled.store(true, ordering: .releasing)
    end(.cancelled)
    subscriberBell.withLock { $0 }?.ring()
  }

  /// Returns when it is over or the time is. One thread waits.
  package func wait(until deadline: Int64) -> ReplayProgress {
    while !progress.isOver, bell.wait(until: deadline) {}
    return progress
  }

  // MARK: For the subscriber

  var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

  func begin(_ bell: Doorbell) {
    subscriberBell.withLock { $0 = bell }
    state.withLock { if $0.state == .waiting { $0.state = .running } }
  }

  /// What the books say. The last word is that of who ended it.
  func note(next: UInt64, _ records: ReplayedRecords, rejected: [RejectedRange]) {
    state.withLock { progress in
      guard !progress.isOver else { return }
      progress.next = min(next, last + 1)
      progress.records = records
      progress.rejections += rejected.prefix(Limits.maxReplayRejections - progress.rejections.count)
    }
  }

  func end(_ outcome: ReplayProgress.State) {
    state.withLock { if !$0.isOver { $0.state = outcome } }
    bell.ring()
  }
}

/// Why a replay was not taken.
package enum ReplayRefusal: Error, Sendable {
  /// This one is under way, or was cancelled and has records in the plugin's hands yet.
  case busy(StreamReplay)
  /// The subscriber does not run any more.
  case ended
}

/// Where one subscriber's replay is handed over: there is one at a time.
final class ReplaySlot: Sendable {
  private struct State {
    var current: StreamReplay?
    var isTaken = false
    var isClosed = false
  }

  private let state = Mutex(State())
  /// There is one that the subscriber's thread has not seen.
  private let isWaiting = Atomic<Bool>(false)

  var current: StreamReplay? { state.withLock { $0.current } }

  func submit(_ replay: StreamReplay) throws(ReplayRefusal) {
    let refusal = state.withLock { state -> ReplayRefusal? in
      if state.isClosed { return .ended }
      if let current = state.current { return .busy(current) }
      state.current = replay
      state.isTaken = false
      return nil
    }
    if let refusal { throw refusal }
    isWaiting.store(true, ordering: .releasing)
  }

  /// For the subscriber's thread: the one that waits. Without one it costs an atomic load.
  func take() -> StreamReplay? {
    guard isWaiting.load(ordering: .acquiring) else { return nil }
    isWaiting.store(false, ordering: .relaxed)
    return state.withLock { state in
      guard !state.isTaken, let current = state.current else { return nil }
      state.isTaken = true
      return current
    }
  }

  /// For the subscriber's thread: another may come.
  func clear() { state.withLock { $0.current = nil } }

  /// Takes none any more, and ends the one that is there. True if its reader is still the caller's to close.
  @discardableResult
  func close() -> StreamReplay? {
    let (current, isTaken) = state.withLock { state in
      state.isClosed = true
      defer { state.current = nil }
      return (state.current, state.isTaken)
    }
    current?.end(.ended)
    return isTaken ? nil : current
  }
}
