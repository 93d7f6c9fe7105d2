import NIOCore
import NIOEmbedded
import SluiceCore
import SluiceIdentity
import Testing

@testable import SluiceIngest

/// Every code of docs/wire-protocol.md that this server sends: what brings it about, and that it is counted.
@Suite("Refusals of the framed protocol")
struct TCPRefusalTests {
  private typealias Nack = (code: WireNackCode, provoke: (TCPHarness, TCPTestConnection) throws -> Void)

  private static var nacks: [Nack] {
    [
      (.fullRing, full(.ring)), (.fullRetention, full(.retention)), (.fullDisk, full(.disk)),
      (.checksum, { try $1.part(producerPart("a", sequence: 1), crc: 1, first: 1) }),
      (.gap, { try $1.data(["a"], first: 2) }),
      (
        .draining,
        { harness, connection in
          try connection.data(["a"], first: 1)
          _ = harness.loop.drain(within: .seconds(10))
          harness.eventLoop.run()
          try connection.data(["b"], first: 2)
        }
      ),
      (.tooLarge, { try $1.data([String(repeating: "x", count: 2000)], first: 1) }),
      (.malformed, { try $1.part([], first: 1) }),
      (
        .quota,
        { harness, connection in
          // Ten minutes' worth.
          try connection.data([String](repeating: "a", count: 600), first: 1)
          harness.commit()
          try connection.data(["b"], first: 601)
        }
      ),
      (.forbidden, { try $1.data(["of no topic"], first: 1) }),
    ]
  }

  private static func full(_ reason: FullReason) -> (TCPHarness, TCPTestConnection) throws -> Void {
    { harness, connection in
      harness.stream.setFull(reason)
      try connection.data(["a"], first: 1)
    }
  }

  /// What the server has to know who sends for.
  private static func identity(refusedWith code: WireNackCode) -> TestIdentity? {
    switch code {
    case .quota:
      TestIdentity(quota: IdentityDefinition.Quota(recordsPerSecond: 1, burstNanoseconds: 1_000_000))
    case .forbidden: TestIdentity(scopes: [.publish(stream: "events", topics: "press.*")])
    default: nil
    }
  }

  private static func open(refusing code: WireNackCode) throws -> (TCPHarness, TCPTestConnection) {
    guard let identity = identity(refusedWith: code) else {
      let harness = TCPHarness(maxRecordBytes: 1024)
      return (harness, try harness.open())
    }
    // A quota comes after the first credit, which more than it lets through would not fit into.
    var unbounded = identity
    unbounded.quota = nil
    let authority = IdentityAuthority([unbounded.definition])
    let harness = TCPHarness(maxRecordBytes: 1024) { $0.authentication = SourceAuthentication(.required, authority) }
    let connection = try harness.connect()
    guard try connection.greet(token: identity.token).welcome != nil else { throw TCPTestConnection.Unexpected() }
    authority.replace(with: [identity.definition])
    return (harness, connection)
  }

  private static func authentication(of identity: TestIdentity) -> SourceAuthentication {
    SourceAuthentication(.required, IdentityAuthority([identity.definition]))
  }

  @Test func theTableOfNacksHasEveryCode() {
    #expect(Self.nacks.map(\.code).sorted { $0.rawValue < $1.rawValue } == WireNackCode.allCases)
  }

  @Test(arguments: nacks.map(\.code)) func eachNackIsToldWithItsClassAndCounted(_ code: WireNackCode) throws {
    let row = try #require(Self.nacks.first { $0.code == code })
    let (harness, connection) = try Self.open(refusing: code)
    try row.provoke(harness, connection)
    var seen = try connection.answers()
    harness.commit()
    seen += try connection.answers()
    let told = seen.compactMap { answer -> WireNack? in if case .nack(0, let nack) = answer { nack } else { nil } }
    #expect(told.map(\.code) == [code.rawValue])
    #expect(harness.counters.value(code) == 1)
    let others = WireNackCode.allCases.filter { $0 != code }
    #expect(others.allSatisfy { harness.counters.value($0) == 0 })
  }

  private typealias End = (code: WireErrorCode, provoke: (TCPHarness) throws -> TCPTestConnection)

  private static var ends: [End] {
    [
      (.protocolViolation, opened { $0.hello(WireHello(producer: "press-7", epoch: 1), to: &$1) }),
      (
        .magic,
        { harness in
          let connection = try harness.connect()
          try connection.receive(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))
          return connection
        }
      ),
      (.version, hello { $0.versionMin = 2 }),
      (
        .frameTooLarge,
        opened { sender, buffer in
          var data = sender.beginData(channel: 0, firstSequence: 1, in: &buffer)
          let part = producerPart(String(repeating: "x", count: 4 << 20), sequence: 1)
          part.withUnsafeBytes { data.append(part: $0, crc: 0, to: &buffer) }
          sender.finishData(data, in: &buffer)
        }
      ),
      (
        .integrity,
        opened { sender, buffer in
          sender.ping(1, to: &buffer)
          buffer.setInteger(UInt8(0xFF), at: buffer.writerIndex - 1)
        }
      ),
      (.feature, hello { $0.featuresRequired = 4 }), (.streamUnknown, hello { $0.stream = "other" }),
      (
        .fenced,
        { harness in
          _ = try harness.open(epoch: 5)
          let connection = try harness.connect()
          try connection.send { $0.hello(WireHello(producer: "press-7", epoch: 4), to: &$1) }
          return connection
        }
      ),
      (
        .superseded,
        { harness in
          let connection = try harness.open()
          _ = try harness.open()
          return connection
        }
      ),
    ] + endsOfUse + endsOfIdentities
  }

  private static var endsOfUse: [End] {
    [
      (
        .credit,
        opened { sender, buffer in
          // More than may be under way, and each frame no larger than one may be.
          let text = String(repeating: "x", count: 60_000)
          for first in 0..<UInt64(Limits.tcpWindowBytes / 600_000 + 2) {
            TCPTestConnection.data([String](repeating: text, count: 10), first: first * 10 + 1, &sender, &buffer)
          }
        }
      ),
      (
        .idle,
        { harness in
          let connection = try harness.connect()
          harness.advance(seconds: Int64(Limits.tcpHandshakeSeconds) + 2)
          return connection
        }
      ),
      (
        .draining,
        { harness in
          let connection = try harness.connect()
          _ = harness.loop.drain(within: .seconds(10))
          harness.eventLoop.run()
          return connection
        }
      ),
      (
        .busy,
        { harness in
          for _ in 0..<4 { _ = try harness.open("") }
          return try harness.connect()
        }
      ),
    ]
  }

  private static var endsOfIdentities: [End] {
    [
      (.authRequired, hello { _ in }), (.authFailed, token(knowledge.impostor)),
      (.authInsecure, token(knowledge, from: AuthenticationAttackTests.remote)),
      (.integrityRequired, hello { $0.integrity = WireIntegrity.hmacSHA256.rawValue }),
      (.forbidden, token(knowledge, stream: "events")),
    ]
  }

  /// May do something, but not publish to this stream.
  private static let knowledge = TestIdentity(scopes: [.readMetrics])
  private static let ofIdentities: Set<WireErrorCode> = [.authRequired, .authFailed, .authInsecure, .forbidden]

  private static func token(
    _ identity: TestIdentity, from address: String = "127.0.0.1", stream: String = ""
  ) -> (TCPHarness) throws -> TCPTestConnection {
    { harness in
      let connection = try harness.connect(from: address)
      try connection.sendHello(token: identity.token, stream: stream)
      return connection
    }
  }

  private static func opened(
    _ build: @escaping (inout WireSender, inout ByteBuffer) -> Void
  ) -> (TCPHarness) throws -> TCPTestConnection {
    { harness in
      let connection = try harness.open()
      try connection.send(build)
      return connection
    }
  }

  private static func hello(_ adjust: @escaping (inout WireHello) -> Void) -> (TCPHarness) throws -> TCPTestConnection {
    { harness in
      let connection = try harness.connect()
      var hello = WireHello(producer: "press-7", epoch: 1)
      adjust(&hello)
      try connection.send { $0.hello(hello, to: &$1) }
      return connection
    }
  }

  /// What only ends a channel, and what is kept for a fault that the server would know of.
  @Test func theTableOfErrorsHasEveryCodeThatEndsAConnection() {
    let others: Set<WireErrorCode> = [.channel, .internalFault]
    #expect(
      Self.ends.map(\.code).sorted { $0.rawValue < $1.rawValue }
        == WireErrorCode.allCases.filter { !others.contains($0) })
  }

  private func expectOnly(_ code: WireErrorCode, _ harness: TCPHarness) {
    #expect(harness.counters.value(code) == 1)
    #expect(WireErrorCode.allCases.filter { $0 != code }.allSatisfy { harness.counters.value($0) == 0 })
  }

  @Test(arguments: ends.map(\.code)) func eachErrorIsToldEndsTheConnectionAndIsCounted(_ code: WireErrorCode) throws {
    let row = try #require(Self.ends.first { $0.code == code })
    let harness = TCPHarness {
      $0.maxConnections = 4
      if Self.ofIdentities.contains(code) { $0.authentication = Self.authentication(of: Self.knowledge) }
    }
    let connection = try row.provoke(harness)
    let seen = try connection.received()
    #expect(seen.compactMap(\.errorCode) == [code] && seen.last?.errorCode == code, "nothing follows")
    expectOnly(code, harness)
  }

  @Test func aChannelsNumberThatIsTooHighIsCounted() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.send { $0.open(WireOpen(producer: "press-8", epoch: 1), channel: 999, to: &$1) }
    guard case .error(999, let end) = try connection.received().last else { throw TCPTestConnection.Unexpected() }
    #expect(end.code == WireErrorCode.channel.rawValue && end.scope == .channel)
    #expect(connection.isOpen)
    expectOnly(.channel, harness)
  }

  @Test func oneWrongGuessTooManyIsBusyAndCounted() throws {
    let harness = TCPHarness { $0.authentication = Self.authentication(of: Self.knowledge) }
    for _ in 0..<Limits.freeGuesses {
      #expect(try harness.connect().greet(token: Self.knowledge.impostor.token).error == .authFailed)
    }
    #expect(harness.counters.value(WireErrorCode.busy) == 0)
    #expect(try harness.connect().greet(token: Self.knowledge.impostor.token).error == .busy)
    #expect(harness.counters.value(WireErrorCode.busy) == 1)
    #expect(harness.counters.value(WireErrorCode.authFailed) == UInt64(Limits.freeGuesses))
  }
}
