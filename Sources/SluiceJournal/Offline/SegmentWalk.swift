import SluiceCore

// Everything of one segment that can be read, in order, and everything that can't, with the reason. Where a scan
// (`TailScan`) only says from where to where a segment is damaged, this looks into the damaged stretch:
//
//   group header   body_crc and padding   records      what a subscriber gets     what the walk gives
//   valid          valid                  all valid    all                        the group
//   valid          valid                  some not     the others                 the group, and which are damaged
//   valid          lengths agree, crc no  some valid   none                       the group, unproven; the valid ones
//   valid          lengths contradict     –            none                       a loss: all LSNs of the group
//   not            –                      –            none                       a loss: up to the next valid header
//
// In an unproven group the producer parts are whole, by their own checksums, and the server parts (ingest time, source,
// producer) may be wrong.

/// A piece of a segment.
package enum SegmentPiece {
  case group(GroupHeader, offset: Int, flaws: GroupFlaws)
  case loss(SegmentLoss)
}

package struct GroupFlaws: Equatable {
  /// Records that are damaged, by their place in the group.
  package var damaged: [Int: RecordFault] = [:]
  /// Why the server parts are not proven; nil when they are.
  package var unproven: GroupFault?
}

/// A stretch that holds nothing readable.
package struct SegmentLoss: Equatable {
  package var offset: Int
  package var end: Int
  /// None when `lastLSN` < `firstLSN`.
  package var firstLSN: UInt64
  package var lastLSN: UInt64
  package var reason: String
}

//
// Of the segment that a daemon is writing, what is not whole is read again before anything is said of it: a group that is
// on its way into the file looks torn, and one that came while the rest of the file was looked through looks like damage.

struct SegmentWalk {
  private(set) var scan: TailScan
  private let slotWitness: UInt64
  private let isLive: Bool
  private let open: () throws(IOFault) -> LogFile
  private var window: FileWindow
  private var queue: [SegmentPiece] = []
  private var isTailTaken = false
  /// How often in a row a group that is not whole was read again.
  private var looks = 0

  /// `slotWitness`: for the last segment, what the cursor slots know to be durable; 0 for the others. `names`: those that
  /// older segments have told, for where this one's are damaged. `isLive`: a daemon is writing it.
  init(
    _ header: SegmentHeader, slotWitness: UInt64, names: DefinitionTable, isLive: Bool,
    _ open: @escaping () throws(IOFault) -> LogFile
  ) throws(IOFault) {
    scan = TailScan(header)
    scan.definitions = names
    self.slotWitness = slotWitness
    self.isLive = isLive
    self.open = open
    window = try FileWindow(try open())
  }

  var bytesRead: Int { window.bytesRead }
  var position: Int { scan.end }
  var fileBytes: Int { window.size }

  /// The bytes of a group, until the next call.
  func bytes(of group: GroupHeader, at offset: Int) throws(IOFault) -> UnsafeRawBufferPointer {
    try window.bytes(at: offset, count: group.paddedBytes)
  }

  /// Nil at the end; `scan.verdict` says what that is.
  mutating func next() throws(IOFault) -> SegmentPiece? {
    while queue.isEmpty {
      if isTailTaken { return nil }
      switch try isLive ? liveStep() : scan.next(window, slotWitness: slotWitness) {
      case .group(let group, let offset)?: return .group(group, offset: offset, flaws: GroupFlaws())
      case .damage(let stretch)?: try lookInto(stretch)
      case nil: return nil
      }
    }
    return queue.removeFirst()
  }

  private mutating func liveStep() throws(IOFault) -> TailScan.Step? {
    while true {
      if try isNextWhole() {
        looks = 0
        return try scan.next(window, slotWitness: slotWitness)
      }
      let before = scan
      let step = try scan.next(window, slotWitness: slotWitness)
      guard step != nil || scan.verdict.isOpenQuestion, looks < Limits.liveTailLooks else { return step }
      looks += 1
      Pause.short()
      scan = before
      window = try FileWindow(try open())
    }
  }

  private func isNextWhole() throws(IOFault) -> Bool {
    guard let group = try window.header(at: scan.end, salt: scan.header.salt) else { return false }
    let bytes = try window.bytes(at: scan.end, count: group.paddedBytes)
    return (try? GroupBody.verify(group, bytes)) != nil
  }

  /// What can still be read of the bytes behind the last valid group, which held records up to `last`. For when `next`
  /// gave nil; `next` gives it from then on.
  mutating func takeTail(through last: UInt64) throws(IOFault) {
    guard !isTailTaken, scan.usedEnd > scan.end else { return }
    isTailTaken = true
    try lookInto(Damage(offset: scan.end, end: scan.usedEnd, firstLSN: scan.nextLSN, lastLSN: last))
  }

  // MARK: Damaged stretches

  private mutating func lookInto(_ stretch: Damage) throws(IOFault) {
    var at = stretch.offset
    var lsn = stretch.firstLSN
    var hole: (offset: Int, reason: String)?
    while at < stretch.end {
      let head = try window.bytes(at: at, count: Limits.groupHeaderBytes)
      let group: GroupHeader
      do throws(GroupFault) {
        group = try GroupHeader.decode(head, salt: scan.header.salt, offset: at)
        guard group.firstLSN >= lsn, at + group.paddedBytes <= window.size else { throw .inconsistent }
      } catch {
        if hole == nil { hole = (at, "a group header is damaged (\(error))") }
        at += Limits.groupAlignment
        continue
      }
      if hole != nil || group.firstLSN > lsn {
        note(hole ?? (at, "groups are missing"), end: at, lsn, group.firstLSN - 1)
        hole = nil
      }
      try examine(group, at)
      lsn = group.nextLSN
      at += group.paddedBytes
    }
    if hole != nil || lsn <= stretch.lastLSN {
      note(hole ?? (at, "groups are missing"), end: max(at, stretch.end), lsn, stretch.lastLSN)
    }
  }

  private mutating func note(_ hole: (offset: Int, reason: String), end: Int, _ first: UInt64, _ last: UInt64) {
    queue.append(
      .loss(SegmentLoss(offset: hole.offset, end: end, firstLSN: first, lastLSN: last, reason: hole.reason)))
  }

  private mutating func examine(_ group: GroupHeader, _ offset: Int) throws(IOFault) {
    let bytes = try window.bytes(at: offset, count: group.paddedBytes)
    var flaws = GroupFlaws()
    do throws(GroupFault) {
      try GroupBody.walk(group, bytes) { index, record, length in
        if let fault = GroupBody.recordFault(record, length) { flaws.damaged[index] = fault }
      }
    } catch {
      guard error == .bodyChecksum || error == .badPadding, flaws.damaged.count < group.count else {
        let reason = "a group is damaged (\(error))"
        return note((offset, reason), end: offset + group.paddedBytes, group.firstLSN, group.nextLSN - 1)
      }
      flaws.unproven = error
    }
    if flaws == GroupFlaws() {
      // Nothing in it is wrong, and still it was refused: by its link, or the names in front of its records.
      var reason = "the link to the group before does not fit"
      do throws(DefinitionFault) {
        try DefinitionCodec.decode(GroupBody.definitions(of: group, bytes)) { _ in }
      } catch { reason = "the names in front of its records can't be read (\(error))" }
      note((offset, reason), end: offset, group.firstLSN, group.firstLSN - 1)
    }
    queue.append(.group(group, offset: offset, flaws: flaws))
  }
}

extension TailVerdict {
  /// Whether bytes that are being written just now could look like this.
  fileprivate var isOpenQuestion: Bool {
    switch self {
    case .torn, .lost: true
    case .clean, .sealed, .resume: false
    }
  }
}
