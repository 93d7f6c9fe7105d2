import Glibc
import SluiceCore
import SluiceJournal
import Synchronization

/// What is written down for the next start, on the subscriber's thread.
extension Publisher {
  /// The cursors have moved. Returns when `writeFloors` is due.
  func settle(below cursors: [UInt64], now: Int64) -> Int64 {
    let floors = locked.withLock { state in
      state.children.settle(below: cursors)
      return self.floors(of: state)
    }
    guard floors.lsns != writtenFloors.lsns else { return .max }
    return max(nextFloors, now)
  }

  private func floors(of state: borrowing State) -> PublishedFloors {
    var floors = PublishedFloors()
    for feed in 0..<streams { floors.cursors[state.logs[feed]] = state.children.cursor(of: feed) }
    for (index, target) in state.targets.enumerated() {
      let lsn = state.children.floor(of: index, feeds: streams) ?? state.ends[index]
      floors.lsns[target.log.uuid] = min(lsn, floors.lsns[target.log.uuid] ?? .max)
    }
    return floors
  }

  /// To be called right after the cursors were written. Returns what failed.
  func writeFloors(now: Int64) -> String? {
    // Who is given nothing but what is replayed knows nothing of what the subscriber has open.
    guard streams > 0 else { return nil }
    // One that was left behind, and returns late, has a successor by now, who knows better.
    guard let wanted = locked.withLock({ $0.isClosed ? nil : self.floors(of: $0) }) else { return nil }
    nextFloors = now + Limits.floorsNanoseconds
    let failure = wanted.write(to: floorsPath)
    guard failure == 0 else { return "\(floorsPath): \(String(cString: strerror(failure)))" }
    writtenFloors = wanted
    return nil
  }
}
