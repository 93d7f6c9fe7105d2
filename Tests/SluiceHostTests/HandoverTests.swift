import SluiceCore
import SluiceTopology
import Testing

@testable import SluiceHost

/// A subscriber that is started before it has its readers.
@Suite struct HandoverTests {
  @Test("A successor starts at once, and is given nothing before its readers, which it takes up where they stand")
  func gate() throws {
    let rig = try SubscriberRig("starting", isSuccessor: true)
    rig.reader.append(numbered: 0..<3)
    rig.reader.seek(to: 2)
    rig.reader.settle(below: 2)
    try rig.subscriber.start()
    #expect(try rig.subscriber.awaitStart() == .running)
    #expect(rig.seen == ["start"] && rig.reader.reads.isEmpty)
    #expect(rig.subscriber.status.state == .starting)
    rig.subscriber.admit(rig.readers)
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.subscriber.status.streams[0].cursor == 4)
    #expect(rig.stop() == .stopped)
    #expect(rig.seen == ["start", "2 1 m1", "3 1 m2", "stop"])
    #expect(rig.reader.isClosed)
  }

  @Test(
    "The first answer of start tells what became of it", arguments: [(0, "running"), (2, "retrying"), (-1, "failed")])
  func answers(n: Int, expected: String) throws {
    let rig = try SubscriberRig("starting", n: n, isSuccessor: true)
    try rig.subscriber.start()
    do throws(HostError) {
      switch try rig.subscriber.awaitStart() {
      case .running: #expect(expected == "running")
      case .retrying(let why):
        #expect(expected == "retrying" && why == "start answered SLU_E_RETRYABLE: connection refused")
      }
      #expect(!rig.subscriber.hasEnded)
      #expect(rig.stop() == .stopped)
    } catch {
      #expect(expected == "failed" && error.message == "start answered SLU_E_CONFIG: no such table")
      #expect(rig.subscriber.hasEnded && rig.seen == ["start", "stop"])
    }
    #expect(rig.reader.reads.isEmpty && !rig.reader.isClosed, "what it was never given is not its own")
  }

  @Test("One whose first start fails for good is not made again, however late that is heard")
  func failing() throws {
    let rig = try SubscriberRig("starting", n: -1, isSuccessor: true)
    try rig.subscriber.start()
    #expect(eventually { rig.subscriber.hasEnded })
    #expect(throws: HostError.self) { try rig.subscriber.awaitStart() }
    #expect(rig.seen == ["start", "stop"] && !rig.reader.isClosed)
  }

  @Test("One that has not started yet takes its readers up, and delivers when it has")
  func late() throws {
    let rig = try SubscriberRig("starting", n: 3, isSuccessor: true)
    rig.reader.append(numbered: 0..<2)
    try rig.subscriber.start()
    #expect(try rig.subscriber.awaitStart() == .retrying("start answered SLU_E_RETRYABLE: connection refused"))
    rig.subscriber.admit(rig.readers)
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.stop() == .stopped)
    #expect(rig.seen == ["start", "start", "start", "start", "1 1 m0", "2 1 m1", "stop"])
  }

  @Test("A start that does not return is not waited for longer than it may take")
  func hanging() throws {
    let rig = try SubscriberRig("starting", n: 1000, isSuccessor: true)
    try rig.subscriber.start()
    let error = #expect(throws: HostError.self) {
      try rig.subscriber.awaitStart(limit: 50_000_000, endingWithin: 50_000_000)
    }
    #expect(error?.message.hasPrefix("start of plugin starting did not return in") == true)
    #expect(rig.subscriber.status.state == .stuck && !rig.reader.isClosed)
  }

  @Test("Readers that come when it is to end already are closed")
  func tooLate() throws {
    let rig = try SubscriberRig("starting", n: 1_000_000, isSuccessor: true) {
      $0.retry.firstNanoseconds = 60_000_000_000
      $0.retry.maxNanoseconds = 60_000_000_000
    }
    try rig.subscriber.start()
    #expect(try rig.subscriber.awaitStart() == .retrying("start answered SLU_E_RETRYABLE: connection refused"))
    rig.subscriber.admit(rig.readers)
    #expect(rig.stop() == .stopped)
    #expect(rig.reader.isClosed && rig.reader.reads.isEmpty)
  }
}
