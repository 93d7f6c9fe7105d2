import Logging
import SluiceCore
import Synchronization

/// What the subscriber's thread does for what the plugin publishes.
extension SubscriberWorker {
  /// Before the plugin may publish: opens the ways into the streams, and looks for what it has published of records that
  /// will be delivered again. Not nil: the subscriber is to end.
  func openPublisher() -> Ending? {
    guard let publisher = services.publisher, !isPublisherOpen else { return nil }
    var attempt: UInt32 = 0
    while !shared.isStopping {
      do throws(StreamReadError) {
        let begin = Clock.monotonic()
        isPublisherOpen = try publisher.open { [shared] in shared.isStopping }
        let took = (Clock.monotonic() - begin) / 1_000_000
        if took > 1000 { logger.notice("looked for what was published already", metadata: ["ms": "\(took)"]) }
        return isPublisherOpen ? nil : .asked
      } catch {
        note("\(error)")
        attempt = min(attempt + 1, 64)
        logger.warning("can't see what was published already", metadata: ["why": "\(error)"])
        sleep(until: Clock.monotonic() + options.retry.delay(afterAttempt: attempt, random: jitter.next()))
      }
    }
    return .asked
  }

  /// Part of the books: lets go of what can't come again, and writes down from where on children lie.
  func bookPublished(now: Int64) {
    guard isPublisherOpen, let publisher = services.publisher else { return }
    let due = publisher.settle(below: cursors, now: now)
    if due <= now { writeFloors(now: now) } else { booksDue = min(booksDue, due) }
  }

  private func writeFloors(now: Int64) {
    guard let publisher = services.publisher else { return }
    do throws(StreamReadError) {
      // The order counts: what is below a floor has a parent below a durable cursor.
      for feed in feeds where feed.replay == nil && feed.range == nil { try feed.reader.flushCursor() }
    } catch {
      // The next time will do: what is written already stays true.
      return logger.warning("cursor not written", metadata: ["why": "\(error)"])
    }
    let why = publisher.writeFloors(now: now)
    if let why, why != floorsFailure {
      logger.warning("where published records begin was not written", metadata: ["why": "\(why)"])
    }
    floorsFailure = why
  }

  /// At the end: parents are settled when their children are kept. What is not comes again after the next start.
  func waitForPublished() {
    guard isPublisherOpen, let publisher = services.publisher else { return }
    let begin = Clock.monotonic()
    let deadline = begin + (shared.stopDeadline.load(ordering: .acquiring) - begin) / 2
    while publisher.isWaiting, Clock.monotonic() < deadline {
      services.bell.wait(until: deadline)
      keepBooks(now: Clock.monotonic())
    }
  }

  /// The last thing, behind the cursors.
  func closePublisher() {
    if isPublisherOpen { writeFloors(now: Clock.monotonic()) }
    services.publisher?.close()
  }
}
