import CSluice
import Glibc
import SluiceCore
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// A plugin in a process of its own: it works as any other, and what it does wrong is its own affair.
@Suite struct IsolationTests {
  private let soon: Int64 = 120_000_000_000

  @Test("An isolated plugin gets every record once, with all that belongs to it, and its state directory")
  func delivers() throws {
    let rig = try SubscriberRig("second-thoughts", isIsolated: true)
    rig.reader.append((0..<1000).map { $0 % 100 == 7 ? "x\($0)" : "a\($0)" })
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 1001))
    // What a message says besides its payload shows in a replay.
    let part = MemoryReader()
    part.append((0..<1000).map { "a\($0)" })
    let replay = StreamReplay(part, first: 1, last: 1000, total: 1000)
    try rig.subscriber.replay(replay)
    #expect(replay.wait(until: Clock.monotonic() + soon).records.delivered == 1000)
    #expect(rig.stop() == .stopped)
    let rejected: [UInt64] = stride(from: 8, to: 1000, by: 100).map { $0 }
    #expect(rig.letters.letters.map(\.lsn) == rejected)
    let again = rig.seen.filter { $0.hasPrefix("again ") }
    #expect(again.count == 1000)
    #expect(again[3] == "again 4 1 a3 t0 source-1 producer-1 1003 3")
    #expect(rig.seen.contains { $0.hasPrefix("replay events \(part.logUUID) ") })
  }

  @Test("Verdicts of another thread, retries and leases work from a process, and all leases come back")
  func asynchronous() throws {
    let rig = try SubscriberRig("async", isIsolated: true) { $0.batch.records = 20 }
    rig.reader.append(numbered: 0..<2000)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2001))
    #expect(rig.stop() == .stopped)
    #expect(Set(rig.messages.map(\.lsn)) == Set(1...2000))
    #expect(rig.subscriber.status.counts.retried > 0 && rig.subscriber.status.counts.foreign == 0)
    #expect(rig.reader.pinCount == 0)
  }

  @Test("An instance that dies again and again is made anew after pauses that grow to the bound")
  func backoff() throws {
    let starting = Misbehaviour(what: "crash", place: "in_start")
    let rig = try SubscriberRig(starting.kind, isIsolated: true, misbehaving: starting) {
      $0.retry.firstNanoseconds = 8_000_000
      $0.retry.maxNanoseconds = 128_000_000
    }
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "instance ended", count: 7))
    #expect(rig.stop() == .stopped)
    let pauses = rig.log.all.filter { $0.contains("instance ended") }.prefix(7).compactMap { line in
      line.split(separator: " ").first { $0.hasPrefix("again_in_ms=") }.flatMap { Int($0.dropFirst(12)) }
    }
    let ceilings = [8, 16, 32, 64, 128, 128, 128]
    #expect(pauses.count == 7 && zip(pauses, ceilings).allSatisfy { ($1 / 2...$1).contains($0) }, "\(pauses)")
  }

  @Test("What crashes in gap is said, and the records behind the gap are delivered all the same")
  func crashesInGap() throws {
    let misbehaviour = Misbehaviour(what: "crash", place: "in_gap")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour) { $0.batch.records = 4 }
    rig.reader.append(numbered: 0..<10)
    rig.reader.lose(5...7)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 11, seconds: 60))
    #expect(rig.stop() == .stopped)
    #expect(rig.log.all.contains { $0.contains("SIGSEGV (a bad memory access) in gap") }, "\(rig.log.all)")
    #expect(Set(rig.messages.map(\.lsn)) == [1, 2, 3, 4, 8, 9, 10])
  }

  @Test(
    "A crash, an exit, a closed socket or a wild write ends the process only: it is said, started anew, and goes on")
  func crashes() throws {
    for (what, said) in [
      ("crash", ["SIGSEGV"]), ("leave", ["status 3"]), ("scribble", ["SIGSEGV"]),
      // It ends for its closed socket; the daemon says the other where the machine does not let it in time.
      ("close_all", ["ended by itself with status 0", "closed its socket and was killed"]),
    ] {
      let misbehaviour = Misbehaviour(what: what, place: "in_deliver")
      let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
      rig.reader.append(["m0", "bad", "m2"])
      try rig.subscriber.start()
      #expect(rig.reader.waitUntilSettled(below: 4))
      rig.reader.append(["m3"])
      #expect(rig.reader.waitUntilSettled(below: 5))
      #expect(rig.stop() == .stopped)
      #expect(
        rig.log.all.contains { $0.contains("instance ended") && said.contains(where: $0.contains) },
        "\(what): \(rig.log.all)")
      #expect(rig.letters.letters.map(\.lsn) == [2] && rig.letters.letters.first?.cause == .crash, "\(what)")
      #expect(Set(rig.messages.map(\.lsn)) == [1, 3, 4])
    }
  }

  @Test("A C++ exception that leaves a plugin's function ends its process only, and the record is found")
  func exceptions() throws {
    let rig = try SubscriberRig("throwing", isIsolated: true)
    rig.reader.append((0..<50).map { $0 == 30 ? "bad" : "m\($0)" })
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 51))
    #expect(rig.stop() == .stopped)
    #expect(rig.log.all.contains { $0.contains("instance ended") && $0.contains("SIGABRT") }, "\(rig.log.all)")
    #expect(rig.letters.letters.map(\.lsn) == [31] && rig.letters.letters.first?.cause == .crash)
    #expect(rig.messages.count == 49)
  }

  @Test("The one record of a thousand that kills the process is found by halves, and the others are all delivered")
  func bisection() throws {
    let misbehaviour = Misbehaviour(what: "crash", place: "in_deliver")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
    rig.reader.append((0..<1000).map { $0 == 612 || $0 == 613 || $0 == 17 ? "bad" : "m\($0)" })
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 1001, seconds: 60))
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.map(\.lsn).sorted() == [18, 613, 614])
    #expect(rig.messages.count == 997, "no other was delivered twice: a batch dies before it writes anything down")
    #expect(rig.subscriber.status.restarts <= 3 * 12)
  }

  @Test("A process that dies on a thread of its own, between two calls, is started anew and given what it had")
  func crashOnAThread() throws {
    let misbehaviour = Misbehaviour(what: "crash", place: "on_thread")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
    rig.reader.append(["m0", "bad", "m2"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.map(\.lsn) == [2] && Set(rig.messages.map(\.lsn)) == [1, 3])
  }

  @Test(
    "A module that crashes, spins, sleeps, leaves or takes all memory when it is looked at first is refused with what it did",
    arguments: [
      ("crash", "at_load", "SIGSEGV (a bad memory access) when it was loaded"),
      ("crash", "in_entry", "SIGSEGV (a bad memory access) when its entry was called"),
      ("spin", "at_load", "used more than 100 ms of the processor when it was loaded"),
      ("spin", "in_entry", "used more than 100 ms of the processor when its entry was called"),
      ("sleep_for_ever", "at_load", "did not come to an end in 10 s and was killed when it was loaded"),
      ("sleep_for_ever", "in_entry", "did not come to an end in 10 s and was killed when its entry was called"),
      ("hoard", "at_load", "SIGSEGV (a bad memory access) when it was loaded"),
      ("hoard", "in_entry", "SIGSEGV (a bad memory access) when its entry was called"),
      ("leave", "at_load", "ended by itself with status 3 when it was loaded"),
      ("leave", "in_entry", "ended by itself with status 3 when its entry was called"),
    ])
  func firstLook(what: String, place: String, said: String) throws {
    let directory = TemporaryDirectory()
    let misbehaviour = Misbehaviour(what: what, place: place)
    let library = PluginLibrary(
      searchPaths: [Fixtures.directory(misbehaviour.kind, misbehaving: misbehaviour)],
      stateDirectory: directory.folder("state"))
    for place in [PluginPlace.process, .thread] {
      let error = #expect(throws: PluginLoadError.self) { try library.load(misbehaviour.kind, place: place) }
      #expect(error?.code == .notLoadable && error?.message.contains(said) == true, "\(String(describing: error))")
    }
  }

  @Test("A module that sleeps when it is looked at first is refused after 10 s", arguments: ["at_load", "in_entry"])
  func firstLookHasAnEnd(place: String) throws {
    let directory = TemporaryDirectory()
    let misbehaviour = Misbehaviour(what: "sleep_for_ever", place: place)
    let library = PluginLibrary(
      searchPaths: [Fixtures.directory(misbehaviour.kind, misbehaving: misbehaviour)],
      stateDirectory: directory.folder("state"))
    do {
      _ = try library.load(misbehaviour.kind, place: .thread)
      Issue.record("\(misbehaviour.kind) was loaded")
    } catch {
      let said =
        "did not come to an end in 10 s and was killed when \(place == "at_load" ? "it was loaded" : "its entry")"
      #expect(error.code == .notLoadable && error.message.contains(said), "\(error)")
    }
  }

  @Test("What crashes in validate is a finding, and what crashes in create or start is an error of that subscriber")
  func crashesBeforeDelivery() throws {
    let directory = TemporaryDirectory()
    let validating = Misbehaviour(what: "crash", place: "in_validate")
    let plugin = try Fixtures.isolate(validating.kind, misbehaving: validating, state: directory.folder("state"))
    let findings = plugin.validate(configJSON: "{}")
    #expect(findings.count == 1 && findings[0].text.contains("SIGSEGV"), "\(findings)")

    let creating = Misbehaviour(what: "crash", place: "in_create")
    let rig = try SubscriberRig(creating.kind, isIsolated: true, misbehaving: creating)
    do {
      try rig.subscriber.start()
      Issue.record("it was created")
    } catch {
      #expect("\(error)".contains("SIGSEGV (a bad memory access) in create"), "\(error)")
    }
    let starting = Misbehaviour(what: "crash", place: "in_start")
    let second = try SubscriberRig(starting.kind, isIsolated: true, misbehaving: starting)
    try second.subscriber.start()
    #expect(second.log.wait(for: "in start", count: 2), "and is tried again")
    #expect(second.stop() == .stopped)
  }

  @Test("A call that never returns is interrupted at its deadline, then its process is killed; the next one goes on")
  func hangs() throws {
    let misbehaviour = Misbehaviour(what: "sleep_for_ever", place: "in_deliver")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour) {
      $0.ackDeadlineNanoseconds = 3_000_000_000
      $0.retry.attempts = 2
    }
    rig.reader.append(["bad"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2, seconds: 300))
    rig.reader.append(["m1"])
    #expect(rig.reader.waitUntilSettled(below: 3))
    #expect(rig.stop() == .stopped)
    #expect(rig.log.all.contains { $0.contains("nor when it was interrupted") }, "\(rig.log.all)")
    #expect(rig.letters.letters.map(\.lsn) == [1])
  }

  @Test("Records whose calls do not return for a while, since what the plugin waits for hangs, are no dead letters")
  func hangsForAWhile() throws {
    let misbehaviour = Misbehaviour(what: "sleep_for_ever", place: "in_deliver_while_stuck")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour) {
      $0.ackDeadlineNanoseconds = 200_000_000
    }
    let stuck = rig.directory.folder("plugins/it/stuck")
    rig.reader.append(["bad-0", "bad-1", "bad-2"])
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "instance ended", count: 5), "halves, and one alone more than once")
    rmdir(stuck)
    #expect(rig.reader.waitUntilSettled(below: 4))
    #expect(rig.stop() == .stopped)
    #expect(rig.letters.letters.isEmpty && Set(rig.messages.map(\.lsn)) == [1, 2, 3], "\(rig.log.all)")
  }

  @Test("A plugin that hangs in stop or destroy, or crashes there, does not keep its subscriber from stopping")
  func hangsAtTheEnd() throws {
    for (what, place) in [
      ("crash", "in_stop"), ("crash", "in_destroy"), ("crash", "in_drain"), ("sleep_for_ever", "in_stop"),
    ] {
      let misbehaviour = Misbehaviour(what: what, place: place)
      let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
      rig.reader.append(["m0"])
      try rig.subscriber.start()
      #expect(rig.reader.waitUntilSettled(below: 2))
      #expect(rig.stop(seconds: 60) == .stopped, "\(misbehaviour.kind)")
      #expect(rig.reader.cursor == 2 && rig.reader.isClosed)
    }
  }

  @Test("A process whose memory grows over its limit is ended, and that is said")
  func memory() throws {
    let misbehaviour = Misbehaviour(what: "leak", place: "in_deliver")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour) {
      $0.isolation = .process(user: nil, memoryBytes: 64 << 20)
    }
    rig.reader.append(["bad", "m1"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 3, seconds: 60))
    #expect(rig.stop() == .stopped)
    #expect(rig.log.all.contains { $0.contains("more than its limit of 64 MiB") }, "\(rig.log.all)")
  }

  @Test("What a process prints without end is cut into lines of the log and holds up nobody but itself")
  func babbles() throws {
    let misbehaviour = Misbehaviour(what: "babble", place: "in_deliver")
    let rig = try SubscriberRig(misbehaviour.kind, isIsolated: true, misbehaving: misbehaviour)
    rig.reader.append(["bad"])
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "babble babble", count: 100))
    #expect(rig.stop(seconds: 60) == .stopped)
  }

  @Test("Instances that come and go leave no process, thread or shared memory behind")
  func leavesNothing() throws {
    let directory = TemporaryDirectory()
    let plugin = try Fixtures.isolate("recorder", state: directory.folder("state"))
    for _ in 0..<20 {
      let reader = MemoryReader()
      reader.append(["m0"])
      // Other tests of this process have their own: these are told by their name.
      var settings = SubscriberSettings(
        name: "tidy", plugin: "recorder", streams: ["events"], position: SourcePosition(file: "t", line: 1, column: 1))
      settings.batch.waitNanoseconds = 0
      let subscriber = SubscriberInstance(
        settings: settings, plugin: plugin, readers: [reader], dataDirectory: directory.path,
        deadLetters: CollectingSink(),
        hostVersion: "test", logger: LogCapture().logger)
      try subscriber.start()
      #expect(reader.waitUntilSettled(below: 2))
      #expect(subscriber.stop(deadline: Clock.monotonic() + soon) == .stopped)
    }
    func threads() -> [String] {
      Paths.entries(of: "/proc/self/task").compactMap { Files.lines("/proc/self/task/\($0)/comm").first }
    }
    // Who joins a thread is woken before the kernel takes it off the list.
    #expect(eventually { !threads().contains { $0.hasSuffix(" tidy") } }, "\(threads())")
    #expect(plugin.wants.records == 100, "it is looked at to the end")
    let seen = Files.lines("\(directory.path)/plugins/tidy/seen").filter { $0.hasSuffix("m0") }
    #expect(seen.count == 20)
  }

  @Test("Packets survive their way, and damaged ones are refused without a crash")
  func packets() throws {
    let description = RemoteDescription(
      name: "m", version: "1", vendor: "ü", runtime: "", major: 1, abiMinor: 0, changedSignals: [1, 15],
      kinds: [
        .init(
          kind: "a-b", summary: "s", schemaJSON: "{}", outputs: ["out"], flags: 2,
          wants: .init(records: 1, bytes: 2, lingerMilliseconds: 3, maxInflight: 4, ackDeadlineMilliseconds: 5),
          functions: [.gap, .stop])
      ])
    var writer = PacketWriter()
    writer.begin(.reply)
    description.write(to: &writer)
    writer.end()
    let payload = Array(writer.bytes.dropFirst(PacketWriter.headerBytes))
    var reader = PacketReader(payload[...])
    #expect(try RemoteDescription(&reader) == description)
    try reader.end()
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    for _ in 0..<20_000 {
      var damaged = payload
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        damaged[Int.random(in: 0..<damaged.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      damaged.removeLast(Int.random(in: 0...damaged.count / 2, using: &random))
      var reader = PacketReader(damaged[...])
      // Its type says that it throws nothing else; what counts is that it does not trap.
      if let read = try? RemoteDescription(&reader) {
        #expect(read.kinds.count <= Limits.maxKindsPerModule, "seed \(random.seed)")
      }
    }
  }

  @Test("The rows of the table of suspicion")
  func suspicion() {
    var suspects = CrashSuspects()
    let batch = CrashSuspects.Hand(stream: 0, first: 10, last: 19, count: 10)
    let one = CrashSuspects.Hand(stream: 0, first: 12, last: 12, count: 1)
    #expect(suspects.died(with: []) == nil && suspects.isEmpty)
    #expect(suspects.died(with: [batch]) == nil && suspects.most(of: 0) == 5 && suspects.most(of: 1) == .max)
    #expect(suspects.died(with: [one]) == nil && suspects.most(of: 0) == 1)
    #expect(suspects.died(with: [one]) == one)
    suspects.forget { _, _ in false }
    #expect(suspects.isEmpty && suspects.most(of: 0) == .max)
    #expect(suspects.died(with: [one]) == nil, "the count began anew")
    var several = CrashSuspects()
    let other = CrashSuspects.Hand(stream: 1, first: 3, last: 8, count: 4)
    #expect(several.died(with: [batch, other]) == nil)
    #expect(several.most(of: 0) == 10 && several.most(of: 1) == 4)
    several.forget { stream, range in stream == 1 && range == 3...8 }
    #expect(several.most(of: 0) == .max && several.most(of: 1) == 4)
  }
}
