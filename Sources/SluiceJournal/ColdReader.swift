import SluiceCore

// Reading segment files, for a subscriber that the ring has left behind. Whole groups are read into a pooled buffer,
// and everything in them is checked before any record is handed out: header, link to the position in the file, body_crc,
// padding, each record's structure and checksum. What fails is damage: it is told as a gap, and reading goes on behind
// it. Damage in one record's producer part costs that record only.

/// What a look at the files gave.
enum ColdOutcome: Equatable {
  /// The buffer holds the record asked for.
  case loaded
  /// Go on at this LSN: the ones between never held a record.
  case moved(to: UInt64)
  case gap(first: UInt64, last: UInt64, GapReason)
}

final class ColdReader {
  private struct Group {
    var firstLSN: UInt64
    var count: Int
    /// Of the first record, in the buffer.
    var offset: Int
  }

  private let core: LogCore
  private var file: LogFile?
  private var header: SegmentHeader?
  /// The segment's last LSN, as the next one's header has it: a recovery may have ended the segment before its last bytes,
  /// and what follows is void, however whole it looks. Its LSNs belong to other records.
  private var segmentLast = UInt64.max
  private var buffer: ReadBuffer?
  private var groups: [Group] = []
  /// LSNs in the buffer whose record is damaged.
  private var damaged: [UInt64] = []
  /// Where the last fill stopped: the next one most likely begins there.
  private var hint: (lsn: UInt64, group: Int, offset: Int)?
  /// The group behind those in the buffer.
  private var nextOffset = 0
  private var nextLSN: UInt64 = 0
  private var reported: (base: UInt64, offset: Int)?

  init(_ core: LogCore) {
    self.core = core
    groups.reserveCapacity(Limits.coldReadBufferBytes / Limits.groupAlignment)
  }

  deinit { buffer?.unpin() }

  /// Whether the buffer holds `lsn`.
  func holds(_ lsn: UInt64) -> Bool {
    guard let first = groups.first, let last = groups.last else { return false }
    return lsn >= first.firstLSN && lsn < last.firstLSN + UInt64(last.count)
  }

  // MARK: Handing out

  /// Adds records from `lsn` on to the batch, which is empty. The buffer holds `lsn`. False when the very record is
  /// damaged.
  func fill(_ batch: RecordBatch, from lsn: UInt64, limit: UInt64, maxRecords: Int, maxBytes: Int) -> Bool {
    guard let buffer, let base = buffer.memory.baseAddress else { return false }
    if damaged.contains(lsn) { return false }
    let stop = min(limit, (damaged.filter { $0 > lsn }.min() ?? .max) - 1)
    var (place, at, current) = start(lsn, base)
    batch.firstLSN = lsn
    walk: while place < groups.count {
      let end = groups[place].firstLSN + UInt64(groups[place].count)
      while current < end {
        let length = Int(base.loadLE(at + RecordLayout.length) as UInt32)
        if current >= lsn {
          if current > stop || batch.count == maxRecords || (batch.count > 0 && batch.bytes + length > maxBytes) {
            break walk
          }
          batch.append(UnsafeRawPointer(base + at), length: length)
        }
        at += length
        current += 1
      }
      place += 1
      if place < groups.count { at = groups[place].offset }
    }
    hint = (current, place, at)
    buffer.retain()
    batch.pin = buffer
    return true
  }

  private func start(_ lsn: UInt64, _ base: UnsafeMutableRawPointer) -> (group: Int, offset: Int, lsn: UInt64) {
    if let hint, hint.lsn == lsn, hint.group < groups.count { return (hint.group, hint.offset, lsn) }
    let place = (groups.firstIndex { $0.firstLSN > lsn } ?? groups.count) - 1
    return (place, groups[place].offset, groups[place].firstLSN)
  }

  // MARK: Loading

  /// Reads the groups from the one that holds `lsn` on into the buffer, none that begins above `limit`.
  func load(_ lsn: UInt64, limit: UInt64) throws(StreamReadError) -> ColdOutcome {
    guard let location = core.catalog.locate(lsn) else {
      return .gap(first: lsn, last: min(limit, core.catalog.oldestLSN - 1), .retention)
    }
    do throws(IOFault) {
      if let outcome = try beyondEnd(lsn, location) { return outcome }
      guard try openSegment(location) else {
        return try damage(lsn, location, offset: 0, "its header is damaged", limit)
      }
      if nextLSN != lsn || nextOffset == 0 { try hop(to: lsn, from: location) }
      return try readGroups(lsn, location, limit)
    } catch {
      file = nil
      header = nil
      // Retention may have taken the file after it was looked up.
      if error.code == ErrorCode.notFound, core.catalog.oldestLSN > lsn {
        return .gap(first: lsn, last: core.catalog.oldestLSN - 1, .retention)
      }
      throw StreamReadError("stream \(core.options.name): \(error)")
    }
  }

  /// The segment is known to end below `lsn`: what the next one says about the LSNs between.
  private func beyondEnd(_ lsn: UInt64, _ location: SegmentLocation) throws(IOFault) -> ColdOutcome? {
    guard let next = location.next, let last = location.lastLSN, lsn > last else { return nil }
    let header = try readHeader(next.baseLSN, known: next.header)
    guard let header, !header.flags.contains(.lost), header.previousBaseLSN == location.baseLSN,
      header.previousLastLSN == last
    else { return .gap(first: lsn, last: next.baseLSN - 1, .corruption) }
    return .moved(to: next.baseLSN)
  }

  private func readHeader(_ baseLSN: UInt64, known: SegmentHeader?) throws(IOFault) -> SegmentHeader? {
    if let known { return known }
    let read = try SegmentFile.readHeader(core.path(SegmentFile.name(baseLSN)), on: core.storage)
    guard case .success(let header) = read, header.baseLSN == baseLSN, header.uuid == core.uuid else { return nil }
    core.catalog.learned(header)
    return header
  }

  private func openSegment(_ location: SegmentLocation) throws(IOFault) -> Bool {
    if header?.baseLSN == location.baseLSN { return true }
    file = nil
    header = nil
    nextOffset = 0
    guard let known = try readHeader(location.baseLSN, known: location.header) else { return false }
    segmentLast = .max
    if let next = location.next, let follower = try readHeader(next.baseLSN, known: next.header),
      follower.previousBaseLSN == location.baseLSN
    {
      segmentLast = follower.previousLastLSN
    }
    file = try LogFile(core.path(SegmentFile.name(location.baseLSN)), .read, on: core.storage)
    header = known
    return true
  }

  /// Finds the group that holds `lsn` by the headers of those before it. A header that can't be read ends the search:
  /// what follows is damage, and found to be so when it is read.
  private func hop(to lsn: UInt64, from location: SegmentLocation) throws(IOFault) {
    nextOffset = Limits.segmentHeaderBytes
    nextLSN = location.baseLSN
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.groupHeaderBytes, alignment: 8)
    defer { room.deallocate() }
    // An index is a hint: the group that it points to must be there, else the way leads from the segment's head.
    if let hint = location.entry ?? sidecarEntry(lsn, location),
      let group = try groupHeader(at: hint.offset, room), group.firstLSN == hint.lsn
    {
      nextOffset = hint.offset
      nextLSN = hint.lsn
    }
    while nextLSN <= lsn, let group = try groupHeader(at: nextOffset, room), group.firstLSN == nextLSN,
      group.nextLSN <= lsn, !group.flags.contains(.seal)
    {
      nextOffset += group.paddedBytes
      nextLSN = group.nextLSN
    }
  }

  private func sidecarEntry(_ lsn: UInt64, _ location: SegmentLocation) -> IndexEntry? {
    guard let header, !location.isIndexed else { return nil }
    return SegmentIndex.entries(of: header, in: core.options.directory, on: core.storage).last(notAfter: lsn)
  }

  private func groupHeader(
    at offset: Int, _ room: UnsafeMutableRawBufferPointer
  ) throws(IOFault) -> GroupHeader? {
    guard let header, try file?.read(into: room, at: offset) == room.count else { return nil }
    return try? GroupHeader.decode(UnsafeRawBufferPointer(room), salt: header.salt, offset: offset)
  }

  private func readGroups(
    _ lsn: UInt64, _ location: SegmentLocation, _ limit: UInt64
  ) throws(IOFault) -> ColdOutcome {
    var wanted = Limits.coldReadBufferBytes
    while true {
      let memory = freshBuffer(wanted)
      var filled = 0
      if let count = try file?.read(into: memory, at: nextOffset) { filled = count }
      let bytes = UnsafeRawBufferPointer(rebasing: memory[..<filled])
      switch parse(bytes, from: lsn, limit) {
      case .groups: return .loaded
      case .needs(let more):
        guard more > wanted else { return try damage(lsn, location, offset: nextOffset, "a group is cut off", limit) }
        wanted = more
      case .ended: return try endOfSegment(lsn, location, limit)
      case .fault(let reason): return try damage(lsn, location, offset: nextOffset, reason, limit)
      }
    }
  }

  /// A buffer that nobody else looks into.
  private func freshBuffer(_ bytes: Int) -> UnsafeMutableRawBufferPointer {
    groups.removeAll(keepingCapacity: true)
    damaged.removeAll(keepingCapacity: true)
    hint = nil
    if let buffer, buffer.isHeldOnce, buffer.memory.count >= bytes { return buffer.memory }
    buffer?.unpin()
    let fresh = core.buffers.take(atLeast: bytes)
    buffer = fresh
    return fresh.memory
  }

  private enum Parsed {
    case groups
    /// The group is larger than the buffer.
    case needs(Int)
    /// Nothing but markers before the end of the file's groups.
    case ended
    case fault(String)
  }

  /// Takes whole, checked groups from the buffer's bytes, which begin at `nextOffset`.
  private func parse(_ bytes: UnsafeRawBufferPointer, from lsn: UInt64, _ limit: UInt64) -> Parsed {
    guard let salt = header?.salt else { return .ended }
    let start = nextOffset
    while true {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[(nextOffset - start)...])
      if rest.isEmpty || nextLSN > limit || nextLSN > segmentLast { return groups.isEmpty ? .ended : .groups }
      guard let group = try? GroupHeader.decode(rest, salt: salt, offset: nextOffset), group.firstLSN == nextLSN
      else { return groups.isEmpty ? .fault("a group header is damaged") : .groups }
      if group.paddedBytes > rest.count {
        if !groups.isEmpty { return .groups }
        return nextOffset == start ? .needs(group.paddedBytes) : .needs(group.paddedBytes + Limits.coldReadBufferBytes)
      }
      do throws(GroupFault) {
        try GroupBody.walk(group, rest) { index, record, length in
          if GroupBody.recordFault(record, length) != nil { damaged.append(group.firstLSN + UInt64(index)) }
        }
      } catch {
        // What the walk noted of a group that isn't whole is void; what was read before it is good.
        damaged.removeAll { $0 >= group.firstLSN }
        return groups.isEmpty ? .fault("a group is damaged: \(error)") : .groups
      }
      if group.count > 0 {
        groups.append(
          Group(firstLSN: group.firstLSN, count: group.count, offset: nextOffset - start + group.recordsOffset))
      }
      nextOffset += group.paddedBytes
      nextLSN = group.nextLSN
      if group.flags.contains(.seal) { return groups.isEmpty ? .ended : .groups }
    }
  }

  /// All groups are read and `lsn` is not in them.
  private func endOfSegment(
    _ lsn: UInt64, _ location: SegmentLocation, _ limit: UInt64
  ) throws(IOFault) -> ColdOutcome {
    guard let next = location.next else {
      return try damage(lsn, location, offset: nextOffset, "the file ends too early", limit)
    }
    let header = try readHeader(next.baseLSN, known: next.header)
    if let header, !header.flags.contains(.lost), header.previousBaseLSN == location.baseLSN,
      header.previousLastLSN + 1 == nextLSN || header.previousLastLSN < lsn
    {
      return .moved(to: next.baseLSN)
    }
    return .gap(first: lsn, last: next.baseLSN - 1, .corruption)
  }

  // MARK: Damage

  /// Looks for the next whole group behind `offset` and tells what lies before it. A look that fails, if only for want
  /// of a descriptor, proves nothing: it is repeated with the read.
  private func damage(
    _ lsn: UInt64, _ location: SegmentLocation, offset: Int, _ reason: String, _ limit: UInt64
  ) throws(IOFault) -> ColdOutcome {
    var last = location.next.map { $0.baseLSN - 1 } ?? limit
    if let found = try resume(behind: offset, lsn) {
      nextOffset = found.offset
      nextLSN = found.lsn
      last = found.lsn - 1
    } else {
      nextOffset = 0
      // A torn tail that the next segment supersedes is not damage: what lies there was never acknowledged.
      if let next = location.next, let header = try readHeader(next.baseLSN, known: next.header),
        header.previousBaseLSN == location.baseLSN, header.previousLastLSN < lsn, !header.flags.contains(.lost)
      {
        return .moved(to: next.baseLSN)
      }
    }
    if reported?.base != location.baseLSN || reported?.offset != offset {
      reported = (location.baseLSN, offset)
      core.observer.logEvent(
        .corruption(
          segment: SegmentFile.name(location.baseLSN), offset: offset, first: lsn, last: last, reason: reason))
    }
    return last >= lsn ? .gap(first: lsn, last: last, .corruption) : .moved(to: lsn)
  }

  private func resume(behind offset: Int, _ lsn: UInt64) throws(IOFault) -> (offset: Int, lsn: UInt64)? {
    guard let header else { return nil }
    let path = core.path(SegmentFile.name(header.baseLSN))
    let window = try FileWindow(try LogFile(path, .read, on: core.storage))
    var at = max(GroupHeader.padded(offset), Limits.segmentHeaderBytes)
    if at == offset { at += Limits.groupAlignment }
    while at < window.size {
      if let group = try window.header(at: at, salt: header.salt), group.firstLSN >= lsn { return (at, group.firstLSN) }
      at += Limits.groupAlignment
    }
    return nil
  }
}
