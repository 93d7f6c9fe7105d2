// Whose child a published record is, as its first header says:
//
//   name    sluice-parent
//   value   the parent's log UUID, its LSN and the ordinal, as text with a blank between each
//
// With the record's source, which is the subscriber that published it, that is (parent, instance, ordinal): what is
// stored once. No topology lets a source have a publishing subscriber's name, so that no producer can write one.

import SluiceCore

/// One record's place among those that a subscriber made of what it was given.
package struct PublishedLineage: Equatable, Sendable {
  package var log: LogUUID
  package var lsn: UInt64
  package var ordinal: UInt64

  package init(log: LogUUID, lsn: UInt64, ordinal: UInt64) {
    self.log = log
    self.lsn = lsn
    self.ordinal = ordinal
  }

  package static let header = "sluice-parent"
  /// The longest that a header can be: 36 digits and hyphens, two numbers of 20 digits, two blanks.
  static let maxBytes = 3 + header.utf8.count + 36 + 2 + 20 + 20

  /// From a record's headers; nil if the first of them is another.
  package init?(headers: UnsafeRawBufferPointer) {
    let name = PublishedLineage.header
    let start = 1 + name.utf8.count + 2
    guard headers.count > start, Int(headers[0]) == name.utf8.count,
      headers[1..<(1 + name.utf8.count)].elementsEqual(name.utf8)
    else { return nil }
    let length = Int(headers[start - 2]) | Int(headers[start - 1]) << 8
    guard headers.count >= start + length,
      let text = String(validating: headers[start..<(start + length)], as: UTF8.self)
    else { return nil }
    let parts = text.split(separator: " ", omittingEmptySubsequences: false)
    guard parts.count == 3, let log = LogUUID(canonical: String(parts[0])), let lsn = UInt64(parts[1]), lsn > 0,
      let ordinal = UInt64(parts[2])
    else { return nil }
    self.init(log: log, lsn: lsn, ordinal: ordinal)
  }
}

/// Puts lineages in front of records' own headers, without allocating for each.
struct LineageWriter {
  private var bytes: [UInt8] = []
  /// The parents' log, as text: that of the last record's parent mostly.
  private var log = LogUUID(high: 0, low: 0)
  private var logText: [UInt8] = []

  mutating func withHeaders<Result>(
    of lineage: PublishedLineage, and own: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result {
    if log != lineage.log || logText.isEmpty {
      log = lineage.log
      logText = Array(log.description.utf8)
    }
    bytes.removeAll(keepingCapacity: true)
    bytes.append(UInt8(PublishedLineage.header.utf8.count))
    bytes.append(contentsOf: PublishedLineage.header.utf8)
    let length = bytes.count
    bytes.append(0)
    bytes.append(0)
    bytes.append(contentsOf: logText)
    put(lineage.lsn)
    put(lineage.ordinal)
    bytes[length] = UInt8(bytes.count - length - 2)
    bytes.append(contentsOf: own)
    return bytes.withUnsafeBytes(body)
  }

  /// A blank and the number in decimal.
  private mutating func put(_ number: UInt64) {
    bytes.append(UInt8(ascii: " "))
    let start = bytes.count
    var left = number
    repeat {
      bytes.append(UInt8(ascii: "0") + UInt8(left % 10))
      left /= 10
    } while left > 0
    bytes[start...].reverse()
  }
}
