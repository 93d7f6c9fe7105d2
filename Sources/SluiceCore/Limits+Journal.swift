/// The limits of the durable log.
extension Limits {
  /// Groups start on this boundary, so that an acknowledged sector is never written again.
  package static let groupAlignment = 4096
  package static let groupHeaderBytes = 64
  package static let segmentHeaderBytes = 4096
  /// The most that one commit writes.
  package static let maxGroupBytes = 4 << 20
  /// Pieces of one vectored write; Linux's IOV_MAX is 1,024.
  package static let maxGroupPieces = 1000
  package static let minSegmentBytes = 1 << 20
  package static let defaultSegmentBytes = 64 << 20
  /// An index file that claims to be larger is taken for garbage: one entry per group of the largest segment.
  package static let maxIndexFileBytes = 16 << 20
  /// Of a write that is larger, the device is told to begin after each such part.
  package static let writebackBytes = 1 << 20
  /// Retired segments that are kept to be written again.
  package static let maxSpareSegments = 2
  /// What a sealed segment may leave unused of its file: this part of it, at most.
  package static let sealedSlackDivisor = 8
  /// Zeros are written ahead when no log has committed for this long, so much at a time, with a pause in between.
  package static let idleBeforeFillNanoseconds: Int64 = 500_000_000
  package static let zeroFillBytes = 1 << 20
  package static let fillPauseNanoseconds: Int64 = 10_000_000
  package static let minRingBytes = 4 << 20
  package static let defaultRingBytes = 64 << 20
  /// A slab holds at least two records of `max_record`.
  package static let defaultSlabBytes = 2 << 20
  /// After this long without records an idle marker makes the last group's durability provable.
  package static let idleMarkerNanoseconds: Int64 = 20_000_000
  /// Cursor positions reach the disk at most this late.
  package static let cursorIntervalNanoseconds: Int64 = 100_000_000
  package static let cursorSlotBytes = 64 << 10
  package static let maxCursorsPerLog = 256
  package static let maxCursorNameBytes = 128
  /// Free space below which producers are refused while delivery goes on.
  package static let diskReserveBytes = 64 << 20
  /// On a small disk the reserve is this part of it.
  package static let diskReserveDivisor = 20
  /// Buffers in which a subscriber that lags reads segment files.
  package static let coldReadBufferBytes = 2 << 20
  /// Of those, how many are kept when nobody uses them.
  package static let maxSpareReadBuffers = 4
  /// A source's or producer's name inside the log.
  package static let maxInternedNameBytes = 255
  /// Producers that a log remembers, and what all definitions may take of a segment, of which a quarter is the most.
  package static let maxProducersPerLog = 65_536
  package static let maxDefinitionBytes = 32 << 20
  /// How soon a log that remembers as many as it may, and could forget few, looks again.
  package static let producerSweepNanoseconds: Int64 = 1_000_000_000
  /// A group's body is never longer, so a reader can bound its buffer: one record and all definitions.
  package static let maxGroupBodyBytes = 64 << 20
  /// What a lane takes of a slab at a time, unless a record is larger.
  package static let laneChunkBytes = 64 << 10
  /// Ranges that a lane may hold between two submits, beside one for each slab of the ring.
  package static let maxLaneRanges = 256
  /// Adjacent submits are joined up to this.
  package static let maxExtentBytes = 1 << 20
  /// A ring keeps one extent for so many of its bytes, so that the bookkeeping is bounded.
  package static let ringBytesPerExtent = 4096
  /// Extents that one batch from the ring may span.
  package static let maxExtentsPerBatch = 256
  /// Bytes between two entries of a segment's sparse index, and the longest time without one.
  package static let indexIntervalBytes = 64 << 10
  package static let indexIntervalNanoseconds: Int64 = 1_000_000_000
  /// Sparse indices are kept for this many segments; older ones are read by hopping from their start.
  package static let maxIndexedSegments = 64
  /// The commit thread of a `memory` stream rests this long between two groups, unless this much waits.
  package static let memoryRestNanoseconds: Int64 = 2_000_000
  package static let memoryRestBytes = 1 << 20
  /// Streams that answer before they sync still sync this often.
  package static let lazySyncNanoseconds: Int64 = 1_000_000_000
  /// How often free space is looked at, and how often a full stream looks again.
  package static let diskCheckNanoseconds: Int64 = 1_000_000_000
  package static let fullRetryNanoseconds: Int64 = 100_000_000
  /// A stream that hands records out before they are synced skips this many LSNs after a crash: none of those that
  /// may have been handed out and then lost is ever given to another record.
  package static let lsnSkipAfterCrash: UInt64 = 1 << 32
  /// No log gets this far; what claims to is damage, and sums with what lies below don't overflow.
  package static let maxLSN: UInt64 = 1 << 63
  /// A subscriber that is over its `max_lag … then: gap` goes on this part below it.
  package static let lagGapDivisor: UInt64 = 8
  /// A cursor whose subscriber was not seen for this long no longer holds records back, unless `retain.cursors` says
  /// otherwise.
  package static let cursorExpiryNanoseconds: Int64 = 7 * 24 * 3600 * 1_000_000_000
  package static let minCursorExpiryNanoseconds: Int64 = 60_000_000_000
  /// How often it is looked whether one has expired.
  package static let cursorExpiryLookNanoseconds: Int64 = 1_000_000_000
  /// None expires before the log has been open for this long: after a long halt, or a clock that was set forward, every
  /// cursor looks old until its subscriber has come back.
  package static let cursorGraceNanoseconds: Int64 = 600_000_000_000
  /// When the cursors were lost, nothing is deleted as settled before the subscribers had this long to come back.
  package static let lostCursorsGraceNanoseconds: Int64 = 60_000_000_000
  /// How many older segments recovery looks through for names when the newest has none.
  package static let maxDefinitionSegments = 8
  /// Headers of the newest segments that recovery checks; older ones are checked when they are read.
  package static let recoveryHeaderChecks = 64
  /// Damage that an error names one by one; of more it says how much there is.
  package static let maxDamageShown = 8
  /// Headers of a log's newest segments that are tried to learn which log it is.
  package static let maxIdentityHeaders = 8
  /// The file that says which log each stream of a data directory has: the most that is read of it.
  package static let maxRegistryBytes = 4 << 20
}
