import SluiceCore

/// Places in a log, for who has one part of it delivered.
extension StreamLog {
  /// The first record that came in at `time` or later, ns since 1970; the LSN after the last when there is none. Looks at
  /// files.
  package func lsn(notBefore time: Int64) throws(JournalError) -> UInt64 {
    try StartSearch(core).lsn(of: .time(time))
  }

  /// How many of the LSNs `first ... last` belong to records: a log skips some after a crash.
  package func records(from first: UInt64, through last: UInt64) -> UInt64 {
    first <= last ? core.catalog.records(from: first, through: last) : 0
  }
}
