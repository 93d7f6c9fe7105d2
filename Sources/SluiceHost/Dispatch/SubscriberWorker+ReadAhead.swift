// While a plugin's process has a batch, the next is read, matched and copied to where the process will look at it, if a full
// one is there already:
//
//   subscriber's thread   copy N │ send N │ read, match, copy N+1 │ wait for N's reply │ conclude N │ send N+1 │ …
//   the process                           │ deliver N ────────────────────── reply ►   │            │ deliver N+1
//
// So what the process needs and what the daemon needs for a batch add up no more; what the plugin sees is the same: one
// batch at a time, the next only when all that the answer to the former means is done. What was read ahead is opened in the books
// when its turn comes, as if it were read then. If something else comes in between (a retry, another stream's batch, less
// room), it is dropped, and read again: the reader is put back, as behind every retry.

import CSluice
import SluiceCore
import Synchronization

/// What was read of a stream before its turn.
struct ReadAhead {
  enum Found {
    /// Copied to the process already, if any of them matches.
    case records(Choice)
    /// The log tells of it once, so it is never dropped.
    case gap(first: UInt64, last: UInt64, GapReason)
  }

  var stream: Int
  /// Where the reader stood.
  var position: UInt64
  var found: Found
}

extension SubscriberWorker {
  /// Called while the process has a batch of `stream`, which is copied and in the books.
  func readAhead(behind stream: Int) {
    // What was read is in the process's memory, whatever becomes of these.
    batch.release()
    guard ahead == nil, !shared.isStopping, !isHeld, suspects.isEmpty, feeds.last?.range == nil,
      feeds.last?.replay?.hasWork != true
    else { return }
    let now = Clock.monotonic()
    let streams = queueStream
    for step in 1...streams {
      let next = (stream + step) % streams
      guard feeds[next].holdUntil <= now else { continue }
      ahead = readAhead(feeds[next], next)
      if ahead != nil { return }
    }
  }

  /// Nil, and the stream as it was, if there is no full batch.
  private func readAhead(_ feed: StreamFeed, _ stream: Int) -> ReadAhead? {
    let (first, room) = services.tracker.withLock { tracker in
      (
        tracker.nextFresh(of: stream),
        min(options.records, options.maxInflight - tracker.openRecords, services.credit.room)
      )
    }
    // With less than that there would be room for more once the batch before is settled.
    guard let first, room == options.records else { return nil }
    if feed.reader.position != first { feed.reader.seek(to: first) }
    let (records, bytes) = reach(of: feed, room: room)
    guard feed.hasWaiting(records: records, bytes: bytes) else { return nil }
    defer { batch.release() }
    let outcome: ReadOutcome
    do throws(StreamReadError) {
      outcome = try feed.reader.read(into: batch, maxRecords: records, maxBytes: bytes)
    } catch {
      // It is read again, and told then.
      return nil
    }
    switch outcome {
    case .nothingYet: return nil
    case .gap(let gone, let last, let reason):
      return ReadAhead(stream: stream, position: first, found: .gap(first: gone, last: last, reason))
    case .records:
      feed.noteRecords(mayHaveMore: batch.count == records)
      let choice = choose(feed, room: room)
      if choice.count > 0 {
        var descriptor = feed.batchTemplate
        descriptor.count = UInt32(choice.count)
        descriptor.messages = UnsafePointer(builder.messages)
        guard services.stage(&descriptor) else { return nil }
      }
      return ReadAhead(stream: stream, position: first, found: .records(choice))
    }
  }

  /// What was read ahead, if it is what is to be delivered now: `room` messages of `stream` from the LSN `first` on.
  func takeAhead(_ stream: Int, first: UInt64, room: Int) -> ReadAhead.Found? {
    guard let next = ahead, next.stream == stream else { return nil }
    switch next.found {
    case .gap(_, let last, _):
      ahead = nil
      return last >= first ? next.found : nil
    case .records(let choice):
      guard next.position == first, choice.token == nextToken, choice.count <= room else {
        dropAhead()
        return nil
      }
      ahead = nil
      return next.found
    }
  }

  /// Something else is delivered.
  func dropAhead() {
    guard let dropped = ahead, case .records = dropped.found else { return }
    ahead = nil
    services.unstage()
  }
}
