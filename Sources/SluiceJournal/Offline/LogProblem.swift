/// Something that is wrong with a log on disk, as the tools tell it.
package struct LogProblem: Sendable, Equatable {
  package enum Kind: String, Sendable {
    /// A segment's first 4 KiB.
    case segmentHeader = "segment_header"
    /// A group or what is left of it.
    case group
    /// The producer part of one record.
    case record
    /// The bytes are whole and don't belong where they are: a link, the names, a base that is not the file's.
    case order
    /// The trace of a crash at the end: never acknowledged as durable.
    case tornTail = "torn_tail"
    /// Records that are known to have been durable.
    case missing
    /// Of another log.
    case foreign
    /// `cursors.slot`.
    case cursors
    /// Written by a newer version.
    case newer
    /// The disk gives an error instead of bytes.
    case refused
  }

  package var kind: Kind
  package var file: String
  package var offset: Int
  /// The records that it costs a subscriber; none when `lastLSN` < `firstLSN`.
  package var firstLSN: UInt64 = 1
  package var lastLSN: UInt64 = 0
  package var message: String
  /// What it costs, or what to do.
  package var consequence: String
  /// Told before, and settled: nothing is to be done.
  package var isKnown = false

  package var lostRecords: UInt64 { lastLSN >= firstLSN ? lastLSN - firstLSN + 1 : 0 }
}
