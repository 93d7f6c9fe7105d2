// The place of a tracker where a part of a stream is delivered once more (`StreamReplay`), beside the stream itself:
//
//   idle ──restart──► fresh … last, as any stream ──all settled──► idle
//                              └──giveUp──► only what is in the plugin's hands ──verdicts, ack deadline──► idle
//
// It must not keep what is live from being delivered. So it may have a quarter of the open batches, what it has to
// deliver again does not count against the others, and who calls `plan` leaves half of the plugin's room to them.

import SluiceCore

/// What became of the records of a replay.
package struct ReplayedRecords: Equatable, Sendable {
  package var delivered: UInt64 = 0
  package var rejected: UInt64 = 0
  /// Not in the log any more.
  package var gone: UInt64 = 0
  /// They do not match.
  package var passed: UInt64 = 0

  package init() {}

  package var settled: UInt64 { delivered + rejected + gone + passed }

  package static func - (left: Self, right: Self) -> Self {
    var difference = left
    difference.delivered -= right.delivered
    difference.rejected -= right.rejected
    difference.gone -= right.gone
    difference.passed -= right.passed
    return difference
  }

  package static func += (left: inout Self, right: Self) {
    left.delivered += right.delivered
    left.rejected += right.rejected
    left.gone += right.gone
    left.passed += right.passed
  }
}

extension SettleTracker {
  /// Begins another replay at `lsn`, which may be below what the one before had.
  package mutating func restart(stream: Int, at lsn: UInt64) {
    precondition(stream == replayStream && cursor(of: stream) == fresh[stream], "the replay before has ended")
    fresh[stream] = lsn
    replayed = ReplayedRecords()
  }

  /// Nothing up to `last` comes any more, but for what is in the plugin's hands: that keeps the cursor.
  package mutating func giveUp(stream: Int, through last: UInt64) {
    precondition(stream == replayStream)
    _ = retries[stream].discard(first: 1, last: last)
    fresh[stream] = max(fresh[stream], last + 1)
  }

  /// Records of `stream` that are delivered and not settled.
  package func openRecords(of stream: Int) -> Int {
    var open = 0
    for index in batches.indices where !batches[index].isFree && batches[index].stream == stream {
      open += batches[index].pendingCount
    }
    return open
  }

  /// Whether `stream` may have another batch open.
  func hasShare(_ stream: Int) -> Bool {
    stream != replayStream || openBatches(of: stream) < Limits.maxReplayBatches
  }

  /// Whether so much of what `stream` shares its bounds with is unsettled that no fresh records go out.
  func isFull(for stream: Int) -> Bool {
    if stream == replayStream {
      return openBatches(of: stream) + retries[stream].ranges.count >= Limits.maxReplayBatches
    }
    var unsettled = openBatches
    for index in retries.indices where index != replayStream { unsettled += retries[index].ranges.count }
    return unsettled >= Limits.maxUnsettledBatches
  }

  private func openBatches(of stream: Int) -> Int {
    var open = 0
    for index in batches.indices where !batches[index].isFree && batches[index].stream == stream { open += 1 }
    return open
  }

  mutating func countPassed(_ stream: Int, _ records: UInt64) {
    counts.passed += records
    if stream == replayStream { replayed.passed += records }
  }
}
