import SluiceCore

/// What a stream does when it is full.
package enum WhenFull: String, Sendable, CaseIterable {
  case reject
  case block
  /// The oldest records go, settled or not; subscribers that had not settled them are told of the gap.
  case dropOldest = "drop_oldest"
}

package struct StreamOptions: Sendable {
  package var name: String
  package var directory: String
  package var durability: Durability = .fsync
  package var ringBytes = Limits.defaultRingBytes
  package var segmentBytes = Limits.defaultSegmentBytes
  package var retainBytes = 10 << 30
  package var retainAgeNanoseconds: Int64?
  package var maxRecordBytes = Limits.defaultMaxRecordBytes
  package var whenFull: WhenFull = .reject
  package var diskReserveBytes = Limits.diskReserveBytes
  package var idleMarkerNanoseconds = Limits.idleMarkerNanoseconds

  package init(name: String, directory: String) {
    self.name = name
    self.directory = directory
  }

  /// A slab holds at least two of the largest records.
  package var slabBytes: Int { max(Limits.defaultSlabBytes, GroupHeader.padded(2 * maxRecordBytes)) }

  /// Slabs of the ring: at least two, so that one fills while the other is written.
  package var slabCount: Int { max(2, ringBytes / slabBytes) }

  /// What a segment file is laid out for: never so large that retention by whole segments becomes too coarse, never
  /// so small that a group of ordinary size has no room.
  package var effectiveSegmentBytes: Int {
    let fine = max(Limits.minSegmentBytes, retainBytes / 8)
    let least = Limits.segmentHeaderBytes + GroupHeader.padded(maxRecordBytes) + 4 * Limits.groupAlignment
    return GroupHeader.padded(max(min(segmentBytes, fine), least))
  }

  /// The most bytes of records that one group carries, unless a single record is larger.
  package var groupBytes: Int { min(Limits.maxGroupBytes, effectiveSegmentBytes / 4) }

  func check() throws(JournalError) {
    guard !name.isEmpty, !directory.isEmpty else {
      throw JournalError(.options, "a stream needs a name and a directory")
    }
    guard maxRecordBytes >= 4096, maxRecordBytes <= Limits.maxMaxRecordBytes else {
      throw JournalError(
        .options, "stream \(name): max_record must be between 4096 and \(Limits.maxMaxRecordBytes) bytes")
    }
    guard ringBytes >= Limits.minRingBytes else {
      throw JournalError(.options, "stream \(name): ring must be at least \(Limits.minRingBytes) bytes")
    }
    guard segmentBytes >= Limits.minSegmentBytes else {
      throw JournalError(.options, "stream \(name): segment must be at least \(Limits.minSegmentBytes) bytes")
    }
    guard retainBytes >= 2 * Limits.minSegmentBytes else {
      throw JournalError(.options, "stream \(name): retain.bytes must be at least \(2 * Limits.minSegmentBytes) bytes")
    }
  }
}
