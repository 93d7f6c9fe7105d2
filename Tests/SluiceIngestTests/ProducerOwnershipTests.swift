import NIOCore
import SluiceCore
import SluiceIdentity
import Synchronization
import Testing

@testable import SluiceIngest

/// Whoever may publish to some topics has no power over the numbers of other identities' records.
@Suite("Producers and the identities they belong to")
struct ProducerOwnershipTests {
  static let body = #"{"message":"x"}"#
  let press = TestIdentity()
  let attacker = TestIdentity(name: "attacker", scopes: [.publish(stream: "events", topics: "other.*")])

  private func hello(
    _ connection: TCPTestConnection, _ producer: String, as identity: TestIdentity?, epoch: UInt16 = 1
  ) throws -> [WireSeen] {
    try connection.send { sender, buffer in
      var hello = WireHello(producer: producer, epoch: producer.isEmpty ? 0 : epoch)
      if let identity {
        hello.authentication = WireAuthentication.bearer.rawValue
        hello.credential = Array(identity.token.utf8)
      }
      sender.hello(hello, to: &buffer)
    }
    return try connection.received()
  }

  private func refusal(_ seen: [WireSeen], of channel: UInt16) -> WireErrorCode? {
    for case .error(channel, let end) in seen { return WireErrorCode(rawValue: end.code) }
    return nil
  }

  @Test(arguments: ["press-7", "press-7/inbox", "unclaimed", "attacker-2", "attack"])
  func anIdentityOpensNoProducerThatIsNotItsOwn(name: String) throws {
    let guarded = Guarded(press, attacker)
    #expect(try hello(guarded.tcp.connect(), name, as: attacker, epoch: 65_535).error == .forbidden)
    let open = try guarded.tcp.connect()
    #expect(try hello(open, "attacker", as: attacker).welcome != nil)
    try open.send { $0.open(WireOpen(producer: name, epoch: 65_535), channel: 1, to: &$1) }
    #expect(refusal(try open.received(), of: 1) == .forbidden && open.isOpen)
    #expect(guarded.tcp.counters.value(WireErrorCode.forbidden) == 2)
    try open.send { $0.open(WireOpen(producer: "attacker/2", epoch: 1), channel: 2, to: &$1) }
    #expect(refusal(try open.received(), of: 2) == nil)
    let owner = try guarded.tcp.connect()
    #expect(try hello(owner, "press-7", as: press).welcome?.lastSequence == 0, "nothing of it was used up or fenced")
  }

  @Test func patternsOfTheFileTakeTheDefaultsPlace() throws {
    var relay = TestIdentity(name: "relay")
    relay.producers = ["press-*", "pump ?"]
    let guarded = Guarded(relay)
    for (name, isOwn) in [("press-9", true), ("pump é", true), ("pump 12", false), ("relay", false), ("", true)] {
      #expect(try (hello(guarded.tcp.connect(), name, as: relay).welcome != nil) == isOwn, "\(name)")
    }
  }

  @Test(arguments: [
    ("press-7", false), ("press-7/1", false), ("press-7/a/b", false), ("press-70", true), ("pump-1", false),
    ("pump", true), ("x/press-7", true),
  ])
  func whoHasNoIdentityUsesWhatIsNobodys(name: String, isFree: Bool) throws {
    var pump = TestIdentity(name: "pump-owner")
    pump.producers = ["pump-?"]
    let guarded = Guarded(press, pump, demand: .optional)
    let error = try hello(guarded.tcp.connect(), name, as: nil).error
    #expect(error == (isFree ? nil : .forbidden))
    let (http, _) = Guarded.http(press, pump, demand: .optional)
    let connection = try http.connect()
    try connection.receive(post(Self.body, headers: "Sluice-Producer: \(name)\r\nSluice-Sequence: 1\r\n"))
    #expect(try connection.responses().map(\.status) == [isFree ? 202 : 403])
  }

  /// Swift takes `/` and what combines with it for one character, and texts that look alike for the same.
  @Test func aProducerIsItsOwnersByTheBytesOfItsName() throws {
    var cafe = TestIdentity(name: "cafe")
    cafe.producers = ["caf\u{e9}"]
    let guarded = Guarded(press, cafe, demand: .optional)
    for name in ["press-7/\u{FE0F}a", "press-7/\u{301}", "caf\u{e9}"] {
      #expect(try hello(guarded.tcp.connect(), name, as: nil).error == .forbidden, "\(name.unicodeScalars)")
    }
    #expect(try hello(guarded.tcp.connect(), "cafe\u{301}", as: nil).welcome != nil)
    #expect(try hello(guarded.tcp.connect(), "cafe\u{301}", as: cafe).error == .forbidden)
  }

  @Test func overHTTPAnotherProducerIsForbiddenAndCounted() throws {
    let (harness, _) = Guarded.http(press, attacker)
    let connection = try harness.connect()
    let topic = "Sluice-Topic: other.1\r\n"
    for (name, path, body) in [
      ("press-7", "/log", Self.body), ("press-7", "/logs", "[\(Self.body)]"), ("press-7", "/log", "broken"),
      ("attacker", "/log", Self.body), ("attacker/1", "/logs", "[\(Self.body)]"),
    ] {
      let headers = attacker.bearer + topic + "Sluice-Producer: \(name)\r\nSluice-Sequence: 1\r\nSluice-Epoch: 9\r\n"
      try connection.receive(post(body, headers: headers, path: path))
    }
    let answers = try connection.responses()
    #expect(answers.map(\.status) == [403, 403, 403, 202, 202])
    #expect(answers.first?.body.contains(#""forbidden""#) == true)
    #expect(harness.value("sluice_source_rejected_records_total", "forbidden") == 3)
    let known = try #require(harness.stream.producer(named: "press-7")).known
    #expect(known.epoch == 0 && known.position.sequence == 0)
  }

  @Test func aReloadThatTakesAProducerAwayEndsItsConnection() throws {
    let guarded = Guarded(press)
    let connection = try guarded.tcp.connect()
    #expect(try hello(connection, "press-7", as: press).welcome != nil)
    var other = press
    other.producers = ["press-8"]
    guarded.authority.replace(with: [other.definition])
    try connection.data(["late"], first: 1)
    #expect(try connection.received().error == .forbidden)
    #expect(guarded.tcp.stream.records.isEmpty)
  }

  @Test func aRevokedKeyOpensNothing() throws {
    let guarded = Guarded(press)
    let connection = try guarded.tcp.connect()
    #expect(try hello(connection, "press-7", as: press).welcome != nil)
    guarded.authority.replace(with: [])
    try connection.send { $0.open(WireOpen(producer: "press-7/2", epoch: 9), channel: 1, to: &$1) }
    #expect(try connection.received().error == .authFailed)
    #expect(guarded.tcp.stream.producer(named: "press-7/2")?.known.epoch == 0)
  }

  @Test func whoIsRevokedWhileAProducerIsClaimedIsNotWelcome() throws {
    let guarded = Guarded(press)
    let first = try guarded.tcp.connect()
    #expect(try hello(first, "press-7", as: press).welcome != nil)
    try first.data(["under way"], first: 1)
    let second = try guarded.tcp.connect()
    #expect(try hello(second, "press-7", as: press).isEmpty, "what was under way has to be durable")
    guarded.authority.replace(with: [])
    guarded.tcp.commit()
    #expect(try second.received().error == .authFailed)
  }

  @Test func oneIdentityMakesNoMoreProducersThanItsShare() throws {
    let guarded = Guarded(press, attacker)
    let connection = try guarded.tcp.connect()
    #expect(try hello(connection, "attacker", as: attacker).welcome != nil)
    for number in 1...Limits.maxProducersPerIdentity {
      try connection.send { $0.open(WireOpen(producer: "attacker/\(number)", epoch: 1), channel: 1, to: &$1) }
      let error = refusal(try connection.received(), of: 1)
      #expect(error == (number < Limits.maxProducersPerIdentity ? nil : .busy), "\(number)")
      if error == nil { try connection.send { $0.close(channel: 1, to: &$1) } }
      guarded.tcp.commit()
      _ = try connection.received()
    }
    #expect(guarded.tcp.counters.value(WireErrorCode.busy) == 1)
    try connection.send { $0.open(WireOpen(producer: "attacker/1", epoch: 1), channel: 1, to: &$1) }
    #expect(refusal(try connection.received(), of: 1) == nil, "what is known is not counted again")
    #expect(try hello(guarded.tcp.connect(), "press-7", as: press).welcome != nil, "others have theirs")
  }

  @Test func aLargeFrameIsTakenFromWelcomeOnOnly() throws {
    let harness = TCPHarness(maxRecordBytes: 1 << 20)
    let stranger = try harness.connect()
    var sender = WireSender(.toServer)
    var frame = ByteBuffer()
    TCPTestConnection.data([String(repeating: "x", count: 900_000)], first: 1, &sender, &frame)
    let header = try #require(frame.getSlice(at: frame.readerIndex, length: 64))
    try stranger.receive(header)
    #expect(try stranger.received().compactMap(\.errorCode) == [.frameTooLarge])
    #expect(harness.loop.settings.load.heldBytes == 0)
    let known = try harness.open()
    try known.data([String(repeating: "x", count: 900_000)], first: 1)
    harness.commit()
    #expect(try known.answers() == [.ack(0, 1)])
  }

  @Test func aDebtOfTheQuotaIsAnHourAtMostAndEndsNothing() throws {
    var slow = press
    slow.quota = IdentityDefinition.Quota(recordsPerSecond: 1, bytesPerSecond: 1, burstNanoseconds: 1_000_000)
    let guarded = Guarded(press)
    let quota = try #require(slow.definition.quota.map { IdentityQuota($0) })
    #expect(quota.take(records: 1, bytes: .max, at: Clock.monotonic()) == 0)
    let connection = try guarded.tcp.connect()
    #expect(try hello(connection, "press-7", as: press).welcome != nil)
    // After the first credit, which more would not fit into.
    guarded.authority.replace(with: [slow.definition])
    let names = [String](repeating: "x", count: 5000)
    try connection.data(names, first: 1)
    try connection.data(["y"], first: 5001)
    let nack = try #require(try connection.received().nacks.first)
    #expect(nack.code == WireNackCode.quota.rawValue)
    #expect(Int64(nack.retryAfterMilliseconds) <= Limits.maxQuotaDebtNanoseconds / 1_000_000 + 1)
  }
}
