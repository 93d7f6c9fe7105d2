/// A set of LSNs, kept as ranges that neither overlap nor touch, in rising order.
struct LSNRanges {
  private(set) var ranges: [ClosedRange<UInt64>] = []

  func contains(_ lsn: UInt64) -> Bool {
    let index = place(of: lsn)
    return index < ranges.count && ranges[index].contains(lsn)
  }

  mutating func insert(_ new: ClosedRange<UInt64>) {
    // From the first that it touches to the first that it does not.
    let start = place(of: new.lowerBound - (new.lowerBound > 0 ? 1 : 0))
    var end = start
    var (low, high) = (new.lowerBound, new.upperBound)
    while end < ranges.count, ranges[end].lowerBound <= new.upperBound + 1 {
      low = min(low, ranges[end].lowerBound)
      high = max(high, ranges[end].upperBound)
      end += 1
    }
    ranges.replaceSubrange(start..<end, with: [low...high])
  }

  /// Forgets everything below `lsn`, as far as whole ranges go.
  mutating func remove(below lsn: UInt64) {
    ranges.removeFirst(ranges.firstIndex { $0.upperBound >= lsn } ?? ranges.count)
  }

  /// Of the first range that does not end below `lsn`.
  private func place(of lsn: UInt64) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < lsn { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
