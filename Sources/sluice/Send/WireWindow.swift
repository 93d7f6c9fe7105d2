import NIOCore
import SluiceCore
import SluiceIngest

/// The unanswered records of a framed producer, in the order of their sequences: first those that are on their way, then
/// those that are to be sent (again). Knows nothing of connections or time.
///
///     answered │ sent, unanswered        │ not sent (any more)
///     ─────────┼─────────────────────────┼────────────────────
///              first                     firstUnsent           next
struct WireWindow {
  private var parcels: CircularBuffer<Parcel> = []
  /// Leading parcels that are on their way.
  private var sentParcels = 0
  /// Leading records of the first parcel that are answered.
  private var answered = 0
  /// Sequences that were refused for good and are not covered by an ACK yet; rising.
  private var refused: CircularBuffer<UInt64> = []
  /// What the next new record is numbered.
  private(set) var next: UInt64 = 1

  /// Records that have no answer yet.
  var count: Int { Int(next - first) }

  var isEmpty: Bool { parcels.isEmpty }

  /// The oldest record without an answer.
  var first: UInt64 { parcels.first.map { $0.firstSequence + UInt64(answered) } ?? next }

  /// The next parcel to send.
  var unsent: Parcel? { sentParcels < parcels.count ? parcels[index(sentParcels)] : nil }

  /// The first numbers of an empty window.
  mutating func start(at sequence: UInt64) {
    precondition(isEmpty, "numbers are given out once")
    next = sequence
  }

  mutating func append(_ parcel: Parcel) {
    precondition(parcel.firstSequence == next && parcel.count > 0, "sequences rise by one")
    parcels.append(parcel)
    next = parcel.endSequence
  }

  /// The first unsent parcel is on its way.
  mutating func markSent() {
    parcels[index(sentParcels)].wasSent = true
    sentParcels += 1
  }

  /// The place in the input of a record.
  func place(of sequence: UInt64) -> UInt64? {
    parcels.first { $0.firstSequence <= sequence && sequence < $0.endSequence }
      .map { $0.place(Int(sequence - $0.firstSequence)) }
  }

  /// The record was refused for good; an ACK will cover it.
  mutating func refuse(_ sequence: UInt64) {
    if sequence >= first, sequence > refused.last ?? 0 { refused.append(sequence) }
  }

  /// Everything up to `sequence` is answered.
  mutating func answer(upTo sequence: UInt64, at now: Int64, _ tally: inout SendTally) {
    precondition(sequence < next, "who calls this knows what was sent")
    while let parcel = parcels.first, first <= sequence {
      let end = Int(min(sequence + 1, parcel.endSequence) - parcel.firstSequence)
      while answered < end {
        let refusal = refused.first.map { Int($0 - parcel.firstSequence) } ?? end
        let stop = min(refusal, end)
        parcel.acknowledge(answered, stop - answered, at: now, &tally)
        answered = stop
        if refusal < end {
          refused.removeFirst()
          answered += 1
        }
      }
      guard answered == parcel.count else {
        // What is not on its way begins with a record to send.
        if sentParcels == 0 { cut(at: first) }
        return
      }
      parcels.removeFirst()
      sentParcels = max(0, sentParcels - 1)
      answered = 0
    }
  }

  /// Everything from `sequence` on is to be sent again.
  mutating func rewind(to sequence: UInt64) {
    cut(at: sequence)
    sentParcels = min(sentParcels, parcels.firstIndex { $0.firstSequence >= sequence }.map(offset) ?? parcels.count)
  }

  /// Splits the first unsent parcel after `count` records.
  mutating func cutUnsent(after count: Int) {
    if let parcel = unsent { cut(at: parcel.firstSequence + UInt64(count)) }
  }

  /// Gives up the records from `sequence` on, and their numbers; how many they were.
  mutating func drop(from sequence: UInt64) -> Int {
    cut(at: sequence)
    let keep = parcels.firstIndex { $0.firstSequence >= sequence }.map(offset) ?? parcels.count
    defer { next = sequence }
    refused.removeAll { $0 >= sequence }
    parcels.removeLast(parcels.count - keep)
    sentParcels = min(sentParcels, keep)
    return Int(next - sequence)
  }

  /// Numbers everything anew from `sequence` on; `inRecords`: the records carry their numbers.
  mutating func renumber(from sequence: UInt64, inRecords: Bool) {
    if answered > 0 { cut(at: first) }
    refused.removeAll()
    next = sequence
    for index in parcels.indices {
      parcels[index].firstSequence = next
      if inRecords { parcels[index].bytes.renumberRecords(from: next) }
      next = parcels[index].endSequence
    }
  }

  /// Takes out what no frame to this server can hold: records whose producer part has more than `most` bytes. What follows
  /// moves up. The places of those that were not refused already, and how many bytes their parts have.
  mutating func takeOut(over most: Int, inRecords: Bool) -> [(place: UInt64, bytes: Int)] {
    precondition(sentParcels == 0, "nothing is on its way on a new connection")
    if answered > 0 { cut(at: first) }
    let start = first
    let all = oversized(most)
    guard !all.isEmpty else { return [] }
    var found: [(place: UInt64, bytes: Int)] = []
    for (sequence, bytes) in all {
      cut(at: sequence)
      cut(at: sequence + 1)
      guard let at = parcels.firstIndex(where: { $0.firstSequence == sequence }) else {
        preconditionFailure("a record that is held is in a parcel")
      }
      if !refused.contains(sequence) { found.append((parcels[at].place(0), bytes)) }
      parcels.remove(at: at)
    }
    renumber(from: start, inRecords: inRecords)
    return found
  }

  /// The sequences of those records, rising, and how many bytes they have.
  private func oversized(_ most: Int) -> [(sequence: UInt64, bytes: Int)] {
    var found: [(sequence: UInt64, bytes: Int)] = []
    for parcel in parcels where parcel.bytes.readableBytes > most {
      var sequence = parcel.firstSequence
      parcel.bytes.forEachRecord { part, _ in
        if part.count > most { found.append((sequence, part.count)) }
        sequence += 1
      }
    }
    return found
  }

  private func index(_ offset: Int) -> CircularBuffer<Parcel>.Index {
    parcels.index(parcels.startIndex, offsetBy: offset)
  }

  private func offset(_ index: CircularBuffer<Parcel>.Index) -> Int {
    parcels.distance(from: parcels.startIndex, to: index)
  }

  /// Makes a parcel begin at `sequence`, if one has it in its middle. What lies before it and is answered goes.
  private mutating func cut(at sequence: UInt64) {
    guard let at = parcels.firstIndex(where: { $0.firstSequence < sequence && sequence < $0.endSequence }) else {
      return
    }
    let whole = parcels[at]
    let count = Int(sequence - whole.firstSequence)
    let (head, tail) = whole.split(after: count)
    parcels[at] = tail
    guard offset(at) > 0 || answered < count else {
      answered -= count
      return
    }
    if offset(at) < sentParcels { sentParcels += 1 }
    parcels.insert(head, at: at)
  }
}

extension Parcel {
  /// The first `count` records of a DATA frame's, and the others.
  fileprivate func split(after count: Int) -> (head: Parcel, tail: Parcel) {
    let bytes = bytes.lengthOfRecords(count)
    var head = self
    head.count = count
    var tail = self
    tail.firstSequence += UInt64(count)
    tail.count -= count
    tail.origin.advance(by: count)
    if let slices = self.bytes.sliced(at: bytes) { (head.bytes, tail.bytes) = slices }
    return (head, tail)
  }
}

/// Records as they stand in a DATA frame: each producer part behind its length and checksum.
extension ByteBuffer {
  /// Calls `body` with each producer part and its checksum.
  func forEachRecord(_ body: (UnsafeRawBufferPointer, UInt32) -> Void) {
    withUnsafeReadableBytes { bytes in
      var at = 0
      while at < bytes.count, let base = bytes.baseAddress {
        let part = Int(base.loadLE(at) as UInt32)
        let start = at + WireLayout.recordPrefixBytes
        body(UnsafeRawBufferPointer(rebasing: bytes[start..<start + part]), base.loadLE(at + 4))
        at = start + part
      }
    }
  }

  fileprivate func lengthOfRecords(_ count: Int) -> Int {
    withUnsafeReadableBytes { bytes in
      var at = 0
      for _ in 0..<count {
        at += WireLayout.recordPrefixBytes + Int(bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self).littleEndian)
      }
      return at
    }
  }

  fileprivate func sliced(at offset: Int) -> (ByteBuffer, ByteBuffer)? {
    guard let head = getSlice(at: readerIndex, length: offset),
      let tail = getSlice(at: readerIndex + offset, length: readableBytes - offset)
    else { return nil }
    return (head, tail)
  }

  /// Writes the numbers from `first` on into the records, and their checksums.
  fileprivate mutating func renumberRecords(from first: UInt64) {
    withUnsafeMutableReadableBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      var at = 0
      var sequence = first
      while at < bytes.count {
        let length = Int(base.loadLE(at) as UInt32)
        let part = base + at + WireLayout.recordPrefixBytes
        part.storeLE(sequence, RecordLayout.sequence - RecordLayout.producerPart)
        base.storeLE(CRC32C.of(UnsafeRawBufferPointer(start: part, count: length)), at + 4)
        at += WireLayout.recordPrefixBytes + length
        sequence += 1
      }
    }
  }
}
