import Logging
import SluiceCore
import Synchronization

/// A part of a stream that is delivered once more: the last of the feeds while it lasts.
extension SubscriberWorker {
  /// Begins what was handed in.
  func takeUpReplay(now: Int64) {
    guard let next = slot.take() else { return }
    feeds.append(StreamFeed(next.reader, match: match, range: next, now: now))
    services.tracker.withLock { $0.restart(stream: rangeStream, at: next.first) }
    cursors[rangeStream] = next.first
    booked[rangeStream] = next.first
    services.publisher?.beginReplay(of: next.reader.logUUID, at: next.first)
    replayed = ReplayedRecords()
    next.begin(services.bell)
    logger.notice(
      "replay begins",
      metadata: [
        "stream": "\(next.streamName)", "lsn": "\(next.first)...\(next.last)",
        "per_second": "\(next.rate.map { "\($0)" } ?? "no limit")",
      ])
  }

  /// Counts what the replay has come to, as part of the books.
  func bookReplay() {
    guard feeds.count > rangeStream, let range = feeds[rangeStream].range else { return }
    let (rejected, records) = services.tracker.withLock { tracker in
      if range.isCancelled { tracker.giveUp(stream: rangeStream, through: range.last) }
      let rejected = tracker.rejectedRanges(of: rangeStream)
      tracker.kept(rejected.count, of: rangeStream)
      cursors[rangeStream] = tracker.cursor(of: rangeStream)
      return (rejected, tracker.replayed)
    }
    if records != replayed {
      let more = records - replayed
      replayed = records
      shared.life.withLock { $0.replayed += more }
    }
    range.note(next: cursors[rangeStream], records, rejected: rejected)
  }

  /// Lets go of a replay all of whose records are settled, or that was cancelled and is in nobody's hands.
  func endReplayIfDone() {
    guard feeds.count > rangeStream, let range = feeds[rangeStream].range, cursors[rangeStream] > range.last else {
      return
    }
    dropReplay()
    // Whoever waits for the end may hand in the next at once.
    slot.clear()
    range.end(.completed)
    logger.notice(
      "replay \(range.progress.state.rawValue)",
      metadata: [
        "stream": "\(range.streamName)", "lsn": "\(range.first)...\(range.last)",
        "next_lsn": "\(range.progress.next)", "delivered": "\(replayed.delivered)",
        "rejected": "\(replayed.rejected)", "gone": "\(replayed.gone)",
      ])
  }

  /// The subscriber ends, and with it the replay; its last word is what the books said.
  func closeReplay() {
    if feeds.last?.range != nil { dropReplay() }
    slot.close()?.reader.close()
  }

  private func dropReplay() {
    feeds.removeLast().reader.close()
    turn = 0
  }
}
