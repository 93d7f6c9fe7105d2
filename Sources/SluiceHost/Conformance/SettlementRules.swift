import CSluice
import SluiceCore

extension ConformanceRule {
  static let settlement: [ConformanceRule] = [
    offending(
      "settles-once", [.settledTwice], demand: "No token is settled twice.",
      remedy: "Strike a token off where it is settled; a flush and a worker thread may both come to it."),
    offending(
      "settles-own-tokens", [.settledForeign], demand: "Only tokens of batches that were delivered are settled.",
      remedy: "Token i of a batch is the first message's plus i, for i below count."),
    offending(
      "settles-in-time", [.settledLate],
      demand: "Nothing is settled after deliver has answered anything but SLU_ACCEPTED for its batch.",
      remedy: "Answer SLU_ACCEPTED for batches that are settled later."),
    offending(
      "settles-well", [.settledNonsense],
      demand: "Settlements have a count and one of the three verdicts, and items are not NULL.",
      remedy: "Initialise all of slu_settlement; zero is no verdict."),
    ConformanceRule(
      "accepted-settled", .delivery, needs: deliverable,
      demand: "What was accepted is settled when flush or drain has answered SLU_OK, or by the ack deadline.",
      remedy: "Settle every token of a batch that was answered with SLU_ACCEPTED, by a thread or in flush."
    ) { bench throws(RuleVerdict) in try accepted(bench) },
    ConformanceRule(
      "no-settle-after-stop", .delivery, needs: deliverable,
      demand: "Nothing is settled after stop has returned.",
      remedy: "Join in stop every thread that settles."
    ) { bench throws(RuleVerdict) in try quiet(bench, [.settledAfterStop]) },
    ConformanceRule(
      "no-call-after-stop", .delivery, needs: deliverable,
      demand: "No other function of the host is called after stop has returned, in destroy neither.",
      remedy: "Join all threads in stop, and say in stop what destroy would have said."
    ) { bench throws(RuleVerdict) in try quiet(bench, [.calledAfterStop]) },
    offending(
      "host-before-start", [.calledBeforeStart],
      demand: "settle, retain, release, set_credit and publish are not called before start.",
      remedy: "Call them from start on; log, metrics and the clock are there from create on."),
    offending(
      "host-arguments", [.badArgument],
      demand: "The host's functions are called with arguments that mean something: known levels and states, UTF-8, "
        + "metrics with well-formed names.",
      remedy: "Look at the function's comment in host.h."),
    ConformanceRule(
      "return-codes", .delivery, needs: deliverable,
      demand: "Every answer is one of the codes in base.h that its function may give.",
      remedy: "Translate codes of other libraries into SLU_E_RETRYABLE, SLU_E_FATAL or SLU_E_INTERNAL."
    ) { bench throws(RuleVerdict) in
      bench.keepsAnswers = true
      try bench.session()
      for answer in bench.answers {
        let isAllowed = answer.isKnown && (answer.rc <= SLU_OK || answer.call == "deliver" && answer.rc <= SLU_BUSY)
        guard isAllowed else { throw .fail("\(answer.sentence), which is none of its codes") }
      }
    },
    ConformanceRule(
      "errors-explained", .delivery, needs: deliverable,
      demand: "An answer below zero comes with a text in slu_error, within its length.",
      remedy: "Say with slu_fail what was tried, why it failed, and what to do."
    ) { bench throws(RuleVerdict) in
      bench.keepsAnswers = true
      try bench.session()
      for answer in bench.answers where answer.rc < 0 && answer.rc != SLU_E_UNSUPPORTED && answer.text.isEmpty {
        throw .fail("\(answer.sentence) without a text")
      }
      if let fault = bench.answers.compactMap(\.fault).first { throw .fail(fault) }
    },
  ]

  /// A rule that lets an instance have a whole life and then asks the host for offences.
  private static func offending(
    _ name: String, _ kinds: Set<Offence>, demand: String, remedy: String
  ) -> ConformanceRule {
    ConformanceRule(name, .delivery, needs: deliverable, demand: demand, remedy: remedy) {
      bench throws(RuleVerdict) in
      let host = try bench.session()
      if let first = host.offences(kinds).first { throw .fail(first) }
    }
  }

  private static func quiet(_ bench: RuleBench, _ kinds: Set<Offence>) throws(RuleVerdict) {
    let instance = try bench.started()
    for round in 0..<8 {
      let batch = bench.batch(
        RuleMessage.some(32), BatchShape(firstLSN: UInt64(round * 32 + 1)), "a batch before stop")
      guard instance.deliver(batch).isTaken else { break }
    }
    instance.stop()
    bench.phase("it is listened to after stop")
    bench.pause(Limits.conformanceQuietNanoseconds)
    instance.destroy()
    bench.phase("it is listened to after destroy")
    bench.pause(Limits.conformanceQuietNanoseconds)
    if let first = instance.host.offences(kinds).first { throw .fail(first) }
  }

  private static func accepted(_ bench: RuleBench) throws(RuleVerdict) {
    let kind = try bench.kind()
    let instance = try bench.started()
    let wish = Int64(kind.table.ack_deadline_ms) * 1_000_000
    let deadline = wish == 0 ? Limits.conformanceAckNanoseconds : wish
    let patience = min(deadline, Limits.conformanceMaxAckNanoseconds)
    var isAccepted = false
    for round in 0..<5 {
      let shape = BatchShape(firstLSN: UInt64(round * 20 + 1), ackDeadline: Clock.monotonic() + deadline)
      let batch = bench.batch(RuleMessage.some(20), shape, "a batch with an ack deadline")
      let answer = bench.offer(batch, to: instance)
      if answer.rc == SLU_ACCEPTED { isAccepted = true }
    }
    func open() -> Int { instance.host.with { $0.tokens.open } }
    guard isAccepted else { return bench.end(instance) }
    if kind.table.flush != nil {
      let answer = instance.flush()
      guard answer.rc != SLU_OK || open() == 0 else {
        throw .fail("flush answered SLU_OK with \(open()) tokens open")
      }
    }
    bench.phase("its ack deadline is waited for")
    if !bench.wait(patience, until: { open() == 0 }), kind.table.drain != nil || kind.table.flush != nil {
      let answer = instance.drain()
      guard answer.rc != SLU_OK || open() == 0 else {
        throw .fail("drain answered SLU_OK with \(open()) tokens open")
      }
    }
    guard open() == 0 else {
      guard patience == deadline else {
        throw .skip("tokens are open, and its ack deadline of \(deadline / 1_000_000_000) s is not waited for")
      }
      throw .fail("\(open()) of 100 tokens were still open at their ack deadline")
    }
    bench.end(instance)
  }
}

extension RuleBench {
  /// The whole life of an instance, with what a daemon may ask of it. Returns its host.
  @discardableResult func session(_ manners: ConformanceHost.Manners = .init()) throws(RuleVerdict) -> ConformanceHost {
    let instance = try started(manners)
    var lsn: UInt64 = 1
    for count in [1, 8, 64, 8] {
      _ = offer(batch(RuleMessage.some(count), BatchShape(firstLSN: lsn), "\(count) ordinary messages"), to: instance)
      lsn += UInt64(count)
    }
    var again = RuleMessage.some(8)
    for index in again.indices { again[index].attempt = 2 }
    let shape = BatchShape(firstLSN: lsn - 8, flags: UInt32(SLU_BATCH_REDELIVERY))
    _ = offer(batch(again, shape, "a redelivery"), to: instance)
    settle(instance)
    _ = instance.flush()
    _ = offer(batch(RuleMessage.some(4), BatchShape(firstLSN: lsn), "the last batch"), to: instance)
    _ = instance.drain()
    instance.stop()
    instance.destroy()
    return instance.host
  }
}
