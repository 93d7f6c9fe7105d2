import SluiceCore

/// What one instance keeps pinned after `deliver`: each lease is a hold on a whole slab or pool buffer, charged once at
/// its full size however often it is retained.
struct LeaseTable {
  private struct Lease {
    var pin: any RecordPin
    var holds: Int
    var charged: Int
  }

  private var leases: [UInt64: Lease] = [:]
  private(set) var chargedBytes = 0
  /// Releases of a lease that was not held.
  private(set) var strayReleases: UInt64 = 0

  enum Answer { case held, overBudget }

  mutating func retain(_ id: UInt64, pin: any RecordPin, budget: Int) -> Answer {
    if leases[id] != nil {
      leases[id]?.holds += 1
      return .held
    }
    let charge = pin.chargedBytes
    guard chargedBytes + charge <= budget, leases.count < Limits.maxPluginLeases else { return .overBudget }
    pin.retain()
    leases[id] = Lease(pin: pin, holds: 1, charged: charge)
    chargedBytes += charge
    return .held
  }

  mutating func release(_ id: UInt64) {
    guard var lease = leases[id] else {
      strayReleases += 1
      return
    }
    lease.holds -= 1
    leases[id] = lease.holds > 0 ? lease : nil
    guard lease.holds == 0 else { return }
    chargedBytes -= lease.charged
    lease.pin.unpin()
  }

  /// The instance is gone: lets go of all. Returns how many leases it had forgotten.
  mutating func releaseAll() -> Int {
    for lease in leases.values { lease.pin.unpin() }
    defer {
      leases.removeAll()
      chargedBytes = 0
    }
    return leases.count
  }
}
