import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("Commit linger")
struct LingerTests {
  @Test("records that come within the linger go out as one group, and not before it is over")
  func gathers() throws {
    let linger: Int64 = 1_000_000_000
    while true {
      let log = try MemoryLog.open(MemoryStorage()) { $0.lingerNanoseconds = linger }
      let lane = TestLane(log)
      let started = Clock.monotonic()
      for text in ["a", "b", "c"] {
        #expect(lane.append(text) == .accepted)
        _ = lane.lane.submit()
      }
      let submitted = Clock.monotonic()
      lane.commit()
      let committed = Clock.monotonic()
      let status = log.status
      log.close()
      // Of a round in which this thread got no turn within the linger nothing follows.
      guard submitted - started < linger else { continue }
      #expect(committed - started >= linger)
      #expect(status.commits == 1 && status.records == 3)
      return
    }
  }

  @Test("what lingers when the log is closed is committed")
  func closes() throws {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage) { $0.lingerNanoseconds = Limits.maxCommitLingerNanoseconds }
    let lane = TestLane(log)
    #expect(lane.append("last") == .accepted)
    _ = lane.lane.submit()
    log.close()
    let again = try MemoryLog.open(storage)
    #expect(try MemoryLog.contents(again).seen.last?.payload == "last")
    again.close()
  }

  @Test("a log that is driven by hand does not wait")
  func byHand() throws {
    let options = MemoryLog.options { $0.lingerNanoseconds = Limits.maxCommitLingerNanoseconds }
    let log = try StreamLog.openByHand(options, observer: EventLog(), storage: MemoryStorage())
    let lane = TestLane(log)
    #expect(lane.append("a") == .accepted)
    let last = lane.lane.submit()
    #expect(log.stepCommit() && lane.lane.acknowledged == last)
    log.close()
  }

  @Test("a linger can be set and taken away while the log is open")
  func changes() throws {
    let log = try MemoryLog.open(MemoryStorage())
    var options = MemoryLog.options()
    options.lingerNanoseconds = 50_000_000
    try log.reconfigure(options)
    let lane = TestLane(log)
    let started = Clock.monotonic()
    lane.commit(["a"])
    #expect(Clock.monotonic() - started >= 50_000_000)
    options.lingerNanoseconds = 0
    try log.reconfigure(options)
    lane.commit(["b"])
    log.close()
  }
}
