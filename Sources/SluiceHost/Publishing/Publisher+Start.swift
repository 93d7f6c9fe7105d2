import SluiceCore
import SluiceJournal
import Synchronization

/// The start, on the subscriber's thread.
extension Publisher {
  /// Opens the ways into the streams, and looks in them for children of what is not settled. False: `isCancelled`
  /// said so.
  func open(isCancelled: () -> Bool) throws(StreamReadError) -> Bool {
    let known = PublishedFloors(readingFrom: floorsPath)
    let bell = bell
    let (targets, isNew, reading) = locked.withLock { state in
      // Before a lane is opened, with which the name is known.
      let isNew = state.targets.map { !$0.log.knows(source: subscriber) }
      if state.lanes.isEmpty {
        state.lanes = state.targets.map { target in
          target.log.openLane(source: subscriber) { bell.ring() }
        }
      }
      return (state.targets, isNew, (0..<streams).map { (state.logs[$0], state.children.cursor(of: $0)) })
    }
    for (index, target) in targets.enumerated() {
      guard !targets[..<index].contains(where: { $0.log.uuid == target.log.uuid }) else { continue }
      let floor = isNew[index] ? .max : known.floor(of: target.log.uuid, reading: reading)
      guard try recover(index, target, from: floor, isCancelled) else { return false }
    }
    return true
  }

  private func recover(
    _ index: Int, _ target: PublishTarget, from floor: UInt64, _ isCancelled: () -> Bool
  ) throws(StreamReadError) -> Bool {
    let last = target.log.submittedLSN
    // Two outputs may go to one stream.
    locked.withLock { state in
      for place in state.targets.indices where state.targets[place].log.uuid == target.log.uuid {
        state.ends[place] = last + 1
      }
    }
    guard floor <= last, streams > 0 else { return true }
    let reader = target.log.openScan(at: floor)
    defer { reader.close() }
    reader.setDoorbell(bell)
    defer { reader.setDoorbell(nil) }
    let batch = RecordBatch(capacity: Limits.matchScanRecords)
    var isOwn: [UInt16: Bool] = [:]
    while reader.position <= last {
      if isCancelled() { return false }
      defer { batch.release() }
      switch try reader.read(into: batch, maxRecords: batch.capacity, maxBytes: Limits.matchScanBytes) {
      case .gap: continue
      case .nothingYet: bell.wait(until: Clock.monotonic() + Limits.fullRetryNanoseconds)
      case .records:
        for place in 0..<batch.count {
          let record = batch[place]
          guard record.type == RecordLayout.typeData else { continue }
          if isOwn[record.source] == nil { isOwn[record.source] = reader.sourceName(record.source) == subscriber }
          guard isOwn[record.source] == true, let child = PublishedLineage(headers: record.headers) else { continue }
          remember(child, at: batch.firstLSN + UInt64(place), in: index)
        }
      }
    }
    return true
  }

  private func remember(_ child: PublishedLineage, at lsn: UInt64, in target: Int) {
    locked.withLock { state in
      guard let feed = state.logs[..<streams].firstIndex(of: child.log),
        state.children.isOpen(feed: feed, lsn: child.lsn)
      else { return }
      _ = state.children.insert(feed: feed, lsn: child.lsn, ordinal: child.ordinal)
      state.children.note(target: target, feed: feed, maxParent: child.lsn, first: lsn)
    }
  }
}
