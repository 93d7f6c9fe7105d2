// Who guesses wrong has to wait, longer each time; per (identity, address), so that a stranger can't lock others out.
//
// The table is bounded: `Limits.lockoutSets` sets of `Limits.lockoutWays` places; a pair has its place in one set, which a
// hash seeded per process chooses. A new pair in a full set takes the place of what is forgotten, else of the one with the
// fewest wrong guesses among those that are not locked: to drive one out with n guesses, strangers have to make n guesses each
// for a whole set that they can't choose. If all are locked the new one is not remembered.

import SluiceCore
import Synchronization

package final class LockoutTable: Sendable {
  private struct Entry {
    var pair = 0
    var failures = 0
    var lockedUntil: Int64 = 0
    var last: Int64 = 0

    func isForgotten(at now: Int64) -> Bool { failures == 0 || now - last > Limits.guessMemoryNanoseconds }
  }

  private let entries = Mutex(
    [Entry](repeating: Entry(), count: Limits.lockoutSets * Limits.lockoutWays))

  package init() {}

  /// Nanoseconds that the pair has still to wait; 0: it may try. `now` is of the monotonic clock.
  package func wait(identity: String, address: String, at now: Int64) -> Int64 {
    let pair = Self.pair(identity, address)
    return entries.withLock { entries in
      for place in Self.places(of: pair) where entries[place].pair == pair && !entries[place].isForgotten(at: now) {
        return max(0, entries[place].lockedUntil - now)
      }
      return 0
    }
  }

  /// A guess was wrong.
  package func failed(identity: String, address: String, at now: Int64) {
    let pair = Self.pair(identity, address)
    entries.withLock { entries in
      guard let place = Self.place(for: pair, in: entries, at: now) else { return }
      if entries[place].pair != pair || entries[place].isForgotten(at: now) { entries[place] = Entry(pair: pair) }
      entries[place].failures += 1
      entries[place].last = now
      let beyond = entries[place].failures - Limits.freeGuesses
      guard beyond >= 0 else { return }
      let range = Limits.lockoutNanoseconds
      let pause = beyond < 20 ? min(range.upperBound, range.lowerBound << Int64(beyond)) : range.upperBound
      entries[place].lockedUntil = now + pause
    }
  }

  /// It was right.
  package func succeeded(identity: String, address: String) {
    let pair = Self.pair(identity, address)
    entries.withLock { entries in
      for place in Self.places(of: pair) where entries[place].pair == pair { entries[place] = Entry() }
    }
  }

  /// Pairs that are remembered.
  package func count(at now: Int64) -> Int {
    entries.withLock { entries in entries.reduce(0) { $0 + ($1.isForgotten(at: now) ? 0 : 1) } }
  }

  private static func pair(_ identity: String, _ address: String) -> Int {
    var hasher = Hasher()
    hasher.combine(identity)
    hasher.combine(address)
    return hasher.finalize()
  }

  private static func places(of pair: Int) -> Range<Int> {
    let set = Int(UInt(bitPattern: pair) % UInt(Limits.lockoutSets))
    return set * Limits.lockoutWays..<(set + 1) * Limits.lockoutWays
  }

  private static func place(for pair: Int, in entries: [Entry], at now: Int64) -> Int? {
    let places = places(of: pair)
    if let own = places.first(where: { entries[$0].pair == pair && entries[$0].failures > 0 }) { return own }
    if let free = places.first(where: { entries[$0].isForgotten(at: now) }) { return free }
    return places.filter { entries[$0].lockedUntil <= now }.min { entries[$0].failures < entries[$1].failures }
  }
}
