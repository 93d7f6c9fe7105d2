import CSluice
import PluginTestSupport
import SluicePluginKit
import Testing

private let first = FakeBatch.firstToken

@Suite struct AsyncSubscriberTests {
  @Test("A batch is accepted, and acknowledged once its deliver has ended, with its lease released after that")
  func batchesAreSettledWhenTheyEnd() throws {
    let play = try Play()
    play.begin()
    #expect(play.deliver(["hold", "b", "c"]) == SLU_ACCEPTED)
    #expect(play.stage.happened("hold hold") && play.host.record.settled.isEmpty)
    #expect(play.host.record.retained == [99] && play.host.record.released == [])
    play.stage.release()
    #expect(play.settled(1) == [.init(first: first, count: 3, verdict: SLU_ACK)])
    #expect(play.instance.drain() == SLU_OK && play.host.record.released == [99])
    play.end()
  }

  @Test(
    "The bytes of a batch stay readable under a lease, and as copies where no lease is to be had",
    arguments: [true, false])
  func bytesOutliveTheCall(isLeased: Bool) throws {
    for isWhole in [true, false] {
      let play = try Play(retainAnswer: isLeased ? SLU_OK : SLU_BUSY)
      play.begin()
      var record = FakeBatch.Record("look")
      record.key = "k"
      record.headers = [("trace", "abc")]
      record.isWhole = isWhole
      var batch: FakeBatch? = FakeBatch([record, .init("second")], firstLSN: 5)
      #expect(play.instance.deliver(try #require(batch)) == SLU_ACCEPTED)
      #expect(play.stage.happened("hold look"))
      // Without a lease the memory is gone now.
      if !isLeased { batch = nil }
      play.stage.release()
      #expect(play.settled(1).map(\.count) == [2])
      let covered = isWhole ? "webklook" : ""
      #expect(
        play.stage.events.suffix(3) == [
          "5 web|k|api|look|\(covered)|trace=abc", "6 web||api|second||",
          "events \(FakeBatch.uuid) 5...6 copied \(!isLeased)",
        ])
      // A lease goes back behind its batch's verdicts, on the instance's thread: this waits for both.
      #expect(play.instance.drain() == SLU_OK)
      #expect(play.host.record.released == (isLeased ? [99] : []))
      play.end()
      withExtendedLifetime(batch) {}
    }
  }

  @Test("Verdicts given within deliver stand, and the rest gets the one that its end means")
  func verdictsOfABatch() throws {
    let play = try Play()
    play.begin()
    #expect(play.deliver(["partly", "b", "c", "d"]) == SLU_ACCEPTED)
    #expect(
      play.settled(4) == [
        .init(first: first + 1, count: 1, verdict: SLU_REJECT, code: 3, reason: "bad"),
        .init(first: first, count: 1, verdict: SLU_ACK), .init(first: first + 2, count: 1, verdict: SLU_ACK),
        .init(first: first + 3, count: 1, verdict: SLU_ACK),
      ])
    #expect(play.deliver(["verdict", "b"]) == SLU_ACCEPTED)
    #expect(play.settled(5)[4] == .init(first: first, count: 2, verdict: SLU_REJECT, code: 9, reason: "all of it"))
    #expect(play.deliver(["error", "b"]) == SLU_ACCEPTED)
    let retried = play.settled(6)[5]
    #expect(retried.count == 2 && retried.verdict == SLU_RETRY && !retried.reason.isEmpty)
    play.end()
  }

  @Test("However verdicts overlap, each message gets the first one and no other")
  func overlappingVerdicts() throws {
    for _ in 0..<100 {
      let play = try Play()
      play.begin()
      #expect(play.deliver(["overlap"] + [String](repeating: "b", count: Int.random(in: 0...20))) == SLU_ACCEPTED)
      #expect(play.instance.drain() == SLU_OK)
      let tokens = play.host.record.settled.flatMap { run in (0..<UInt64(run.count)).map { (run.first + $0, run.code) }
      }
      #expect(tokens.sorted { $0.0 < $1.0 }.map { "\($0.1)" }.joined(separator: " ") == play.stage.events.last)
      play.end()
    }
  }

  @Test("An error about the instance retries its batch, and is told to the daemon with the next call")
  func errorsOfTheInstance() throws {
    let play = try Play()
    play.begin()
    #expect(play.deliver(["fatal", "b"]) == SLU_ACCEPTED)
    #expect(play.settled(1) == [.init(first: first, count: 2, verdict: SLU_RETRY, reason: "it is over")])
    #expect(play.instance.drain() == SLU_E_FATAL && play.instance.error == "it is over")
    #expect(play.deliver(["fine"]) == SLU_ACCEPTED && play.stage.happened("fine"))
    play.end()
  }

  @Test("No more batches are under way than the kind says: the next one waits, and an interrupt sends it back")
  func batchesInFlightAreBounded() throws {
    let play = try Play()
    play.begin()
    #expect(play.deliver(["hold"]) == SLU_ACCEPTED && play.deliver(["hold"]) == SLU_ACCEPTED)
    let third = FakeBatch(["third"])
    nonisolated(unsafe) let batch = third
    let waiting = play.aside { $0.deliver(batch) }
    #expect(eventually { play.stage.events.filter { $0 == "hold hold" }.count == 2 })
    #expect(!play.stage.events.contains("third"))
    play.stage.release()
    #expect(waiting() == SLU_ACCEPTED && play.stage.happened("third"))
    #expect(play.instance.flush() == SLU_OK)

    #expect(play.deliver(["hold"]) == SLU_ACCEPTED && play.deliver(["hold"]) == SLU_ACCEPTED)
    // Which of them comes while the call waits can't be told from here.
    let refused = play.aside(poke: { play.instance.interrupt() }) { $0.deliver(batch) }
    #expect(refused() == SLU_BUSY)
    let cancelled = play.settled(5).suffix(2)
    #expect(cancelled.allSatisfy { $0.verdict == SLU_RETRY && $0.reason == "cancelled" })
    play.end()
  }

  @Test("Flushing waits for what is under way until its deadline")
  func flushing() throws {
    let play = try Play()
    play.begin()
    #expect(play.instance.flush() == SLU_OK)
    #expect(play.deliver(["hold"]) == SLU_ACCEPTED)
    #expect(play.instance.flush(deadline: 1) == SLU_E_TIMEOUT)
    #expect(play.instance.error == "1 batches are still under way")
    let flushed = play.aside { $0.flush() }
    #expect(play.stage.happened("hold hold"))
    play.stage.release()
    #expect(flushed() == SLU_OK && play.host.record.settled.count == 1)
    play.end()
  }

  @Test("An instance that never had a thread is stopped at once, as nothing of it ever ran")
  func stoppingWithoutAThread() throws {
    let play = try Play()
    #expect(play.create() == SLU_OK)
    play.end()
    #expect(play.stage.events.isEmpty)
  }

  @Test("Stopping cancels what is under way, lets the subscriber stop after it, and leaves no thread")
  func stoppingLeavesNothing() throws {
    let play = try Play()
    play.begin()
    #expect(play.deliver(["hold"]) == SLU_ACCEPTED && play.deliver(["hold"]) == SLU_ACCEPTED)
    #expect(threadNames().contains(play.thread))
    #expect(play.instance.stop() == SLU_OK)
    #expect(play.stage.events.suffix(1) == ["stop on \(play.thread)"])
    #expect(play.host.record.settled.map(\.reason) == ["cancelled", "cancelled"])
    #expect(play.host.record.released == [99, 99])
    // The kernel takes the name away a moment after the thread was joined.
    #expect(eventually { !threadNames().contains(play.thread) })
    play.instance.destroy()
  }

  @Test("Everything runs on a thread of the instance's own, before and after it was suspended")
  func tasksHaveTheirOwnThread() throws {
    let play = try Play()
    play.begin()
    #expect(play.deliver(["where"]) == SLU_ACCEPTED)
    #expect(play.settled(1).count == 1)
    play.end()
    #expect(
      play.stage.events == ["start", "deliver", "then", "nonisolated", "stop"].map { "\($0) on \(play.thread)" })
  }

  @Test("A start that fails may be tried again, and one that is interrupted is cancelled")
  func starting() throws {
    let failing = try Play()
    #expect(failing.create(#","start":"fail""#) == SLU_OK)
    #expect(failing.instance.start() == SLU_E_RETRYABLE && failing.instance.error == "not yet")
    #expect(failing.instance.start() == SLU_OK)
    failing.end()

    let held = try Play()
    #expect(held.create(#","start":"hold""#) == SLU_OK)
    let started = held.aside { $0.start() }
    #expect(held.stage.happened("hold start"))
    held.instance.interrupt()
    #expect(started() == SLU_E_TIMEOUT && held.instance.error == "start was cancelled: interrupted")
    #expect(held.stage.events.contains("cancel start"))
    held.end()
  }

  @Test("An interrupt that comes between two calls ends none")
  func earlyInterrupts() throws {
    let play = try Play()
    play.begin()
    play.instance.interrupt()
    #expect(play.deliver(["hold"]) == SLU_ACCEPTED && play.stage.happened("hold hold"))
    play.instance.interrupt()
    let flushed = play.aside { $0.flush() }
    play.stage.release()
    #expect(flushed() == SLU_OK && play.host.record.settled.map(\.verdict) == [SLU_ACK])
    play.instance.interrupt()
    play.end()
  }

  @Test("An instance that is made and thrown away has started nothing")
  func creatingStartsNothing() throws {
    let play = try Play()
    #expect(play.create() == SLU_OK)
    #expect(!threadNames().contains(play.thread) && play.stage.events.isEmpty)
    play.instance.destroy()
  }

  @Test("Gaps and new configs reach the subscriber")
  func otherCalls() throws {
    let play = try Play()
    play.begin()
    var gap = slu_gap()
    gap.struct_size = UInt32(MemoryLayout<slu_gap>.size)
    gap.first_lsn = 5
    gap.last_lsn = 9
    #expect(play.instance.gap(&gap) == SLU_OK)
    #expect(play.instance.reconfigure(#"{"stage":0,"start":"reconfigure"}"#) == SLU_OK)
    #expect(play.instance.reconfigure(#"{"stage":0}"#) == SLU_E_UNSUPPORTED)
    #expect(play.instance.reconfigure(#"{"stage":"x"}"#) == SLU_E_CONFIG)
    #expect(play.stage.events.suffix(3) == ["gap 5...9", "reconfigure", "reconfigure"])
    play.end()
  }
}
