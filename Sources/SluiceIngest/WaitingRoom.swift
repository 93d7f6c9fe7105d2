// Connections of one event loop that can't go on because the stream is full. Nothing blocks: they are read no further,
// and are tried again after each commit that the loop hears of, and every `Limits.roomRetryNanoseconds`.
//
// What is tried first moves on round by round, and a round ends after `Limits.roomTriesInVain`: a request that never fits
// keeps nobody from being tried, and a full stream with thousands of waiters costs no more than one with a few.

import NIOCore
import SluiceCore

/// Room in the stream for a request's records, in the log's bytes: all of them, and the largest.
struct WantedRoom {
  var bytes = 0
  var largest = 0
}

/// Somebody who waits. Confined to the room's loop.
protocol RoomWaiter: AnyObject {
  /// Where the room keeps it; −1 while it doesn't wait.
  var place: Int { get set }
  /// Goes on if there is room now, and then has left the room.
  func tryAgain()
  /// Its time is over: goes on without, and then has left the room.
  func giveUp()
}

/// `@unchecked Sendable`: all of it is touched on `eventLoop` only; the timer's task runs there.
final class WaitingRoom: @unchecked Sendable {
  private struct Entry {
    var waiter: any RoomWaiter
    var deadline: NIODeadline
  }

  private let eventLoop: any EventLoop
  private var entries: [Entry] = []
  private var next = 0
  private var isTrying = false
  private var timer: Scheduled<Void>?

  init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

  var count: Int { entries.count }

  /// `nanoseconds`: after this long it is told to give up.
  func enter(_ waiter: any RoomWaiter, for nanoseconds: Int64) {
    precondition(waiter.place < 0, "who waits already has a place")
    waiter.place = entries.count
    let now = eventLoop.now
    let isForEver = nanoseconds == .max
    entries.append(Entry(waiter: waiter, deadline: isForEver ? .distantFuture : now + .nanoseconds(nanoseconds)))
    setTimer()
  }

  func leave(_ waiter: any RoomWaiter) {
    let place = waiter.place
    guard place >= 0 else { return }
    waiter.place = -1
    let last = entries.removeLast()
    if place < entries.count {
      entries[place] = last
      last.waiter.place = place
    }
  }

  /// A commit may have made room.
  func tryAll() {
    guard !isTrying, !entries.isEmpty else { return }
    isTrying = true
    defer { isTrying = false }
    var left = entries.count
    var inVain = 0
    while left > 0, !entries.isEmpty, inVain < Limits.roomTriesInVain {
      if next >= entries.count { next = 0 }
      let waiter = entries[next].waiter
      waiter.tryAgain()
      if waiter.place == next {
        inVain += 1
        next += 1
      }
      left -= 1
    }
  }

  /// Nobody waits any longer.
  func dismissAll() {
    for entry in entries { entry.waiter.giveUp() }
  }

  private func setTimer() {
    guard timer == nil else { return }
    timer = eventLoop.scheduleTask(in: .nanoseconds(Limits.roomRetryNanoseconds)) { [weak self] in self?.timeIsUp() }
  }

  private func timeIsUp() {
    timer = nil
    let now = eventLoop.now
    // Backwards, because leaving puts the last one into the place.
    var index = entries.count - 1
    while index >= 0 {
      if index < entries.count, entries[index].deadline <= now { entries[index].waiter.giveUp() }
      index -= 1
    }
    tryAll()
    if !entries.isEmpty { setTimer() }
  }
}
