// A daemon that only delivers: one subscriber of a data directory, and what is in its streams. `sluice worker` runs it.
//
// It is the daemon in all that it has: it takes DATA/LOCK, recovers the streams that it opens, and hosts the plugin on the
// same dispatcher. It has no sources, no endpoints and no control socket, and ends by itself.
//
//   from the cursor   until every cursor is behind what was the last record at the start
//   as a replay       the subscriber is made without streams, and is given one part after the other; no cursor moves

import Glibc
import Logging
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology
import Synchronization

/// What a worker is to deliver. From any thread.
final class DeliveryWork: Sendable {
  /// What came of it.
  struct Outcome: Sendable {
    struct Part: Sendable {
      var stream: String
      var first: UInt64
      var last: UInt64
    }

    var parts: [Part]
    var total: UInt64 = 0
    var delivered: UInt64 = 0
    var rejected: UInt64 = 0
    var gone: UInt64 = 0
    /// Records that were not settled when it was asked to stop.
    var left: UInt64 = 0
    /// Where replays come to, by stream; nothing of a delivery from the cursor, which is kept.
    var next: [String: UInt64] = [:]
  }

  private let instance: SubscriberInstance
  private let logs: [StreamLog]
  private let ranges: [ReplayRange]
  private let parts: [Outcome.Part]
  private let total: UInt64
  private let isAsked = Atomic<Bool>(false)
  private let bell = Doorbell()
  private let current = Mutex<StreamReplay?>(nil)

  /// Of one that has its cursors and does not deliver yet. `ranges`: the parts to be replayed; none: from the cursors on.
  init(_ instance: SubscriberInstance, _ logs: [StreamLog], _ ranges: [ReplayRange]) {
    self.instance = instance
    self.logs = logs
    self.ranges = ranges
    if ranges.isEmpty {
      let streams = instance.status.streams
      parts = zip(streams, logs).map { .init(stream: $0.name, first: $0.cursor, last: $1.committedLSN) }
      total = zip(parts, logs).reduce(0) { $0 + $1.1.records(from: $1.0.first, through: $1.0.last) }
    } else {
      parts = ranges.map { .init(stream: $0.log.streamName, first: $0.first, last: $0.last) }
      total = ranges.reduce(0) { $0 + $1.records }
    }
  }

  /// Ends it behind what is in the plugin's hands.
  func stop() {
    isAsked.store(true, ordering: .releasing)
    bell.ring()
    current.withLock { $0 }?.cancel()
  }

  private var isStopping: Bool { isAsked.load(ordering: .acquiring) }

  /// Returns when all is delivered, or it was asked to stop. On a thread that may wait.
  func run(_ progress: (_ done: UInt64, _ total: UInt64) -> Void) -> Outcome {
    ranges.isEmpty ? deliver(progress) : replay(progress)
  }

  private func deliver(_ progress: (UInt64, UInt64) -> Void) -> Outcome {
    while true {
      let left = zip(instance.status.streams, zip(parts, logs)).reduce(UInt64(0)) { left, stream in
        left + stream.1.1.records(from: max(stream.0.cursor, stream.1.0.first), through: stream.1.0.last)
      }
      progress(total - min(left, total), total)
      if left == 0 || isStopping { return deliveredSoFar }
      bell.wait(until: Clock.monotonic() + Limits.workerLookNanoseconds)
    }
  }

  /// What of a delivery from the cursors is settled by now.
  var deliveredSoFar: Outcome {
    let status = instance.status
    var outcome = Outcome(parts: parts, total: total)
    outcome.delivered = status.counts.acked
    outcome.rejected = status.counts.rejected + status.counts.exhausted + status.counts.crashed
    outcome.gone = status.lostRecords
    for (stream, (part, log)) in zip(status.streams, zip(parts, logs)) {
      outcome.left += log.records(from: max(stream.cursor, part.first), through: part.last)
    }
    return outcome
  }

  private func replay(_ progress: (UInt64, UInt64) -> Void) -> Outcome {
    var outcome = Outcome(parts: parts, total: total)
    var settled: UInt64 = 0
    for range in ranges where !isStopping {
      let replay = range.replay()
      current.withLock { $0 = replay }
      // Asked between the look and the line above, it has cancelled nothing.
      if isStopping { replay.cancel() }
      do throws(ReplayRefusal) { try instance.replay(replay) } catch { break }
      var state = replay.progress
      while !state.isOver {
        state = replay.wait(until: Clock.monotonic() + Limits.workerLookNanoseconds)
        progress(settled + state.records.settled, total)
      }
      settled += state.records.settled
      outcome.delivered += state.records.delivered
      outcome.rejected += state.records.rejected
      outcome.gone += state.records.gone
      outcome.next[replay.streamName] = state.next
      // A replay that was cancelled keeps its place until the plugin has answered for what it holds.
      guard state.state == .completed else { break }
    }
    outcome.left = total - min(settled, total)
    return outcome
  }
}

extension Daemon {
  /// Opens the streams of the topology's only subscriber and starts it. `streams`: all that the data directory is known
  /// to have. `replaying`: what to deliver besides the cursors; nil: from the cursors on.
  func startWork(
    among streams: Set<String>, replaying part: (from: ReplayRequest.Place?, until: ReplayRequest.Place?)?
  ) async throws(DaemonError) -> DeliveryWork {
    guard let settings = topology.subscribers.first, let plugin = plugins[settings.name] else {
      preconditionFailure("a worker has a subscriber with its plugin")
    }
    try makeDataDirectory()
    try await takeDataDirectory(for: streams)
    for stream in topology.streams { try await open(stream, among: streams) }
    let logs = settings.streams.map { log(named: $0) }
    var ranges: [ReplayRange] = []
    if let part {
      for log in logs {
        do throws(ReplayRange.Failure) {
          ranges.append(try ReplayRange(of: log, from: part.from, until: part.until))
        } catch {
          throw DaemonError(message: error.message, status: error.isFault ? ExitStatus.ioError : ExitStatus.noInput)
        }
      }
    }
    let running = try await make(settings, plugin, isReplayed: part != nil)
    try await admit(running, isReplayed: part != nil)
    // It notes where the cursors are, before anything moves them.
    let work = DeliveryWork(running.instance, logs, ranges)
    try await begin(running)
    parts.subscribers[settings.name] = running
    generation = 1
    show()
    watchdog.start(view)
    return work
  }
}
