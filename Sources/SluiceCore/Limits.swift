/// Every limit of the daemon, in one place. The relations between them are asserted in `SluiceCoreTests`.
package enum Limits {
  // MARK: Records

  /// Bytes of the fixed part that the server writes in front of each record.
  package static let serverPartBytes = 24
  /// Bytes of the fixed part that a producer of this version sends.
  package static let producerFixedBytes = 32
  /// A record's whole size in the log (fixed parts, metadata, payload, padding) unless the topology says otherwise.
  package static let defaultMaxRecordBytes = 1 << 20
  /// The largest `max_record` that a topology may ask for.
  package static let maxMaxRecordBytes = 16 << 20
  /// Topic, key and headers each carry a 16-bit length.
  package static let maxTopicBytes = 255
  package static let maxKeyBytes = 4096
  package static let maxHeadersBytes = 16 << 10
  /// Epochs are 16 bits, as Kafka's are: a producer that used all of them takes a new name.
  package static let maxEpoch = UInt16.max

  // MARK: Journal

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
  /// Buffers in which a subscriber that lags reads segment files.
  package static let coldReadBufferBytes = 2 << 20
  /// Of those, how many are kept when nobody uses them.
  package static let maxSpareReadBuffers = 4
  /// A source's or producer's name inside the log.
  package static let maxInternedNameBytes = 255
  /// A group's body is never longer, so a reader can bound its buffer: one record and all definitions.
  package static let maxGroupBodyBytes = 64 << 20
  /// What a lane takes of a slab at a time, unless a record is larger.
  package static let laneChunkBytes = 64 << 10
  /// Ranges that a lane may hold between two submits.
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
  /// Streams that answer before they sync still sync this often.
  package static let lazySyncNanoseconds: Int64 = 1_000_000_000
  /// How often free space is looked at, and how often a full stream looks again.
  package static let diskCheckNanoseconds: Int64 = 1_000_000_000
  package static let fullRetryNanoseconds: Int64 = 100_000_000
  /// A stream that hands records out before they are synced skips this many LSNs after a crash: none of those that
  /// may have been handed out and then lost is ever given to another record.
  package static let lsnSkipAfterCrash: UInt64 = 1 << 32
  /// A cursor whose subscriber was not seen for this long no longer holds records back.
  package static let cursorExpiryNanoseconds: Int64 = 7 * 24 * 3600 * 1_000_000_000
  /// How many older segments recovery looks through for names when the newest has none.
  package static let maxDefinitionSegments = 8
  /// Headers of the newest segments that recovery checks; older ones are checked when they are read.
  package static let recoveryHeaderChecks = 64

  // MARK: HTTP

  package static let maxRequestLineBytes = 8 << 10
  package static let maxHeaderBytes = 16 << 10
  package static let maxHeaderCount = 100
  package static let maxJSONDepth = 128
  /// Requests of one connection that may wait for their answers before it is read no further.
  package static let maxPipelinedRequests = 1024

  // MARK: Delivery

  package static let defaultBatchRecords = 4096
  package static let defaultBatchBytes = 1 << 20
  package static let defaultBatchWaitNanoseconds: Int64 = 50_000_000
  package static let defaultRetryFirstNanoseconds: Int64 = 100_000_000
  package static let defaultRetryMaxNanoseconds: Int64 = 30_000_000_000
  /// Verdict ranges that may be open above a cursor before no further batch is given.
  package static let maxUnsettledBatches = 16

  // MARK: Plugins

  package static let maxPluginSchemaBytes = 256 << 10
  package static let maxPluginConfigBytes = 1 << 20
  package static let maxPluginLogMessageBytes = 8 << 10

  // MARK: Topology

  package static let maxTopologyBytes = 4 << 20
  package static let maxTopologyDepth = 64
  package static let maxTopologyAliases = 1000
  package static let maxIncludes = 256
  package static let maxDiagnostics = 100
}
