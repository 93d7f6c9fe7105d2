// Finds the rows that the server refuses, by halving.
//
//   the server…   the range has…   then
//   takes it      any number       its rows are good
//   refuses it    one row          the row is bad
//   refuses it    more             both halves are open, the left one next: rows are tried in their order
//
// k bad rows among n take about 2 k log₂(n) tries, and 2 n at most. Rows that depend on one another (a unique key that
// stands twice) are judged as they would be one after the other: the first is good.

/// What is known of the rows of one batch after the whole of it was refused.
package struct RowSearch {
  package private(set) var good: [Range<Int>] = []
  package private(set) var bad: [(row: Int, error: ServerError)] = []
  /// What is not known yet; the last is the next.
  package private(set) var open: [Range<Int>] = []

  /// All of `count` rows were refused together.
  package init(count: Int, error: ServerError) {
    precondition(count > 0, "no rows, no error")
    refused(0..<count, error)
  }

  /// The range to try next; nil: all is known.
  package var next: Range<Int>? { open.last }

  /// The server took the next range.
  package mutating func stored() {
    guard let range = open.popLast() else { preconditionFailure("nothing is open") }
    good.append(range)
  }

  /// The server refused the next range.
  package mutating func refused(_ error: ServerError) {
    guard let range = open.popLast() else { preconditionFailure("nothing is open") }
    refused(range, error)
  }

  private mutating func refused(_ range: Range<Int>, _ error: ServerError) {
    if range.count == 1 {
      bad.append((range.lowerBound, error))
    } else {
      let middle = range.lowerBound + range.count / 2
      open.append(middle..<range.upperBound)
      open.append(range.lowerBound..<middle)
    }
  }
}
