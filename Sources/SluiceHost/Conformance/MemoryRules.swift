import CSluice
import SluiceCore

extension ConformanceRule {
  static let memory: [ConformanceRule] = [
    ConformanceRule(
      "reads-in-bounds", .delivery, needs: deliverable,
      demand: "Nothing is read past the end of a payload, or of the array of messages.",
      remedy: "Texts have a length and no NUL; messages are count, each message_stride bytes from the last."
    ) { bench throws(RuleVerdict) in
      try bench.running { instance throws(RuleVerdict) in
        // Whole words without a zero, so that the payload's end is the end of the memory.
        for count in [1, 7, 64] {
          let messages = (0..<count).map { _ in RuleMessage(bytes: Array(repeating: UInt8(ascii: "7"), count: 4096)) }
          let shape = BatchShape(isTight: true)
          try bench.give(bench.batch(messages, shape, "\(count) messages at the end of their memory"), to: instance)
        }
      }
    },
    ConformanceRule(
      "batch-untouched", .delivery, needs: deliverable,
      demand: "Nothing is written into a batch.",
      remedy: "Copy what is to be changed: other subscribers read the same bytes."
    ) { bench throws(RuleVerdict) in
      try bench.running(ConformanceHost.Manners(isReadOnly: true)) { instance throws(RuleVerdict) in
        for count in [1, 64] {
          try bench.give(bench.batch(RuleMessage.some(count), "\(count) messages that are read-only"), to: instance)
        }
        bench.settle(instance)
      }
    },
    ConformanceRule(
      "no-late-reads", .delivery, needs: deliverable,
      demand: "A batch is not looked at after deliver has returned, and its bytes only under a lease.",
      remedy: "Copy the bytes, or retain the lease in deliver and release it when they are done with; copy slu_message."
    ) { bench throws(RuleVerdict) in
      try bench.running(ConformanceHost.Manners(takesAway: true)) { instance throws(RuleVerdict) in
        for round in 0..<10 {
          let shape = BatchShape(firstLSN: UInt64(round * 16 + 1))
          try bench.give(
            bench.batch(RuleMessage.some(16), shape, "a batch; those before it are not there any more"), to: instance)
        }
        bench.settle(instance)
        _ = instance.flush()
        bench.pause(Limits.conformanceQuietNanoseconds)
        _ = instance.drain()
      }
    },
    ConformanceRule(
      "survives-lease-refusal", .delivery, needs: deliverable + ["no-late-reads"],
      demand: "It works on when retain answers SLU_BUSY or SLU_E_UNSUPPORTED.",
      remedy: "Copy what is needed when the lease is refused."
    ) { bench throws(RuleVerdict) in
      try refusing(bench, ConformanceHost.Manners(retain: SLU_BUSY, takesAway: true), "retain answers SLU_BUSY")
      try refusing(
        bench, ConformanceHost.Manners(retain: SLU_E_UNSUPPORTED, takesAway: true), "retain answers SLU_E_UNSUPPORTED")
    },
    ConformanceRule(
      "leases-released", .delivery, needs: deliverable,
      demand: "Every lease that was retained is released before stop returns.",
      remedy: "Release what is still held in stop, after its threads were joined."
    ) { bench throws(RuleVerdict) in
      let instance = try bench.started()
      for round in 0..<10 {
        let shape = BatchShape(firstLSN: UInt64(round * 16 + 1))
        guard instance.deliver(bench.batch(RuleMessage.some(16), shape, "a batch before stop")).isTaken else { break }
      }
      instance.stop()
      let left = instance.host.with { $0.leases.count { $0.value.holds > 0 } }
      guard left == 0 else { throw .fail("\(left) leases were still retained when stop had returned") }
      instance.destroy()
    },
    ConformanceRule(
      "lease-calls", .delivery, needs: deliverable,
      demand: "retain is called inside the deliver of its batch only, on its thread, and release once for each.",
      remedy: "Retain in deliver, before the batch is handed to another thread."
    ) { bench throws(RuleVerdict) in
      let host = try bench.session()
      if let first = host.offences([.leaseMisused]).first { throw .fail(first) }
    },
  ]
}
