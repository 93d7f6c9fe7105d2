// Which children exist already, of parents that may be delivered again, and from where on in the target streams they may
// be found after a restart. Pure.
//
// A parent below its cursor is never delivered again (a replay apart, whose children are new ones), so nothing is kept of
// it. What is kept is bounded by `Limits.maxOpenChildBlocks`.

import SluiceCore

struct PublishedChildren {
  /// 64 ordinals in a row of one parent: those who number their children from 0 on take little memory for each.
  private struct Block: Hashable {
    var lsn: UInt64
    var number: UInt64

    init(_ lsn: UInt64, _ ordinal: UInt64) {
      self.lsn = lsn
      number = ordinal >> 6
    }
  }

  /// Children of parents up to `maxParent`, the first of them at `first` of the target.
  private struct Stretch {
    var target: Int
    var feed: Int
    var maxParent: UInt64
    var first: UInt64
  }

  /// By feed; of each block which children there are.
  private var children: [[Block: UInt64]]
  private var swept: [Int]
  private var cursors: [UInt64]
  private var stretches: [Stretch] = []

  init(cursors: [UInt64]) {
    children = Array(repeating: [:], count: cursors.count)
    swept = Array(repeating: 0, count: cursors.count)
    self.cursors = cursors
  }

  func cursor(of feed: Int) -> UInt64 { cursors[feed] }

  /// Whether the parent may still be delivered, so that its children are of interest.
  func isOpen(feed: Int, lsn: UInt64) -> Bool { lsn >= cursors[feed] }

  /// False: there is one already.
  mutating func insert(feed: Int, lsn: UInt64, ordinal: UInt64) -> Bool {
    let bit = UInt64(1) << (ordinal & 63)
    return { (bits: inout UInt64) in
      defer { bits |= bit }
      return bits & bit == 0
    }(&children[feed][Block(lsn, ordinal), default: 0])
  }

  mutating func remove(feed: Int, lsn: UInt64, ordinal: UInt64) {
    let block = Block(lsn, ordinal)
    guard let bits = children[feed][block] else { return }
    let left = bits & ~(UInt64(1) << (ordinal & 63))
    children[feed][block] = left == 0 ? nil : left
  }

  /// Whether so many children of open parents are known that no more are taken for now.
  mutating func isFull(_ feed: Int) -> Bool {
    guard children[feed].count > Limits.maxOpenChildBlocks else { return false }
    sweep(feed)
    return children[feed].count > Limits.maxOpenChildBlocks
  }

  /// Children from `first` on in `target` have parents up to `maxParent`.
  mutating func note(target: Int, feed: Int, maxParent: UInt64, first: UInt64) {
    stretches.append(Stretch(target: target, feed: feed, maxParent: maxParent, first: first))
    if stretches.count > Limits.maxChildStretches { merge() }
  }

  /// Half as many, each saying of two what is true of both.
  private mutating func merge() {
    var merged: [Stretch] = []
    var last: [Int: Int] = [:]
    for stretch in stretches {
      let key = stretch.target * children.count + stretch.feed
      if let place = last[key] {
        merged[place].maxParent = max(merged[place].maxParent, stretch.maxParent)
        last[key] = nil
      } else {
        last[key] = merged.count
        merged.append(stretch)
      }
    }
    stretches = merged
  }

  /// Parents below a feed's cursor are settled.
  mutating func settle(below cursors: [UInt64]) {
    for feed in cursors.indices where cursors[feed] != self.cursors[feed] {
      self.cursors[feed] = cursors[feed]
      // Each sweep is paid for by as many children as it looks at.
      if children[feed].count > 2 * swept[feed] + Limits.childSweepLeast { sweep(feed) }
    }
    if !stretches.isEmpty { stretches.removeAll { $0.maxParent < self.cursors[$0.feed] } }
  }

  private mutating func sweep(_ feed: Int) {
    let cursor = cursors[feed]
    children[feed] = children[feed].filter { $0.key.lsn >= cursor }
    swept[feed] = children[feed].count
  }

  /// A feed begins anew, with other records.
  mutating func restart(feed: Int, at lsn: UInt64) {
    children[feed] = [:]
    swept[feed] = 0
    cursors[feed] = lsn
  }

  /// Nobody asks any more; feeds may still be settled.
  mutating func forgetAll() {
    for feed in cursors.indices { restart(feed: feed, at: cursors[feed]) }
    stretches = []
  }

  /// From where on in `target` children of parents at or above the cursors may be; nil: there are none.
  func floor(of target: Int, feeds: Int) -> UInt64? {
    stretches.lazy.filter { $0.target == target && $0.feed < feeds }.map(\.first).min()
  }
}
