import SluiceCore

extension LogRecovery {
  /// Finds the newest segment whose header can be read, and scans it. Nil when there is none. Raises `floor` above
  /// every LSN that a segment which can't be read may have held.
  mutating func scanTail(
    slot: CursorSlot?, witness: UInt64, floor: inout UInt64
  ) throws(JournalError) -> Tail? {
    var floorRaised = false
    while let last = segments.last {
      guard let header = try readTailHeader(last) else {
        // It was synced before it got its name, so this is damage and no torn write. Its file is kept aside.
        floor = max(floor, last.baseLSN + Limits.lsnSkipAfterCrash)
        floorRaised = true
        segments.removeLast()
        continue
      }
      if let slot, slot.uuid != header.uuid {
        throw JournalError(
          .foreign,
          "\(options.directory): the segments belong to log \(header.uuid) and cursors.slot to \(slot.uuid): "
            + "files of two logs are mixed; restore the directory as it was, or let `sluice stream repair` set one of them "
            + "aside")
      }
      let window = try io { () throws(IOFault) in
        let file = try LogFile(path(SegmentFile.name(last.baseLSN)), .readWrite, on: storage)
        try file.sync(.tailSync)
        file.dropCache()
        return try FileWindow(file)
      }
      var scan = TailScan(header)
      try io { () throws(IOFault) in try scan.run(window, slotWitness: floorRaised ? 0 : witness) }
      let kind = try report(scan, window)
      checkChain(newest: header)
      return Tail(scan: scan, kind: floorRaised ? .corrupt : kind, bytesRead: window.bytesRead)
    }
    return nil
  }

  /// The header of the newest segment; nil, with the file moved to quarantine, when it is damaged.
  private mutating func readTailHeader(_ info: SegmentInfo) throws(JournalError) -> SegmentHeader? {
    let name = SegmentFile.name(info.baseLSN)
    let read = try io { () throws(IOFault) in try SegmentFile.readHeader(path(name), on: storage) }
    do throws(SegmentHeaderFault) {
      let header = try read.get()
      try header.checkWritable()
      guard header.baseLSN == info.baseLSN else { throw .inconsistent }
      return header
    } catch .version(let version) {
      throw JournalError(
        .incompatible,
        "\(path(name)) has format version \(version), this program writes \(SegmentHeader.version): "
          + "use the newer sluice that wrote it")
    } catch .incompatible(let bit) {
      throw JournalError(
        .incompatible,
        "\(path(name)) needs feature bit \(bit) of incompat, which this program does not know: "
          + "use the newer sluice that wrote it")
    } catch .readOnlyCompatible(let bit) {
      throw JournalError(
        .incompatible,
        "\(path(name)) needs feature bit \(bit) of ro_compat to be written behind, which this program "
          + "does not know: use the newer sluice that wrote it")
    } catch {
      if !isLook { try moveToQuarantine(name) }
      findings.append(
        .corruption(
          segment: name, offset: 0, first: info.baseLSN, last: info.baseLSN - 1, reason: "segment header: \(error)"))
      return nil
    }
  }

  private mutating func moveToQuarantine(_ name: String) throws(JournalError) {
    let kept = SegmentFile.quarantineName + "/" + name + ".bad"
    try io { () throws(IOFault) in
      try storage.makeDirectory(path(SegmentFile.quarantineName))
      try storage.rename(path(name), to: path(kept), .quarantineRename)
      try storage.syncDirectory(path(SegmentFile.quarantineName), .quarantineDirectorySync)
    }
    quarantined.append(kept)
  }

  /// Tells what the scan found, and copies what is cut off or damaged to quarantine.
  private mutating func report(_ scan: TailScan, _ window: FileWindow) throws(JournalError) -> RecoveryReport.Tail {
    let name = SegmentFile.name(scan.header.baseLSN)
    for damage in scan.damage {
      _ = try quarantine(window, name, from: damage.offset, to: damage.end)
      findings.append(
        .corruption(
          segment: name, offset: damage.offset, first: damage.firstLSN, last: damage.lastLSN,
          reason: "a later group proves that these bytes were durable"))
    }
    switch scan.verdict {
    case .sealed: return scan.damage.isEmpty ? .sealed : .corrupt
    case .clean: return scan.damage.isEmpty ? .clean : .corrupt
    case .torn:
      let kept = try quarantine(window, name, from: scan.end, to: scan.suspectEnd)
      findings.append(
        .tornTail(segment: name, offset: scan.end, bytes: scan.suspectEnd - scan.end, quarantine: kept))
      return scan.damage.isEmpty ? .torn : .corrupt
    case .lost(let last):
      if scan.suspectEnd > scan.end { _ = try quarantine(window, name, from: scan.end, to: scan.suspectEnd) }
      findings.append(
        .corruption(
          segment: name, offset: scan.end, first: scan.nextLSN, last: last,
          reason: "\(witnesses) prove that these records were durable"))
      return .corrupt
    case .resume: preconditionFailure("a scan does not end where it resumes")
    }
  }

  /// Copies a stretch of a segment to `quarantine/<segment>-<offset>.bad`. The same stretch always gets the same name,
  /// so a recovery that is repeated leaves nothing twice.
  private mutating func quarantine(
    _ window: FileWindow, _ segment: String, from start: Int, to end: Int
  ) throws(JournalError) -> String {
    let directory = path(SegmentFile.quarantineName)
    let kept = "\(SegmentFile.quarantineName)/\(segment)-\(start).bad"
    if isLook { return kept }
    let temporary = path(kept + ".tmp")
    do throws(IOFault) {
      try storage.makeDirectory(directory)
      let copy = try LogFile(temporary, .createEmpty, on: storage)
      var offset = start
      while offset < end {
        let bytes = try window.bytes(at: offset, count: min(end - offset, Limits.coldReadBufferBytes))
        guard !bytes.isEmpty else { break }
        try copy.write(bytes, at: offset - start, .quarantineWrite)
        offset += bytes.count
      }
      try copy.sync(.quarantineSync)
      try storage.rename(temporary, to: path(kept), .quarantineRename)
      try storage.syncDirectory(directory, .quarantineDirectorySync)
    } catch  where error.isNoSpace {
      // The copy is for people; the bytes themselves stay where they are.
      try? storage.unlink(temporary, .quarantineUnlink)
      return segment
    } catch {
      throw JournalError(error)
    }
    quarantined.append(kept)
    return kept
  }

  /// Looks whether the newest segments follow each other without one missing between them. Older ones are looked at
  /// when they are read: recovery takes the same time whatever is retained.
  private mutating func checkChain(newest: SegmentHeader) {
    var next = newest
    for place in segments.indices.dropLast().reversed().prefix(Limits.recoveryHeaderChecks) {
      let base = segments[place].baseLSN
      if next.previousBaseLSN != base {
        findings.append(
          .corruption(
            segment: SegmentFile.name(next.baseLSN), offset: 0, first: next.previousBaseLSN,
            last: next.previousLastLSN, reason: "the segment \(SegmentFile.name(next.previousBaseLSN)) is missing"))
      }
      segments[place].lastLSN = next.previousBaseLSN == base ? next.previousLastLSN : nil
      guard case .success(let header)? = try? SegmentFile.readHeader(path(SegmentFile.name(base)), on: storage)
      else { return }
      // What is known of a segment is taken as it is later on, so a file of another log must not come to be known.
      guard header.baseLSN == base, header.uuid == newest.uuid else {
        findings.append(
          .corruption(
            segment: SegmentFile.name(base), offset: 0, first: base, last: next.previousLastLSN,
            reason: "it belongs to log \(header.uuid) and begins at LSN \(header.baseLSN)"))
        return
      }
      segments[place].header = header
      next = header
    }
  }
}
