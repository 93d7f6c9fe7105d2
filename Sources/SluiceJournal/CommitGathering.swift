import SluiceCore
import Synchronization

/// How long the commit thread waits for more records before it makes a group of those that are there.
///
/// Nobody waits for the write of a `memory` stream, so a pause behind each group costs nothing but a little delay of
/// delivery, and saves a wake of the commit thread for every tick of the event loops. Other streams gather only where the
/// topology asks for it (`commit: { linger: … }`), from the first record on: for devices that few large writes suit
/// better than many small ones.
struct CommitGathering {
  private let core: LogCore
  private let isWanted: Bool
  /// When the first of the records came, or the last group of a `memory` stream was written.
  private var since: Int64?

  init(_ core: LogCore, isWanted: Bool) {
    self.core = core
    self.isWanted = isWanted
  }

  private var isMemory: Bool { core.options.durability == .memory }

  /// Until when to wait; nil: make a group of what there is.
  mutating func ends() -> Int64? {
    let time = isMemory ? Limits.memoryRestNanoseconds : core.live.lingerNanoseconds
    guard isWanted, time > 0, !core.isClosing.load(ordering: .acquiring) else { return nil }
    let pending = core.ring.pending.bytes
    guard isMemory || pending > 0 else { return nil }
    let now = Clock.monotonic()
    if since == nil, !isMemory { since = now }
    guard let since, now < since + time, pending < enough, !core.syncRequested.load(ordering: .acquiring) else {
      return nil
    }
    return since + time
  }

  mutating func committed() { since = isMemory ? Clock.monotonic() : nil }

  func wait(until deadline: Int64) {
    let enough = enough
    core.restBytes.store(enough, ordering: .sequentiallyConsistent)
    while Clock.monotonic() < deadline, core.ring.pending.bytes < enough,
      !core.isClosing.load(ordering: .acquiring), !core.syncRequested.load(ordering: .acquiring)
    {
      core.commitBell.wait(until: deadline)
    }
    core.restBytes.store(0, ordering: .sequentiallyConsistent)
  }

  /// Bytes for which no more are waited for.
  private var enough: Int {
    min(isMemory ? Limits.memoryRestBytes : core.options.groupBytes, core.options.ringBytes / 4)
  }
}
