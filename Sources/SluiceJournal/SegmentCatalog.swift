import SluiceCore
import Synchronization

/// What is known about one segment without reading it.
struct SegmentInfo: Sendable {
  let baseLSN: UInt64
  /// Read when it is first needed, for segments that were there before this process.
  var header: SegmentHeader?
  /// Bytes in use: up to the end of the last group, or the file's size.
  var bytes: Int
  /// Nil for an older segment whose end nobody has looked up.
  var lastLSN: UInt64?
  var lastTime: Int64?
  var index: [IndexEntry] = []
  /// `index` stands beside the segment's file, or need not.
  var isIndexWritten = false

  init(baseLSN: UInt64, bytes: Int) {
    self.baseLSN = baseLSN
    self.bytes = bytes
  }

  /// A segment that has just been installed.
  init(started header: SegmentHeader) {
    self.init(baseLSN: header.baseLSN, bytes: Limits.segmentHeaderBytes)
    self.header = header
    lastLSN = header.baseLSN - 1
    lastTime = header.createdTime
  }
}

/// Where to begin looking for an LSN.
struct SegmentLocation: Sendable {
  var baseLSN: UInt64
  var header: SegmentHeader?
  /// A group at or before the one wanted, if the index that is in memory has it.
  var entry: IndexEntry?
  var isIndexed = false
  /// The segment's last LSN, when it is known.
  var lastLSN: UInt64?
  /// The segment that follows.
  var next: (baseLSN: UInt64, header: SegmentHeader?)?
}

/// All segments of a log, oldest first; the last one is being written. Guarded by one mutex, held for lookups only.
final class SegmentCatalog: Sendable {
  private let state: Mutex<[SegmentInfo]>

  /// The first `init` argument is not empty: a log always has a segment that is being written.
  init(_ segments: [SegmentInfo]) {
    precondition(!segments.isEmpty)
    state = Mutex(segments)
  }

  var count: Int { state.withLock { $0.count } }
  var oldestLSN: UInt64 { state.withLock { $0[0].baseLSN } }
  var newestBase: UInt64 { state.withLock { $0[$0.count - 1].baseLSN } }
  var totalBytes: Int { state.withLock { $0.reduce(0) { $0 + $1.bytes } } }
  var bases: [UInt64] { state.withLock { $0.map(\.baseLSN) } }

  /// A group was written to the last segment.
  func wroteGroup(_ group: GroupHeader, at offset: Int) {
    state.withLock { segments in
      let last = segments.count - 1
      segments[last].bytes = offset + group.paddedBytes
      segments[last].lastLSN = group.nextLSN - 1
      segments[last].lastTime = group.wallTime
      if SparseIndex.isDue(after: segments[last].index.last, offset: offset, time: group.wallTime) {
        segments[last].index.append(IndexEntry(lsn: group.firstLSN, offset: offset, time: group.wallTime))
      }
    }
  }

  /// A new segment follows the last one.
  func started(_ header: SegmentHeader) {
    state.withLock { segments in
      segments.append(SegmentInfo(started: header))
      if segments.count > Limits.maxIndexedSegments {
        segments[segments.count - 1 - Limits.maxIndexedSegments].index = []
      }
    }
  }

  /// A segment that has ended and whose index is not on disk yet.
  var unwrittenIndex: SegmentIndex? {
    state.withLock { segments in
      for info in segments.dropLast() where !info.isIndexWritten && !info.index.isEmpty {
        guard let salt = info.header?.salt else { continue }
        return SegmentIndex(salt: salt, baseLSN: info.baseLSN, entries: info.index)
      }
      return nil
    }
  }

  func wroteIndex(of baseLSN: UInt64) {
    state.withLock { segments in
      guard let place = SegmentCatalog.place(of: baseLSN, in: segments), segments[place].baseLSN == baseLSN else {
        return
      }
      segments[place].isIndexWritten = true
    }
  }

  func index(of baseLSN: UInt64) -> [IndexEntry] {
    state.withLock { segments in
      guard let place = SegmentCatalog.place(of: baseLSN, in: segments) else { return [] }
      return segments[place].baseLSN == baseLSN ? segments[place].index : []
    }
  }

  func learned(_ header: SegmentHeader) {
    state.withLock { segments in
      guard let place = SegmentCatalog.place(of: header.baseLSN, in: segments) else { return }
      if segments[place].baseLSN == header.baseLSN { segments[place].header = header }
    }
  }

  /// The segment that `lsn` lies in, or lay in. Nil when it is older than all.
  func locate(_ lsn: UInt64) -> SegmentLocation? {
    state.withLock { segments in
      guard let place = SegmentCatalog.place(of: lsn, in: segments) else { return nil }
      let info = segments[place]
      let isLast = place == segments.count - 1
      var result = SegmentLocation(
        baseLSN: info.baseLSN, header: info.header, lastLSN: info.lastLSN)
      if !isLast { result.next = (segments[place + 1].baseLSN, segments[place + 1].header) }
      result.entry = info.index.last(notAfter: lsn)
      result.isIndexed = !info.index.isEmpty
      return result
    }
  }

  /// Bytes of all segments, and of them those with LSNs from `lsn` on; inside a segment by proportion.
  func bytes(from lsn: UInt64) -> Int {
    state.withLock { segments in
      var total = 0
      for place in segments.indices.reversed() {
        let info = segments[place]
        if info.baseLSN >= lsn {
          total += info.bytes
          continue
        }
        let next = place + 1 < segments.count ? segments[place + 1].baseLSN : (info.lastLSN ?? info.baseLSN) + 1
        let end = info.lastLSN.map { $0 + 1 } ?? next
        guard end > lsn, end > info.baseLSN else { break }
        total += Int(Double(info.bytes) * Double(end - lsn) / Double(end - info.baseLSN))
        break
      }
      return total
    }
  }

  /// How many of the LSNs `first ... last` belong to records: not those that recovery passed over between two segments.
  func records(from first: UInt64, through last: UInt64) -> UInt64 {
    state.withLock { segments in
      var total: UInt64 = 0
      var end = last
      for place in segments.indices.reversed() {
        let info = segments[place]
        // The last segment's own end may be behind `last` for a moment: what is written is not yet committed.
        let own = place + 1 < segments.count ? min(end, info.lastLSN ?? end) : end
        let start = max(first, info.baseLSN)
        if own >= start { total += own - start + 1 }
        if info.baseLSN <= first { break }
        end = min(end, info.baseLSN - 1)
      }
      return total
    }
  }

  /// When the group that holds `lsn` was formed, about; nil when that would need a look at the disk.
  func time(of lsn: UInt64) -> Int64? {
    state.withLock { segments in
      guard let place = SegmentCatalog.place(of: lsn, in: segments) else { return segments.first?.header?.createdTime }
      return segments[place].index.last(notAfter: lsn)?.time ?? segments[place].header?.createdTime
    }
  }

  /// The LSN from which on about `bytes` follow.
  func lsn(withBytesBehind bytes: Int) -> UInt64 {
    state.withLock { segments in
      var left = bytes
      var end = (segments[segments.count - 1].lastLSN ?? segments[segments.count - 1].baseLSN) + 1
      for info in segments.reversed() {
        if info.bytes > left {
          let last = info.lastLSN.map { $0 + 1 } ?? end
          return last - UInt64(Double(last - info.baseLSN) * Double(left) / Double(info.bytes))
        }
        left -= info.bytes
        end = info.baseLSN
      }
      return segments[0].baseLSN
    }
  }

  /// An LSN below which everything came in before `time`: the highest that is known without a look at the disk.
  func lsn(before time: Int64) -> UInt64 {
    state.withLock { segments in
      for info in segments.reversed() {
        if let entry = info.index.last(where: { $0.time < time }) { return entry.lsn }
        if let created = info.header?.createdTime, created < time { return info.baseLSN }
      }
      return segments[0].baseLSN
    }
  }

  /// The oldest segment and what retention must know of it; nil when only the one being written is left.
  func oldestClosed() -> (info: SegmentInfo, nextBase: UInt64, nextHeader: SegmentHeader?)? {
    state.withLock { segments in
      guard segments.count > 1 else { return nil }
      return (segments[0], segments[1].baseLSN, segments[1].header)
    }
  }

  /// Whether names and producers' marks would still be found without the oldest segment: they are in the first group of
  /// each. A closed segment with records has one; the newest has one when a record in it is durable.
  func hasHeadBesideOldest(durableLSN: UInt64) -> Bool {
    state.withLock { segments in
      guard let newest = segments.last else { return false }
      return durableLSN >= newest.baseLSN
        || segments.dropFirst().dropLast().contains { ($0.lastLSN ?? 0) >= $0.baseLSN }
    }
  }

  func removeOldest(_ baseLSN: UInt64) {
    state.withLock { segments in
      precondition(segments.count > 1 && segments[0].baseLSN == baseLSN, "only the oldest closed segment goes")
      segments.removeFirst()
    }
  }

  /// The last segment whose base is not above `lsn`.
  private static func place(of lsn: UInt64, in segments: [SegmentInfo]) -> Int? {
    var low = 0
    var high = segments.count
    while low < high {
      let middle = (low + high) / 2
      if segments[middle].baseLSN <= lsn { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : low - 1
  }
}
