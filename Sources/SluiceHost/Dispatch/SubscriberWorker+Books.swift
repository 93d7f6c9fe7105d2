import Logging
import SluiceCore
import Synchronization

/// What the thread does between two deliveries.
extension SubscriberWorker {
  /// Brings tracker, dead letters and cursors up to date.
  func keepBooks(now: Int64) {
    guard !feeds.isEmpty else { return }
    services.publisher?.endHolds(services.tracker)
    let (overdue, hasRejected) = services.tracker.withLock { tracker -> (Int, Bool) in
      let overdue = tracker.earliestAckDeadline <= now ? tracker.expire(now: now) : 0
      booksDue = tracker.nextDeadline(after: now)
      for stream in cursors.indices { cursors[stream] = tracker.cursor(of: stream) }
      return (overdue, tracker.hasRejected)
    }
    if overdue > 0 {
      logger.warning("ack deadline passed; the records come again", metadata: ["records": "\(overdue)"])
    }
    if hasRejected {
      giveAway(now: now)
      endReplays()
    }
    forgetSuspects()
    bookReplay()
    for stream in feeds.indices where cursors[stream] != booked[stream] {
      booked[stream] = cursors[stream]
      let feed = feeds[stream]
      guard cursors[stream] > feed.reader.cursor else { continue }
      // After a retry the reader stands below records that were read, and settled, before.
      if feed.reader.position < cursors[stream] { feed.reader.seek(to: cursors[stream]) }
      feed.reader.settle(below: cursors[stream])
    }
    endReplayIfDone()
    bookPublished(now: now)
  }

  /// Hands what was rejected to the dead letter sink; what it keeps is settled.
  private func giveAway(now: Int64) {
    var waiting = 0
    while true {
      if desk.isWaiting {
        guard desk.isKept else { break }
        services.tracker.withLock { tracker in
          // Other threads only append to what is rejected, so the first ones are the same still.
          for stream in desk.taken.indices { tracker.kept(desk.taken[stream].ranges, of: stream) }
          for stream in cursors.indices { cursors[stream] = tracker.cursor(of: stream) }
        }
        desk.finish()
      }
      let rejected = services.tracker.withLock { tracker in
        desk.taken.indices.map { tracker.rejectedRanges(of: $0) }
      }
      waiting = rejected.reduce(0) { $0 + $1.count }
      desk.handOver(rejected, of: feeds, now: now)
      guard desk.isWaiting else { break }
    }
    if desk.heldUntil > now { booksDue = min(booksDue, desk.heldUntil) }
    isHeld = desk.held != nil || waiting >= Limits.maxWaitingRejections
    let wasHeld = shared.life.withLock { life in
      defer { life.held = desk.held }
      life.lostLetters = desk.lostRecords
      life.cutLetters = desk.cutLetters
      return life.held != nil
    }
    if let why = desk.held, !wasHeld { logger.warning("held by its dead letters", metadata: ["why": "\(why)"]) }
  }

  /// What was rejected again is settled with that: its dead letter is there.
  private func endReplays() {
    let stream = queueStream
    let rejected = services.tracker.withLock { $0.rejectedRanges(of: stream) }
    guard !rejected.isEmpty else { return }
    for range in rejected { replay.reject(first: range.first, last: range.last) }
    services.tracker.withLock { tracker in
      tracker.kept(rejected.count, of: stream)
      cursors[stream] = tracker.cursor(of: stream)
    }
  }

  /// At the end: what was handed over is settled as soon as it is kept. What is not comes again after the next start.
  func waitForDeadLetters() {
    let begin = Clock.monotonic()
    let deadline = begin + (shared.stopDeadline.load(ordering: .acquiring) - begin) / 2
    while desk.isWaiting, Clock.monotonic() < deadline {
      services.bell.wait(until: deadline)
      keepBooks(now: Clock.monotonic())
    }
  }
}
