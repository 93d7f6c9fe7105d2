import CSluice
import PluginTestSupport
import SluicePluginKit
import Synchronization
import Testing

private struct Script: SubscriberConfiguration {
  var mode: String

  enum CodingKeys: CodingKey { case mode }
  static let fields = FieldTable(CodingKeys.self, [.mode: Field("What to do.", default: "done")])
}

/// Does what its config says, so that a test can see what comes out at the other side.
private final class Scripted: Subscriber {
  static let kind = "scripted"
  static let summary = "Does what its config says."
  static let traits: SubscriberTraits = .exclusive
  static let outputs = ["anomalies", "rest"]
  static var delivery: DeliveryDefaults {
    var defaults = DeliveryDefaults()
    defaults.records = 10
    defaults.ackDeadlineMilliseconds = 250
    return defaults
  }
  static let interrupts = Atomic(0)
  static let living = Atomic(0)

  private let host: Host
  private var mode: String

  init(_ script: Script, host: Host) throws {
    mode = script.mode
    self.host = host
    if mode == "refuse" { throw SubscriberError(.config, "mode refuse") }
    Scripted.living.add(1, ordering: .relaxed)
  }

  deinit { Scripted.living.subtract(1, ordering: .relaxed) }

  static func validate(_ script: Script) throws -> [Finding] {
    script.mode == "else" ? [] : [Finding(.warning, at: "/mode", "is old-fashioned")]
  }

  func start(deadline: Deadline) throws {
    if mode == "unreachable" { throw SubscriberError(.retryable, "server db:5432 does not answer", code: 111) }
  }

  func deliver(_ batch: borrowing Batch) throws -> Delivery {
    switch mode {
    case "fatal": throw SubscriberError(.fatal, "it is over")
    case "other": throw CancellationError()
    case "busy": return .busy
    case "look":
      look(batch)
      return .done
    case "settle":
      batch.forEach { message in
        let isBad = message.payload.first == UInt8(ascii: "!")
        host.settle(first: message.token, isBad ? .reject(code: 7, reason: "starts with !") : .ack)
      }
      return .accepted
    case "publish":
      return publish(batch) == .taken ? .done : .busy
    case "lease":
      guard let lease = host.retain(batch) else { return .busy }
      _ = consume lease
      return .done
    default: return .done
    }
  }

  private func publish(_ batch: borrowing Batch) -> Publication.Outcome {
    batch.withMessage(at: 0) { message in
      var child = Publication(output: 1, parent: message.token, ordinal: 3, payload: message.payload)
      child.topic = message.topic
      return host.publish(child)
    }
  }

  private func look(_ batch: borrowing Batch) {
    host.log(
      .info, "batch",
      [
        "stream": batch.stream, "uuid": "\(batch.logUUID)", "lsns": "\(batch.firstLSN)-\(batch.lastLSN)",
        "replay": "\(batch.isReplay)",
      ])
    batch.forEach { message in
      var headers = ""
      message.forEachHeader { name, value in
        headers += String(decoding: name, as: UTF8.self) + "=" + String(decoding: value, as: UTF8.self) + ";"
      }
      let parts = [message.topic, message.key, message.source, message.payload].map {
        String(decoding: $0, as: UTF8.self)
      }
      host.log(.debug, "\(message.lsn) \(message.attempt) \(parts.joined(separator: " ")) \(headers)")
    }
  }

  func gap(_ gap: Gap) throws { host.log(.warning, "\(gap.stream) \(gap.lsns) \(gap.reason)") }
  func flush(deadline: Deadline) throws {
    if deadline.remaining(host) == 0 { throw SubscriberError(.timeout, "not all was written") }
  }
  func interrupt() { Scripted.interrupts.add(1, ordering: .relaxed) }
  func reconfigure(_ script: Script) throws -> Bool {
    if script.mode == "else" { return false }
    mode = script.mode
    return true
  }
}

private final class Plain: Subscriber {
  static let kind = "plain"
  static let summary = "Takes everything."
  init(_: NoConfiguration, host: Host) throws {}
  func deliver(_ batch: borrowing Batch) throws -> Delivery { .done }
}

private let module = SubscriberModule(
  name: "tested", version: "1.2.3", vendor: "tests", [Scripted.self, Plain.self])

private func kind(_ index: Int) throws -> UnsafePointer<slu_subscriber> {
  try #require(module.table.pointee.subscribers[index])
}

@Suite(.serialized) struct SubscriberModuleTests {
  @Test func theTablesSayWhatTheTypesDeclare() throws {
    let table = module.table.pointee
    #expect(table.struct_size == 88 && table.abi_minor == 0 && table.abi_minor_needed == 0)
    #expect([table.name, table.version, table.vendor].map(\.string) == ["tested", "1.2.3", "tests"])
    #expect(table.runtime.string.hasPrefix("swift-6.") && table.runtime.string.hasSuffix(" dynamic"))
    #expect(table.subscriber_count == 2)
    let scripted = try kind(0).pointee
    #expect(scripted.struct_size == 192 && scripted.flags == SLU_F_EXCLUSIVE)
    #expect(try scripted.kind.string == "scripted" && scripted.config_schema.string == Script.schema().description)
    #expect(scripted.want_records == 10 && scripted.want_bytes == 0 && scripted.ack_deadline_ms == 250)
    #expect((0..<Int(scripted.output_count)).map { scripted.outputs[$0].string } == ["anomalies", "rest"])
    #expect(try kind(1).pointee.outputs == nil && kind(1).pointee.kind.string == "plain")
  }

  @Test func aWholeLifeOfAnInstanceEndsWithNothingLeft() throws {
    let instance = DrivenInstance(try kind(0), host: FakeHost())
    #expect(instance.create("{}") == SLU_OK)
    #expect(Scripted.living.load(ordering: .relaxed) == 1)
    #expect(instance.start() == SLU_OK)
    #expect(instance.deliver(FakeBatch(["a"])) == SLU_OK)
    #expect(instance.flush() == SLU_OK)
    #expect(instance.drain() == SLU_OK)
    instance.interrupt()
    #expect(Scripted.interrupts.load(ordering: .relaxed) == 1)
    #expect(instance.stop() == SLU_OK)
    instance.destroy()
    #expect(Scripted.living.load(ordering: .relaxed) == 0)
  }

  @Test func thrownErrorsBecomeCodesAndMessages() throws {
    let instance = DrivenInstance(try kind(0), host: FakeHost())
    #expect(instance.create(#"{"mode":"refuse"}"#) == SLU_E_CONFIG && instance.error == "mode refuse")
    #expect(instance.create(#"{"mode":1}"#) == SLU_E_CONFIG)
    #expect(instance.error == "config /mode: a string was expected, this is an integer")
    #expect(instance.create(#"{"mode":"unreachable"}"#) == SLU_OK)
    #expect(instance.start() == SLU_E_RETRYABLE && instance.error == "server db:5432 does not answer")
    #expect(instance.reconfigure(#"{"mode":"fatal"}"#) == SLU_OK)
    #expect(instance.deliver(FakeBatch(["a"])) == SLU_E_FATAL && instance.error == "it is over")
    #expect(instance.reconfigure(#"{"mode":"other"}"#) == SLU_OK)
    #expect(instance.deliver(FakeBatch(["a"])) == SLU_E_RETRYABLE && instance.error == "CancellationError()")
    #expect(instance.reconfigure(#"{"mode":"else"}"#) == SLU_E_UNSUPPORTED)
    #expect(instance.reconfigure("[]") == SLU_E_CONFIG)
    #expect(instance.error == "config: an object was expected, this is a list")
    #expect(instance.reconfigure(#"{"mode":"busy"}"#) == SLU_OK)
    #expect(instance.deliver(FakeBatch(["a"])) == SLU_BUSY)
    #expect(instance.flush(deadline: 1) == SLU_E_TIMEOUT && instance.error == "not all was written")
    #expect(instance.stop() == SLU_OK)
    instance.destroy()
  }

  @Test func validateReportsFindingsWithTheirPointers() throws {
    let instance = DrivenInstance(try kind(0), host: FakeHost())
    let fine = instance.validate(#"{"mode":"done"}"#)
    #expect(fine.code == SLU_OK && fine.findings == ["warning /mode: is old-fashioned"])
    let wrong = instance.validate(#"{"mode":1}"#)
    #expect(wrong.code == SLU_E_CONFIG)
    #expect(wrong.findings == ["error /mode: a string was expected, this is an integer"])
    #expect(instance.validate("nonsense").code == SLU_E_CONFIG)
    #expect(DrivenInstance(try kind(1), host: FakeHost()).validate("{}").code == SLU_OK)
  }

  @Test func aBatchShowsItsMessagesWhateverTheStride() throws {
    let host = FakeHost()
    let instance = DrivenInstance(try kind(0), host: host)
    #expect(instance.create(#"{"mode":"look"}"#) == SLU_OK)
    var first = FakeBatch.Record("hello")
    first.key = "k1"
    first.headers = [("trace", "abc"), ("", "")]
    var second = FakeBatch.Record("world")
    second.attempt = 3
    #expect(instance.deliver(FakeBatch([first, second], firstLSN: 10, flags: SLU_BATCH_REPLAY)) == SLU_OK)
    #expect(host.messages(SLU_LOG_DEBUG) == ["10 1 web k1 api hello trace=abc;=;", "11 3 web  api world "])
    #expect(
      host.record.lines[0].fields
        == ["stream": "events", "uuid": FakeBatch.uuid, "lsns": "10-11", "replay": "true"])
    instance.destroy()
  }

  @Test func verdictsReachTheHostOneByOne() throws {
    let host = FakeHost()
    let instance = DrivenInstance(try kind(0), host: host)
    #expect(instance.create(#"{"mode":"settle"}"#) == SLU_OK)
    #expect(instance.deliver(FakeBatch(["a", "!b"])) == SLU_ACCEPTED)
    #expect(
      host.record.settled == [
        .init(first: FakeBatch.firstToken, count: 1, verdict: SLU_ACK),
        .init(first: FakeBatch.firstToken + 1, count: 1, verdict: SLU_REJECT, code: 7, reason: "starts with !"),
      ])
    instance.destroy()
  }

  @Test func aLeaseIsReleasedWhenItGoesOutOfScopeAndNilWhenTheHostHasNone() throws {
    for (answer, released) in [(SLU_OK, [UInt64(99)]), (SLU_E_UNSUPPORTED, []), (SLU_BUSY, [])] {
      let host = FakeHost(retainAnswer: answer)
      let instance = DrivenInstance(try kind(0), host: host)
      #expect(instance.create(#"{"mode":"lease"}"#) == SLU_OK)
      #expect(instance.deliver(FakeBatch(["a"])) == (answer == SLU_OK ? SLU_OK : SLU_BUSY))
      #expect(host.record.retained == [99] && host.record.released == released)
      instance.destroy()
    }
  }

  @Test func aPublicationReachesTheHostWithItsParent() throws {
    for (answer, delivered) in [(SLU_OK, SLU_OK), (SLU_E_UNSUPPORTED, SLU_BUSY)] {
      let host = FakeHost(publishAnswer: answer)
      let instance = DrivenInstance(try kind(0), host: host)
      #expect(instance.create(#"{"mode":"publish"}"#) == SLU_OK)
      #expect(instance.deliver(FakeBatch(["child"])) == delivered)
      #expect(host.record.published == ["1 \(FakeBatch.firstToken) 3 web|||child"])
      instance.destroy()
    }
  }

  @Test func aGapIsTold() throws {
    let host = FakeHost()
    let instance = DrivenInstance(try kind(0), host: host)
    #expect(instance.create("{}") == SLU_OK)
    var gap = slu_gap()
    gap.struct_size = UInt32(MemoryLayout<slu_gap>.size)
    gap.reason = SLU_GAP_RETENTION
    gap.first_lsn = 5
    gap.last_lsn = 9
    #expect(instance.gap(&gap) == SLU_OK)
    #expect(host.messages(SLU_LOG_WARNING) == [" 5...9 retention"])
    instance.destroy()
  }
}

@Suite struct HostTests {
  private final class Measuring: Subscriber {
    static let kind = "measuring"
    static let summary = "Counts."
    let host: Host
    let seen: Counter
    let depth: Gauge
    let sizes: Histogram

    init(_: NoConfiguration, host: Host) throws {
      self.host = host
      seen = host.counter("seen", unit: "records", help: "Records.", labels: ["kind": "x"])
      depth = host.gauge("depth", help: "Depth.")
      sizes = host.histogram("sizes", unit: "bytes", help: "Sizes.", bounds: [1, 10])
    }

    func deliver(_ batch: borrowing Batch) throws -> Delivery {
      seen.add(batch.count)
      depth.set(4)
      depth.add(-1.5)
      sizes.observe(12)
      host.setHealth(.degraded, "slow disk")
      guard !host.setCredit(5), host.now > 0, host.monotonicNow == 5000 else { return .busy }
      return .done
    }
  }

  @Test func metricsHealthAndClockReachTheHost() throws {
    let module = SubscriberModule(name: "m", version: "1", [Measuring.self])
    let host = FakeHost(stateDirectory: "/var/lib/x")
    let instance = DrivenInstance(try #require(module.table.pointee.subscribers[0]), host: host)
    #expect(instance.create("{}") == SLU_OK)
    #expect(instance.deliver(FakeBatch(["a", "b"])) == SLU_OK)
    #expect(host.record.metricNames == ["seen", "depth", "sizes"])
    #expect(host.record.metricValues == [2, 2.5, 12])
    #expect(host.record.health == [SLU_HEALTH_DEGRADED] && host.record.healthReason == "slow disk")
    instance.destroy()
  }
}
