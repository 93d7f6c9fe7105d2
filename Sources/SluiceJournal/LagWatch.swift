import SluiceCore
import Synchronization

// Holds connected subscribers to their `max_lag`.
//
//   bound        looked at                                          over it
//   … reject     at each commit, by the keeper, and when a lane     producers are refused until the cursor moves, the
//                submits past `limit`, which is where the bound     reader closes, or its bound is gone
//                in records would be reached
//   … gap        at each commit, and by the keeper                  the cursor's `dropped` rises: the records below are
//                                                                   not held back, and its reader tells of the gap
//
// A bound in records holds to within what the lanes had appended before they submitted; bytes and age to within a group.

final class LagWatch: Sendable {
  /// The last LSN that can be given out before some bound in records is reached.
  private let limit = Atomic<UInt64>(.max)
  /// Some subscriber has, or had, a bound.
  let isNeeded = Atomic<Bool>(false)
  /// Two looks must not cross: the later one is right.
  private let looking = Mutex<Void>(())

  func submitted(last: UInt64, _ core: LogCore) {
    if last >= limit.load(ordering: .relaxed) { look(core) }
  }

  /// Compares every bounded cursor with its stream.
  func look(_ core: LogCore) {
    guard isNeeded.load(ordering: .acquiring) else { return }
    looking.withLock { _ in
      var found = Look(core)
      if found.isFull, !core.isFull(.lag) {
        // First set, then looked: a cursor that moved in between sees that it is to look, or is seen here.
        core.setFull(.lag, true)
        found = Look(core)
      }
      core.setFull(.lag, found.isFull)
      limit.store(found.limit, ordering: .relaxed)
    }
  }

  /// What one look finds.
  private struct Look {
    var isFull = false
    var limit = UInt64.max

    init(_ core: LogCore) {
      let pending = core.ring.pending
      let written = core.writtenLSN.load(ordering: .sequentiallyConsistent)
      for (cursor, bound) in core.cursors.bounded {
        let from = cursor.needed
        let waiting = pending.lastLSN > written ? pending.lastLSN - max(written, from - 1) : 0
        let records = (from <= written ? core.catalog.records(from: from, through: written) : 0) + waiting
        guard records > 0 else { continue }
        switch bound.then {
        case .reject:
          if let most = bound.records.map({ UInt64($0) }) {
            if records >= most { isFull = true } else { limit = min(limit, pending.lastLSN + (most - records)) }
          }
          if let most = bound.bytes, core.catalog.bytes(from: from) + pending.bytes >= most { isFull = true }
          if let most = bound.ageNanoseconds, Look.age(of: from, core) >= most { isFull = true }
        case .gap:
          let target = min(Look.target(bound, from: from, records: records, last: pending.lastLSN, core), written + 1)
          guard target > from else { continue }
          cursor.dropped.max(target, ordering: .sequentiallyConsistent)
          core.observer.logEvent(.dropped(first: from, last: target - 1))
          core.cursorMoved()
        }
      }
    }

    private static func age(of lsn: UInt64, _ core: LogCore) -> Int64 {
      core.catalog.time(of: lsn).map { Clock.wall() - $0 } ?? 0
    }

    /// Where a cursor that is over its bound goes on: somewhat below the bound, so that gaps are few.
    private static func target(
      _ bound: LagBound, from: UInt64, records: UInt64, last: UInt64, _ core: LogCore
    ) -> UInt64 {
      var target = from
      if let most = bound.records.map({ UInt64($0) }), records > most {
        target = max(target, last - (most - most / Limits.lagGapDivisor) + 1)
      }
      if let most = bound.bytes, core.catalog.bytes(from: from) > most {
        target = max(target, core.catalog.lsn(withBytesBehind: most - most / Int(Limits.lagGapDivisor)))
      }
      if let most = bound.ageNanoseconds, age(of: from, core) > most {
        target = max(target, core.catalog.lsn(before: Clock.wall() - most))
      }
      return target
    }
  }
}
