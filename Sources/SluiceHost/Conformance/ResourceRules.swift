import CSluice
import Glibc
import SluiceCore

extension ConformanceRule {
  static let resources: [ConformanceRule] = [
    ConformanceRule(
      "stop-in-flight", .resources, needs: deliverable, seconds: Limits.conformanceLongRuleSeconds,
      demand: "stop returns within 10 s while batches are accepted and not settled.",
      remedy: "Give up what is open: its messages come again."
    ) { bench throws(RuleVerdict) in
      let instance = try bench.started()
      for round in 0..<32 {
        let shape = BatchShape(firstLSN: UInt64(round * 64 + 1))
        guard instance.deliver(bench.batch(RuleMessage.some(64), shape, "a batch before stop")).isTaken else { break }
      }
      let began = Clock.monotonic()
      instance.stop()
      let taken = Clock.monotonic() - began
      guard taken < Limits.conformanceStopNanoseconds else { throw .fail("stop took \(taken / 1_000_000_000) s") }
      instance.destroy()
    },
    ConformanceRule(
      "no-threads-left", .resources, needs: deliverable,
      demand: "After destroy there are no more threads than before create.",
      remedy: "Join in stop what start has started."
    ) { bench throws(RuleVerdict) in
      try leavingNothing(bench) { now, before in
        now.newThreads(since: before).first.map { "the thread \($0) is still there" }
      }
    },
    ConformanceRule(
      "no-descriptors-left", .resources, needs: deliverable,
      demand: "After destroy there are no more descriptors open than before create.",
      remedy: "Close in stop what start has opened, and in destroy what create has."
    ) { bench throws(RuleVerdict) in
      try leavingNothing(bench) { now, before in
        now.newDescriptors(since: before).first.map { "\($0.target) is still open" }
      }
    },
    ConformanceRule(
      "process-kept", .resources, needs: deliverable,
      demand:
        "An instance changes no signal handler or mask, locale, working directory, umask or environment variable.",
      remedy: "Leave the process as it is: it is not the plugin's. A library that insists can be told not to."
    ) { bench throws(RuleVerdict) in
      let before = ProcessSnapshot()
      try bench.session()
      if let change = ProcessSnapshot().changes(since: before).first { throw .fail(change) }
    },
    ConformanceRule(
      "no-children-left", .resources, needs: deliverable,
      demand: "An instance leaves no child process, running or dead.",
      remedy: "End child processes in stop, and wait for each."
    ) { bench throws(RuleVerdict) in
      try bench.session()
      var status: Int32 = 0
      let child = waitpid(-1, &status, WNOHANG)
      guard child < 0 else {
        throw .fail(child == 0 ? "a child process still runs" : "a dead child was not waited for")
      }
    },
    ConformanceRule(
      "memory-stable", .resources, needs: deliverable, seconds: Limits.conformanceLongRuleSeconds,
      demand: "Memory does not grow over 1,000 instances, each created, started, given a batch, stopped and destroyed.",
      remedy: "Free in destroy what create has allocated (cc -fsanitize=leak shows where it came from)."
    ) { bench throws(RuleVerdict) in try memoryStable(bench) },
  ]

  /// `fault` compares the process after an instance's life with before. The first life does not count: what a language's
  /// runtime sets up stays.
  private static func leavingNothing(
    _ bench: RuleBench, _ fault: (ProcessSnapshot, ProcessSnapshot) -> String?
  ) throws(RuleVerdict) {
    try bench.session()
    let before = ProcessSnapshot()
    try bench.session()
    var found = fault(ProcessSnapshot(), before)
    _ = bench.wait(Limits.conformanceSettlingNanoseconds) {
      found = fault(ProcessSnapshot(), before)
      return found == nil
    }
    if let found { throw .fail("after destroy \(found)") }
  }

  private static func memoryStable(_ bench: RuleBench) throws(RuleVerdict) {
    let config = try bench.config()
    let instance = try bench.instance()
    let batch = bench.batch(RuleMessage.some(32), "a batch of one of many instances")
    let began = Clock.monotonic()
    var uses: [MemoryUse] = []
    var lives = 0
    while lives < Limits.conformanceLives, Clock.monotonic() - began < Limits.conformanceLivesNanoseconds {
      if lives % Limits.conformanceLivesPerSample == 0 { uses.append(MemoryUse()) }
      instance.host.forget()
      instance.host.enter(.created)
      for answer in [instance.create(config), instance.start()] where answer.rc != SLU_OK {
        throw .skip(answer.sentence)
      }
      _ = instance.deliver(batch)
      _ = instance.drain()
      instance.stop()
      instance.destroy()
      lives += 1
    }
    uses.append(MemoryUse())
    // The first ones show what is set up once.
    uses.removeFirst(min(uses.count, Limits.conformanceWarmSamples))
    try MemoryUse.judge(uses, lives: lives, in: Clock.monotonic() - began)
  }
}

/// Memory that the process uses.
struct MemoryUse {
  var heap: Int
  var addresses: Int
  var resident: Int

  init(heap: Int, addresses: Int, resident: Int) {
    (self.heap, self.addresses, self.resident) = (heap, addresses, resident)
  }

  /// Now.
  init() {
    heap = LinuxCalls.heapBytes
    var line = [CChar](repeating: 0, count: 128)
    var pages = [0, 0]
    if let file = fopen("/proc/self/statm", "r") {
      if fgets(&line, Int32(line.count), file) != nil {
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        pages = text.split(separator: " ").prefix(2).map { Int($0) ?? 0 }
      }
      fclose(file)
    }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    (addresses, resident) = (pages[0] * page, pages[1] * page)
  }

  /// What the uses that count say. A leak that shows in fewer lives than there were to be is one; none says little then.
  static func judge(_ uses: [MemoryUse], lives: Int, in nanoseconds: Int64) throws(RuleVerdict) {
    let few = "\(lives) of \(Limits.conformanceLives) lives in \(nanoseconds / 1_000_000_000) s"
    guard uses.count >= Limits.conformanceMinSamples else { throw .skip("only \(few): too few to tell") }
    if let fault = growth(uses) { throw .fail(fault) }
    if lives < Limits.conformanceLives { throw .skip("only \(few), in which memory did not grow") }
  }

  /// What has grown by more than its bound in most of the times between two samples. What grows in steps, as caches do, does
  /// not.
  static func growth(_ uses: [MemoryUse]) -> String? {
    for (what, path, bound) in [
      ("the heap", \MemoryUse.heap, Limits.conformanceHeapBytesPerLife),
      ("the resident memory", \.resident, Limits.conformanceResidentBytesPerLife),
      ("the address space", \.addresses, Limits.conformanceAddressBytesPerLife),
    ] {
      let growths = zip(uses, uses.dropFirst()).map { $1[keyPath: path] - $0[keyPath: path] }.sorted()
      let usual = growths[growths.count / 2] / Limits.conformanceLivesPerSample
      if usual > bound { return "\(what) grew by \(usual) bytes with each instance" }
    }
    return nil
  }
}
