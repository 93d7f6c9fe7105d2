import SluiceCore

/// A segment file that has its header and its name.
struct InstalledSegment: ~Copyable, Sendable {
  var file: LogFile
  var header: SegmentHeader
}

/// The segment that is being written.
struct ActiveSegment: ~Copyable {
  let file: LogFile
  let header: SegmentHeader
  private let limit: Int
  private(set) var offset = Limits.segmentHeaderBytes
  private(set) var link: UInt32
  /// Nothing may follow any more; sealed it is once that is synced.
  private(set) var isSealWritten = false
  var isSealed = false

  init(_ installed: consuming InstalledSegment, limit: Int) {
    header = installed.header
    file = installed.file
    self.limit = limit
    link = header.checksum
  }

  var unusedBytes: Int { max(0, limit - offset) }

  var isEmpty: Bool { offset == Limits.segmentHeaderBytes }

  /// Whether a group with this body fits, with a seal behind it. An empty segment takes any group.
  func hasRoom(for bodyBytes: Int, sealing: Bool) -> Bool {
    if sealing || isEmpty { return !isSealed }
    let bytes = GroupHeader.padded(Limits.groupHeaderBytes + bodyBytes)
    return !isSealed && offset + bytes + Limits.groupAlignment <= limit
  }

  /// The same behind a group that is yet to be written.
  func hasRoom(for bodyBytes: Int, behind group: GroupHeader) -> Bool {
    let bytes = GroupHeader.padded(Limits.groupHeaderBytes + bodyBytes)
    return offset + group.paddedBytes + bytes + Limits.groupAlignment <= limit
  }

  mutating func wrote(_ group: GroupHeader) {
    offset += group.paddedBytes
    link = group.checksum
    if group.flags.contains(.seal) { isSealWritten = true }
  }
}
