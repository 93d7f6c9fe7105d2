import CSluice
import Glibc
import SluiceCore
import Synchronization

extension ConformanceRule {
  static let delivery: [ConformanceRule] = [
    ConformanceRule(
      "gap-call", .delivery, needs: deliverable,
      demand: "gap answers SLU_OK for every reason, known or not, and batches go on after it.",
      remedy: "Write down what is missing, and return SLU_OK."
    ) { bench throws(RuleVerdict) in try gaps(bench) },
    ConformanceRule(
      "interrupt-harmless", .delivery, needs: deliverable, seconds: Limits.conformanceLongRuleSeconds,
      demand: "interrupt may come at any time: before start, when nothing is under way, during deliver, after stop.",
      remedy: "Let interrupt set a flag or ring a bell, and let the call that it ends take it back."
    ) { bench throws(RuleVerdict) in try interruptHarmless(bench) },
    ConformanceRule(
      "interrupt-quick", .delivery, needs: deliverable,
      demand: "interrupt returns at once, also while deliver runs.",
      remedy: "Take no lock in interrupt that another function of the instance holds for long."
    ) { bench throws(RuleVerdict) in try interruptQuick(bench) },
    ConformanceRule(
      "survives-stale-settle", .delivery, needs: deliverable,
      demand: "It works on when settle answers SLU_STALE.",
      remedy: "Forget the tokens: they are not open any more, and their messages come again."
    ) { bench throws(RuleVerdict) in
      try refusing(bench, ConformanceHost.Manners(settle: SLU_STALE), "settle answers SLU_STALE")
    },
    ConformanceRule(
      "survives-publish-refusal", .delivery, needs: deliverable,
      demand: "It works on when publish answers SLU_E_UNSUPPORTED, SLU_BUSY or SLU_E_CONFIG.",
      remedy: "Answer SLU_E_RETRYABLE for the batch, or settle the parent with a retry."
    ) { bench throws(RuleVerdict) in
      guard try !bench.kind().outputs.isEmpty else { throw .skip("it has no outputs") }
      for (rc, name) in [
        (SLU_E_UNSUPPORTED, "SLU_E_UNSUPPORTED"), (SLU_BUSY, "SLU_BUSY"), (SLU_E_CONFIG, "SLU_E_CONFIG"),
      ] { try refusing(bench, ConformanceHost.Manners(publish: rc), "publish answers \(name)") }
    },
    ConformanceRule(
      "survives-credit-refusal", .delivery, needs: deliverable,
      demand: "It works on when set_credit answers SLU_E_UNSUPPORTED.",
      remedy: "Take SLU_BUSY for enough: the host then waits its own backoff."
    ) { bench throws(RuleVerdict) in
      try refusing(
        bench, ConformanceHost.Manners(credit: SLU_E_UNSUPPORTED), "set_credit answers SLU_E_UNSUPPORTED")
    },
  ]

  /// Deliveries to a host that refuses something: all that is asked is that none of them is a bug's answer.
  static func refusing(
    _ bench: RuleBench, _ manners: ConformanceHost.Manners, _ what: String
  ) throws(RuleVerdict) {
    try bench.running(manners) { instance throws(RuleVerdict) in
      for round in 0..<5 {
        let batch = bench.batch(
          RuleMessage.some(16), BatchShape(firstLSN: UInt64(round * 16 + 1)), "batch \(round) while \(what)")
        let answer = instance.deliver(batch)
        guard answer.isTaken || answer.rc == SLU_BUSY || answer.isRetryable else {
          throw .fail("while \(what), \(answer.sentence)")
        }
      }
      _ = instance.flush()
    }
  }

  private static func gaps(_ bench: RuleBench) throws(RuleVerdict) {
    guard try bench.kind().table.gap != nil else { throw .skip("it has no gap: the host logs and counts alone") }
    let name = CText("events")
    try bench.running { instance throws(RuleVerdict) in
      var lsn: UInt64 = 1
      for reason in [SLU_GAP_UNKNOWN, SLU_GAP_DROPPED, SLU_GAP_RETENTION, SLU_GAP_CORRUPTION, 4_000_000_000] {
        try bench.give(
          bench.batch(RuleMessage.some(4), BatchShape(firstLSN: lsn), "a batch before a gap"), to: instance)
        var gap = slu_gap()
        gap.struct_size = UInt32(MemoryLayout<slu_gap>.size)
        gap.reason = UInt32(reason)
        gap.first_lsn = lsn + 4
        gap.last_lsn = reason == SLU_GAP_DROPPED ? lsn + 4 : lsn + 999_999
        gap.stream = name.bytes
        withUnsafeMutableBytes(of: &gap.log_uuid) { for index in 0..<16 { $0[index] = UInt8(index) * 0x11 } }
        lsn = gap.last_lsn + 1
        let answer = instance.gap(gap)
        guard answer.rc == SLU_OK else { throw answer.isRetryable ? .skip(answer.sentence) : .fail(answer.sentence) }
      }
      try bench.give(bench.batch(RuleMessage.some(4), BatchShape(firstLSN: lsn), "a batch after gaps"), to: instance)
    }
  }

  private static func interruptHarmless(_ bench: RuleBench) throws(RuleVerdict) {
    guard try bench.kind().table.interrupt != nil else { throw .skip("it has no interrupt: the host can only wait") }
    let instance = try bench.created()
    bench.phase("interrupt before start")
    instance.interrupt()
    // An interrupt that came while nothing was under way may end the next call.
    var answer = instance.start()
    for _ in 0..<5 where answer.rc == SLU_E_TIMEOUT { answer = instance.start() }
    guard answer.rc == SLU_OK else { throw .fail("after an interrupt \(answer.sentence)") }
    bench.phase("interrupt when nothing is under way")
    instance.interrupt()
    let storm = InterruptStorm(instance.interruption)
    for round in 0..<20 {
      _ = instance.deliver(
        bench.batch(RuleMessage.some(64), BatchShape(firstLSN: UInt64(round * 64 + 1)), "a batch that is interrupted"))
    }
    storm.end()
    answer = instance.deliver(bench.batch(RuleMessage.some(8), "a batch after interrupts"))
    for _ in 0..<20 where !answer.isTaken {
      bench.pause()
      answer = instance.deliver(bench.batch(RuleMessage.some(8), "a batch after interrupts"))
    }
    guard answer.isTaken else { throw .fail("long after the last interrupt \(answer.sentence)") }
    instance.stop()
    bench.phase("interrupt after stop")
    instance.interrupt()
    instance.destroy()
  }

  private static func interruptQuick(_ bench: RuleBench) throws(RuleVerdict) {
    guard try bench.kind().table.interrupt != nil else { throw .skip("it has no interrupt: the host can only wait") }
    try bench.running { instance throws(RuleVerdict) in
      let storm = InterruptStorm(instance.interruption)
      for round in 0..<10 {
        _ = instance.deliver(
          bench.batch(
            RuleMessage.some(256), BatchShape(firstLSN: UInt64(round * 256 + 1)), "a batch that is interrupted"))
      }
      let longest = storm.end()
      guard longest < Limits.conformanceInterruptCallNanoseconds else {
        throw .fail("interrupt took \(longest / 1_000_000) ms while deliver ran")
      }
    }
  }
}

/// A thread that calls `interrupt` again and again.
private final class InterruptStorm: Sendable {
  private let isOver = Atomic<Bool>(false)
  private let longest = Atomic<Int64>(0)
  private let thread: Mutex<OSThread?> = Mutex(nil)

  init(_ target: Interruptible) {
    let storm = OSThread(name: "interrupts") { [self] in
      let pause = Doorbell()
      while !isOver.load(ordering: .acquiring) {
        let start = ThreadTime()
        target.call()
        let end = ThreadTime()
        // Without the time in which the machine was busy with something else.
        let taken = end.clock - start.clock - (end.waiting - start.waiting)
        if taken > longest.load(ordering: .relaxed) { longest.store(taken, ordering: .relaxed) }
        pause.wait(until: Clock.monotonic() + 1_000_000)
      }
    }
    thread.withLock { $0 = storm }
  }

  /// The longest that a call took, in nanoseconds.
  @discardableResult func end() -> Int64 {
    isOver.store(true, ordering: .releasing)
    thread.withLock { $0 }?.join()
    return longest.load(ordering: .relaxed)
  }
}
