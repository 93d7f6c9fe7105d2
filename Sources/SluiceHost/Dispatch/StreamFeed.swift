import CSluice
import SluiceCore
import SluiceTopology

/// One stream as its subscriber's thread serves it.
///
/// Owned by that thread.
final class StreamFeed {
  let reader: any StreamReader
  let names: NameTable
  /// Nil: every record is delivered.
  let matcher: RecordMatcher?
  /// What an operator asked for, rather than a stream; nil: a stream.
  let replay: ReplayQueue?
  /// A part of a stream that is delivered once more, rather than a stream; nil: a stream.
  let range: StreamReplay?
  var pace: ReplayPace?
  /// Until when a batch may wait to fill; nil while there is nothing to wait for.
  var lingerUntil: Int64?
  /// The last batch was full.
  var mayHaveMore = false
  /// Not to be read before this time: reading failed.
  var holdUntil: Int64 = 0
  var failures: UInt32 = 0
  /// Deliveries of a replay that failed in a row.
  var refusals: UInt32 = 0
  private let streamName: CText
  private let uuid: [UInt8]
  /// What is the same for every batch of this stream.
  private let template: slu_batch

  init(
    _ reader: any StreamReader, match: SubscriberSettings.Match? = nil, range: StreamReplay? = nil, now: Int64 = 0
  ) {
    self.reader = reader
    self.range = range
    pace = range?.rate.map { ReplayPace(perSecond: $0, now: now) }
    matcher = RecordMatcher(match, reader: reader)
    replay = reader as? ReplayQueue
    names = NameTable(reader)
    streamName = CText(reader.streamName)
    let uuid = reader.logUUID.bytes
    self.uuid = uuid
    var batch = slu_batch()
    batch.struct_size = UInt32(MemoryLayout<slu_batch>.size)
    batch.message_stride = UInt32(MemoryLayout<slu_message>.stride)
    batch.stream = streamName.bytes
    withUnsafeMutableBytes(of: &batch.log_uuid) { $0.copyBytes(from: uuid) }
    template = batch
  }

  /// A batch of this stream, or of the one that the records of a replay are from, without its records.
  var batchTemplate: slu_batch {
    guard let replay else { return template }
    var batch = template
    batch.stream = replay.batchStream.bytes
    withUnsafeMutableBytes(of: &batch.log_uuid) { $0.copyBytes(from: replay.batchLog) }
    return batch
  }

  func gap(first: UInt64, last: UInt64, _ reason: GapReason) -> slu_gap {
    var gap = slu_gap()
    gap.struct_size = UInt32(MemoryLayout<slu_gap>.size)
    gap.reason = reason.code
    gap.first_lsn = first
    gap.last_lsn = last
    gap.stream = streamName.bytes
    withUnsafeMutableBytes(of: &gap.log_uuid) { $0.copyBytes(from: uuid) }
    return gap
  }

  /// Records that its rate allows now.
  func paced(now: Int64) -> Int { pace?.room(now: now) ?? .max }

  /// When its rate allows more.
  var nextPortion: Int64 { pace?.next ?? 0 }

  enum Supply: Equatable {
    /// Read now: there is a full batch, or it has waited long enough, or there may be nothing, which reading tells.
    case ready
    case filling(until: Int64)
  }

  /// Whether there is enough for a full batch.
  func hasWaiting(records: Int, bytes: Int) -> Bool {
    let waiting = waiting
    return waiting.records >= UInt64(records) || waiting.bytes >= Double(bytes)
  }

  /// What may be delivered and was not read yet, the bytes by estimate.
  private var waiting: (records: UInt64, bytes: Double) {
    let lag = reader.lag
    let end = reader.cursor + lag.records
    guard end > reader.position else { return (0, 0) }
    let waiting = end - reader.position
    // The bytes are those of everything unsettled; what is open has about the same records in it.
    return (waiting, Double(lag.bytes) / Double(max(lag.records, 1)) * Double(waiting))
  }

  /// Records were read.
  func noteRecords(mayHaveMore: Bool) {
    lingerUntil = nil
    self.mayHaveMore = mayHaveMore
  }

  /// Whether a batch of fresh records is worth reading. A batch that is not full may wait for `wait` ns from when its
  /// first record was seen. Behind a full batch there probably is another.
  func supply(now: Int64, maxRecords: Int, maxBytes: Int, wait: Int64) -> Supply {
    guard wait > 0, !mayHaveMore else { return .ready }
    let (waiting, bytes) = waiting
    guard waiting > 0 else {
      lingerUntil = nil
      return .ready
    }
    if waiting >= UInt64(maxRecords) || bytes >= Double(maxBytes) { return .ready }
    let until = lingerUntil ?? now + wait
    lingerUntil = until
    return until <= now ? .ready : .filling(until: until)
  }
}

extension GapReason {
  /// As the ABI has it.
  fileprivate var code: UInt32 {
    switch self {
    case .dropped: SLU_GAP_DROPPED
    case .retention: SLU_GAP_RETENTION
    case .corruption: SLU_GAP_CORRUPTION
    case .unknown: SLU_GAP_UNKNOWN
    }
  }
}
