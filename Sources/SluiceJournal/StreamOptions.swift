import SluiceCore
import Synchronization

/// What a stream does when it is full.
package enum WhenFull: String, Sendable, CaseIterable {
  case reject
  case block
  /// The oldest records go, settled or not; subscribers that had not settled them are told of the gap.
  case dropOldest = "drop_oldest"
}

/// What happens when acknowledged records turn out to be damaged or missing.
package enum OnCorruption: String, Sendable, CaseIterable {
  /// What is lost is told as a gap, and the rest goes on.
  case gap
  /// The log is not opened, and a reader that meets damage goes no further.
  case halt
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
  package var onCorruption: OnCorruption = .gap
  /// How long a commit waits for company; 0: it doesn't.
  package var lingerNanoseconds: Int64 = 0
  /// How long the cursor of a subscriber that does not come holds records back.
  package var cursorExpiryNanoseconds = Limits.cursorExpiryNanoseconds
  /// An LSN that is known, from elsewhere than the log's own directory, to have been durable; 0: none.
  package var knownLSN: UInt64 = 0
  package var diskReserveBytes = Limits.diskReserveBytes
  package var idleMarkerNanoseconds = Limits.idleMarkerNanoseconds
  /// A simulation has many segments in little memory.
  package var minSegmentBytes = Limits.minSegmentBytes

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
    let fine = max(minSegmentBytes, retainBytes / 8)
    let least = Limits.segmentHeaderBytes + GroupHeader.padded(maxRecordBytes) + 4 * Limits.groupAlignment
    return GroupHeader.padded(max(min(segmentBytes, fine), least))
  }

  /// The most bytes of records that one group carries, unless a single record is larger.
  package var groupBytes: Int { min(Limits.maxGroupBytes, effectiveSegmentBytes / 4) }

  func check() throws(JournalError) {
    guard !name.isEmpty, !directory.isEmpty else {
      throw JournalError(.options, "a stream needs a name and a directory")
    }
    guard maxRecordBytes >= Limits.minMaxRecordBytes, maxRecordBytes <= Limits.maxMaxRecordBytes else {
      throw JournalError(
        .options,
        "stream \(name): max_record must be between \(Limits.minMaxRecordBytes) and \(Limits.maxMaxRecordBytes) bytes")
    }
    guard ringBytes >= Limits.minRingBytes else {
      throw JournalError(.options, "stream \(name): ring must be at least \(Limits.minRingBytes) bytes")
    }
    guard segmentBytes >= minSegmentBytes else {
      throw JournalError(.options, "stream \(name): segment must be at least \(minSegmentBytes) bytes")
    }
    guard retainBytes >= 2 * minSegmentBytes else {
      throw JournalError(.options, "stream \(name): retain.bytes must be at least \(2 * minSegmentBytes) bytes")
    }
    guard 0...Limits.maxCommitLingerNanoseconds ~= lingerNanoseconds else {
      throw JournalError(
        .options, "stream \(name): commit.linger must be at most \(Limits.maxCommitLingerNanoseconds / 1_000_000) ms")
    }
  }
}

/// What of the options may change while the log is open. Read one by one: nothing depends on two of them being of the
/// same moment.
final class LiveOptions: Sendable {
  private let retain: Atomic<Int>
  /// 0 = for ever.
  private let age: Atomic<Int64>
  private let full: Atomic<UInt8>
  private let record: Atomic<Int>
  private let halts: Atomic<Bool>
  private let linger: Atomic<Int64>
  private let expiry: Atomic<Int64>

  init(_ options: StreamOptions) {
    retain = Atomic(options.retainBytes)
    age = Atomic(options.retainAgeNanoseconds ?? 0)
    full = Atomic(LiveOptions.code(of: options.whenFull))
    record = Atomic(options.maxRecordBytes)
    halts = Atomic(options.onCorruption == .halt)
    linger = Atomic(options.lingerNanoseconds)
    expiry = Atomic(options.cursorExpiryNanoseconds)
  }

  var retainBytes: Int { retain.load(ordering: .relaxed) }
  var maxRecordBytes: Int { record.load(ordering: .relaxed) }
  var onCorruption: OnCorruption { halts.load(ordering: .relaxed) ? .halt : .gap }
  var lingerNanoseconds: Int64 { linger.load(ordering: .relaxed) }
  var cursorExpiryNanoseconds: Int64 { expiry.load(ordering: .relaxed) }
  var whenFull: WhenFull { WhenFull.allCases[Int(full.load(ordering: .relaxed))] }
  var retainAgeNanoseconds: Int64? {
    let value = age.load(ordering: .relaxed)
    return value == 0 ? nil : value
  }

  func set(_ options: StreamOptions) {
    retain.store(options.retainBytes, ordering: .relaxed)
    age.store(options.retainAgeNanoseconds ?? 0, ordering: .relaxed)
    full.store(LiveOptions.code(of: options.whenFull), ordering: .relaxed)
    record.store(options.maxRecordBytes, ordering: .relaxed)
    halts.store(options.onCorruption == .halt, ordering: .relaxed)
    linger.store(options.lingerNanoseconds, ordering: .relaxed)
    expiry.store(options.cursorExpiryNanoseconds, ordering: .relaxed)
  }

  private static func code(of value: WhenFull) -> UInt8 { UInt8(WhenFull.allCases.firstIndex(of: value) ?? 0) }
}

extension StreamOptions {
  /// The keys of the topology in which `new` differs from these, and that take effect only when the log is opened anew.
  func fixedKeys(changedBy new: StreamOptions) -> [String] {
    var keys: [String] = []
    if new.name != name || new.directory != directory { keys.append("name") }
    if new.durability != durability { keys.append("durability") }
    if new.ringBytes != ringBytes { keys.append("ring") }
    if new.segmentBytes != segmentBytes { keys.append("segment") }
    // A slab holds two of the largest records, and slabs stay as they are.
    if 2 * new.maxRecordBytes > slabBytes { keys.append("max_record") }
    return keys
  }
}
