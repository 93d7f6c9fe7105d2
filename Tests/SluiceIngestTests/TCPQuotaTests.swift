import NIOCore
import NIOEmbedded
import SluiceCore
import SluiceIdentity
import Testing

@testable import SluiceIngest

@Suite("The quota of a framed connection's identity")
struct TCPQuotaTests {
  private static let millisecond: Int64 = 1_000_000

  /// So many records or bytes per second, and hardly any burst.
  private static func press(records: Int? = nil, bytes: Int? = nil) -> TestIdentity {
    TestIdentity(
      quota: IdentityDefinition.Quota(
        recordsPerSecond: records, bytesPerSecond: bytes, burstNanoseconds: millisecond))
  }

  private static func harness(
    _ identity: TestIdentity, adjust: (inout TCPSourceOptions) -> Void = { _ in }
  ) -> (TCPHarness, IdentityAuthority) {
    let authority = IdentityAuthority([identity.definition])
    let harness = TCPHarness {
      $0.authentication = SourceAuthentication(.required, authority)
      adjust(&$0)
    }
    return (harness, authority)
  }

  /// Who got its first credit before it had a quota: the whole window, more than the quota would invite it to.
  private func welcomed(
    _ harness: TCPHarness, _ authority: IdentityAuthority, _ identity: TestIdentity, producer: String = "press-7"
  ) throws -> (TCPTestConnection, WireCredit) {
    let connection = try harness.connect()
    var unbounded = identity
    unbounded.quota = nil
    authority.replace(with: [unbounded.definition])
    let welcome = try #require(try connection.greet(token: identity.token, producer: producer).welcome)
    #expect(welcome.credit == TCPPromise(maxRecordBytes: harness.loop.settings.stream.maxRecordBytes).window)
    authority.replace(with: [identity.definition])
    // The sweep finds the quota.
    harness.advance(seconds: 1)
    return (connection, welcome.credit)
  }

  private func credits(_ seen: [WireSeen]) -> [WireCredit] {
    seen.compactMap { if case .credit(let credit) = $0 { credit } else { nil } }
  }

  private let twoThousand = [String](repeating: "x", count: 2000)

  // MARK: The first credit

  @Test("WELCOME grants what the quota has, and no more than the window")
  func firstCredit() throws {
    func credit(_ quota: IdentityDefinition.Quota) throws -> (WireCredit, TCPPromise) {
      let press = TestIdentity(quota: quota)
      let (harness, _) = Self.harness(press)
      let credit = try #require(try harness.connect().greet(token: press.token).welcome).credit
      return (credit, TCPPromise(maxRecordBytes: harness.loop.settings.stream.maxRecordBytes))
    }
    let (many, promise) = try credit(.init(recordsPerSecond: 1000))
    #expect(many == WireCredit(bytes: promise.window.bytes, records: 1000))
    let most = 2 * promise.maxFrame
    #expect(
      try credit(.init(bytesPerSecond: most)).0 == WireCredit(bytes: UInt64(most), records: promise.window.records))
    let half = try credit(.init(recordsPerSecond: 1000, burstNanoseconds: 500 * Self.millisecond)).0
    #expect(half.records == 500)
    let least = try credit(.init(recordsPerSecond: 1, bytesPerSecond: 1)).0
    #expect(least == WireCredit(bytes: UInt64(promise.maxFrame), records: 1), "a frame fits in any case")
    #expect(try credit(.init(recordsPerSecond: 1 << 40, bytesPerSecond: 1 << 50)).0 == promise.window)
  }

  @Test("A client that sends what it was invited to, from WELCOME on, is refused nothing")
  func firstCreditIsTaken() throws {
    let press = TestIdentity(quota: .init(recordsPerSecond: 1000))
    let (harness, _) = Self.harness(press)
    let connection = try harness.connect()
    var credit = try #require(try connection.greet(token: press.token).welcome).credit.records
    var sent: UInt64 = 0
    var nacks: [WireNack] = []
    for _ in 0..<1000 {
      while sent < credit {
        let count = min(credit - sent, 100)
        try connection.data([String](repeating: "x", count: Int(count)), first: sent + 1)
        sent += count
      }
      harness.commit()
      harness.advance(.milliseconds(10))
      let seen = try connection.received()
      nacks += seen.nacks
      credit = credits(seen).last?.records ?? credit
    }
    #expect(nacks.isEmpty)
    #expect((10_000...11_000).contains(sent), "the burst, and what the quota lets through in ten seconds")
  }

  @Test("What the identity's other connections used up is not granted, and comes at the quota's rate")
  func firstCreditOfTheNext() throws {
    var press = TestIdentity(quota: .init(recordsPerSecond: 1000))
    press.producers = ["*"]
    let (harness, _) = Self.harness(press)
    let first = try harness.connect()
    #expect(try first.greet(token: press.token).welcome?.credit.records == 1000)
    try first.data([String](repeating: "x", count: 600), first: 1)
    harness.commit()
    let second = try harness.connect()
    #expect(try second.greet(token: press.token, producer: "second").welcome?.credit.records == 400)
    try first.data([String](repeating: "x", count: 400), first: 601)
    harness.commit()
    let third = try harness.connect()
    #expect(try third.greet(token: press.token, producer: "third").welcome?.credit.records == 1)
    harness.advance(.milliseconds(5))
    #expect(try credits(third.received()).isEmpty)
    harness.advance(seconds: 1)
    #expect(try credits(third.received()).isEmpty == false)
  }

  @Test("While it is used up credit is withheld, and what comes within the old credit gets the NACK")
  func creditIsWithheld() throws {
    let press = Self.press(records: 1000)
    let (harness, authority) = Self.harness(press)
    let (connection, initial) = try welcomed(harness, authority, press)
    try connection.data(twoThousand, first: 1)
    harness.commit()
    #expect(try connection.received() == [.ack(0, 2000)], "acknowledged, and no more is granted")
    try connection.data(["late"], first: 2001)
    let seen = try connection.received()
    #expect(seen.nacks.map(\.code) == [WireNackCode.quota.rawValue] && credits(seen).isEmpty)
    #expect(seen.nacks.first.map { (1990...2001).contains($0.retryAfterMilliseconds) } == true)
    harness.advance(.milliseconds(1990))
    #expect(try connection.received() == [])
    harness.advance(.milliseconds(10))
    let granted = credits(try connection.received())
    #expect(granted.map(\.records) == [initial.records + 10], "what comes in 10 ms")
    try connection.data(["late"], first: 2001)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 2001)])
  }

  @Test("Credit that was used comes back at the quota's rate, and all of it if it is not used")
  func creditComesAtTheRate() throws {
    let press = Self.press(records: 1000)
    let (harness, authority) = Self.harness(press)
    let (connection, initial) = try welcomed(harness, authority, press)
    try connection.data(twoThousand, first: 1)
    harness.commit()
    harness.advance(seconds: 2)
    var last = try #require(try credits(connection.received()).last)
    for _ in 0..<5 {
      for _ in 0..<10 { harness.advance(.milliseconds(10)) }
      let credit = try #require(try credits(connection.received()).last)
      #expect(credit.records == last.records + 100)
      last = credit
    }
    for _ in 0..<300 { harness.advance(.milliseconds(10)) }
    #expect(try credits(connection.received()).last?.records == initial.records + 2000)
    #expect(last.bytes - initial.bytes <= 2000 * 64, "bytes have no bound of their own")
  }

  @Test("A client that sends what it is invited to at its quota's rate is refused nothing")
  func invitedIsTaken() throws {
    for press in [Self.press(records: 1000), Self.press(bytes: 1 << 20)] {
      let (harness, authority) = Self.harness(press)
      let (connection, initial) = try welcomed(harness, authority, press)
      // In frames of records of 1,000 bytes.
      let (frameBytes, recordBytes): (UInt64, UInt64) = (32, 1040)
      var sent = WireCredit(bytes: 0, records: 0)
      func send(_ count: UInt64) throws {
        let payload = String(repeating: "x", count: 1000)
        try connection.data([String](repeating: payload, count: Int(count)), first: sent.records + 1)
        sent.records += count
        sent.bytes += frameBytes + count * recordBytes
      }
      try send(900)
      // What is left of the first credit is no invitation.
      let spare = WireCredit(bytes: initial.bytes - sent.bytes, records: initial.records - sent.records)
      var nacks: [WireNack] = []
      for _ in 0..<1000 {
        harness.commit()
        harness.advance(.milliseconds(10))
        let seen = try connection.received()
        nacks += seen.nacks
        guard let credit = credits(seen).last else { continue }
        let bytes = credit.bytes - spare.bytes - sent.bytes
        let records = credit.records - spare.records - sent.records
        guard bytes >= frameBytes + recordBytes, records > 0 else { continue }
        try send(min(records, (bytes - frameBytes) / recordBytes))
      }
      #expect(nacks.isEmpty)
      #expect(sent.records > 7000, "and gets in about what the quota lets through in ten seconds")
    }
  }

  @Test("Credit that was withheld is not granted if the identity's other connections have used the quota up meanwhile")
  func othersMayUseItUp() throws {
    var press = Self.press(records: 1000)
    press.producers = ["*"]
    let (harness, authority) = Self.harness(press)
    let (connection, _) = try welcomed(harness, authority, press)
    let (other, _) = try welcomed(harness, authority, press, producer: "other")
    try connection.data(twoThousand, first: 1)
    harness.commit()
    _ = try connection.received()
    // Later than the connection's timer, in the same instant.
    harness.clock.advance(nanoseconds: 2000 * Self.millisecond)
    try other.data(twoThousand, first: 1)
    harness.eventLoop.advanceTime(by: .seconds(2))
    #expect(credits(try connection.received()).isEmpty)
    harness.advance(seconds: 2)
    #expect(!credits(try connection.received()).isEmpty)
  }

  @Test("A reload that lifts the quota gives what was withheld within a second")
  func reloadLiftsIt() throws {
    var press = Self.press(records: 1)
    let (harness, authority) = Self.harness(press)
    let (connection, initial) = try welcomed(harness, authority, press)
    try connection.data(twoThousand, first: 1)
    harness.commit()
    #expect(try credits(connection.received()).isEmpty)
    press.quota = nil
    authority.replace(with: [press.definition])
    harness.advance(seconds: 1)
    #expect(try credits(connection.received()).map(\.records) == [initial.records + 2000])
  }

  @Test("A connection that leaves while its credit is withheld leaves nothing behind")
  func leaving() throws {
    let press = Self.press(records: 1)
    let (harness, authority) = Self.harness(press)
    weak var connection: TCPConnection?
    do {
      let (client, _) = try welcomed(harness, authority, press)
      connection = try client.channel.pipeline.syncOperations.handler(type: TCPConnection.self)
      try client.data(twoThousand, first: 1)
      harness.commit()
      #expect(connection?.quotaTimer != nil)
      client.channel.close(promise: nil)
      harness.eventLoop.run()
    }
    #expect(connection == nil)
  }

  @Test("What a full stream refuses costs nothing", arguments: [FullReason.ring, .retention, .disk])
  func fullIsFree(_ reason: FullReason) throws {
    for press in [Self.press(records: 1), Self.press(bytes: 1)] {
      let (harness, authority) = Self.harness(press)
      let (connection, _) = try welcomed(harness, authority, press)
      harness.stream.setFull(reason)
      for _ in 0..<3 { try connection.data(["a", "b"], first: 1) }
      let codes = try connection.received().nacks.map(\.code)
      #expect(codes.count == 3 && !codes.contains(WireNackCode.quota.rawValue))
      harness.stream.setFull(nil)
      try connection.data(["a", "b"], first: 1)
      try connection.data(["c"], first: 3)
      harness.commit()
      let answers = try connection.answers()
      #expect(answers.nacks.map(\.code) == [WireNackCode.quota.rawValue] && answers.last == .ack(0, 2))
    }
  }

  @Test("Of a frame that found room in part only that part is paid for")
  func partIsPaid() throws {
    let press = Self.press(records: 1)
    let (harness, authority) = Self.harness(press)
    let (connection, _) = try welcomed(harness, authority, press)
    harness.stream.setRoom(3 * (Limits.serverPartBytes + producerPart("a", sequence: 1).count))
    try connection.data(["a", "b", "c", "d", "e"], first: 1)
    let seen = try connection.received().nacks
    #expect(seen.map(\.code) == [WireNackCode.fullRing.rawValue] && seen.first?.sequence == 4)
    harness.stream.setRoom(.max)
    harness.commit()
    // Three records are three seconds, less the burst.
    harness.advance(.milliseconds(2990))
    try connection.data(["d"], first: 4)
    #expect(try connection.received().nacks.map(\.code) == [WireNackCode.quota.rawValue])
    harness.advance(.milliseconds(10))
    try connection.data(["d"], first: 4)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 4)])
  }

  @Test("What waited for room when its connection ended costs nothing", arguments: [false, true])
  func endedIsFree(_ isTakenOver: Bool) throws {
    let press = Self.press(records: 1)
    let (harness, authority) = Self.harness(press) { $0.blocksWhenFull = true }
    let (connection, _) = try welcomed(harness, authority, press)
    let quota = try #require(
      try connection.channel.pipeline.syncOperations.handler(type: TCPConnection.self).session?.identity.quota)
    harness.stream.setRoom(2 * (Limits.serverPartBytes + producerPart("a", sequence: 1).count))
    try connection.data(["a", "b", "c", "d", "e"], first: 1)
    #expect(quota.wait(at: harness.clock.source.monotonic()) > 4 * 1000 * Self.millisecond, "all is paid for")
    if isTakenOver {
      let newcomer = try harness.connect()
      try newcomer.send { sender, buffer in
        var hello = WireHello(producer: "press-7", epoch: 2)
        hello.authentication = WireAuthentication.bearer.rawValue
        hello.credential = Array(press.token.utf8)
        sender.hello(hello, to: &buffer)
      }
    } else {
      connection.channel.close(promise: nil)
    }
    harness.commit()
    let seconds = (quota.wait(at: harness.clock.source.monotonic()) + 5 * Self.millisecond) / 1_000_000_000
    #expect(seconds == 2, "two found room")
    #expect(harness.counters.value(.discarded) == 3)
  }

  @Test("What waited for room and was refused in the end costs nothing, and what was taken costs once")
  func waitingIsPaidOnce() throws {
    let press = Self.press(records: 1)
    let (harness, authority) = Self.harness(press) { $0.blocksWhenFull = true }
    let (connection, _) = try welcomed(harness, authority, press)
    let quota = try #require(
      try connection.channel.pipeline.syncOperations.handler(type: TCPConnection.self).session?.identity.quota)
    func seconds() -> Int64 {
      (quota.wait(at: harness.clock.source.monotonic()) + 5 * Self.millisecond) / 1_000_000_000
    }
    harness.stream.setFull(.ring)
    try connection.data(["a", "b"], first: 1)
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 2)])
    #expect(seconds() == 2)
    harness.advance(seconds: 2)
    harness.stream.setFull(.ring)
    try connection.data(["c", "d"], first: 3)
    #expect(seconds() == 2, "it waits, and is paid for")
    _ = harness.loop.drain(within: .seconds(10))
    harness.eventLoop.run()
    #expect(try connection.answers().nacks.map(\.code) == [WireNackCode.draining.rawValue])
    #expect(seconds() == 0)
  }
}
