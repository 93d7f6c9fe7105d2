import SluiceCore
import Synchronization

/// Where a subscriber without a cursor begins. Looks at files, so not for the hot path.
struct StartSearch {
  let core: LogCore
  init(_ core: LogCore) { self.core = core }

  func lsn(of start: StartPosition) throws(JournalError) -> UInt64 {
    switch start {
    case .oldest: return core.catalog.oldestLSN
    case .newest: return core.committedLSN.load(ordering: .acquiring) + 1
    case .time(let time):
      do throws(IOFault) { return try first(notBefore: time) } catch { throw JournalError(error) }
    }
  }

  /// The first committed record whose ingest time is not before `time`, or the LSN after the last. Group times and
  /// ingest times rise, and no record is younger than its group.
  private func first(notBefore time: Int64) throws(IOFault) -> UInt64 {
    let limit = core.committedLSN.load(ordering: .acquiring)
    let bases = core.catalog.bases
    var low = 0
    var high = bases.count
    // The last segment that was begun before `time`: the record is in it, or is the first of the next one.
    while high - low > 1 {
      let middle = (low + high) / 2
      // A header that can't be read is taken as old: the search then begins earlier than it must.
      let created = try header(bases[middle]).map(\.createdTime) ?? .min
      if created < time { low = middle } else { high = middle }
    }
    for base in bases[low...] {
      guard let header = try header(base) else { continue }
      if let found = try first(notBefore: time, in: header, limit) { return found }
    }
    return limit + 1
  }

  private func first(
    notBefore time: Int64, in header: SegmentHeader, _ limit: UInt64
  ) throws(IOFault) -> UInt64? {
    let path = core.path(SegmentFile.name(header.baseLSN))
    let window = try FileWindow(try LogFile(path, .read, on: core.storage))
    var offset = Limits.segmentHeaderBytes
    let known = core.catalog.index(of: header.baseLSN)
    let index = known.isEmpty ? SegmentIndex.entries(of: header, in: core.options.directory, on: core.storage) : known
    // A hint, as good as the group that it points to.
    if let hint = index.last(before: time), let group = try window.header(at: hint.offset, salt: header.salt),
      group.firstLSN == hint.lsn, group.wallTime < time
    {
      offset = hint.offset
    }
    while let group = try window.header(at: offset, salt: header.salt), group.firstLSN <= limit {
      if group.wallTime >= time, group.count > 0 {
        var found: UInt64?
        let bytes = try window.bytes(at: offset, count: group.paddedBytes)
        // A damaged group is told as a gap when it is read: it is a place to begin at like any other.
        try? GroupBody.walk(group, bytes) { index, record, _ in
          if found == nil, record.loadLE(RecordLayout.ingestTime) as Int64 >= time {
            found = group.firstLSN + UInt64(index)
          }
        }
        if let found { return found }
      }
      offset += group.paddedBytes
    }
    return nil
  }

  private func header(_ base: UInt64) throws(IOFault) -> SegmentHeader? {
    let read = try SegmentFile.readHeader(core.path(SegmentFile.name(base)), on: core.storage)
    return try? read.get()
  }
}
