import SluiceCore

/// What there is to say of a stream's directory at a glance: from the segments' headers, the cursor slots and the group
/// headers of the last segment, whatever is retained.
package struct StreamSurvey: Sendable, Equatable {
  package enum State: Sendable, Equatable {
    case inUse(process: Int32)
    /// The last segment is sealed.
    case closed
    /// A crash, or a `kill -9`: the next start recovers it.
    case notClosed
    /// What can be seen without reading everything; `verify` sees all.
    case damaged([String])
    case newer(String)
  }

  package struct Cursor: Sendable, Equatable {
    package var name: String
    package var lsn: UInt64
    /// Records from there to the end.
    package var lag: UInt64
    package var updatedTime: Int64
  }

  package var directory: String
  package var uuid: LogUUID?
  package var state: State
  package var segments: Int
  package var bytes: Int
  package var records: UInt64 = 0
  /// None when `lastLSN` < `firstLSN`.
  package var firstLSN: UInt64
  package var lastLSN: UInt64
  package var cursors: [Cursor] = []

  package init(of path: String, storage: any LogStorage = LinuxStorage()) throws(JournalError) {
    let directory = try StreamDirectory(path, storage: storage)
    self.directory = path
    uuid = directory.uuid
    segments = directory.segments.count
    bytes = directory.segments.reduce(0) { $0 + $1.bytes }
    let end: LogEnd
    do throws(IOFault) { end = try LogEnd(of: directory) } catch { throw JournalError(error) }
    firstLSN = directory.segments.first?.baseLSN ?? 1
    lastLSN = max(end.lastLSN, firstLSN - 1)
    state = Self.state(directory, isSealed: end.isSealed)
    let spans = Self.spans(directory, lastLSN: lastLSN)
    records = spans.reduce(0) { $0 + ($1.last - $1.first + 1) }
    cursors = (directory.cursors?.newest?.entries ?? []).map { entry in
      let lag = spans.reduce(UInt64(0)) { sum, span in
        span.last >= entry.lsn ? sum + span.last - max(span.first, entry.lsn) + 1 : sum
      }
      return Cursor(name: entry.name, lsn: entry.lsn, lag: lag, updatedTime: entry.updatedTime)
    }
  }

  /// The LSNs that records have: between two segments recovery may have passed over many.
  private static func spans(
    _ directory: StreamDirectory, lastLSN: UInt64
  ) -> [(first: UInt64, last: UInt64)] {
    directory.segments.enumerated().compactMap { place, segment in
      var last = lastLSN
      if place + 1 < directory.segments.count {
        let next = directory.segments[place + 1]
        last = next.baseLSN - 1
        if let header = next.header, header.previousBaseLSN == segment.baseLSN { last = header.previousLastLSN }
      }
      return last >= segment.baseLSN ? (segment.baseLSN, last) : nil
    }
  }

  private static func state(_ directory: StreamDirectory, isSealed: Bool) -> State {
    var problems: [String] = []
    for segment in directory.segments {
      if let refusal = segment.refusal { problems.append("\(segment.name): \(refusal)") }
      switch segment.fault {
      case .version, .incompatible, .readOnlyCompatible:
        return .newer("\(segment.name): \(segment.fault.map { "\($0)" } ?? "")")
      case let fault?: problems.append("\(segment.name): the header can't be read (\(fault))")
      case nil: break
      }
      if let header = segment.header, (try? header.checkWritable()) == nil {
        return .newer("\(segment.name): features that only readers may ignore")
      }
      if segment.isMisnamed { problems.append("\(segment.name): it is not the segment that its name says") }
      if let header = segment.header, header.uuid != directory.uuid {
        problems.append("\(segment.name): it belongs to log \(header.uuid)")
      }
    }
    for (older, newer) in zip(directory.segments, directory.segments.dropFirst()) {
      if let header = newer.header, header.previousBaseLSN > older.baseLSN,
        !directory.segments.contains(where: { $0.baseLSN == header.previousBaseLSN })
      {
        problems.append("\(newer.name): \(SegmentFile.name(header.previousBaseLSN)), the segment before it, is missing")
      }
    }
    if let version = directory.cursors?.newerVersion {
      return .newer("\(SegmentFile.cursorsName): format version \(version)")
    }
    if let slot = directory.cursors?.newest {
      if slot.uuid != directory.uuid { problems.append("\(SegmentFile.cursorsName): it belongs to log \(slot.uuid)") }
    } else {
      problems.append("\(SegmentFile.cursorsName): \(directory.cursors == nil ? "missing" : "it can't be read")")
    }
    if !problems.isEmpty { return .damaged(problems) }
    if let writer = directory.writer { return .inUse(process: writer) }
    return isSealed ? .closed : .notClosed
  }
}

/// Where a log ends, by the group headers of its last segment alone.
struct LogEnd {
  private(set) var lastLSN: UInt64 = 0
  private(set) var isSealed = false

  init(of directory: StreamDirectory) throws(IOFault) {
    guard let segment = directory.segments.last(where: { $0.header?.baseLSN == $0.baseLSN }),
      let header = segment.header
    else { return }
    lastLSN = header.previousLastLSN
    let file: LogFile
    do throws(IOFault) {
      file = try LogFile(directory.file(segment.name), .read, on: directory.storage)
    } catch {
      if error.code == ErrorCode.notFound { return }
      throw error
    }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.groupHeaderBytes, alignment: 8)
    defer { room.deallocate() }
    var offset = Limits.segmentHeaderBytes
    while !isSealed, try file.read(into: room, at: offset) == room.count,
      let group = try? GroupHeader.decode(UnsafeRawBufferPointer(room), salt: header.salt, offset: offset)
    {
      if group.count > 0 { lastLSN = group.nextLSN - 1 }
      isSealed = group.flags.contains(.seal)
      offset += group.paddedBytes
    }
  }
}
