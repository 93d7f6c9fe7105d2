import SluiceCore

/// An entry of a segment's sparse index: a group that starts at `offset` with `lsn`, formed at `time`.
package struct IndexEntry: Equatable, Sendable {
  package var lsn: UInt64
  package var offset: Int
  package var time: Int64
}

/// A damaged stretch of a segment. `lastLSN` < `firstLSN` when no record was in it.
package struct Damage: Equatable, Sendable {
  package var offset: Int
  package var end: Int
  package var firstLSN: UInt64
  package var lastLSN: UInt64
}

/// Reads one segment from its first group to where it ends, and says what that end is. Reads only.
struct TailScan {
  let header: SegmentHeader
  /// The LSN that follows the last valid group.
  var nextLSN: UInt64
  /// Where the last valid group ends.
  var end = Limits.segmentHeaderBytes
  /// header_crc of the last valid group, or of the segment header.
  var link: UInt32
  var groups = 0
  var records = 0
  var sealed = false
  var lastTime: Int64
  var definitions = DefinitionTable()
  var index: [IndexEntry] = []
  var damage: [Damage] = []
  var verdict = TailVerdict.clean
  /// Where the last block that isn't zero ends.
  var usedEnd = Limits.segmentHeaderBytes
  /// Where the bytes end that may be a torn write; behind it a recycled file has what it had before.
  var suspectEnd = Limits.segmentHeaderBytes
  /// The valid header with the highest watermark, once the rest of the file was looked through: so that a file with
  /// much damage is looked through once and not once per damaged stretch.
  private var farthest: (offset: Int, durableLSN: UInt64)?
  private var checksLink = true

  init(_ header: SegmentHeader) {
    self.header = header
    nextLSN = header.baseLSN
    link = header.checksum
    lastTime = header.createdTime
  }

  /// The first group, which has the names and marks of all that came before, is not there or can't be read.
  var lacksHead: Bool { groups == 0 || damage.first?.offset == Limits.segmentHeaderBytes }

  /// One step of a scan.
  enum Step {
    case group(GroupHeader, offset: Int)
    case damage(Damage)
  }

  /// Scans to the end. `slotWitness`: the highest LSN that the cursor slots know to be durable. `onGroup` is called
  /// with each valid group and its place.
  mutating func run(
    _ window: FileWindow, slotWitness: UInt64, onGroup: (GroupHeader, _ offset: Int) -> Void = { _, _ in }
  ) throws(IOFault) {
    while let step = try next(window, slotWitness: slotWitness) {
      if case .group(let group, let offset) = step { onGroup(group, offset) }
    }
  }

  /// The next group, or the next damaged stretch; nil at the end, where `verdict` says what that is. May be asked again
  /// when the file has grown.
  mutating func next(_ window: FileWindow, slotWitness: UInt64) throws(IOFault) -> Step? {
    if let group = try acceptGroup(window) {
      checksLink = true
      return .group(group, offset: end - group.paddedBytes)
    }
    let evidence = try lookAhead(window, slotWitness: slotWitness)
    verdict = evidence.verdict
    guard case .resume(let offset, let lsn) = verdict else { return nil }
    let stretch = Damage(offset: end, end: offset, firstLSN: nextLSN, lastLSN: lsn - 1)
    damage.append(stretch)
    end = offset
    nextLSN = lsn
    // The link of the first group behind damage can't be checked: what it links to is what is damaged.
    checksLink = false
    return .damage(stretch)
  }

  private mutating func acceptGroup(_ window: FileWindow) throws(IOFault) -> GroupHeader? {
    guard !sealed, let header = try window.header(at: end, salt: header.salt), header.firstLSN == nextLSN,
      !checksLink || header.previousCRC == link
    else { return nil }
    let group = try window.bytes(at: end, count: header.paddedBytes)
    guard (try? GroupBody.verify(header, group)) != nil else { return nil }
    // `verify` has read them once, so they can be read.
    try? DefinitionCodec.decode(GroupBody.definitions(of: header, group)) { definitions.insert($0) }
    GroupBody.producerRuns(header, group) {
      definitions.note(producer: $0.producer, epoch: $0.epoch, sequence: $0.sequence)
    }
    if SparseIndex.isDue(after: index.last, offset: end, time: header.wallTime) {
      index.append(IndexEntry(lsn: header.firstLSN, offset: end, time: header.wallTime))
    }
    groups += 1
    records += header.count
    nextLSN = header.nextLSN
    end += header.paddedBytes
    usedEnd = max(usedEnd, end)
    link = header.checksum
    lastTime = max(lastTime, header.wallTime)
    sealed = header.flags.contains(.seal)
    return header
  }

  private mutating func lookAhead(_ window: FileWindow, slotWitness: UInt64) throws(IOFault) -> TailEvidence {
    var evidence = TailEvidence(
      sealed: sealed, expected: nextLSN, rest: end < window.size ? .zeros : .nothing, slotWitness: slotWitness)
    if sealed { return evidence }
    if header.isRecycled { try lookAtStale(window, &evidence) }
    var offset = end
    while offset < window.size {
      if try !window.isZeroBlock(at: offset) {
        usedEnd = max(usedEnd, min(offset + Limits.groupAlignment, window.size))
        if !header.isRecycled {
          evidence.rest = .bytes
          suspectEnd = usedEnd
        }
        if offset > end, let later = try window.header(at: offset, salt: header.salt), later.firstLSN >= nextLSN {
          if evidence.later == nil {
            evidence.later = .init(offset: offset, firstLSN: later.firstLSN, durableLSN: later.durableLSN)
            if farthest != nil { break }
          }
          if later.durableLSN >= farthest?.durableLSN ?? 0 { farthest = (offset, later.durableLSN) }
        }
      }
      offset += Limits.groupAlignment
    }
    if let farthest, let later = evidence.later, farthest.offset >= later.offset {
      evidence.later?.durableLSN = max(later.durableLSN, farthest.durableLSN)
    }
    return evidence
  }
}

extension TailScan {
  /// A group that was begun at the end of a recycled file shows by its header, whose checksum its salt seeds.
  private mutating func lookAtStale(_ window: FileWindow, _ evidence: inout TailEvidence) throws(IOFault) {
    evidence.rest = end < window.size ? .stale : .nothing
    suspectEnd = end
    if let torn = try window.header(at: end, salt: header.salt), torn.firstLSN == nextLSN {
      evidence.rest = .bytes
      suspectEnd = min(end + torn.paddedBytes, window.size)
    }
  }
}

/// When a segment's sparse index gets another entry.
enum SparseIndex {
  static func isDue(after last: IndexEntry?, offset: Int, time: Int64) -> Bool {
    guard let last else { return true }
    return offset - last.offset >= Limits.indexIntervalBytes || time - last.time >= Limits.indexIntervalNanoseconds
  }
}
