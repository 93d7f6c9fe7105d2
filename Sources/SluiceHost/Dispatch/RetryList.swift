/// Records of one stream that are to be delivered again.
package struct RetryRange: Equatable, Sendable {
  package var first: UInt64
  package var last: UInt64
  /// Which delivery the next one is.
  package var attempt: UInt32
  /// Not before this time, on the monotonic clock.
  package var due: Int64
  /// Deliveries so far that were no attempts: their instance ended before it had a verdict.
  package var spared: UInt32 = 0
}

/// The retry ranges of one stream, by LSN; they never overlap. Neighbours that may travel together are merged.
struct RetryList {
  private(set) var ranges: [RetryRange] = []

  var isEmpty: Bool { ranges.isEmpty }
  var lowestLSN: UInt64? { ranges.first?.first }

  /// The first time after `now` at which something becomes due.
  func earliestDue(after now: Int64) -> Int64 { ranges.reduce(.max) { $1.due > now ? min($0, $1.due) : $0 } }

  mutating func insert(_ range: RetryRange) {
    var index = indexOfFirst(startingAtOrAfter: range.first)
    assert(index == 0 || ranges[index - 1].last < range.first)
    assert(index == ranges.count || range.last < ranges[index].first)
    var range = range
    if index < ranges.count, RetryList.mergeable(range, ranges[index]) {
      range.last = ranges[index].last
      ranges.remove(at: index)
    }
    if index > 0, RetryList.mergeable(ranges[index - 1], range) {
      index -= 1
      ranges[index].last = range.last
    } else {
      ranges.insert(range, at: index)
    }
  }

  /// What to deliver next: the lowest range that is due, together with those after it that are due, have the same
  /// attempts and end within `maxRecords` of it. With `inOrder`, only the lowest range counts.
  func due(now: Int64, maxRecords: Int, inOrder: Bool) -> RetryRange? {
    guard !ranges.isEmpty else { return nil }
    guard let start = inOrder ? ranges.indices.first : ranges.firstIndex(where: { $0.due <= now }) else { return nil }
    var found = ranges[start]
    guard found.due <= now else { return nil }
    let limit = found.first + UInt64(maxRecords) - 1
    for range in ranges[(start + 1)...] {
      if range.first > limit { break }
      if range.due <= now, range.attempt == found.attempt, range.spared == found.spared {
        found.last = range.last
      } else if inOrder {
        break
      }
    }
    found.last = min(found.last, limit)
    return found
  }

  /// Takes what is due of `wanted`, up to `last`, out; `offsets` gets the records' LSNs less its first.
  mutating func take(_ wanted: RetryRange, upTo last: UInt64, now: Int64, offsets: inout [UInt32]) {
    remove(first: wanted.first, last: last) { range in
      range.due <= now && range.attempt == wanted.attempt && range.spared == wanted.spared
    } removed: { low, high in
      for lsn in low...high { offsets.append(UInt32(lsn - wanted.first)) }
    }
  }

  /// Forgets the records of `first...last`, which are gone. Returns how many there were.
  mutating func discard(first: UInt64, last: UInt64) -> UInt64 {
    var discarded: UInt64 = 0
    remove(first: first, last: last) { _ in
      true
    } removed: {
      discarded += $1 - $0 + 1
    }
    return discarded
  }

  private mutating func remove(
    first: UInt64, last: UInt64, where matches: (RetryRange) -> Bool, removed: (UInt64, UInt64) -> Void
  ) {
    var index = indexOfFirst(startingAtOrAfter: first)
    if index > 0, ranges[index - 1].last >= first { index -= 1 }
    while index < ranges.count, ranges[index].first <= last {
      let range = ranges[index]
      guard matches(range) else {
        index += 1
        continue
      }
      removed(max(range.first, first), min(range.last, last))
      ranges.remove(at: index)
      if range.first < first {
        var head = range
        head.last = first - 1
        ranges.insert(head, at: index)
        index += 1
      }
      if range.last > last {
        var tail = range
        tail.first = last + 1
        ranges.insert(tail, at: index)
        return
      }
    }
  }

  private func indexOfFirst(startingAtOrAfter lsn: UInt64) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].first < lsn { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private static func mergeable(_ lower: RetryRange, _ upper: RetryRange) -> Bool {
    lower.last + 1 == upper.first && lower.attempt == upper.attempt && lower.spared == upper.spared
      && lower.due == upper.due
  }
}
