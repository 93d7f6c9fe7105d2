import CSluice
import Glibc
import PluginTestSupport
import Synchronization
import TestSupport
import Testing

/// A breakable disk that is started, and the calls beneath it.
private func breakable(_ members: String = "") -> (disk: Disk, calls: BreakableCalls) {
  let calls = BreakableCalls()
  let disk = Disk(members, breakable: true)
  #expect(BreakableDisk.$calls.withValue(calls) { disk.start() } == SLU_OK)
  return (disk, calls)
}

@Suite struct FaultTests {
  private let batch = (0..<50).map { "{\"n\":\($0),\"m\":\"" + String(repeating: "x", count: $0 * 200) + "\"}" }
  private var expected: String { batch.joined(separator: "\n") + "\n" }

  @Test func oneBatchIsOneWriteAndOneSync() {
    let (disk, calls) = breakable()
    calls.plan.withLock { $0.syncs = 0 }
    #expect(disk.deliver(batch) == SLU_OK)
    #expect(calls.plan.withLock { $0.writes } == 1 && calls.plan.withLock { $0.syncs } == 1)
    disk.end()
  }

  @Test("Writes that take only a part go on where they stopped", arguments: [1, 7, 100, 4096, 50_000])
  func shortWritesGoOn(most: Int) {
    let (disk, calls) = breakable()
    calls.plan.withLock {
      $0.most = most
      $0.writeErrors = [EINTR, EINTR]
      $0.syncErrors = [EINTR]
    }
    #expect(disk.deliver(batch) == SLU_OK)
    #expect(disk.text() == expected)
    disk.end()
  }

  @Test func aFullDiskLeavesNothingOfTheBatchAndTheRetryWritesItOnce() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let (disk, calls) = breakable()
    #expect(disk.deliver(["{\"first\":1}"]) == SLU_OK)
    for _ in 0..<20 {
      calls.plan.withLock { $0.room = Int.random(in: 0..<expected.utf8.count, using: &random) }
      #expect(disk.deliver(batch, firstLSN: 2) == SLU_E_RETRYABLE)
      #expect(
        disk.instance.error == "cannot write to \(disk.path)/current.ndjson: No space left on device. "
          + "Free some space; until then the records wait in the stream.")
      #expect(disk.text() == "{\"first\":1}\n", "seed \(seed)")
    }
    calls.plan.withLock { $0.room = nil }
    #expect(disk.deliver(batch, firstLSN: 2) == SLU_OK)
    #expect(disk.text() == "{\"first\":1}\n" + expected)
    disk.end()
  }

  @Test func aFailedSyncAcknowledgesNothing() {
    let (disk, calls) = breakable()
    calls.plan.withLock { $0.syncErrors = [EIO] }
    #expect(disk.deliver(batch) == SLU_E_RETRYABLE)
    #expect(disk.instance.error.contains("cannot sync \(disk.path)/current.ndjson: Input/output error"))
    #expect(disk.text() == "")
    #expect(disk.deliver(batch) == SLU_OK)
    #expect(disk.text() == expected)
    disk.end()
  }

  @Test func whatCannotBeCutOffAtOnceIsCutOffBeforeTheNextBatch() {
    let (disk, calls) = breakable()
    #expect(disk.deliver(["{\"first\":1}"]) == SLU_OK)
    calls.plan.withLock {
      $0.room = 500
      $0.truncateErrors = [EIO, EIO]
    }
    #expect(disk.deliver(batch, firstLSN: 2) == SLU_E_RETRYABLE)
    #expect(disk.text() != "{\"first\":1}\n", "the rest of the batch is still there")
    calls.plan.withLock { $0.room = nil }
    #expect(disk.deliver(batch, firstLSN: 2) == SLU_E_RETRYABLE)
    #expect(disk.instance.error.contains("cannot cut back"))
    #expect(disk.deliver(batch, firstLSN: 2) == SLU_OK)
    #expect(disk.text() == "{\"first\":1}\n" + expected)
    disk.end()
  }

  @Test func aFileThatCannotBeSealedGrowsOnAndIsSealedLater() {
    let (disk, calls) = breakable(",\"rotate_bytes\":4096")
    calls.plan.withLock { $0.renameErrors = [ENOSPC, ENOSPC] }
    #expect(disk.deliver(batch) == SLU_OK)
    #expect(disk.deliver(["{}"], firstLSN: 51) == SLU_OK)
    #expect(disk.names == ["current.ndjson"])
    #expect(disk.host.record.health == [SLU_HEALTH_DEGRADED])
    #expect(disk.host.messages(SLU_LOG_WARNING).count == 1, "told once")
    #expect(disk.deliver(["{}"], firstLSN: 52) == SLU_OK)
    #expect(disk.names == ["current.ndjson", "records-00000000000000000001-00000000000000000052.ndjson"])
    #expect(disk.text(disk.names[1]) == expected + "{}\n{}\n")
    #expect(disk.host.record.health == [SLU_HEALTH_DEGRADED, SLU_HEALTH_OK])
    disk.end()
  }
}
