// How a subscriber takes the place of one that runs.
//
//   successor                                        the one before
//   create, start ─► answers ─► waits at the gate    delivers
//                                                    ends behind its batch: drain, stop, destroy; cursors written
//   admit: its readers are opened on those cursors   gone
//   delivers
//
// So a config or a far side that does not work shows while the one before still delivers, and of two instances of a name one
// has the cursors: records come in order, and no verdict is anybody else's. What the successor publishes is looked for when
// it is admitted, behind the last that the one before has published.

import SluiceCore
import Synchronization

/// What the first `start` came to, where the plugin did not give up.
package enum FirstStart: Equatable, Sendable {
  case running
  /// It waits for something of the world's, and is called again: why.
  case retrying(String)
}

/// Of who waits for plugins to start; its end ends the waiting. From any thread.
package final class StartPatience: Sendable {
  private let hasEnded = Atomic<Bool>(false)

  package init() {}

  package func end() { hasEnded.store(true, ordering: .releasing) }

  var isOver: Bool { hasEnded.load(ordering: .acquiring) }
}

/// The readers of a subscriber's streams on their way to its thread.
///
/// `@unchecked Sendable`: they are the thread's alone from then on, but for what `StreamReader` allows from any thread.
struct Admission: @unchecked Sendable {
  let readers: [any StreamReader]
}

extension SubscriberInstance {
  /// Lets it deliver, from the readers' cursors on; one for each of its streams, used by this subscriber alone. Called
  /// once, before or after `start`.
  package func admit(_ readers: [any StreamReader]) {
    precondition(readers.map(\.logUUID) == streams.map(\.logUUID), "one reader for each stream")
    shared.admit(Admission(readers: readers))
    services.bell.ring()
  }

  /// Waits, behind `start`, for what the plugin's own `start` answers first. Throws when that never will, or does not return
  /// within `limit`, or `patience` ends; then the subscriber has ended, or its thread was left behind because it did not end
  /// in `time`.
  package func awaitStart(
    limit: Int64 = Limits.firstStartNanoseconds, endingWithin time: Int64 = Limits.drainNanoseconds,
    patience: StartPatience? = nil
  ) throws(HostError) -> FirstStart {
    let deadline = Clock.monotonic() + limit
    while true {
      if let answer = shared.life.withLock({ $0.firstStart }) {
        if case .failure = answer { _ = stop(deadline: Clock.monotonic() + time) }
        return try answer.get()
      }
      // Until it is among those that the daemon shows, the watchdog does not know it.
      let look = min(deadline, Clock.monotonic() + Limits.watchdogNanoseconds)
      guard !shared.progress.wait(until: look) else { continue }
      watch(now: Clock.monotonic())
      let isGivenUp = patience?.isOver == true
      guard isGivenUp || look == deadline else { continue }
      let error = HostError(
        subscriber: name,
        isGivenUp
          ? "start of plugin \(plugin.kind) was given up"
          : "start of plugin \(plugin.kind) did not return in \(limit / 1_000_000) ms")
      let isLate = shared.life.withLock { life in
        if life.firstStart == nil { life.firstStart = .failure(error) }
        return life.firstStart == .failure(error)
      }
      if isLate {
        if isGivenUp { interrupt() }
        _ = stop(deadline: Clock.monotonic() + time)
        throw error
      }
    }
  }
}

extension SubscriberWorker {
  /// The first answer counts.
  func noteStart(_ answer: Result<FirstStart, HostError>) {
    shared.life.withLock { life in
      if life.firstStart == nil { life.firstStart = answer }
    }
    shared.progress.ring()
  }

  /// Takes the readers that were handed over. Does nothing when there are none, or it has them.
  func takeUpReaders() {
    guard feeds.isEmpty, let readers = shared.admitted else { return }
    feeds = readers.map { StreamFeed($0, match: match) } + [StreamFeed(replay)]
    cursors = feeds.map(\.reader.cursor) + [1]
    booked = cursors
    services.tracker.withLock { tracker in
      for (stream, reader) in readers.enumerated() { tracker.begin(stream: stream, at: reader.cursor) }
    }
    services.publisher?.begin(at: readers.map(\.cursor))
    for feed in feeds { feed.reader.setDoorbell(services.bell) }
  }

  /// The gate. Nil: it has its readers.
  func awaitReaders() -> Ending? {
    while true {
      takeUpReaders()
      if shared.isStopping { return .asked }
      if services.hasCrashed { return .broken("the plugin's process \(services.takeCrash()?.why ?? "ended")") }
      if !feeds.isEmpty { return nil }
      services.bell.wait(until: .max)
    }
  }
}
