import SluiceCore

// What the end of the last segment means. A pure function of what was seen, so that every row can be tested.
//
// A group is formed only when the group before it has been written (and, with `fsync`, synced), and carries the
// watermark `durable_lsn`. So a later valid group whose watermark reaches `expected`, or a cursor slot that does, proves
// that the record `expected` was durable once: if it can't be read now, that is damage, and not the trace of a crash.
//
//  row            sealed  after the last valid group  witness ≥ expected      verdict
//  SEALED         yes     anything                    nobody                  sealed
//  NEXT MISSING   yes     anything                    a cursor slot           lost: the segments after it are missing
//  CLEAN          no      nothing, zeros, or stale    nobody                  clean: the log ends here
//  TORN           no      other bytes                 nobody                  torn: never acknowledged as durable
//  HOLE           no      anything, then a group      that group's watermark  damaged: go on at that group
//  MARKER         no      anything, then a group      it begins at expected   damaged, no record lost: go on there
//  UNPROVEN       no      anything, then a group      nobody                  torn: the later group is no proof either
//  LOST ZEROS     no      nothing, zeros, or stale    a cursor slot           lost: expected … witness are gone
//  LOST BYTES     no      other bytes                 a cursor slot           lost: expected … witness are gone
//
// Stale: the file is recycled, and no header that its salt vouches for stands where the next group would be. What is there
// is of the file's earlier life, or of a group whose first block did not reach the disk; neither was ever acknowledged.

/// What follows the last valid group.
package struct TailEvidence: Equatable, Sendable {
  package enum Rest: Equatable, Sendable { case nothing, zeros, stale, bytes }

  /// A valid group header further on.
  package struct Later: Equatable, Sendable {
    package var offset: Int
    package var firstLSN: UInt64
    /// The highest watermark of it and all that follow it.
    package var durableLSN: UInt64
    package init(offset: Int, firstLSN: UInt64, durableLSN: UInt64) {
      self.offset = offset
      self.firstLSN = firstLSN
      self.durableLSN = durableLSN
    }
  }

  package var sealed: Bool
  /// The LSN that the next group would begin with.
  package var expected: UInt64
  package var rest: Rest
  package var later: Later?
  /// The highest LSN that the cursor slots know to be durable.
  package var slotWitness: UInt64

  package init(sealed: Bool, expected: UInt64, rest: Rest, later: Later? = nil, slotWitness: UInt64) {
    self.sealed = sealed
    self.expected = expected
    self.rest = rest
    self.later = later
    self.slotWitness = slotWitness
  }
}

package enum TailVerdict: Equatable, Sendable {
  case sealed
  case clean
  case torn
  /// The bytes up to `offset` are damaged; the log goes on there with `lsn`.
  case resume(offset: Int, lsn: UInt64)
  /// Records up to `last` were durable and are gone; nothing valid follows.
  case lost(last: UInt64)
}

extension TailEvidence {
  package var verdict: TailVerdict {
    if sealed { return slotWitness >= expected ? .lost(last: slotWitness) : .sealed }
    if let later, later.durableLSN >= expected || later.firstLSN == expected {
      return .resume(offset: later.offset, lsn: later.firstLSN)
    }
    if slotWitness >= expected { return .lost(last: slotWitness) }
    if later != nil { return .torn }
    switch rest {
    case .nothing, .zeros, .stale: return .clean
    case .bytes: return .torn
    }
  }
}
