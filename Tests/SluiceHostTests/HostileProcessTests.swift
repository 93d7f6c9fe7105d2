import Glibc
import SluiceCore
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// What a plugin's process may say against the daemon. `said`: why the process is killed for it; nil: it goes on.
struct Hostility: CustomTestStringConvertible, Sendable {
  var name: String
  var call = "deliver"
  var bytes: [UInt8]
  var said: String?
  /// It speaks of the first slot, which each batch has if nothing is read ahead.
  var isOfFirstSlot = false

  var testDescription: String { name }

  private static let noPacket = "a packet that is none"
  private static let notHis = "which is not for it to say"

  static let all: [Hostility] =
    places + replies + slots + events + publications
    + [
      PacketKind.describe, .validate, .create, .start, .flush, .drain, .deliver, .gap, .reconfigure, .stop, .destroy,
      .finding,
    ].map { Hostility(name: "\($0)", bytes: Say.packet($0), said: notHis) }
    + [
      Hostility(name: "a kind that there is not", bytes: [0, 0, 0, 0, 0xff, 0xff, 0, 0], said: noPacket),
      Hostility(name: "a length over the limit", bytes: [0xff, 0xff, 0xff, 0xff, 68, 0, 0, 0], said: noPacket),
      Hostility(name: "a packet that is too short", bytes: Say.packet(.credit), said: noPacket),
      Hostility(
        name: "a packet that is too long",
        bytes: Say.packet(.credit) {
          $0.put(UInt32.max)
          $0.put(UInt8(0))
        }, said: noPacket),
    ]

  private static let places =
    [
      UInt64.max, 0, 1, 0x7fff_0000_0001, UInt64.max - 4095, UInt64(bitPattern: Int64.min) | 1,
    ].map {
      Hostility(
        name: "memory at \($0)", call: "create", bytes: Say.base($0) + Say.reply(), said: "memory at an address")
    } + [
      Hostility(
        name: "two places", call: "create", bytes: Say.base(4096) + Say.base(8192) + Say.reply(),
        said: "another place of its memory"),
      Hostility(name: "a place later on", bytes: Say.base(4096), said: "another place of its memory"),
      Hostility(name: "no place", call: "create", bytes: Say.reply()),
    ]

  private static let replies = [
    Hostility(name: "two replies", bytes: Say.delivered() + Say.delivered(), said: "a reply to nothing"),
    Hostility(
      name: "a reply beforehand", call: "start", bytes: Say.reply() + Say.delivered(), said: "a reply to nothing"),
    Hostility(name: "a reply to another call", bytes: Say.reply(), said: noPacket),
    Hostility(name: "a reply with more than there is", bytes: Say.reply { $0.put(UInt64(0)) }, said: noPacket),
    Hostility(name: "a reply that is neither", bytes: Say.delivered(2), said: noPacket),
    Hostility(name: "a reply that is cut", bytes: Say.packet(.reply) { $0.put(UInt16(0)) }, said: noPacket),
    Hostility(
      name: "a message without an end",
      bytes: Say.reply(rc: 1, message: String(repeating: "m", count: 1 << 20)) { $0.put(UInt8(0)) }),
    Hostility(name: "an unknown return code", bytes: Say.delivered(rc: .min)),
    Hostility(name: "accepted, and nothing more", bytes: Say.delivered(rc: 1)),
  ]

  private static let slots = [
    Hostility(
      name: "every batch retained", bytes: Say.delivered(1), said: "more batches retained than there is room for"),
    Hostility(name: "a slot that there is not", bytes: Say.release(8), said: "that there is not"),
    Hostility(name: "a slot with no number", bytes: Say.release(.max), said: "that there is not"),
    Hostility(name: "a slot that is free", bytes: Say.release(5), said: "that was not retained"),
    Hostility(name: "a slot twice", bytes: Say.release(0) + Say.release(0), said: "that was not retained"),
    Hostility(name: "a slot, and not retained", bytes: Say.release(0) + Say.delivered(), said: "that was not retained"),
    Hostility(name: "a slot, and retained", bytes: Say.release(0) + Say.delivered(1), isOfFirstSlot: true),
  ]

  private static let events: [Hostility] = [
    Hostility(name: "a first look's phase", bytes: Say.packet(.phase) { $0.put("p") } + Say.delivered()),
    Hostility(
      name: "verdicts on what is not its",
      bytes: [(0, .max), (1, .max), (.max, .max), (.max, 1), (1, 0), (UInt64(UInt32.max), 7)].flatMap { token, count in
        (UInt32(0)...4).flatMap { Say.settle(token, count, verdict: $0) } + Say.settle(token, count, verdict: .max)
      } + Say.delivered()),
    Hostility(name: "fewer verdicts than said", bytes: Say.settle(1, 1, verdict: 1, items: .max), said: noPacket),
    Hostility(name: "lines of any level", bytes: Say.log(.max, pairs: 32) + Say.log(0, pairs: 0) + Say.delivered()),
    Hostility(name: "a line with too many pairs", bytes: Say.log(1, pairs: 33), said: "33 pairs of texts"),
    Hostility(
      name: "credit up and down",
      bytes: [UInt32(0), 1, .max].flatMap { credit in Say.packet(.credit) { $0.put(credit) } } + Say.delivered()),
    Hostility(name: "any health", bytes: Say.health(.max) + Say.health(1) + Say.health(0) + Say.delivered()),
    Hostility(
      name: "metrics that are none",
      bytes: (UInt32(0)...4).flatMap { Say.register($0) } + Say.register(.max)
        + Say.register(3, bounds: [.nan]) + Say.register(3, bounds: [2, 1])
        + Say.register(3, labels: 0, bounds: [.infinity])
        + Say.register(1, name: "\u{0}") + Say.delivered()),
    Hostility(name: "too many labels", bytes: Say.register(1, labels: 17), said: "17 pairs of texts"),
    Hostility(
      name: "too many bounds", bytes: Say.register(3, bounds: (0..<65).map(Double.init)), said: "65 bounds of a metric"),
    Hostility(
      name: "values that are none",
      bytes: [UInt64(0), 1, .max].flatMap { metric in
        [Double.nan, .infinity, -.infinity, .greatestFiniteMagnitude, -1].flatMap {
          Say.change(.add, metric, $0) + Say.change(.set, metric, $0)
        }
      } + Say.delivered()),
  ]

  private static let publications = [
    Hostility(name: "no publication", bytes: Say.publish(0), said: "0 publications at once"),
    Hostility(
      name: "too many publications", bytes: Say.publish(Limits.maxPublicationsPerCall + 1), said: "publications at once"
    ),
    Hostility(
      name: "publications of what is not its",
      bytes: Say.publish(1, output: .max) + Say.publish(1, token: 0) + Say.publish(2, token: .max) + Say.publish(3)
        + Say.delivered()),
    Hostility(
      name: "publications without taking the answers",
      bytes: Array(repeatElement(Say.publish(1, output: .max), count: 100_000).joined()),
      said: "without taking the answers"),
  ]
}

/// Whatever a plugin's process says, the daemon stays, and so do its other subscribers.
@Suite struct HostileProcessTests {
  private func rig(_ process: HostileProcess, _ targets: [PublishTarget] = []) throws -> SubscriberRig {
    try SubscriberRig("hostile", publishTargets: targets, plugin: process.load()) {
      $0.batch.records = 1
      $0.ackDeadlineNanoseconds = 10_000_000_000
    }
  }

  @Test(
    "What a process says against the daemon ends that process, with a reason, or is passed over",
    arguments: Hostility.all)
  func hostile(_ hostility: Hostility) throws {
    let process = try HostileProcess()
    process.say(hostility.call, hostility.bytes)
    let target = try TargetStream("out")
    let (rig, neighbour) = (
      try rig(process, [PublishTarget(output: "out", log: target.log)]), try SubscriberRig("recorder")
    )
    try neighbour.subscriber.start()
    if !hostility.isOfFirstSlot { rig.reader.append(numbered: 0..<20) }
    do throws(HostError) {
      try rig.subscriber.start()
      if let said = hostility.said {
        let isSaid = eventually(seconds: 60) {
          rig.log.all.contains { $0.contains("instance ended") && $0.contains(said) }
        }
        #expect(isSaid, "\(rig.log.all)")
      } else {
        let batches = { rig.subscriber.status.counts.batches }
        for number in 0..<20 {
          if hostility.isOfFirstSlot { rig.reader.append(numbered: number..<number + 1) }
          guard eventually(seconds: 60, { batches() > number }) else { break }
        }
        #expect(batches() >= 20 && rig.subscriber.status.restarts == 0, "\(rig.log.all)")
      }
    } catch {
      #expect(hostility.call == "create" && hostility.said.map { error.message.contains($0) } == true, "\(error)")
    }
    neighbour.reader.append(numbered: 0..<20)
    #expect(neighbour.reader.waitUntilSettled(below: 21, seconds: 60))
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(neighbour.stop(seconds: 60) == .stopped && neighbour.messages.count == 20)
  }

  @Test("A first look that tells of more steps than there are is ended, so that it buys no time with them")
  func steps() throws {
    for (count, isTaken) in [(Limits.maxFirstLookSteps, true), (Limits.maxFirstLookSteps + 1, false)] {
      let process = try HostileProcess()
      let steps = repeatElement(Say.packet(.phase) { $0.put("it was loaded") }, count: count)
      process.say("describe", steps.flatMap(\.self) + Say.reply { HostileProcess.description.write(to: &$0) })
      if isTaken {
        #expect(throws: Never.self) { try process.load() }
      } else {
        let error = #expect(throws: PluginLoadError.self) { try process.load() }
        #expect(error?.message.contains("said what makes no sense") == true, "\(String(describing: error))")
      }
    }
  }

  @Test("There is a row for every kind of packet")
  func complete() {
    var kinds: Set<PacketKind> = []
    for hostility in Hostility.all where hostility.bytes.count < 1 << 20 {
      var rest = hostility.bytes[...]
      while rest.count >= PacketWriter.headerBytes {
        let bytes = Array(rest)
        if let kind = PacketKind(rawValue: UInt16(bytes[4]) | UInt16(bytes[5]) << 8) { kinds.insert(kind) }
        rest = rest.dropFirst(PacketWriter.headerBytes + (0..<4).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) })
      }
    }
    #expect(kinds == Set(PacketKind.allCases))
  }

  @Test("Packets that were damaged at random, in any call, trap nothing")
  func damaged() throws {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    let corpus = Hostility.all.filter { $0.bytes.count < 4096 }.map(\.bytes)
    let target = try TargetStream("out")
    for round in 0..<120 {
      let process = try HostileProcess()
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        var packet = corpus.randomElement(using: &random) ?? []
        for _ in 0..<Int.random(in: 0...3, using: &random) {
          packet[Int.random(in: 0..<packet.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        if Int.random(in: 0..<8, using: &random) == 0 {
          packet.removeLast(Int.random(in: 0...packet.count, using: &random))
        }
        bytes += packet
      }
      let calls = ["describe", "validate", "create", "start", "deliver", "drain", "stop", "destroy"]
      let call = calls.randomElement(using: &random) ?? ""
      if call == "describe" {
        bytes = Say.reply { HostileProcess.description.write(to: &$0) }
        for _ in 0..<3 {
          bytes[Int.random(in: 8..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
      }
      process.say("\(call)-last", bytes)
      if call == "describe" { unlink("\(process.directory.path)/describe") }
      let context = Comment("seed \(random.seed), round \(round), \(call)")
      do {
        _ = try process.load().validate(configJSON: "{}")
        let rig = try rig(process, [PublishTarget(output: "out", log: target.log)])
        rig.reader.append(numbered: 0..<3)
        try rig.subscriber.start()
        if call == "deliver" { #expect(rig.log.wait(for: "instance ended", seconds: 60), context) }
        #expect(rig.stop(seconds: 60) == .stopped, context)
      } catch let error as HostError {
        #expect(["create", "describe"].contains(call), "\(error), \(context)")
      } catch let error as PluginLoadError {
        #expect(call == "describe", "\(error), \(context)")
      }
    }
  }

  @Test("A first look gives a process time for the steps that there are, and not for as many as it says it takes")
  func phases() throws {
    let process = try HostileProcess()
    let step = Say.packet(.phase) { $0.put("it was loaded") }
    let answer = Say.reply { HostileProcess.description.write(to: &$0) }
    process.say("describe", Array(repeatElement(step, count: 3).joined()) + answer)
    #expect(try process.load().kind == "recorder")
    let other = try HostileProcess()
    other.say("describe", Array(repeatElement(step, count: 4).joined()) + answer)
    let error = #expect(throws: PluginLoadError.self) { try other.load() }
    #expect(error?.message.contains("said what makes no sense") == true, "\(error as Any)")
  }

  @Test("Of changes of health without end the log gets as many lines as of others, and the last one counts")
  func healthWithoutEnd() throws {
    let process = try HostileProcess()
    let change = Say.health(1) + Say.health(2)
    process.say("deliver", Array(repeatElement(change, count: 10_000).joined()) + Say.delivered())
    let rig = try rig(process)
    rig.reader.append(numbered: 0..<1)
    let begin = Clock.monotonic()
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2, seconds: 60))
    #expect(rig.subscriber.status.health == .degraded, "\(rig.log.all.suffix(5))")
    #expect(rig.stop(seconds: 60) == .stopped)
    #expect(rig.log.wait(for: "lines_left_out=", seconds: 60))
    let periods = Int((Clock.monotonic() - begin) / Limits.isolationLogPeriodNanoseconds) + 1
    #expect(rig.log.count("health is") <= periods * Limits.isolationLogLines)
  }

  @Test("A process can't take the memory away that the daemon writes batches into")
  func shortened() throws {
    let process = try HostileProcess()
    process.say("shorten", [])
    let rig = try rig(process)
    rig.reader.append(numbered: 0..<20)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 21, seconds: 60))
    #expect(rig.stop(seconds: 60) == .stopped && rig.subscriber.status.restarts == 0)
  }

  @Test("What a process has started, and that outlives it with all its descriptors, keeps nobody waiting")
  func leavesAProcess() throws {
    let process = try HostileProcess()
    process.say("fork", [])
    process.say("deliver-last", Say.packet(.phase) { $0.put("p") })
    let rig = try rig(process)
    rig.reader.append(numbered: 0..<1)
    try rig.subscriber.start()
    #expect(rig.log.wait(for: "ended by itself with status 0", seconds: 60), "\(rig.log.all)")
    #expect(rig.stop(seconds: 60) == .stopped)
  }

  @Test("Who does not read keeps a sender for as long as that has patience")
  func doesNotRead() throws {
    var ends: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    let (near, far) = (PacketChannel(ends[0]), PacketChannel(ends[1]))
    var looks = 0
    let isSent = near.send([UInt8](repeating: 0, count: 4 << 20)) {
      looks += 1
      return looks == 3
    }
    #expect(!isSent && looks == 3)
    near.shut()
    #expect(!near.send([1]) { false })
    withExtendedLifetime(far) {}
  }
}
