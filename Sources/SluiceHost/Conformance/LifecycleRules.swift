import CSluice
import Glibc
import SluiceCore
import Synchronization

extension ConformanceRule {
  /// Without these nothing can be said of an instance, of a running one, and of one that is given batches.
  static let creatable = configurable + ["validate-takes-config", "create-destroy"]
  static let runnable = creatable + ["start-stop"]
  static let deliverable = runnable + ["takes-batches"]

  static let lifecycle: [ConformanceRule] = [
    ConformanceRule(
      "create-destroy", .lifecycle, needs: configurable + ["validate-takes-config"],
      demand: "An instance can be created and destroyed without having been started.",
      remedy: "Let destroy free what create made, whether start was called or not."
    ) { bench throws(RuleVerdict) in
      for _ in 0..<2 { try bench.created().destroy() }
    },
    ConformanceRule(
      "create-idle", .lifecycle, needs: creatable,
      demand: "create starts no thread, connects to nothing, and opens no file for writing.",
      remedy: "Do that in start: an instance may be created only to see whether it could be."
    ) { bench throws(RuleVerdict) in try createIdle(bench) },
    ConformanceRule(
      "create-bad-config", .lifecycle, needs: creatable + ["validate-good-configs"],
      demand: "create comes back from every config; what it refuses it refuses with SLU_E_CONFIG and a text, and what "
        + "validate refuses it refuses too.",
      remedy: "Answer SLU_E_CONFIG with slu_fail, and free what was made so far."
    ) { bench throws(RuleVerdict) in try createBad(bench) },
    ConformanceRule(
      "start-stop", .lifecycle, needs: creatable,
      demand: "An instance starts, stops and is destroyed.",
      remedy: "start answers SLU_OK, or SLU_E_RETRYABLE when the world is at fault; stop answers SLU_OK."
    ) { bench throws(RuleVerdict) in
      for _ in 0..<2 {
        let instance = try bench.created()
        let answer = instance.start()
        let stopped = instance.stop()
        instance.destroy()
        guard answer.rc == SLU_OK else { throw answer.isRetryable ? .skip(answer.sentence) : .fail(answer.sentence) }
        guard stopped.rc == SLU_OK else { throw .fail(stopped.sentence) }
      }
    },
    ConformanceRule(
      "stop-after-failed-start", .lifecycle, needs: creatable,
      demand: "stop and destroy end an instance whose start failed.",
      remedy: "Let stop look at what start has come to, and undo only that."
    ) { bench throws(RuleVerdict) in
      // A deadline that has passed makes a start fail that looks at it; one that fails anyway is as good.
      let instance = try bench.created()
      _ = instance.start(deadline: 1)
      instance.stop()
      instance.destroy()
    },
    ConformanceRule(
      "idle-flush-drain", .lifecycle, needs: runnable,
      demand: "flush and drain of an instance that has nothing to do answer SLU_OK.",
      remedy: "Return SLU_OK when nothing is open."
    ) { bench throws(RuleVerdict) in
      try bench.running { instance throws(RuleVerdict) in
        for answer in [instance.flush(), instance.flush(), instance.drain()] where answer.rc != SLU_OK {
          throw answer.isRetryable ? .skip(answer.sentence) : .fail(answer.sentence)
        }
      }
    },
    ConformanceRule(
      "takes-batches", .lifecycle, needs: runnable,
      demand: "deliver takes ordinary batches of 1, 64 and 1,024 messages.",
      remedy: "Answer SLU_OK when all of the batch is done, or SLU_ACCEPTED and settle it later."
    ) { bench throws(RuleVerdict) in
      try bench.running { instance throws(RuleVerdict) in
        for count in [1, 64, 1024] {
          let answer = bench.offer(
            bench.batch(RuleMessage.some(count), "a batch of \(count) ordinary messages"), to: instance)
          guard !answer.isTaken else { continue }
          throw answer.rc == SLU_BUSY || answer.isRetryable ? .skip(answer.sentence) : .fail(answer.sentence)
        }
      }
    },
    ConformanceRule(
      "two-instances", .lifecycle, needs: deliverable,
      demand: "Two instances of one config run at once, unless the kind has SLU_F_EXCLUSIVE.",
      remedy: "Keep all state in the instance, or set SLU_F_EXCLUSIVE."
    ) { bench throws(RuleVerdict) in try twoInstances(bench) },
    ConformanceRule(
      "reconfigure-same", .lifecycle, needs: deliverable,
      demand: "reconfigure with the config that the instance has answers SLU_OK or SLU_E_UNSUPPORTED, and it goes on.",
      remedy: "Compare the configs first; answer SLU_E_UNSUPPORTED for what takes a new instance."
    ) { bench throws(RuleVerdict) in
      try bench.requireReconfigure()
      try bench.running { instance throws(RuleVerdict) in
        let answer = instance.reconfigure(try bench.config())
        guard answer.rc == SLU_OK || answer.rc == SLU_E_UNSUPPORTED else { throw .fail(answer.sentence) }
        try bench.give(bench.batch(RuleMessage.some(3), "a batch after reconfigure"), to: instance)
      }
    },
    ConformanceRule(
      "reconfigure-bad", .lifecycle, needs: deliverable,
      demand: "reconfigure refuses what create refuses, says why, and the instance works as before.",
      remedy: "Check all of the new config before any of it is used."
    ) { bench throws(RuleVerdict) in try reconfigureBad(bench) },
    ConformanceRule(
      "extension-unknown", .lifecycle, needs: creatable,
      demand: "get_extension of a name that nobody knows answers NULL.",
      remedy: "Compare the whole name and its revision."
    ) { bench throws(RuleVerdict) in
      guard try bench.kind().table.get_extension != nil else { throw .skip("it has no get_extension") }
      let instance = try bench.created()
      for name in ["sluice.nobody-knows/1", "", "sluice.tracing/4294967295", String(repeating: "x", count: 4096)]
      where instance.hasExtension(name) {
        throw .fail("get_extension answered something for \"\(name.prefix(40))\"")
      }
      instance.destroy()
    },
  ]

  private static func createIdle(_ bench: RuleBench) throws(RuleVerdict) {
    // What a language's runtime sets up at its first use is not the plugin's doing.
    try bench.created().destroy()
    let instance = try bench.instance()
    let before = ProcessSnapshot()
    let answer = instance.create(try bench.config())
    guard answer.rc == SLU_OK else { throw .fail(answer.sentence) }
    let after = ProcessSnapshot()
    instance.destroy()
    if let thread = after.newThreads(since: before).first { throw .fail("create started the thread \(thread)") }
    for descriptor in after.newDescriptors(since: before) {
      if descriptor.isConnected { throw .fail("create connected \(descriptor.target)") }
      let isFile = descriptor.target.hasPrefix("/") && !descriptor.target.hasPrefix("/dev/")
      if isFile && descriptor.isWritable { throw .fail("create opened \(descriptor.target) for writing") }
    }
  }

  private static func createBad(_ bench: RuleBench) throws(RuleVerdict) {
    let fuzz = try bench.fuzz()
    for config in fuzz.broken + ConfigFuzz.nonsense + fuzz.good {
      let isGood = fuzz.good.contains(config)
      let isRefused = isGood ? try bench.validate(config).map { $0.rc == SLU_E_CONFIG } ?? false : false
      let instance = try bench.instance()
      let answer = instance.create(config)
      if answer.rc == SLU_OK {
        instance.destroy()
        guard !isRefused else { throw .fail("create took what validate refuses: \(config.shownAsConfig)") }
        continue
      }
      guard answer.rc == SLU_E_CONFIG else { throw .fail("\(answer.sentence), for \(config.shownAsConfig)") }
      guard !answer.text.isEmpty else { throw .fail("create did not say why it refused \(config.shownAsConfig)") }
    }
  }

  private static func twoInstances(_ bench: RuleBench) throws(RuleVerdict) {
    guard try bench.kind().table.flags & UInt32(SLU_F_EXCLUSIVE) == 0 else {
      throw .skip("the kind has SLU_F_EXCLUSIVE")
    }
    let first = try bench.started()
    let second = try bench.created()
    let answer = second.start()
    guard answer.rc == SLU_OK else { throw .fail("the second instance's \(answer.sentence)") }
    for round in 0..<3 {
      for instance in [first, second] {
        try bench.give(bench.batch(RuleMessage.some(8), "batch \(round) for one of two"), to: instance)
      }
    }
    bench.end(first)
    try bench.give(bench.batch(RuleMessage.some(8), "a batch for the one that is left"), to: second)
    bench.end(second)
  }

  private static func reconfigureBad(_ bench: RuleBench) throws(RuleVerdict) {
    try bench.requireReconfigure()
    let fuzz = try bench.fuzz()
    var refused: [String] = []
    for config in fuzz.broken + ConfigFuzz.nonsense + fuzz.good {
      let instance = try bench.instance()
      let answer = instance.create(config)
      if answer.rc == SLU_OK { instance.destroy() }
      if answer.rc == SLU_E_CONFIG { refused.append(config) }
    }
    guard !refused.isEmpty else { throw .skip("no config is known that create refuses") }
    try bench.running { instance throws(RuleVerdict) in
      for config in refused {
        let answer = instance.reconfigure(config)
        guard answer.rc != SLU_OK else { throw .fail("reconfigure took what create refuses: \(config.shownAsConfig)") }
        guard answer.rc == SLU_E_UNSUPPORTED || !answer.text.isEmpty else {
          throw .fail("reconfigure did not say why it refused \(config.shownAsConfig)")
        }
      }
      let answer = bench.offer(bench.batch(RuleMessage.some(3), "a batch after a bad reconfigure"), to: instance)
      guard answer.isTaken else { throw .fail("after configs that were refused \(answer.sentence)") }
    }
  }
}

extension RuleBench {
  func requireReconfigure() throws(RuleVerdict) {
    guard try kind().table.reconfigure != nil else {
      throw .skip("it has no reconfigure: every change makes a new instance")
    }
  }
}
