import SluiceCore

// A segment whose first 4 KiB can't be read holds groups that can, once the salt is known again. Two ways, both with
// proof:
//
//   1. One bit has flipped: of the 32,768 headers that differ in one bit, one has the right checksum. It is the header
//      that was written.
//   2. The groups tell. header_crc covers salt ‖ offset ‖ the header's own 60 bytes, and a CRC is linear: from one group
//      header that is whole follow the 32 bits in which a salt can make a difference, and any salt that has them makes
//      the same checksums. It is believed when it fits a second group, too: by chance that happens once in 2^32 times.
//      Base and place in the chain come from the file's name and the segment before. The first group's prev_group_crc is
//      the checksum of the header that was written; ten letters at the end of `writer` are chosen so that the new one has
//      the same checksum, and the link holds.

package enum HeaderRescue {
  package struct Rescued: Sendable, Equatable {
    package var header: SegmentHeader
    /// How many groups check under it; nil when a flipped bit was put back.
    package var groups: Int?
  }

  /// What the directory knows of the segment.
  struct Hint {
    /// Nil when no other file tells: then the log gets a new one.
    var uuid: LogUUID?
    var baseLSN: UInt64
    /// The segment before: its header, and what a scan of it found.
    var previous: TailScan?
  }

  /// Nil when nothing proves a header.
  static func rescue(_ file: consuming LogFile, _ hint: Hint) throws(IOFault) -> Rescued? {
    let window = try FileWindow(file)
    let start = try window.bytes(at: 0, count: Limits.segmentHeaderBytes)
    guard start.count == Limits.segmentHeaderBytes else { return nil }
    let copy = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Limits.segmentHeaderBytes, alignment: Limits.groupAlignment)
    defer { copy.deallocate() }
    copy.copyMemory(from: start)
    if let header = withoutFlippedBit(copy), header.baseLSN == hint.baseLSN,
      header.uuid == hint.uuid ?? header.uuid
    {
      return Rescued(header: header, groups: nil)
    }
    guard let (salt, groups) = try provenSalt(window, hint.baseLSN) else { return nil }
    return Rescued(header: try rebuilt(salt, window, hint), groups: groups)
  }

  // MARK: One bit

  /// A checksum is linear: a flipped bit changes it by what depends on its place alone. So one walk over the places, from
  /// the last byte to the first, finds the bit that makes the difference.
  private static func withoutFlippedBit(_ bytes: UnsafeMutableRawBufferPointer) -> SegmentHeader? {
    let difference = SegmentHeader.checksumDifference(UnsafeRawBufferPointer(bytes))
    if difference.nonzeroBitCount == 1 {
      let bit = difference.trailingZeroBitCount
      bytes[8 + bit / 8] ^= 1 << (bit % 8)
      return try? SegmentHeader.decode(UnsafeRawBufferPointer(bytes))
    }
    var place = Limits.segmentHeaderBytes - 1
    var changes = (0..<8).map { checksum(of: 1 << $0, seed: 0) ^ checksum(of: 0, seed: 0) }
    while true {
      if let bit = changes.firstIndex(of: difference) {
        bytes[place] ^= 1 << bit
        return try? SegmentHeader.decode(UnsafeRawBufferPointer(bytes))
      }
      guard place > 0 else { return nil }
      // The checksum itself, at 8 ..< 12, is not among what it covers.
      place = place == 12 ? 7 : place - 1
      changes = changes.map { checksum(of: 0, seed: $0) ^ checksum(of: 0, seed: 0) }
    }
  }

  private static func checksum(of byte: UInt8, seed: UInt32) -> UInt32 {
    withUnsafeBytes(of: byte) { CRC32C.of($0, seed: seed) }
  }

  // MARK: The salt

  private static func provenSalt(
    _ window: FileWindow, _ base: UInt64
  ) throws(IOFault) -> (salt: UInt64, groups: Int)? {
    var tried = 0
    var offset = Limits.segmentHeaderBytes
    while offset < window.size, tried < Limits.saltCandidates {
      defer { offset += Limits.groupAlignment }
      guard let salt = try saltThatFits(window, offset) else { continue }
      tried += 1
      let groups = try groupsThatFit(salt, window, base)
      if groups >= Limits.saltProofGroups { return (salt, groups) }
    }
    return nil
  }

  private static func saltThatFits(_ window: FileWindow, _ offset: Int) throws(IOFault) -> UInt64? {
    let bytes = try window.bytes(at: offset, count: Limits.groupHeaderBytes)
    guard bytes.count == Limits.groupHeaderBytes, let at = bytes.baseAddress,
      at.loadLE(0) as UInt32 == GroupHeader.magic
    else { return nil }
    return ChecksumEquation.solve(for: at.loadLE(4), freeBits: 32) { salt in
      GroupHeader.checksum(of: at, salt: salt, offset: offset)
    }
  }

  /// Blocks may hold groups of an earlier life of theirs, under another salt: the LSNs in those are lower.
  private static func groupsThatFit(
    _ salt: UInt64, _ window: FileWindow, _ base: UInt64
  ) throws(IOFault) -> Int {
    var count = 0
    var offset = Limits.segmentHeaderBytes
    while offset < window.size {
      if let group = try window.header(at: offset, salt: salt) {
        guard group.firstLSN >= base else { return 0 }
        count += 1
        offset += group.paddedBytes
      } else {
        offset += Limits.groupAlignment
      }
    }
    return count
  }

  // MARK: The header

  private static func rebuilt(
    _ salt: UInt64, _ window: FileWindow, _ hint: Hint
  ) throws(IOFault) -> SegmentHeader {
    let first = try window.header(at: Limits.segmentHeaderBytes, salt: salt)
    var header = SegmentHeader(
      uuid: hint.uuid ?? LogUUID.random(), salt: salt, baseLSN: hint.baseLSN,
      createdTime: first?.wallTime ?? hint.previous?.lastTime ?? 0)
    if let previous = hint.previous {
      header.previousBaseLSN = previous.header.baseLSN
      header.previousLastLSN = min(previous.nextLSN, hint.baseLSN) - 1
      header.previousLinkCRC = previous.link
      header.supersedesFrom = previous.sealed ? 0 : header.previousLastLSN + 1
      header.flags = previous.header.flags.intersection(.early)
      // Whether the LSNs between held records nobody knows: better a gap that is told than one that is not.
      if header.previousLastLSN + 1 < hint.baseLSN { header.flags.insert(.lost) }
    }
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Limits.segmentHeaderBytes, alignment: Limits.groupAlignment)
    defer { bytes.deallocate() }
    guard let link = first?.previousCRC, first?.firstLSN == hint.baseLSN else {
      header.writer = Self.writer(letters: 0)
      header.encode(to: bytes)
      return header
    }
    let letters = ChecksumEquation.solve(for: link, freeBits: 40) { letters in
      header.writer = Self.writer(letters: letters)
      header.encode(to: bytes)
      return header.checksum
    }
    header.writer = Self.writer(letters: letters ?? 0)
    header.encode(to: bytes)
    return header
  }

  /// "sluice repair " and ten letters of four bits each.
  private static func writer(letters: UInt64) -> String {
    "sluice repair "
      + String(
        decoding: (0..<10).map { UInt8(ascii: "@") + UInt8(truncatingIfNeeded: letters >> (4 * $0) & 0xF) },
        as: UTF8.self)
  }
}

/// Solves `checksum(bits) = target` for a checksum that is linear in its free bits, up to a constant: Gaussian elimination
/// over the 32 bits of the result.
enum ChecksumEquation {
  /// `freeBits`: at most 64. Nil when no setting of them gives the target.
  static func solve(for target: UInt32, freeBits: Int, _ checksum: (UInt64) -> UInt32) -> UInt64? {
    let constant = checksum(0)
    /// By its highest bit: a result that some bits together make, and which bits.
    var rows = [(result: UInt32, bits: UInt64)?](repeating: nil, count: 32)
    /// What is left of `result` when the rows have taken from it what they can.
    func reduce(_ start: UInt32, _ mask: UInt64) -> (result: UInt32, bits: UInt64) {
      var (result, bits) = (start, mask)
      while result != 0, let row = rows[31 - result.leadingZeroBitCount] {
        result ^= row.result
        bits ^= row.bits
      }
      return (result, bits)
    }
    for bit in 0..<freeBits {
      let row = reduce(checksum(1 << UInt64(bit)) ^ constant, 1 << UInt64(bit))
      if row.result != 0 { rows[31 - row.result.leadingZeroBitCount] = row }
    }
    let rest = reduce(target ^ constant, 0)
    return rest.result == 0 ? rest.bits : nil
  }
}
