// Which records may have killed a plugin's process. A record that does so again and again would keep all behind it from
// being delivered; it is looked for by halves, and becomes a dead letter.
//
//   the process died with                       suspected is            delivered until it is settled
//   n > 1 records of one batch in its hands     that batch              alone, at most ⌈n/2⌉ records at a time
//   one record in its hands, the first time     that record             alone
//   … for the second time                       – it is condemned       –
//   … and was killed over a deadline            – it has failed         as what failed: what it waited for may be at fault, so
//                                                                       it is given up when its attempts are used up
//   several batches in its hands                all of them             alone, as they were
//
// "Alone": with no other record in the plugin's hands, so that the next death tells. What is settled is suspected no more.
// Nothing is kept: after a restart of the daemon the search begins anew. Pure.

import SluiceCore

struct CrashSuspects {
  struct Hand: Equatable {
    var stream: Int
    var first: UInt64
    var last: UInt64
    /// Without a verdict.
    var count: Int
  }

  private struct Suspicion {
    var first: UInt64
    var last: UInt64
    var most: Int
  }

  private var suspicions: [Int: Suspicion] = [:]
  /// How often a record killed the process when it was the only one.
  private var alone: [Hand: Int] = [:]

  var isEmpty: Bool { suspicions.isEmpty }

  /// The process died with these in its hands. Returns the record that is condemned for it.
  mutating func died(with hands: [Hand]) -> Hand? {
    guard hands.count == 1, let hand = hands.first else {
      for hand in hands {
        let known = suspicions[hand.stream]
        suspicions[hand.stream] = Suspicion(
          first: min(known?.first ?? .max, hand.first), last: max(known?.last ?? 0, hand.last),
          most: max(known?.most ?? 1, hand.count))
      }
      return nil
    }
    if hand.count == 1 {
      let times = alone[hand, default: 0] + 1
      alone[hand] = times < Limits.maxCrashesAlone ? times : nil
      guard times < Limits.maxCrashesAlone else { return hand }
    }
    suspicions[hand.stream] = Suspicion(first: hand.first, last: hand.last, most: (hand.count + 1) / 2)
    return nil
  }

  /// It was the only one when the process was killed over a deadline.
  mutating func failed(_ hand: Hand) { suspicions[hand.stream] = nil }

  /// How many records of `stream` may be delivered at a time.
  func most(of stream: Int) -> Int { suspicions[stream]?.most ?? .max }

  /// Forgets what `isOpen` says is settled.
  mutating func forget(where isOpen: (Int, ClosedRange<UInt64>) -> Bool) {
    suspicions = suspicions.filter { isOpen($0.key, $0.value.first...$0.value.last) }
    if suspicions.isEmpty { alone = [:] }
  }
}

extension CrashSuspects.Hand: Hashable {}
