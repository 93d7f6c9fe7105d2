import NIOCore
import SluiceCore
import SluiceIdentity
import Synchronization
import Testing

@testable import SluiceIngest

/// What somebody tries who reads the network, changes what is on it, or has what is not theirs. `HTTPAttackTests` and the daemon's
/// `IdentityDaemonTests` go on with it.
@Suite("Attacks on framed connections")
struct AuthenticationAttackTests {
  static let remote = "192.0.2.7"
  let press = TestIdentity()

  private func welcomed(_ guarded: Guarded, producer: String = "press-7") throws -> ProvingClient {
    let client = ProvingClient(try guarded.tcp.connect(from: Self.remote), as: press)
    let welcome = try #require(try client.greet(producer: producer).welcome)
    let keys = try #require(client.keys)
    #expect(HandshakeTranscript.isSigned(welcome.serverSignature, keys))
    return client
  }

  @Test func whoProvesItselfIsWelcomeAndItsAcksAreSealed() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    try client.connection.receive(client.data("a", first: 1))
    guarded.tcp.commit()
    #expect(try client.connection.answers() == [.ack(0, 1)])
  }

  @Test func aHandshakeThatWasCapturedIsOfNoUse() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    try client.connection.receive(client.data("a", first: 1))
    let attacker = try guarded.tcp.connect(from: Self.remote)
    for frame in client.sent { try attacker.receive(frame) }
    #expect(try attacker.received().error == .authFailed)
    guarded.tcp.commit()
    #expect(guarded.tcp.stream.state.withLock { $0.records.count } == 1)
  }

  @Test func aFrameThatIsRepeatedEndsTheConnection() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    let frame = client.data("a", first: 1)
    try client.connection.receive(frame)
    try client.connection.receive(frame)
    #expect(try client.connection.received().error == .integrity)
  }

  @Test func framesThatChangePlacesEndTheConnection() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    _ = client.data("a", first: 1)
    try client.connection.receive(client.data("b", first: 2))
    #expect(try client.connection.received().error == .integrity)
    #expect(guarded.tcp.stream.state.withLock { $0.records.isEmpty })
  }

  @Test func aFrameThatIsSentBackEndsTheConnection() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    var reflected = ByteBuffer()
    var server = WireSender(.toClient)
    server.seal(with: try #require(client.keys).sealer)
    server.ping(1, to: &reflected)
    try client.connection.receive(reflected)
    #expect(try client.connection.received().error == .integrity)
  }

  @Test(arguments: [24, 40, 70, -1, -32])
  func aFrameWithOneBitChangedEndsTheConnectionBeforeARecordIsUsed(place: Int) throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    var frame = client.data("abcdefgh", first: 1)
    let at = place < 0 ? frame.readableBytes + place : place
    frame.setInteger(try #require(frame.getInteger(at: at, as: UInt8.self)) ^ 1, at: at)
    try client.connection.receive(frame)
    #expect(try client.connection.received().error == .integrity)
    #expect(guarded.tcp.stream.state.withLock { $0.records.isEmpty })
  }

  @Test func whoTakesAConnectionOverCannotSealItsFrames() throws {
    for sealer in [FrameSealer.sha256, .hmac(sessionKey: [UInt8](repeating: 0, count: 32))] {
      let guarded = Guarded(press)
      let client = try welcomed(guarded)
      client.connection.sender.seal(with: sealer)
      try client.connection.receive(client.data("forged", first: 1))
      #expect(try client.connection.received().error == .integrity)
    }
  }

  @Test func aForgedAckIsNotBelieved() throws {
    let client = try welcomed(Guarded(press))
    for sealer in [FrameSealer.sha256, .hmac(sessionKey: [UInt8](repeating: 1, count: 32))] {
      var receiver = WireReceiver(from: .toClient, maxFrame: 65_536)
      receiver.expectTags(of: try #require(client.keys).sealer)
      var forger = WireSender(.toClient)
      forger.seal(with: sealer)
      var frame = ByteBuffer()
      forger.ack(1, channel: 0, to: &frame)
      let outcome = frame.withUnsafeReadableBytes { receiver.next($0) }
      guard case .fault(let fault) = outcome else {
        Issue.record("a forged ack was taken")
        continue
      }
      #expect(fault.code == .integrity)
    }
  }

  @Test func aServerWithoutTheSecretIsFoundOut() throws {
    let server = Guarded(press.impostor)
    let client = ProvingClient(try server.tcp.connect(from: Self.remote), as: press)
    #expect(try client.greet().error == .authFailed)
    let keys = try #require(client.keys)
    #expect(!HandshakeTranscript.isSigned([UInt8](repeating: 0, count: 32), keys))
    #expect(!HandshakeTranscript.isSigned([], keys))
  }

  @Test func integrityThatIsTalkedDownIsRefused() throws {
    for integrity in [WireIntegrity.crc32c, .sha256] {
      let client = ProvingClient(try Guarded(press).tcp.connect(from: Self.remote), as: press)
      #expect(try client.greet { $0.integrity = integrity.rawValue }.error == .integrityRequired)
      // Where less would do, the proof is for what the client asked for.
      let near = ProvingClient(try Guarded(press).tcp.connect(), as: press)
      #expect(try near.greet { $0.integrity = integrity.rawValue }.error == .authFailed)
    }
  }

  @Test func authenticationThatIsTalkedDownIsRefused() throws {
    let client = ProvingClient(try Guarded(press).tcp.connect(from: Self.remote), as: press)
    let answer = try client.greet {
      $0.authentication = 0
      $0.identity = ""
      $0.integrity = WireIntegrity.crc32c.rawValue
      $0.clientNonce = []
    }
    #expect(answer.error == .authRequired)
  }

  @Test func helloCannotBeChangedOnItsWay() throws {
    let client = ProvingClient(try Guarded(press).tcp.connect(from: Self.remote), as: press)
    #expect(try client.greet { $0.producer = "press-8" }.error == .authFailed)
  }

  @Test func whoDoesNotExistIsAnsweredLikeAWrongSecret() throws {
    var nobody = press
    nobody.name = "press-9"
    let answers = try [press.impostor, nobody].map { identity in
      try ProvingClient(try Guarded(press).tcp.connect(from: Self.remote), as: identity).greet()
    }
    #expect(answers[0] == answers[1] && answers[0].error == .authFailed)
    let tokens = try [press.impostor, nobody].map { try Guarded(press).tcp.connect().greet(token: $0.token) }
    #expect(tokens[0] == tokens[1] && tokens[0].error == .authFailed)
  }

  @Test func aStolenTokenIsNoUseOnAnotherDevice() throws {
    var tied = press
    tied.fingerprint = "00:11:22:33:44:55"
    let guarded = Guarded(tied)
    #expect(try guarded.tcp.connect().greet(token: tied.token).error == .authFailed)
    #expect(try guarded.tcp.connect().greet(token: tied.token, fingerprint: "00:11").error == .authFailed)
    #expect(try guarded.tcp.connect().greet(token: tied.token, fingerprint: "00:11:22:33:44:55").welcome != nil)
    let thief = ProvingClient(try guarded.tcp.connect(from: Self.remote), as: tied)
    #expect(try thief.greet(fingerprint: "00:11").error == .authFailed)
  }

  @Test func aStolenTokenIsNoUseWithoutItsCertificate() throws {
    var tied = press
    tied.certificate = [UInt8](repeating: 7, count: 32)
    let guarded = Guarded(tied)
    let shown = [nil, [UInt8](repeating: 8, count: 32), [], tied.certificate]
    let errors = try shown.map { certificate in
      let security = ConnectionSecurity(isEncrypted: true, certificateSHA256: certificate)
      return try guarded.tcp.connect(from: Self.remote, security: security).greet(token: tied.token).error
    }
    #expect(errors == [.authFailed, .authFailed, .authFailed, nil])
  }

  @Test func aTokenInTheClearIsRefused() throws {
    let guarded = Guarded(press)
    #expect(try guarded.tcp.connect(from: Self.remote).greet(token: press.token).error == .authInsecure)
    #expect(try guarded.tcp.connect(from: "::ffff:192.0.2.7").greet(token: press.token).error == .authInsecure)
    let encrypted = try guarded.tcp.connect(from: Self.remote, security: ConnectionSecurity(isEncrypted: true))
    #expect(try encrypted.greet(token: press.token).welcome != nil)
    #expect(try guarded.tcp.connect(from: "::1").greet(token: press.token).welcome != nil)
  }

  @Test func aTokenIsNoUseUnderAnotherName() throws {
    #expect(try Guarded(press).tcp.connect().greet(token: press.token, identity: "press-8").error == .authFailed)
  }

  @Test func anotherStreamIsForbidden() throws {
    var other = press
    other.scopes = [.publish(stream: "audit", topics: nil), .readMetrics, .admin]
    let guarded = Guarded(other)
    #expect(try guarded.tcp.connect().greet(token: other.token).error == .forbidden)
    #expect(guarded.tcp.counters.value(WireErrorCode.forbidden) == 1)
  }

  @Test func anotherTopicIsRefusedForGoodAndTheNextRecordTaken() throws {
    var some = press
    some.scopes = [.publish(stream: "events", topics: "press.*")]
    let guarded = Guarded(some)
    let connection = try guarded.tcp.connect()
    #expect(try connection.greet(token: some.token).welcome != nil)
    try connection.send { sender, buffer in
      var data = sender.beginData(channel: 0, firstSequence: 1, in: &buffer)
      for (index, topic) in ["press.7", "audit.login", "press.8"].enumerated() {
        Array(topic.utf8).withUnsafeBytes {
          data.append(
            RecordFields(eventTime: 7, sequence: UInt64(index + 1), topic: $0, payload: $0), to: &buffer)
        }
      }
      sender.finishData(data, in: &buffer)
    }
    guarded.tcp.commit()
    let answers = try connection.answers()
    #expect(answers.nacks.map(\.sequence) == [2] && answers.nacks.first?.code == WireNackCode.forbidden.rawValue)
    #expect(answers.last == .ack(0, 3))
    #expect(
      guarded.tcp.stream.state.withLock { $0.records.filter { !$0.isConsumed }.map(\.topic) } == ["press.7", "press.8"])
  }

  @Test func aRevokedKeyEndsALiveConnection() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    guarded.authority.replace(with: [])
    try client.connection.receive(client.data("late", first: 1))
    #expect(try client.connection.received().error == .authFailed)
    #expect(guarded.tcp.stream.state.withLock { $0.records.isEmpty })
    let idle = try welcomed(Guarded(press))
    #expect(idle.connection.isOpen)
  }

  @Test func aRevokedKeyEndsAnIdleConnectionWithinASecond() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    guarded.authority.replace(with: [press.impostor.definition])
    guarded.tcp.advance(seconds: 1)
    #expect(try client.connection.received().error == .authFailed)
  }

  @Test func aReloadThatLeavesTheKeyLeavesTheConnection() throws {
    let guarded = Guarded(press)
    let client = try welcomed(guarded)
    guarded.authority.replace(with: [TestIdentity(name: "other").definition, press.definition])
    guarded.tcp.advance(seconds: 1)
    try client.connection.receive(client.data("a", first: 1))
    guarded.tcp.commit()
    #expect(try client.connection.answers() == [.ack(0, 1)])
  }

  @Test func anOldKeyIsGoodUntilItsGraceIsOver() throws {
    var old = press
    old.expires = Clock.wall() - 1
    var new = press.impostor
    new.keyID = "k2"
    var definition = new.definition
    definition.keys = [old.key, new.key]
    let guarded = Guarded()
    guarded.authority.replace(with: [definition])
    #expect(try guarded.tcp.connect().greet(token: old.token).error == .authFailed)
    #expect(try ProvingClient(guarded.tcp.connect(from: Self.remote), as: old).greet().error == .authFailed)
    #expect(try ProvingClient(guarded.tcp.connect(from: Self.remote), as: new).greet().welcome != nil)
    old.expires = Clock.wall() + 3_600_000_000_000
    definition.keys = [old.key, new.key]
    guarded.authority.replace(with: [definition])
    #expect(
      try ProvingClient(guarded.tcp.connect(from: Self.remote), as: old).greet(producer: "press-7/a").welcome != nil)
    #expect(try guarded.tcp.connect().greet(token: new.token).welcome != nil)
  }

  @Test func guessingIsLockedOutPerAddress() throws {
    let guarded = Guarded(press)
    for _ in 0..<Limits.freeGuesses {
      let guess = ProvingClient(try guarded.tcp.connect(from: Self.remote), as: press.impostor)
      #expect(try guess.greet().error == .authFailed)
    }
    let guess = ProvingClient(try guarded.tcp.connect(from: Self.remote), as: press.impostor)
    let answer = try guess.greet()
    #expect(answer.error == .busy)
    guard case .error(_, let end) = answer.first else { throw TCPTestConnection.Unexpected() }
    #expect(end.retryAfterMilliseconds > 0)
    let owner = ProvingClient(try guarded.tcp.connect(from: Self.remote), as: press)
    #expect(try owner.greet().welcome != nil, "a guesser at its address does not shut the owner out")
  }

  @Test func aQuotaHoldsOverManyConnections() throws {
    var bounded = press
    bounded.quota = IdentityDefinition.Quota(recordsPerSecond: 1, burstNanoseconds: 1_000_000)
    bounded.producers = ["p?"]
    let guarded = Guarded(bounded)
    var nacks: [WireNack] = []
    for number in 0..<8 {
      let client = ProvingClient(try guarded.tcp.connect(from: "192.0.2.\(number)"), as: bounded)
      #expect(try client.greet(producer: "p\(number)").welcome != nil)
      try client.connection.receive(client.data("x", first: 1))
      nacks += try client.connection.received().nacks
      guarded.tcp.commit()
    }
    #expect(guarded.tcp.stream.state.withLock { $0.records.count } + nacks.count == 8)
    #expect(nacks.count >= 6 && nacks.allSatisfy { $0.code == WireNackCode.quota.rawValue && !$0.isPermanent })
    #expect(nacks.allSatisfy { $0.retryAfterMilliseconds > 0 && $0.expected == 1 })
  }

  @Test func anOversizeCredentialIsRefused() throws {
    let guarded = Guarded(press)
    let long = press.token + String(repeating: "A", count: 4096 - press.token.utf8.count)
    #expect(try guarded.tcp.connect().greet(token: long).error == .authFailed)
    #expect(try guarded.tcp.connect().greet(token: "").error == .authFailed)
  }

  @Test func framesUnderPlainSHA256AreChecked() throws {
    let harness = TCPHarness()
    let connection = try harness.connect(from: Self.remote)
    var hello = WireHello(producer: "press-7", epoch: 1)
    hello.integrity = WireIntegrity.sha256.rawValue
    try connection.send { $0.hello(hello, to: &$1) }
    connection.sender.seal(with: .sha256)
    connection.receiver.expectTags(of: .sha256)
    #expect(try connection.received().welcome?.integrity == WireIntegrity.sha256.rawValue)
    try connection.data(["a"], first: 1)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 1)])
    connection.sender.seal(with: .hmac(sessionKey: []))
    try connection.data(["b"], first: 2)
    #expect(try connection.received().error == .integrity)
  }
}
